"""Looks at the input before any work: schema, row groups, and what is wrong with it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.parquet as pq

from tango_beam.errors import RefusedError
from tango_beam.io import files as input_files
from tango_beam.io import jsonl
from tango_beam.io.files import PARQUET, InputFile
from tango_beam.io.lines import COMPRESSED_READ_BYTES, LineStream
from tango_beam.io.plan import PlannedFile

SAMPLE_ROWS = 10_000
SAMPLE_FILES = 16
# What a Parquet row counts for at least: a dictionary makes a few bytes of texts that repeat, and a
# checkpoint of such a file would hold millions of rows.
ROW_BYTES = 64


@dataclass(frozen=True)
class Inputs:
    """The input as the job will read it.

    Attributes:
      files: with row groups, cut to the limit.
      schema: the columns that pass through.
      row_schema: every column that there is.
      broken: files that could not be opened, with the error; only with `allow_broken_files`.
    """

    files: tuple[PlannedFile, ...]
    schema: pa.Schema
    row_schema: pa.Schema
    broken: tuple[dict[str, Any], ...] = ()


def inspect(
    patterns: Sequence[str],
    text_columns: Sequence[str],
    *,
    input_format: str = "auto",
    columns: Sequence[str] | None = None,
    schema: pa.Schema | None = None,
    limit: int | None = None,
    allow_broken_files: bool = False,
) -> Inputs:
    """Finds the files, reads their schema and checks that the job can read them.

    Args:
      patterns: paths, globs, folders, on any fsspec URL.
      text_columns: one column, or two for pairs.
      input_format: `auto`, `parquet` or `jsonl`.
      columns: passes only these through (text columns always).
      schema: of JSONL rows; read off a sample by default.
      limit: reads only the first rows.
      allow_broken_files: lists a file that cannot be opened instead of refusing it.

    Raises:
      RefusedError: says which file or column, what was expected and what was found.
    """
    found = input_files.expand(patterns, input_format)
    if found[0].format == PARQUET:
        if schema is not None:
            raise RefusedError("--schema: expected JSONL input, found Parquet, which has its own")
        planned, whole, broken = _inspect_parquet(found, allow_broken_files)
    else:
        planned, whole, broken = _inspect_jsonl(found, schema, allow_broken_files)
    twice = sorted({name for name in whole.names if whole.names.count(name) > 1})
    if twice:
        raise RefusedError(f"{found[0].path}: expected distinct column names, found {twice} twice")
    _check_text_columns(whole, text_columns, planned[0].file.path)
    chosen = _choose(whole, columns, text_columns)
    return Inputs(tuple(_cut(planned, limit)), chosen, whole, tuple(broken))


def is_text(kind: pa.DataType) -> bool:
    """Whether a column of this type holds texts (dictionary-encoded ones too)."""
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    return pa.types.is_string(kind) or pa.types.is_large_string(kind) or kind == pa.string_view()


def _check_text_columns(schema: pa.Schema, names: Sequence[str], path: str) -> None:
    shown = ", ".join(f"{field.name} ({field.type})" for field in schema) or "none"
    for option, name in zip(("--text_column", "--text_pair_column"), names, strict=False):
        if name not in schema.names:
            raise RefusedError(f"{option} {name}: no such column in {path}; found {shown}")
        kind = schema.field(name).type
        if not is_text(kind):
            raise RefusedError(
                f"{option} {name}: expected a column of texts in {path}, found {kind}; "
                f"the columns are {shown}"
            )


def _choose(
    schema: pa.Schema, columns: Sequence[str] | None, text_columns: Sequence[str]
) -> pa.Schema:
    # Arrow cannot filter views yet; they hold the same values as plain strings and binaries.
    plain = {pa.string_view(): pa.string(), pa.binary_view(): pa.binary()}
    schema = pa.schema(
        # The first file may forbid nulls where a later one has them.
        [(field.name, plain.get(field.type, field.type)) for field in schema]
    )
    if columns is None:
        return schema
    for name in columns:
        if name not in schema.names:
            raise RefusedError(f"--columns {name}: no such column; found {', '.join(schema.names)}")
    wanted = {*columns, *text_columns}
    return pa.schema([field for field in schema if field.name in wanted])


def _inspect_parquet(
    found: list[InputFile], allow_broken: bool
) -> tuple[list[PlannedFile], pa.Schema, list[dict[str, Any]]]:
    with ThreadPoolExecutor(16) as pool:
        footers = list(pool.map(_footer, found))
    planned: list[PlannedFile] = []
    broken: list[dict[str, Any]] = []
    schema: pa.Schema | None = None
    for file, footer in zip(found, footers, strict=True):
        if isinstance(footer, Exception):
            broken.append(_broken(file, footer, "Parquet", allow_broken))
            continue
        other, groups = footer
        schema = schema or other
        _refuse_difference(file.path, planned[0].file.path if planned else "", schema, other)
        planned.append(PlannedFile(file, groups))
    if schema is None:
        raise RefusedError(f"expected at least one readable Parquet file, found {broken}")
    return planned, schema, broken


# What pyarrow raises for a damaged file; the last for a column's name that is no UTF-8.
UNREADABLE = (OSError, pa.ArrowException, UnicodeDecodeError)


def _footer(file: InputFile) -> tuple[pa.Schema, tuple[tuple[int, int], ...]] | Exception:
    try:
        with input_files.open_input(file.path) as raw, pq.ParquetFile(raw) as parquet:
            metadata = parquet.metadata
            groups = [metadata.row_group(index) for index in range(metadata.num_row_groups)]
            sizes = tuple(
                (group.num_rows, max(group.total_byte_size, group.num_rows * ROW_BYTES))
                for group in groups
            )
            return parquet.schema_arrow, sizes
    except UNREADABLE as error:
        return error


def _broken(file: InputFile, error: Exception, kind: str, allowed: bool) -> dict[str, Any]:
    if not allowed:
        found = " ".join(str(error).split())
        raise RefusedError(
            f"{file.path}: expected a readable {kind} file, found {found}; "
            "--allow_broken_files lists it in the manifest and goes on without it"
        ) from error
    return {"path": file.path, "error": str(error), "bytes_not_read": file.size}


def _refuse_difference(path: str, first: str, expected: pa.Schema, found: pa.Schema) -> None:
    """Refuses a schema that differs from the first file's in more than order and nullability."""
    want = {field.name: field.type for field in expected}
    have = {field.name: field.type for field in found}
    if want == have:
        return
    differences = [
        f"{name}: {want.get(name, 'absent')} against {have.get(name, 'absent')}"
        for name in {**want, **have}
        if want.get(name) != have.get(name)
    ]
    raise RefusedError(
        f"{path}: expected the columns of {first}, found others ({'; '.join(differences)})"
    )


def _inspect_jsonl(
    found: list[InputFile], schema: pa.Schema | None, allow_broken: bool
) -> tuple[list[PlannedFile], pa.Schema, list[dict[str, Any]]]:
    sampled = found[:SAMPLE_FILES]
    rows: list[dict[str, Any]] = []
    broken: dict[str, dict[str, Any]] = {}
    complaint = ""
    for file in sampled:
        try:
            sample, wrong = _sample(file, SAMPLE_ROWS // len(sampled))
            rows += sample
            complaint = complaint or wrong
        except (OSError, pa.ArrowException) as error:
            # A file that breaks further on is read as far as it goes; this one broke at once.
            broken[file.path] = _broken(file, error, "JSONL", allow_broken)
    planned = [PlannedFile(file) for file in found if file.path not in broken]
    if schema is None and not rows:
        raise RefusedError(
            f"{found[0].path}: expected lines that are JSON objects, found "
            f"{complaint or 'no line at all'}"
        )
    if not planned:
        raise RefusedError(f"expected at least one readable file, found {list(broken.values())}")
    return planned, schema or jsonl.infer_schema(rows), list(broken.values())


def _sample(file: InputFile, count: int) -> tuple[list[dict[str, Any]], str]:
    """The first objects of a file, and what is wrong with the first line that is none."""
    rows: list[dict[str, Any]] = []
    complaint = ""
    stream = LineStream(input_files.Bytes(file), 0, COMPRESSED_READ_BYTES)
    try:
        for block in stream.blocks(None):
            data = block.data.removeprefix(b"\xef\xbb\xbf") if not block.offset else block.data
            for line in data.splitlines():
                if not line.strip():
                    continue
                try:
                    row = orjson.loads(line)
                except orjson.JSONDecodeError as error:
                    complaint = complaint or f"{line[:60]!r} ({error})"
                    continue
                if not isinstance(row, dict):
                    complaint = complaint or f"{line[:60]!r} (no object)"
                    continue
                rows.append(row)
                if len(rows) >= count:
                    return rows, complaint
    except OSError:
        if not rows:
            raise
    finally:
        stream.close()
    return rows, complaint


def _cut(planned: list[PlannedFile], limit: int | None) -> list[PlannedFile]:
    """The files that hold the first `limit` rows, the last of them cut short."""
    if limit is None:
        return planned
    kept: list[PlannedFile] = []
    left = limit
    for entry in planned:
        if left <= 0:
            break
        if entry.file.format == PARQUET:
            groups = []
            for rows, size in entry.row_groups:
                groups.append((min(rows, left), size * min(rows, left) // max(1, rows)))
                left -= groups[-1][0]
                if left <= 0:
                    break
            kept.append(replace(entry, row_groups=tuple(groups)))
        else:
            stop, found = _offset_of_line(entry.file, left)
            left -= found
            kept.append(replace(entry, stop=stop))
    return kept


def _offset_of_line(file: InputFile, count: int) -> tuple[int, int]:
    """Where the first `count` lines that are not blank end, and how many there are."""
    stream = LineStream(input_files.Bytes(file), 0, COMPRESSED_READ_BYTES)
    found = 0
    try:
        for block in stream.blocks(None):
            offset = block.offset
            lines = [block.data] if block.too_long else block.data.splitlines(keepends=True)
            for line in lines:
                offset += block.line_bytes if block.too_long else len(line)
                found += bool(line.strip())
                if found >= count:
                    return offset, found
    except OSError:
        pass  # the reader meets the break too, and deals with it as it is told to
    finally:
        stream.close()
    return stream.offset + 1, found


def estimate_rows(planned: Sequence[PlannedFile]) -> float:
    """About how many rows there are: exact for Parquet, by the length of first lines for JSONL."""
    if planned[0].file.format == PARQUET:
        return float(sum(rows for entry in planned for rows, _ in entry.row_groups))
    looked, lines = 0.0, 0
    for entry in planned[:SAMPLE_FILES]:
        end, found = _offset_of_line(entry.file, SAMPLE_ROWS - lines)
        looked, lines = looked + end, lines + found
        if lines >= SAMPLE_ROWS:
            break
    sizes = [entry.stop or _plain_bytes(entry.file) for entry in planned]
    return sum(sizes) * lines / max(1.0, looked)


def _plain_bytes(file: InputFile) -> float:
    """Uncompressed size; of a compressed file, a guess from its beginning."""
    if not file.compression:
        return file.size
    try:
        source = input_files.Bytes(file)
        try:
            read = len(source.read(COMPRESSED_READ_BYTES))
            return file.size * read / max(1, source.stored())
        finally:
            source.close()
    except (OSError, pa.ArrowException):
        return file.size  # the reader meets the break too, and deals with it as it is told to


def read_schema(path: str) -> pa.Schema:
    """Reads a JSON object of column names and types, nested ones as objects and lists.

    `{"text": "string", "id": "int64", "tags": ["string"], "meta": {"stars": "float32"}}`

    Raises:
      RefusedError: not such an object, or a type that Arrow does not know by that name.
    """
    try:
        stored = json.loads(Path(path).read_text())
        if not isinstance(stored, dict):
            raise ValueError(f"found {type(stored).__name__}")
        return pa.schema([(name, _type(kind)) for name, kind in stored.items()])
    except (OSError, ValueError, TypeError, IndexError) as error:
        raise RefusedError(
            f"--schema {path}: expected a JSON object of column names and Arrow types, {error}"
        ) from error


def _type(kind: Any) -> pa.DataType:
    if isinstance(kind, dict):
        return pa.struct([(name, _type(inner)) for name, inner in kind.items()])
    if isinstance(kind, list):
        return pa.list_(_type(kind[0]))
    return pa.type_for_alias(kind)
