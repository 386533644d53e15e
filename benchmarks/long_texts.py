"""Cascades on long texts: signed for an agreement, then beside their last tier alone in the job.

    python -m benchmarks.halves --input DATA/imdb/train.parquet --output HALVES
    python -m benchmarks.long_texts --corpus HALVES/sign.parquet --work WORK \\
        --chain static,second_tier --chain bilstm,second_tier --chain static,bilstm,second_tier

A chain names its tiers' folders, cheapest first; all chains end in one tier, and the longest stands
last. That one is tuned on a sample (`pipelines.tune`), the others take its tiers' settings. Each is
signed on 5,000 rows (`pipelines.calibrate`, of a corpus without labels: hypergeometric), and run on
further rows of the corpus in turns with the last tier alone. Calibration's seconds are apart. A
folder that is there already is taken as it is, so that a measurement goes on where it stopped. With
`--exits` the last tier has some (`distill --student exits`), and each chain is signed for them, too.
"""

import argparse
import json
import shutil
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

from benchmarks import beside_last_tier, common
from benchmarks.steps import call
from tango_beam.cascade_directory import link_checkpoints, load_cascade, save_cascade
from tango_beam.config import CascadeConfig, Compute, TierConfig
from tango_beam.resolve import load_tier


def chained(tiers: list[TierConfig], folder: Path) -> Path:
    """Writes a cascade directory over some tiers, with a threshold that calibration replaces."""
    shutil.rmtree(folder, ignore_errors=True)  # of a measurement that was cut short
    folder.mkdir(parents=True)
    before = [replace(tier, threshold=0.9) for tier in tiers[:-1]]
    last = replace(tiers[-1], threshold=None)
    labels = tuple(sorted(load_tier(last, Compute()).labels))
    config = link_checkpoints(CascadeConfig((*before, last), labels, folder.name), folder)
    save_cascade(config, folder)
    return folder


def tuned(tiers: list[str], ours) -> dict[str, TierConfig]:
    """Tiers by their folders, with the settings that `pipelines.tune` finds."""
    output = Path(ours.work, "tuned")
    if not output.exists():
        cascade = chained([TierConfig(tier) for tier in tiers], Path(ours.work, "untuned"))
        given = f"--input {ours.corpus} --cascade {cascade} --output {output} --no_processes"
        sample = f"--sample_rows {ours.tune_rows} --min_agreement {ours.min_agreement}"
        call("pipelines.tune", [*given.split(), *sample.split()])
    return dict(zip(tiers, load_cascade(str(output)).tiers, strict=True))


def signed(
    chain: list[str], exits: bool, tiers: dict[str, TierConfig], ours
) -> tuple[Path, float | None]:
    """A chain as `pipelines.calibrate` leaves it, and how many seconds that took now."""
    cascade = Path(ours.work, name_of(chain) + "_exits" * exits)
    output = cascade.with_name(f"{cascade.name}_signed")
    if output.exists():
        return output, None
    # Exits are torch's alone, whatever was fastest without them.
    chained([replace(tiers[t], backend="torch") if exits else tiers[t] for t in chain], cascade)
    goal = f"--agreement {ours.agreement} --sample_rows {ours.sign_rows}"
    started = time.perf_counter()
    given = f"--input {ours.corpus} --cascade {cascade} --output {output} {goal}"
    call("pipelines.calibrate", [*given.split(), *["--exits"] * exits])
    return output, time.perf_counter() - started


def name_of(chain: list[str]) -> str:
    """A chain's folder."""
    return "_".join(Path(tier).name for tier in chain)


def timed_rows(ours) -> Path:
    """Rows of the corpus that are timed, drawn at random."""
    table = pq.read_table(ours.corpus, columns=["text"])
    count = min(ours.timed_rows, len(table))
    rows = np.sort(np.random.default_rng(1).permutation(len(table))[:count])
    return common.write_parquet(Path(ours.work, "timed.parquet"), table["text"].take(rows))


def main() -> None:
    parser = argparse.ArgumentParser(description="Signed cascades on long texts, in the job.")
    parser.add_argument("--corpus", required=True, help="texts that no tier was trained on")
    parser.add_argument("--work", required=True, help="folder for cascades and outputs")
    parser.add_argument("--chain", action="append", required=True, help="folders, cheapest first")
    parser.add_argument("--exits", action="store_true", help="each chain with its exits as well")
    parser.add_argument("--agreement", default="0.99")
    parser.add_argument("--sign_rows", type=int, default=5000)
    parser.add_argument("--tune_rows", type=int, default=1000)
    parser.add_argument("--min_agreement", default="0.995", help="of a setting with fp32")
    parser.add_argument("--timed_rows", type=int, default=4000)
    parser.add_argument("--rounds", type=int, default=3)
    ours = parser.parse_args()
    common.quiet()
    chains = [chain.split(",") for chain in ours.chain]
    if {chain[-1] for chain in chains} != {chains[-1][-1]}:
        parser.error("--chain: expected all to end in one tier")
    tiers = tuned(chains[-1], ours)
    kinds = [(chain, exits) for chain in chains for exits in (False, True)[: 1 + ours.exits]]
    cascades, seconds = zip(*(signed(*kind, tiers, ours) for kind in kinds), strict=True)
    named = [",".join(chain) + " with exits" * exits for chain, exits in kinds]
    print(json.dumps({"signed": dict(zip(named, seconds, strict=True))}), flush=True)
    last = common.last_tier_alone(str(cascades[0]), Path(ours.work, "alone"))
    names = [str(cascade) for cascade in cascades]
    compared = beside_last_tier.compare(names, last, timed_rows(ours), Path(ours.work), ours.rounds)
    for chain, cascade, figures in zip(named, names, compared, strict=True):
        certificate = load_cascade(cascade).certificate
        assert certificate is not None
        print(json.dumps({"chain": chain, **figures, "thresholds": certificate.thresholds}))


if __name__ == "__main__":
    main()
