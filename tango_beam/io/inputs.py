"""Looks at the input before any work: files, schema, and what is wrong with them."""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa

from tango_beam.errors import RefusedError
from tango_beam.io.files import expand
from tango_beam.io.format import Format
from tango_beam.io.formats import FORMATS, SUFFIXES
from tango_beam.io.planned import Input, PlannedFile
from tango_beam.options import CHECKPOINT_BYTES


def inspect(
    patterns: Sequence[str],
    text_columns: Sequence[str],
    *,
    input_format: str = "auto",
    columns: Sequence[str] | None = None,
    schema: pa.Schema | None = None,
    limit: int | None = None,
    checkpoint_bytes: int = CHECKPOINT_BYTES,
    allow_broken_files: bool | None = None,
    option: str = "--input",
) -> Input:
    """Finds the files, reads their schema and checks that the job can read them.

    Args:
      patterns: paths, globs, folders, on any fsspec URL.
      text_columns: one column, or two for pairs.
      input_format: `auto`, `parquet` or `jsonl`.
      columns: passes only these through (text columns always).
      schema: of JSONL rows; read off a sample by default.
      limit: reads only the first rows.
      checkpoint_bytes: uncompressed input in a checkpoint.
      allow_broken_files: lists a file that cannot be opened instead of refusing it; None where the
        command has no such option.
      option: the option that names the files, for messages.

    Raises:
      RefusedError: says which file or column, what was expected and what was found.
    """
    files = expand(patterns, SUFFIXES, input_format, option)
    kind = FORMATS[files[0].format]
    planned, whole, unreadable = kind.inspect(files, schema, allow_broken_files)
    twice = sorted({name for name in whole.names if whole.names.count(name) > 1})
    if twice:
        raise RefusedError(f"{files[0].path}: expected distinct column names, found {twice} twice")
    _check_text_columns(whole, text_columns, planned[0].file.path)
    chosen = _choose(whole, columns, text_columns)
    return Input(
        files=tuple(planned if limit is None else _cut(kind, planned, limit)),
        schema=chosen,
        row_schema=whole,
        text_columns=tuple(text_columns),
        checkpoint_bytes=checkpoint_bytes,
        allow_broken_files=allow_broken_files,
        broken=tuple(unreadable),
    )


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
    # Arrow cannot filter views yet; plain strings and binaries hold the same values.
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


def _cut(kind: Format, planned: Sequence[PlannedFile], limit: int) -> list[PlannedFile]:
    """The files that hold the first `limit` rows, the last of them cut short."""
    kept: list[PlannedFile] = []
    for entry in planned:
        if limit <= 0:
            break
        short, rows = kind.limit(entry, limit)
        kept.append(short)
        limit -= rows
    return kept


def estimate_rows(planned: Sequence[PlannedFile]) -> float:
    """About how many rows there are: exact where files say so."""
    return FORMATS[planned[0].file.format].estimate_rows(planned)
