"""Small corpora for `pipelines.classify`, and what a run of it left behind."""

import gzip
import json
import sys
from pathlib import Path

import pyarrow.dataset as ds
import zstandard

from tango_beam.record_columns import AnswerShape
from tests import tiny

ROOT = Path(__file__).parent.parent
SCHEMAS = ROOT / "tango_beam" / "schemas"
# What the job adds to a row, in order, where the answer is one label.
ANSWER_NAMES = tuple(field.name for field in AnswerShape().fields())


def schema(name):
    return json.loads((SCHEMAS / f"{name}.schema.json").read_text())


def corpus(rng, count):
    return [{"id": n, "text": tiny.sentence(rng), "tags": ["t"]} for n in range(count)]


def write_jsonl(path, rows):
    lines = [row if isinstance(row, bytes) else json.dumps(row).encode() for row in rows]
    data = b"\n".join(lines) + b"\n"
    if path.suffix == ".gz":
        data = gzip.compress(data)
    elif path.suffix == ".zst":
        data = zstandard.compress(data)
    path.write_bytes(data)
    return path


def truncated(path, share=0.5):
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])
    return path


def arguments(cascade, path, output, *options):
    """Of `pipelines.classify`."""
    given = {"--input": path, "--output": output, "--cascade": cascade}
    return [*(str(part) for pair in given.items() for part in pair), *options]


def command(*given):
    """The same in a process of its own."""
    return [sys.executable, "-m", "pipelines.classify", *arguments(*given)]


def read_output(output):
    output = Path(output)
    parts = sorted(output.glob("part-*"))
    if parts and parts[0].suffix == ".jsonl":
        rows = [json.loads(line) for part in parts for line in part.read_text().split("\n")[:-1]]
    else:
        rows = ds.dataset(output, format="parquet").to_table().to_pylist() if parts else []
    letters = [
        json.loads(line)
        for part in sorted(output.glob("_dead_letters/part-*"))
        for line in part.read_text().splitlines()
    ]
    manifest = output / "_manifest.json"
    return rows, letters, json.loads(manifest.read_text()) if manifest.exists() else None


def accounted(rows, letters, manifest):
    counts = manifest["rows"]
    assert counts["read"] == counts["accepted"] + counts["escalated"] + counts["dead"]
    assert counts["dead"] == len(letters)
    assert counts["accepted"] == sum(row["route"] == "accepted" for row in rows)
    assert counts["escalated"] == sum(row["route"] == "escalated" for row in rows)
    assert sum(entry["rows"] for entry in manifest["files"]) == len(rows)
    for fate, bins in manifest["counts"].items():
        for name in ("confidences", "tiers", "lengths"):
            assert sum(bins[name].values()) == counts[fate], (fate, name)
