"""`pipelines.build` on real corpora without labels, and what came of it on rows that it never saw.

    python -m benchmarks.builds --data DATA --encoder all-MiniLM-L6-v2 --work WORK \\
        --corpus banking77 --agreement 0.95 --minutes 30

Of each corpus, two fifths of the texts, with their labels, fine-tune the second tier beforehand; half, without
labels, are what is built on; the rest is held out. The cascade and its second tier alone, with its
fastest settings, then run in turns over the corpus (for the time), and over the rows held out (for the agreement).
"""

import argparse
import json
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
import pyarrow.parquet as pq

from benchmarks import common
from benchmarks.paper.run import call

# File, and how a second tier is fine-tuned on it.
CORPORA = {
    "banking77": ("train", "--epochs 12 --learning_rate 3e-4 --max_length 64"),
    "agnews": ("train_10k", "--epochs 3 --max_length 128"),
    "newsgroups": ("train", "--epochs 4 --max_length 256"),
    "imdb": ("train", "--epochs 1 --learning_rate 4e-5 --max_length 512"),
}
TEACH, CORPUS = 0.4, 0.9


def parted(ours) -> dict[str, Path]:
    """The three parts of a corpus, by text, as files."""
    folder = Path(ours.work, ours.corpus)
    folder.mkdir(parents=True, exist_ok=True)
    table = pq.read_table(Path(ours.data, ours.corpus, f"{CORPORA[ours.corpus][0]}.parquet"))
    code = pc.dictionary_encode(table["text"].combine_chunks()).indices.to_numpy()
    drawn = np.random.default_rng(0).random(int(code.max()) + 1)[code]
    edges = {"teach": (0.0, TEACH), "corpus": (TEACH, CORPUS), "held": (CORPUS, 1.0)}
    paths = {}
    for name, (low, high) in edges.items():
        rows = table.take(np.flatnonzero((drawn >= low) & (drawn < high)))
        label = pc.cast(rows["label"], pa.string())
        kept = {"id": pa.array(range(len(rows))), "text": rows["text"], "label": label}
        paths[name] = folder / f"{name}.parquet"
        pq.write_table(
            pa.table(kept if name == "teach" else dict([*kept.items()][:2])), paths[name]
        )
        print(f"{name}: {len(rows):,} rows", flush=True)
    return paths


def fine_tuned(paths: dict[str, Path], ours) -> Path:
    """The second tier, fine-tuned once."""
    folder = Path(ours.work, ours.corpus, "second_tier")
    if not (folder / "README.md").is_file():
        given = (
            f"--encoder {ours.encoder} --train {paths['teach']} --held_out 300 --held_out_by row"
        )
        how = f"{CORPORA[ours.corpus][1]} --output {folder} --resume"
        call("pipelines.finetune", [*given.split(), *how.split()])
    return folder


def answers(path: Path, cascade: str, work: Path) -> tuple[float, pa.Table, dict]:
    """Seconds of a job without its start-up, its answers by row, and its manifest."""
    start_up, _ = common.run_job(path, work, cascade, "--limit", "1")
    seconds, manifest = common.run_job(path, work, cascade)
    table = ds.dataset(work / "out", format="parquet").to_table(["id", "prediction"])
    return seconds - start_up, table.sort_by("id"), manifest


def measure(ours) -> dict:
    """Builds on one corpus, and compares with the second tier alone."""
    paths = parted(ours)
    teacher = fine_tuned(paths, ours)
    output = Path(ours.work, ours.corpus, f"built_{ours.agreement}")
    started = time.perf_counter()
    given = f"--input {paths['corpus']} --second_tier {teacher} --agreement {ours.agreement}"
    more = f"--minutes {ours.minutes} --output {output} {ours.options}"
    call("pipelines.build", [*given.split(), *more.split()])
    minutes = (time.perf_counter() - started) / 60
    report = json.loads((output / "report.json").read_text())
    work = Path(ours.work, ours.corpus, "job")
    alone = common.last_tier_alone(str(output), work / "alone") if report["pays"] else str(output)
    taken: dict[str, list[float]] = {"cascade": [], "alone": []}
    for _ in range(ours.rounds):
        for name, cascade in (("alone", alone), ("cascade", str(output))):
            seconds, _, manifest = answers(paths["corpus"], cascade, work)
            taken[name].append(seconds)
    said = [answers(paths["held"], one, work)[1]["prediction"] for one in (str(output), alone)]
    agree = float(pc.mean(pc.cast(pc.equal(*said), pa.float64())).as_py())
    return {
        "corpus": ours.corpus,
        "agreement asked": ours.agreement,
        "pays": report["pays"],
        "chain": [[tier["name"], round(tier["answers"], 4)] for tier in report["tiers"]],
        "minutes": round(minutes, 1),
        "parts": report["parts"],
        "agreement on signed rows": report["agreement"],
        "agreement held out": agree,
        "rows held out": len(said[0]),
        "escalated": manifest["rows"]["escalated"] / manifest["rows"]["read"],
        "speedup": common.middle(taken["alone"]) / common.middle(taken["cascade"]),
        "rounds": [a / b for a, b in zip(taken["alone"], taken["cascade"], strict=True)],
        "speedup expected": report["speedup"],
        "offers": [
            [" > ".join(one["tiers"]), round(one["agreement"], 4), round(one["speedup"], 2)]
            for one in report["offers"][:6]
        ],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description="Cascades built without labels, on real corpora.")
    parser.add_argument("--data", required=True, help="folder with a folder a corpus")
    parser.add_argument("--encoder", required=True, help="that second tiers are fine-tuned from")
    parser.add_argument("--work", required=True, help="folder for all that is made")
    parser.add_argument("--corpus", required=True, choices=[*CORPORA])
    parser.add_argument("--agreement", type=float, default=0.95)
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--options", default="", help="further options of pipelines.build")
    ours = parser.parse_args()
    common.quiet()
    print(json.dumps(measure(ours)), flush=True)


if __name__ == "__main__":
    main()
