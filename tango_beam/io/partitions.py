"""Columns that the names of folders say, as in `lang=en/part.parquet` (Hive's layout).

Values are typed as pyarrow.dataset types them: int32 where every value is one, string otherwise;
decoded as URLs are; null for `__HIVE_DEFAULT_PARTITION__`, and for files without such a folder.
Where a file holds a column of that name, the folder's value goes before it, as in pyarrow.dataset.
Texts come from the files alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, replace
from itertools import takewhile
from typing import Any
from urllib.parse import unquote

import pyarrow as pa
import pyarrow.dataset as ds

from tango_beam import text_columns
from tango_beam.errors import RefusedError
from tango_beam.io.files import InputFile
from tango_beam.io.format import Asked, Found
from tango_beam.io.paths import resolve
from tango_beam.io.planned import PlannedFile
from tango_beam.io.unify import widest


@dataclass(frozen=True)
class Folders:
    """What the folders of some files say.

    Attributes:
      schema: the columns.
      values: of each file, by its path: the columns that its folders name, with the value.
    """

    schema: pa.Schema
    values: Mapping[str, Mapping[str, Any]]


def find(patterns: Sequence[str], files: Sequence[InputFile]) -> Folders:
    """Reads the names of the folders below those that the patterns name.

    Folders right above count too, so that `data/lang=en` gives the column that `data` gives.

    Args:
      patterns: paths, globs and folders, on any fsspec URL.
      files: that they stand for.

    Raises:
      RefusedError: a folder's name is no UTF-8.
    """
    paths = {file.path: _bare(file.path) for file in files}
    known = set(paths.values())
    bases = sorted({_base(pattern, known) for pattern in patterns}, key=len)
    below = {path: _below(bare, bases) for path, bare in paths.items()}
    folders = dict.fromkeys(folder for parts in below.values() for folder in parts)
    names = dict.fromkeys(unquote(folder.partition("=")[0]) for folder in folders)
    schema = pa.schema([(name, _infer_type(folders, name)) for name in names if name])
    try:
        values = {path: _parse(schema, parts) if parts else {} for path, parts in below.items()}
    except pa.ArrowInvalid as error:
        raise RefusedError(f"expected names of folders in UTF-8, found {error}") from error
    return Folders(schema, values)


def _bare(path: str) -> str:
    return path.rpartition("://")[2].strip("/")


def _base(pattern: str, paths: Set[str]) -> str:
    """The folder below which folders' names are read."""
    whole = _bare(resolve(pattern)[1])
    parts = whole.split("/")
    if whole in paths:
        parts.pop()
    elif not any(path.startswith(f"{whole}/") for path in paths):
        parts = [*takewhile(lambda part: not set(part) & set("*?["), parts)]
    while parts and "=" in parts[-1]:
        parts.pop()
    return "/".join(parts)


def _below(path: str, bases: Sequence[str]) -> list[str]:
    """Names of the form `key=value` of the folders between the highest base and the file."""
    base = next((base for base in bases if not base or path.startswith(f"{base}/")), path)
    return [part for part in path[len(base) :].split("/")[:-1] if "=" in part]


def _infer_type(folders: Iterable[str], name: str) -> pa.DataType:
    try:
        integers = pa.schema([(name, pa.int32())])
        values = [_parse(integers, [folder]).get(name) for folder in folders]
    except pa.ArrowInvalid:
        return pa.string()
    return pa.string() if values.count(None) == len(values) else pa.int32()


def _parse(schema: pa.Schema, folders: Sequence[str]) -> dict[str, Any]:
    partitioning = ds.partitioning(schema, flavor="hive")
    return ds.get_partition_keys(partitioning.parse("/".join([*folders, ""])))


def join(found: Found, folders: Folders, asked: Asked) -> tuple[Found, tuple[str, ...]]:
    """Adds the folders' columns to what was found in the files.

    Returns:
      Files with their folders' values, and the schema with these columns; and of them, those that
      are not read from any file.

    Raises:
      RefusedError: some files say a column by their folder, others hold it with another type.
    """
    schema, notes = found.schema, list(found.notes)
    outside: list[str] = []
    every = [*dict.fromkeys([*schema.names, *folders.schema.names])]
    roots = {text_columns.root_of(every, text) for text in asked.texts}
    wanted = {*(every if asked.columns is None else asked.columns)} - roots
    for field in folders.schema:
        if field.name not in wanted:
            continue
        at = schema.get_field_index(field.name)
        if at < 0:
            schema = schema.append(field)
            outside.append(field.name)
            continue
        notes.append(
            f"column {field.name}: as the names of folders say, which hides what files below hold"
        )
        if all(field.name in folders.values[planned.file.path] for planned in found.files):
            schema = schema.set(at, field)
            outside.append(field.name)
            continue
        kind = widest([schema.field(at).type, field.type])
        if kind is None:
            raise RefusedError(
                f"column {field.name}: expected one type, found {field.type} in the names of "
                f"folders and {schema.field(at).type} in files; leave it out with {asked.option}"
            )
        schema = schema.set(at, field.with_type(kind))
    files = [
        replace(
            planned,
            folders=tuple(
                (name, value)
                for name, value in folders.values[planned.file.path].items()
                if name in wanted
            ),
        )
        for planned in found.files
    ]
    return replace(found, files=files, schema=schema, notes=tuple(notes)), tuple(outside)


def add(batch: pa.RecordBatch, planned: PlannedFile, schema: pa.Schema) -> pa.RecordBatch:
    """A file's rows with the columns that its folders say, in a schema's order; others behind."""
    said, names = dict(planned.folders), batch.schema.names
    columns = {
        field.name: pa.repeat(pa.scalar(said.get(field.name), field.type), batch.num_rows)
        if field.name in said or field.name not in names
        else batch.column(field.name)
        for field in schema
    }
    columns |= {name: batch.column(name) for name in names if name not in columns}
    return pa.RecordBatch.from_arrays([*columns.values()], names=[*columns])
