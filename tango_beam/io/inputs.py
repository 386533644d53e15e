"""Looks at the input before any work: files, schema, and what is wrong with them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import pyarrow as pa

from tango_beam.io import partitions
from tango_beam.io.files import InputFile
from tango_beam.io.find import expand
from tango_beam.io.format import Asked, Found
from tango_beam.io.formats import FORMATS, SUFFIXES
from tango_beam.io.planned import Input, PlannedFile
from tango_beam.io.unify import unify
from tango_beam.options import CHECKPOINT_BYTES
from tango_beam.record_columns import OutputColumns

Choose = Callable[[Sequence[InputFile]], tuple[list[InputFile], tuple[str, ...]]]


def inspect(
    patterns: Sequence[str],
    texts: Sequence[str],
    *,
    input_format: str = "auto",
    columns: Sequence[str] | None = None,
    schema: pa.Schema | None = None,
    limit: int | None = None,
    checkpoint_bytes: int = CHECKPOINT_BYTES,
    allow_broken_files: bool | None = None,
    unknown_keys: str = "keep",
    own_lines: bool = False,
    output: OutputColumns | None = None,
    option: str = "--input",
    columns_option: str = "--columns",
    choose: Choose | None = None,
) -> Input:
    """Finds the files, reads their schema and checks that the job can read them.

    Args:
      patterns: paths, globs, folders, on any fsspec URL.
      texts: one column, or two for pairs; dotted paths lead into structs and lists.
      input_format: `auto`, `mixed` or the name of a format.
      columns: passes only these through (text columns always).
      schema: of JSON, read off a sample by default; of CSV, strings by default.
      limit: reads only the first rows.
      checkpoint_bytes: uncompressed input in a checkpoint.
      allow_broken_files: see `format.Asked.allow_broken`.
      unknown_keys: of JSON: `keep`, `drop` or `dead`.
      own_lines: JSON lines pass through as they are.
      output: the columns that the output adds.
      option: the option that names the files, for messages.
      columns_option: the option that names the columns.
      choose: which of the files are read, and what is said of that; all by default. Where it takes
        none, a file that it leaves out tells the columns.

    Raises:
      RefusedError: says which file or column, what was expected and what was found.
    """
    chosen = None if columns is None else tuple(columns)
    asked = Asked(tuple(texts), chosen, schema, allow_broken_files, unknown_keys, own_lines, output)
    files, passed_over = expand(patterns, SUFFIXES, input_format, option, texts)
    folders = partitions.find(patterns, files)
    asked = replace(asked, option=columns_option, outside=tuple(folders.schema.names))
    taken, said = choose(files) if choose else (files, ())
    found, outside = partitions.join(_look(taken or files[:1], asked), folders, asked)
    found = replace(found, notes=(*said, *passed_over, *found.notes))
    if not taken:
        found = replace(found, files=[], broken=[])
    return replace(_input(found, asked, limit), checkpoint_bytes=checkpoint_bytes, outside=outside)


def _input(found: Found, asked: Asked, limit: int | None) -> Input:
    return Input(
        files=tuple(found.files if limit is None else _cut(found.files, limit)),
        schema=found.schema,
        text_columns=asked.texts,
        lines=found.lines,
        notes=found.notes,
        allow_broken_files=asked.allow_broken,
        broken=tuple(found.broken),
    )


def _look(files: Sequence[InputFile], asked: Asked) -> Found:
    """What the formats find in their files, as one."""
    by_format: dict[str, list[InputFile]] = {}
    for file in files:
        by_format.setdefault(file.format, []).append(file)
    if len(by_format) == 1:
        return FORMATS[files[0].format].inspect([*files], asked)
    # A column may be in files of one format only.
    each = replace(asked, own_lines=False, outside=(*asked.outside, *(asked.columns or ())))
    found = [FORMATS[name].inspect(some, each) for name, some in by_format.items()]
    firsts = {some.files[0].file.path: some.schema for some in found}
    kinds = {path: FORMATS[name] for path, name in zip(firsts, by_format, strict=True)}
    typed = {path: firsts[path] for path, kind in kinds.items() if kind.typed}
    others = unify(typed, option=asked.option)[0] if typed and asked.schema is None else ()
    types = {field.name: field.type for field in others}
    for path, kind in kinds.items():
        if not kind.typed:
            own = [(field.name, types.get(field.name, field.type)) for field in firsts[path]]
            firsts[path] = pa.schema(own)
    schema, notes = unify(firsts, option=asked.option)
    asked.choose(schema.names, files[0].path)
    return Found(
        sorted((entry for some in found for entry in some.files), key=lambda one: one.file.path),
        schema,
        [entry for some in found for entry in some.broken],
        (*(note for some in found for note in some.notes), *notes),
        next((some.lines for some in found if some.lines), None),
    )


def _cut(planned: Sequence[PlannedFile], limit: int) -> list[PlannedFile]:
    """The files that hold the first `limit` rows, the last of them cut short."""
    kept: list[PlannedFile] = []
    for entry in planned:
        if limit <= 0:
            break
        short, rows = FORMATS[entry.file.format].limit(entry, limit)
        kept.append(short)
        limit -= rows
    return kept


def estimate_rows(planned: Sequence[PlannedFile]) -> float:
    """About how many rows there are: exact where files say so."""
    return sum(
        kind.estimate_rows(some)
        for name, kind in FORMATS.items()
        if (some := [entry for entry in planned if entry.file.format == name])
    )
