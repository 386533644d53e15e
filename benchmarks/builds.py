"""`pipelines.build` on real corpora without labels, and what came of it on rows that it never saw.

    python -m benchmarks.builds --data DATA --encoder all-MiniLM-L6-v2 --work WORK \\
        --corpus banking77 --agreement 0.95 0.99 --minutes 30 --timed_rows 7000

The first goal is a build from nothing; others go on with it in the same directory.
Of each corpus, two fifths of the texts, with their labels, fine-tune the second tier beforehand; half, without
labels, are what is built on; the rest is held out. The cascade and its second tier alone, with its
fastest settings, then run in turns over the corpus, rows that students learned from among them, and over
the rows held out, which nothing has seen: as a larger corpus would be. Few rows are repeated up to
`--timed_rows`, and of more as many are drawn.
"""

import argparse
import json
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from benchmarks import common
from benchmarks.beside_last_tier import compare
from benchmarks.steps import call

# File, and how a second tier is fine-tuned on it.
CORPORA = {
    "banking77": ("train", "--epochs 12 --learning_rate 3e-4 --max_length 64"),
    "agnews": ("train_10k", "--epochs 3 --max_length 128"),
    "newsgroups": ("train", "--epochs 3 --learning_rate 1e-4 --max_length 256"),
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


def timed(path: Path, count: int) -> Path:
    """As many rows of a file: drawn where it has more, repeated where it has fewer."""
    rows = pq.read_table(path)
    order = np.random.default_rng(1).permutation(len(rows))
    table = rows.take(np.resize(order, count))
    taken = path.with_name(f"{path.stem}_timed.parquet")
    pq.write_table(table.set_column(0, "id", pa.array(range(count))), taken)
    return taken


def planned(report: dict) -> dict[str, float]:
    """Costs of chains of one student, at the threshold that is best for each, over the plan's.

    All on the rows that chose, by measured cost. A student that keeps the goal at no threshold that
    spares anything is the second tier alone.
    """
    plan, *others = report["offers"]
    single = {one["tiers"][0]: one["speedup"] for one in others if len(one["tiers"]) <= 2}
    if len(plan["tiers"]) <= 2:
        single[plan["tiers"][0]] = plan["speedup"]
    return {
        "cheapest single": plan["speedup"] / max(1.0, *single.values()),
        "bilstm": plan["speedup"] / single.get("bilstm", 1.0),
    }


def measure(ours, paths: dict[str, Path], teacher: Path, agreement: float) -> dict:
    """Builds on one corpus for one goal, and compares with the second tier alone."""
    output = Path(ours.work, ours.corpus, "built")
    started = time.perf_counter()
    given = f"--input {paths['corpus']} --second_tier {teacher} --agreement {agreement}"
    more = f"--minutes {ours.minutes} --output {output} {ours.options}"
    call("pipelines.build", [*given.split(), *more.split()])
    minutes = (time.perf_counter() - started) / 60
    report = json.loads((output / "report.json").read_text())
    work = Path(ours.work, ours.corpus, "job")
    alone = common.last_tier_alone(str(output), work / "alone") if report["pays"] else str(output)
    compared = {}
    for name, part in (("on the corpus", "corpus"), ("on rows held out", "held")):
        rows = timed(paths[part], ours.timed_rows)
        (compared[name],) = compare([str(output)], alone, rows, work, ours.rounds)
    return {
        "corpus": ours.corpus,
        "agreement asked": agreement,
        "pays": report["pays"],
        "chain": [[tier["name"], round(tier["answers"], 4)] for tier in report["tiers"]],
        "minutes": round(minutes, 1),
        "parts": report["parts"],
        "agreement on signed rows": report["agreement"],
        "speedup expected": report["speedup"],
        "cost of others over the plan's": planned(report),
        **compared,
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
    parser.add_argument("--agreement", type=float, nargs="+", default=[0.95])
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--timed_rows", type=int, default=2500, help="rows of a timed run")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--options", default="", help="further options of pipelines.build")
    ours = parser.parse_args()
    common.quiet()
    paths = parted(ours)
    teacher = fine_tuned(paths, ours)
    for agreement in ours.agreement:
        print(json.dumps(measure(ours, paths, teacher, agreement)), flush=True)


if __name__ == "__main__":
    main()
