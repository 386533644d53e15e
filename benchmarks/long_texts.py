"""Cascades on long texts: signed for an agreement, then beside their last tier alone in the job.

    python -m benchmarks.halves --input DATA/imdb/train.parquet --output HALVES
    python -m benchmarks.long_texts --corpus HALVES/sign.parquet --work WORK \\
        --chain static,second_tier --chain bilstm,second_tier --chain static,bilstm,second_tier

A chain names its tiers' folders, cheapest first. Each is tuned on a sample (`pipelines.tune`), signed on
5,000 rows (`pipelines.calibrate`, of a corpus without labels: hypergeometric), and run on further rows of
the corpus in turns with its last tier alone, as tuning left it. Calibration's seconds are apart.
"""

import argparse
import json
import shutil
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq

from benchmarks import common
from benchmarks.paper.run import call
from tango_beam.cascade_directory import link_checkpoints, load_cascade, save_cascade
from tango_beam.config import CascadeConfig, Compute, TierConfig
from tango_beam.resolve import load_tier

PREDICTION = "prediction"


def chained(tiers: list[str], folder: Path) -> Path:
    """Writes a cascade directory over some tiers, with a threshold that calibration replaces."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    before = [TierConfig(tier, threshold=0.9) for tier in tiers[:-1]]
    last = TierConfig(tiers[-1])
    labels = tuple(sorted(load_tier(last, Compute()).labels))
    config = link_checkpoints(CascadeConfig((*before, last), labels, folder.name), folder)
    save_cascade(config, folder)
    return folder


def tuned(cascade: Path, ours) -> Path:
    """The cascade as `pipelines.tune` leaves it."""
    output = cascade.with_name(f"{cascade.name}_tuned")
    shutil.rmtree(output, ignore_errors=True)
    given = f"--input {ours.corpus} --cascade {cascade} --output {output} --no_processes"
    call("pipelines.tune", [*given.split(), "--sample_rows", str(ours.tune_rows)])
    return output


def signed(cascade: Path, ours) -> tuple[Path, float]:
    """The cascade as `pipelines.calibrate` leaves it, and how many seconds that took."""
    output = cascade.with_name(f"{cascade.name}_signed")
    shutil.rmtree(output, ignore_errors=True)
    goal = f"--agreement {ours.agreement} --sample_rows {ours.sign_rows}"
    started = time.perf_counter()
    given = f"--input {ours.corpus} --cascade {cascade} --output {output} {goal}"
    call("pipelines.calibrate", given.split())
    return output, time.perf_counter() - started


def timed_rows(ours) -> Path:
    """Rows of the corpus that are timed, drawn at random."""
    table = pq.read_table(ours.corpus, columns=["text"])
    count = min(ours.timed_rows, len(table))
    rows = np.sort(np.random.default_rng(1).permutation(len(table))[:count])
    return common.write_parquet(Path(ours.work, "timed.parquet"), table["text"].take(rows))


def run(path: Path, cascade: Path, work: Path) -> tuple[float, pa.Table, dict]:
    """Seconds of the job without its start-up, its answers by row, and its manifest."""
    start_up, _ = common.run_job(path, work, str(cascade), "--limit", "1")
    seconds, manifest = common.run_job(path, work, str(cascade))
    answers = ds.dataset(work / "out", format="parquet").to_table(["id", PREDICTION])
    return seconds - start_up, answers.sort_by("id"), manifest


def measure(tiers: list[str], ours) -> dict:
    """Signs a chain and times it in turns with its last tier alone."""
    work = Path(ours.work)
    name = "_".join(Path(tier).name for tier in tiers)
    cascade, seconds_signing = signed(tuned(chained(tiers, work / name), ours), ours)
    certificate = load_cascade(str(cascade)).certificate
    assert certificate is not None
    path, taken = timed_rows(ours), {"cascade": [], "alone": []}
    last_tier = Path(common.last_tier_alone(str(cascade), work / f"{name}_alone"))
    for _ in range(ours.rounds):
        alone, last, _ = run(path, last_tier, work)
        own, said, manifest = run(path, cascade, work)
        taken["alone"].append(alone)
        taken["cascade"].append(own)
    agree = np.mean([a == b for a, b in zip(said[PREDICTION], last[PREDICTION], strict=True)])
    return {
        "chain": name,
        "speedup": common.middle(taken["alone"]) / common.middle(taken["cascade"]),
        "rounds": [a / b for a, b in zip(taken["alone"], taken["cascade"], strict=True)],
        "escalated": manifest["rows"]["escalated"] / manifest["rows"]["read"],
        "agreement on timed rows": float(agree),
        "rows": len(said),
        "rows a second, cascade": len(said) / common.middle(taken["cascade"]),
        "seconds of calibration": seconds_signing,
        "thresholds": list(certificate.thresholds),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description="Signed cascades on long texts, in the job.")
    parser.add_argument("--corpus", required=True, help="texts that no tier was trained on")
    parser.add_argument("--work", required=True, help="folder for cascades and outputs")
    parser.add_argument("--chain", action="append", required=True, help="folders, cheapest first")
    parser.add_argument("--agreement", default="0.99")
    parser.add_argument("--sign_rows", type=int, default=5000)
    parser.add_argument("--tune_rows", type=int, default=1000)
    parser.add_argument("--timed_rows", type=int, default=4000)
    parser.add_argument("--rounds", type=int, default=3)
    ours = parser.parse_args()
    common.quiet()
    for chain in ours.chain:
        print(json.dumps(measure(chain.split(","), ours)), flush=True)


if __name__ == "__main__":
    main()
