"""Damaged files of JSONL and Parquet, and an independent reading of them.

Files are damaged at random, many to one run of the job. An independent reading, in plain Python and
pyarrow, says what each file holds: rows that are answers, rows that are dead. The job may refuse a
file or fail with a message; where it finishes, its counts by file must be those.
"""

import codecs
import contextlib
import io
import json
import shutil
from collections import Counter
from pathlib import Path

import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq

from pipelines import classify
from tango_beam.errors import JobError, RefusedError
from tango_beam.run.layout import DEAD_LETTERS, MANIFEST
from tests.killing import WORDS

CRASH = 99
SCHEMA = {"id": "int64", "text": "string"}
SPLICES = (
    *(b'"', b"\\", b"{", b"}", b"[", b"]", b",", b"\n", b"\r\n", b"\t", b" " * 50, b"[[[["),
    *(b"\x00", b"\xff\xfe", b"\xef\xbb\xbf", b"\xc3\x28", "\u2028".encode()),
    *(b"\\ud800", b"\\u0000", b"1e999", b"-0", b"NaN", b"null", b"true", b"9" * 40),
    *(b'"text": 3,', b'"other": 1,', b'"id": "x",'),
)


def clean(rng, count: int) -> list[dict]:
    return [
        {"id": int(rng.integers(1 << 40)), "text": " ".join(rng.choice(WORDS, 5))}
        for _ in range(count)
    ]


def damage(data: bytes, rng, keep: int = 0) -> bytes:
    """A few random changes behind the first `keep` bytes."""
    changed = bytearray(data)
    for _ in range(int(rng.integers(1, 6))):
        at = int(rng.integers(keep, max(keep + 1, len(changed))))
        kind = rng.integers(6)
        if kind == 0 and at < len(changed):
            changed[at] ^= 1 << int(rng.integers(8))
        elif kind == 1:
            changed[at:at] = SPLICES[rng.integers(len(SPLICES))]
        elif kind == 2:
            del changed[at : at + int(rng.integers(1, 30))]
        elif kind == 3:
            changed[at:at] = changed[keep:][: int(rng.integers(1, 80))]
        elif kind == 4:
            changed[at : at + 4] = rng.bytes(4)
        elif rng.random() < 0.3:
            del changed[at:]
    return bytes(changed)


def unique_keys(pairs: list) -> dict:
    if len({key for key, _ in pairs}) < len(pairs):
        raise ValueError("a key twice")
    return dict(pairs)


def refuse_constant(name: str) -> None:
    raise ValueError(name)


def is_answerable(line: bytes) -> bool:
    """Whether a line is a row: JSON, in UTF-8, of the schema's columns and types, with a text."""
    try:
        row = json.loads(
            line.decode(), parse_constant=refuse_constant, object_pairs_hook=unique_keys
        )
    except (ValueError, RecursionError):
        return False
    if not isinstance(row, dict) or set(row) - set(SCHEMA):
        return False
    text, number = row.get("text"), row.get("id")
    if not isinstance(text, str) or any(0xD800 <= ord(letter) < 0xE000 for letter in text):
        return False
    if number is None:
        return True
    return type(number) is int and -(1 << 63) <= number < 1 << 63


def expected_of_lines(data: bytes) -> tuple[int, int]:
    """Answerable and dead lines; blank ones, and a mark of the byte order, are no rows."""
    data = data.removeprefix(codecs.BOM_UTF8)
    good = dead = 0
    for line in data.split(b"\n"):
        if not line.strip(b" \t\r\n"):
            continue
        if is_answerable(line):
            good += 1
        else:
            dead += 1
    return good, dead


def run(inputs: Path, output: Path, cascade: str, *options: str) -> tuple[int, str]:
    """Exit code of a run and what it said."""
    said = io.StringIO()
    arguments = [
        *("--input", str(inputs), "--output", str(output), "--cascade", cascade, "--overwrite"),
        *("--max_dead_fraction", "1", "--source_columns", "--precision", "fp32"),
        *("--threshold", "0", *options),
    ]
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
        try:
            code = classify.main(arguments)
        except RefusedError as error:
            return 2, str(error)
        except JobError as error:
            return 1, str(error)
        except Exception as error:  # noqa: BLE001 - what this program is looking for
            return CRASH, repr(error)
    return code, said.getvalue()


def counts(output: Path) -> tuple[Counter, Counter, dict]:
    """Answers and dead letters by file, and the manifest."""
    answers = ds.dataset(output, format="parquet").to_table(columns=["source_file"])
    dead = Counter(
        json.loads(line)["file"]
        for part in (output / DEAD_LETTERS).glob("part-*")
        for line in part.read_bytes().split(b"\n")
        if line
    )
    manifest = json.loads((output / MANIFEST).read_text())
    return Counter(answers["source_file"].to_pylist()), dead, manifest


def check(inputs: Path, output: Path, expected: dict[str, tuple[int, int]]) -> list[str]:
    """What a finished run got wrong."""
    answers, dead, manifest = counts(output)
    rows = manifest["rows"]
    wrong = []
    if rows["read"] != rows["accepted"] + rows["escalated"] + rows["dead"]:
        wrong.append(f"rows do not add up: {rows}")
    if sum(answers.values()) != rows["accepted"] or sum(dead.values()) != rows["dead"]:
        wrong.append(f"stored {sum(answers.values())} and {sum(dead.values())} dead: {rows}")
    for name, (good, lost) in expected.items():
        path = str(inputs / name)
        found = answers[path], dead[path]
        if found != (good, lost):
            wrong.append(f"{name}: expected {good} answers and {lost} dead, found {found}")
    return wrong


def fuzz_lines(work: Path, cascade: str, files: int, rng) -> list[str]:
    """Damaged JSONL behind a whole file that gives the schema."""
    inputs = work / "lines"
    shutil.rmtree(inputs, ignore_errors=True)
    inputs.mkdir(parents=True)
    (work / "schema.json").write_text(json.dumps(SCHEMA))
    expected = {}
    for number in range(files):
        rows = [json.dumps(row).encode() for row in clean(rng, int(rng.integers(1, 9)))]
        data = damage(b"\n".join(rows) + b"\n", rng)
        name = f"f{number:05d}.jsonl"
        (inputs / name).write_bytes(data)
        expected[name] = expected_of_lines(data)
    code, said = run(inputs, work / "out", cascade, "--schema", str(work / "schema.json"))
    if code:
        return [f"exit code {code}: {said[-300:]}"]
    return check(inputs, work / "out", expected)


def readable(path: Path) -> int | None:
    """Rows of a Parquet file by its footer; None where pyarrow cannot open it."""
    try:
        return pq.read_metadata(path).num_rows
    except (pa.ArrowException, OSError, UnicodeDecodeError):  # of a column's name
        return None


def fuzz_parquet(work: Path, cascade: str, files: int, rng) -> list[str]:
    """Damaged Parquet; a run may end with a message, or must account for every row of a footer."""
    inputs = work / "parquet"
    shutil.rmtree(inputs, ignore_errors=True)
    inputs.mkdir(parents=True)
    schema = pa.schema({"id": pa.int64(), "text": pa.string()})
    pq.write_table(pa.Table.from_pylist(clean(rng, 5), schema), inputs / "a.parquet")
    for number in range(files):
        path = inputs / f"f{number:05d}.parquet"
        table = pa.Table.from_pylist(clean(rng, int(rng.integers(1, 40))), schema)
        pq.write_table(table, path, row_group_size=8)
        path.write_bytes(damage(path.read_bytes(), rng, keep=4))
    code, said = run(inputs, work / "out", cascade, "--allow_broken_files")
    if code:
        crashed = code == CRASH or not said.strip()
        return [f"exit code {code}: {said[-300:]}"] if crashed else []
    answers, _dead, manifest = counts(work / "out")
    rows, listed = manifest["rows"], len(manifest["broken_files"])
    wrong = []
    if rows["read"] != rows["accepted"] + rows["escalated"] + rows["dead"]:
        wrong.append(f"rows do not add up: {rows}")
    if sum(answers.values()) != rows["accepted"]:
        wrong.append(f"stored {sum(answers.values())} answers: {rows}")
    unreadable = [path for path in inputs.iterdir() if readable(path) is None]
    if any(answers[str(path)] for path in unreadable) or listed < len(unreadable):
        wrong.append(f"{len(unreadable)} files cannot be opened, {listed} are listed as broken")
    return wrong
