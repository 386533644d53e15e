"""A million rows, some broken in every way: each is answered or dead, once.

    python -m benchmarks.accounting.broken_rows --data DATA --work WORK

Writes JSONL in which 1 % of the rows are broken in each of five ways, and runs the job over it with
a cascade whose tokenizer knows a token that its models have no embedding for, so that they fail on
the rows that hold it. Then an independent reading of input, output and dead letters is compared.
"""

import json
import shutil
import time
from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow.dataset as ds

from benchmarks import common, unseen_texts
from tango_beam.checkpoint_files import EMBEDDED
from tango_beam.run.layout import DEAD_LETTERS

WAYS = {
    "null": lambda row: {**row, "text": None},
    "no JSON": lambda row: json.dumps(row)[:-1].encode(),
    "no UTF-8": lambda row: json.dumps(row).encode().replace(b'"text": "', b'"text": "\xff'),
    "wrong type": lambda row: {**row, "text": row["id"]},
    "model fails": lambda row: {**row, "text": row["text"] + " [BREAK]"},
}
BREAK = {
    **{"id": 99_999, "content": "[BREAK]", "special": True, "normalized": False},
    **{"single_word": False, "lstrip": False, "rstrip": False},
}


def breaking_cascade(folder: Path) -> Path:
    """The embedded cascade with one more token."""
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(EMBEDDED / "sst2", folder)
    for path in folder.glob("*/tokenizer.json"):
        stored = json.loads(path.read_text())
        stored["added_tokens"].append(BREAK)
        path.write_text(json.dumps(stored))
    return folder


def write(path: Path, texts: list[str], share: float) -> list[str]:
    """Writes the rows; returns how each is broken, nothing where it is whole."""
    rng = np.random.default_rng(0)
    ways = rng.choice([*WAYS, ""], len(texts), p=[*[share] * len(WAYS), 1 - share * len(WAYS)])
    with path.open("wb") as file:
        for number, (text, way) in enumerate(zip(texts, ways.tolist(), strict=True)):
            row = {"id": number, "text": text}
            written = WAYS[way](row) if way else row
            line = written if isinstance(written, bytes) else json.dumps(written).encode()
            file.write(line + b"\n")
    return ways.tolist()


def fates(path: Path, output: Path) -> tuple[list[int], list[int]]:
    """Numbers of the rows that were answered, and of those that are dead letters."""
    answered = ds.dataset(output, format="parquet").to_table(columns=["id"])["id"].to_pylist()
    lines = path.read_bytes().split(b"\n")
    starts = np.cumsum([0, *(len(line) + 1 for line in lines)])
    by_offset = {int(start): number for number, start in enumerate(starts)}
    dead = [
        by_offset[json.loads(line)["offset"]]
        for part in (output / DEAD_LETTERS).iterdir()
        for line in part.read_text().splitlines()
    ]
    return answered, dead


def main() -> None:
    parser = common.arguments("Every row is answered or dead, once.")
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--threshold", type=float, help="fewer escalated rows take less time")
    ours = parser.parse_args()
    common.quiet()
    work = Path(ours.work)
    work.mkdir(parents=True, exist_ok=True)
    path = work / "broken.jsonl"
    source = unseen_texts.dev_and_held_out(ours.data)
    ways = write(path, unseen_texts.repeated(source, ours.rows), 0.01)
    cascade = breaking_cascade(work / "breaking")
    threshold = [] if ours.threshold is None else ["--threshold", str(ours.threshold)]
    options = ["--max_dead_fraction", "0.1", *threshold]
    started = time.perf_counter()
    _, manifest = common.run_job(path, work, str(cascade), *options)
    rows = manifest["rows"]
    print(f"{time.perf_counter() - started:,.0f} s: {rows}")
    for reason, count in manifest["dead_letters"]["reasons"].items():
        print(f"  {count:>8,} {reason}")
    answered, dead = fates(path, work / "out")
    sum_of_fates = rows["accepted"] + rows["escalated"] + rows["dead"]
    checks = {
        "read = accepted + escalated + dead": rows["read"] == sum_of_fates,
        "read is the number of lines": rows["read"] == ours.rows,
        "each id is out or dead, once": Counter(answered + dead) == Counter(range(ours.rows)),
        "the dead are the broken ones": set(dead) == {n for n, way in enumerate(ways) if way},
    }
    for what, holds in checks.items():
        print(f"{'yes' if holds else 'NO '} {what}")
    raise SystemExit(0 if all(checks.values()) else 1)


if __name__ == "__main__":
    main()
