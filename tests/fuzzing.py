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
    *(
        b'"text": 3,',
        b'"other": 1,',
        b'"id": "x",',
        b'"text": "b",',
        b'"id": 18446744073709551616,',
    ),
    *(
        b"-NaN",
        b"Infinity",
        b"-Infinity",
        b"Inf",
        b'"other": {"a": [NaN, {}]},',
        b'"id": 1, "id": 2,',
    ),
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


class Pairs(list):
    """The members of an object, repeated keys among them."""


def has_text(row: object) -> bool:
    """Whether a value of JSON is a row: an object with one text; the rest may be odd."""
    if not isinstance(row, Pairs):
        return False
    texts = [value for key, value in row if key == "text"]
    if len(texts) != 1 or not isinstance(texts[0], str):
        return False
    return not any(0xD800 <= ord(letter) < 0xE000 for letter in texts[0])


def is_answerable(line: bytes) -> bool:
    """Whether a line is a row: JSON, in UTF-8, with a text."""
    try:
        return has_text(json.loads(line.decode(), object_pairs_hook=Pairs))
    except (ValueError, RecursionError):
        return False


def is_document(data: bytes) -> bool:
    """Whether a file is one object over several lines, which a run refuses with the way out."""
    if b"\n" not in data.strip():
        return False
    try:
        return isinstance(json.loads(data.removeprefix(codecs.BOM_UTF8).decode()), dict)
    except (ValueError, RecursionError):
        return False


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


def damaged_lines(inputs: Path, files: int, rng) -> dict[str, bytes]:
    """Writes damaged JSONL; the bytes of each file."""
    shutil.rmtree(inputs, ignore_errors=True)
    inputs.mkdir(parents=True)
    written = {}
    for number in range(files):
        rows = [json.dumps(row).encode() for row in clean(rng, int(rng.integers(1, 9)))]
        damaged = damage(b"\n".join(rows) + b"\n", rng)
        if not is_document(damaged):
            written[f"f{number:05d}.jsonl"] = damaged
    for name, data in written.items():
        (inputs / name).write_bytes(data)
    return written


def fuzz_lines(work: Path, cascade: str, files: int, rng) -> list[str]:
    """Damaged JSONL under a stated schema."""
    inputs = work / "lines"
    written = damaged_lines(inputs, files, rng)
    (work / "schema.json").write_text(json.dumps(SCHEMA))
    code, said = run(inputs, work / "out", cascade, "--schema", str(work / "schema.json"))
    if code:
        return [f"exit code {code}: {said[-300:]}"]
    expected = {name: expected_of_lines(data) for name, data in written.items()}
    return check(inputs, work / "out", expected)


def fuzz_own_lines(work: Path, cascade: str, files: int, rng) -> list[str]:
    """Damaged JSONL that comes out as the lines' own bytes, with the answers behind them."""
    inputs = work / "own_lines"
    written = damaged_lines(inputs, files, rng)
    code, said = run(inputs, work / "out", cascade, "--output_format", "jsonl")
    if code:
        return [f"exit code {code}: {said[-300:]}"]
    out = [
        line
        for part in (work / "out").glob("part-*")
        for line in part.read_bytes().split(b"\n")
        if line
    ]
    lines = [
        line.rstrip(b"\r")
        for data in written.values()
        for line in data.removeprefix(codecs.BOM_UTF8).split(b"\n")
        if is_answerable(line)
    ]
    found = Counter(line[: line.rindex(b',"prediction":')] for line in out)
    expected = Counter(line.rstrip(b" \t\r")[:-1] for line in lines)
    different = found - expected, expected - found
    return [f"{len(part)} lines differ: {[*part][:3]}" for part in different if part]


def fuzz_array(work: Path, cascade: str, files: int, rng) -> list[str]:
    """Damaged JSON arrays; those that Python reads whole must be accounted for item by item."""
    inputs = work / "arrays"
    shutil.rmtree(inputs, ignore_errors=True)
    inputs.mkdir(parents=True)
    (inputs / "a.json").write_text(json.dumps(clean(rng, 3)))
    expected = {}
    for number in range(files):
        indent = None if rng.integers(2) else int(rng.integers(3))
        data = json.dumps(clean(rng, int(rng.integers(1, 9))), indent=indent).encode()
        data = damage(data, rng, keep=1) if rng.integers(4) else data
        name = f"f{number:05d}.json"
        (inputs / name).write_bytes(data)
        with contextlib.suppress(ValueError, RecursionError):
            items = json.loads(data.decode(), object_pairs_hook=Pairs)
            good = sum(map(has_text, items))
            expected[name] = good, len(items) - good
    code, said = run(inputs, work / "out", cascade, "--allow_broken_files")
    if code:
        return [f"exit code {code}: {said[-300:]}"]
    return check(inputs, work / "out", expected)


def fuzz_csv(work: Path, cascade: str, files: int, rng) -> list[str]:
    """Damaged CSV; without quotes a line is a row, and every row must be accounted for."""
    inputs, header = work / "csv", b"id,text\n"
    shutil.rmtree(inputs, ignore_errors=True)
    inputs.mkdir(parents=True)
    expected = {}
    for number in range(files):
        rows = clean(rng, int(rng.integers(1, 9)))
        data = header + "".join(f"{row['id']},{row['text']}\n" for row in rows).encode()
        data = damage(data, rng, keep=len(header))
        name = f"f{number:05d}.csv"
        (inputs / name).write_bytes(data)
        lines = [line.removesuffix(b"\r") for line in data[len(header) :].split(b"\n")]
        lines = [line for line in lines if line]
        if not any(mark in line for line in lines for mark in (b'"', b"\r")):
            good = sum(line.count(b",") == 1 and decodes(line) for line in lines)
            expected[name] = good, len(lines) - good
    code, said = run(inputs, work / "out", cascade, "--input_format", "csv")
    if code:
        return [f"exit code {code}: {said[-300:]}"]
    return check(inputs, work / "out", expected)


def decodes(line: bytes) -> bool:
    try:
        line.decode()
    except UnicodeDecodeError:
        return False
    return True


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


KINDS = (fuzz_lines, fuzz_own_lines, fuzz_array, fuzz_csv, fuzz_parquet)
