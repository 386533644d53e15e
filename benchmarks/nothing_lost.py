"""A million rows, some broken in every way: `python -m benchmarks.nothing_lost --data ... --work ...`.

Writes JSONL in which 1 % of the rows are broken in each of five ways, and runs the job over it with a
cascade whose tokenizer knows a token that its models have no embedding for, so that they fail on the
rows that hold it. Then an independent reading of input, output and dead letters is compared.
"""

import json
import shutil
import time
from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow.dataset as ds

from benchmarks import common, untrained
from tango_beam.config import EMBEDDED

WAYS = {
    "null": lambda row: {**row, "text": None},
    "no JSON": lambda row: json.dumps(row)[:-1].encode(),
    "no UTF-8": lambda row: json.dumps(row).encode().replace(b'"text": "', b'"text": "\xff'),
    "wrong type": lambda row: {**row, "text": row["id"]},
    "model fails": lambda row: {**row, "text": row["text"] + " [BREAK]"},
}


def breaking_cascade(folder: Path) -> Path:
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(EMBEDDED / "sst2", folder)
    token = {
        "id": 99_999, "content": "[BREAK]", "single_word": False, "lstrip": False,
        "rstrip": False, "normalized": False, "special": True,
    }  # fmt: skip
    for path in folder.glob("*/tokenizer.json"):
        stored = json.loads(path.read_text())
        stored["added_tokens"].append(token)
        path.write_text(json.dumps(stored))
    return folder


def write(path: Path, texts: list[str], share: float) -> dict[int, str]:
    """Writes the rows; returns each row's fate by its id."""
    rng = np.random.default_rng(0)
    ways = rng.choice([*WAYS, ""], len(texts), p=[*[share] * len(WAYS), 1 - share * len(WAYS)])
    with path.open("wb") as file:
        for number, (text, way) in enumerate(zip(texts, ways.tolist(), strict=True)):
            row = {"id": number, "text": text}
            written = WAYS[way](row) if way else row
            line = written if isinstance(written, bytes) else json.dumps(written).encode()
            file.write(line + b"\n")
    return dict(enumerate(ways.tolist()))


def main() -> None:
    parser = common.arguments("Every row is answered or dead, once.")
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--threshold", type=float, help="fewer escalated rows take less time")
    ours = parser.parse_args()
    common.quiet()
    work = Path(ours.work)
    work.mkdir(parents=True, exist_ok=True)
    texts = untrained.repeated(untrained.dev_and_held_out(ours.data), ours.rows)
    fates = write(work / "broken.jsonl", texts, 0.01)
    cascade = breaking_cascade(work / "breaking")
    started = time.perf_counter()
    _, manifest = common.run_job(
        work / "broken.jsonl", work, str(cascade), "--max_dead_fraction", "0.1",
        *([] if ours.threshold is None else ["--threshold", str(ours.threshold)]),
    )  # fmt: skip
    print(f"{time.perf_counter() - started:,.0f} s: {manifest['rows']}")
    for reason, count in manifest["dead_letters"]["reasons"].items():
        print(f"  {count:>8,} {reason}")
    out = ds.dataset(work / "out", format="parquet").to_table(columns=["id"])["id"].to_pylist()
    lines = (work / "broken.jsonl").read_bytes().split(b"\n")
    ends = np.cumsum([len(line) + 1 for line in lines])
    by_offset = {
        int(end) - len(line) - 1: n for n, (line, end) in enumerate(zip(lines, ends, strict=True))
    }
    dead = [
        by_offset[json.loads(line)["offset"]]
        for part in (work / "out" / "_dead_letters").iterdir()
        for line in part.read_text().splitlines()
    ]
    rows = manifest["rows"]
    checks = {
        "read = accepted + escalated + dead": rows["read"]
        == rows["accepted"] + rows["escalated"] + rows["dead"],
        "read is the number of lines": rows["read"] == ours.rows,
        "each id is out or dead, once": Counter(out + dead) == Counter(range(ours.rows)),
        "the dead are the broken ones": set(dead) == {n for n, way in fates.items() if way},
    }
    for what, holds in checks.items():
        print(f"{'yes' if holds else 'NO '} {what}")
    raise SystemExit(0 if all(checks.values()) else 1)


if __name__ == "__main__":
    main()
