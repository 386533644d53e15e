"""This tree against another one, say the commit before a change, in turns.

    git worktree add ../before HEAD~1
    python -m benchmarks.speed.against_tree --against ../before --data DATA --work WORK

In each round, each tree runs the job in a process of its own whose working directory is that tree;
the Python and the inputs are the same, and the trees take turns to be first. The process runs the
job three times. The first run tells the wall clock, imports and models and all. A run of one row
and another whole run tell the time without start-up, on the clock and in processor time: the latter
says more where the machine is not idle. The last run's manifest tells what reading and tiers took,
and what the models took of that.
"""

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks import common, unseen_texts

BAR = 1.02
ROOT = Path(__file__).resolve().parents[2]
TIMES = (
    *("wall clock", "start-up apart", "processor time"),
    *("read and tiers", "within the models"),
)
WHICH = "import tango_beam; print(tango_beam.__file__)"
RUNS = """
import contextlib, io, json, sys, time
from pipelines import classify

def run(*options):
    started = time.perf_counter(), time.process_time()
    with contextlib.redirect_stdout(io.StringIO()):
        code = classify.main([*sys.argv[1:], *options])
    if code:
        sys.exit(f"the job failed with {code}")
    return time.perf_counter() - started[0], time.process_time() - started[1]

run()
ended = time.time()
start_up = run("--limit", "1")
print(json.dumps({"ended": ended, "start_up": start_up, "whole": run()}))
"""


@dataclass(frozen=True)
class Case:
    """A job to compare: how many rows of which texts, and the job's options."""

    about: str
    rows: int
    texts: Callable[[str, int], list[str]]
    options: tuple[str, ...] = ()
    suffix: str = ".parquet"

    def write(self, path: Path, data: str, rows: int) -> Path:
        """Writes the input."""
        return (write_jsonl if self.suffix == ".jsonl" else common.write_parquet)(
            path, self.texts(data, rows)
        )


def write_jsonl(path: Path, texts: list[str]) -> Path:
    """Writes texts with forty other columns each."""
    rng = np.random.default_rng(0)
    kinds = (
        lambda: int(rng.integers(10**9)),
        rng.random,
        lambda: f"value {rng.integers(10**6)}",
        lambda: bool(rng.integers(2)),
        lambda: f"2024-01-{rng.integers(1, 29):02d}T00:00:00Z",
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as file:
        for number, text in enumerate(texts):
            more = {f"column_{column}": kinds[column % len(kinds)]() for column in range(40)}
            file.write(json.dumps({"id": number, "text": text, **more}) + "\n")
    return path


def short(data: str, count: int) -> list[str]:
    """Texts of one to six words: what the job does for every row weighs most."""
    words = " ".join(unseen_texts.dev(data)).split()
    rng = np.random.default_rng(0)
    ends = rng.integers(1, 7, count)
    starts = rng.integers(0, len(words) - 7, count)
    return [" ".join(words[at : at + end]) for at, end in zip(starts, ends, strict=True)]


def sentences(data: str, count: int) -> list[str]:
    """SST-2's dev sentences, again and again."""
    return unseen_texts.repeated(unseen_texts.dev(data), count)


FIRST_TIER = ("--threshold", "0")
CASES = {
    "job": Case("the whole job on short rows, threshold 0", 200_000, short, FIRST_TIER),
    "first_tier": Case("the first tier alone, SST-2's sentences", 100_000, sentences, FIRST_TIER),
    "jsonl": Case(
        "JSONL in and out with forty more columns, threshold 0",
        100_000,
        sentences,
        (*FIRST_TIER, "--output_format", "jsonl"),
        ".jsonl",
    ),
    "cascade": Case("both tiers, SST-2's sentences, threshold as it comes", 50_000, sentences),
}


def measure(tree: Path, path: Path, ours, options: tuple[str, ...]) -> dict[str, float]:
    """Seconds of the job in a tree."""
    output = path.with_suffix(".out")
    given = common.classify_arguments(path, output, ours.cascade, "--overwrite", *options)
    started = time.time()
    command = [sys.executable, "-c", RUNS, *given]
    done = subprocess.run(command, cwd=tree, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{tree}: {done.stderr[-1000:]}")
    seen = json.loads(done.stdout.splitlines()[-1])
    wall, processor = (
        whole - start_up for whole, start_up in zip(seen["whole"], seen["start_up"], strict=True)
    )
    manifest = common.manifest_of(output)
    return {
        "wall clock": seen["ended"] - started,
        "start-up apart": wall,
        "processor time": processor,
        "read and tiers": sum(manifest["seconds"].values()),
        "within the models": sum(tier["seconds"] for tier in manifest["models"].values()),
    }


def compare(name: str, trees: dict[str, Path], ours) -> dict[str, dict]:
    """Runs a case in both trees, in turns; medians of seconds, and of the rounds' ratios."""
    case = CASES[name]
    rows = ours.rows or case.rows
    path = Path(ours.work).resolve() / "against_tree" / f"{name}{case.suffix}"
    case.write(path, ours.data, rows)
    print(f"{name}: {case.about}, {rows:,} rows", flush=True)
    rounds = []
    for number in range(ours.rounds):
        order = list(trees)[:: -1 if number % 2 else 1]
        seen = {who: measure(trees[who], path, ours, case.options) for who in order}
        rounds.append(seen)
        shown = "; ".join(
            f"{who} " + ", ".join(f"{seen[who][what]:.2f}" for what in TIMES) for who in trees
        )
        print(f"  round {number + 1} ({', '.join(TIMES)}; seconds): {shown}", flush=True)
    return {
        what: {
            **{who: common.middle([seen[who][what] for seen in rounds]) for who in trees},
            "ratio": common.middle([seen["this"][what] / seen["other"][what] for seen in rounds]),
        }
        for what in TIMES
    }


def check(tree: Path) -> None:
    """Ends the program unless a run in a tree imports that tree's package."""
    done = subprocess.run(
        [sys.executable, "-c", WHICH], cwd=tree, capture_output=True, text=True, check=True
    )
    imported = Path(done.stdout.strip()).resolve()
    if not imported.is_relative_to(tree):
        sys.exit(f"{tree}: expected its own tango_beam to be imported, found {imported}")


def options() -> argparse.Namespace:
    parser = common.arguments("This tree's time over another's, on the same jobs.")
    parser.add_argument("--against", required=True, help="the root of another tree")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--rows", type=int, help="of every case; default: the case's own")
    parser.add_argument(
        "--cases",
        type=lambda text: text.split(","),
        default=["job", "first_tier"],
        help=f"some of {', '.join(CASES)}, parted by commas (default: job,first_tier)",
    )
    ours = parser.parse_args()
    if Path(ours.cascade).is_dir():
        ours.cascade = str(Path(ours.cascade).resolve())
    unknown = [name for name in ours.cases if name not in CASES]
    if unknown:
        parser.error(f"--cases: expected some of {', '.join(CASES)}, found {', '.join(unknown)}")
    return ours


def main() -> None:
    ours = options()
    common.quiet()
    trees = {"this": ROOT, "other": Path(ours.against).resolve()}
    for tree in trees.values():
        check(tree)
    results = {name: compare(name, trees, ours) for name in ours.cases}
    for name, times in results.items():
        print(f"{name}: {CASES[name].about}; medians of {ours.rounds} rounds")
        for what, seen in times.items():
            print(
                f"  {what:18} this {seen['this']:8.2f} s, other {seen['other']:8.2f} s, "
                f"this / other {seen['ratio']:.3f}"
            )
    print(f"bar for start-up apart: at most {BAR}")
    print(json.dumps(results))


if __name__ == "__main__":
    main()
