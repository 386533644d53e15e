"""Labelled texts of Parquet or JSONL files, read into memory and checked."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import orjson
import pyarrow as pa
import pyarrow.parquet as pq

from tango_beam.errors import RefusedError
from tango_beam.io import files as input_files
from tango_beam.io.files import PARQUET, Bytes, InputFile
from tango_beam.io.inputs import is_text

_READ_BYTES = 1 << 20
_SHOWN = 5


@dataclass(frozen=True)
class Columns:
    """Names of the columns that are read.

    Attributes:
      text: the text.
      label: its label; integers and other values are compared by how they are written.
      text_pair: the second text, for tasks on pairs.
    """

    text: str = "text"
    label: str = "label"
    text_pair: str | None = None

    def options(self) -> dict[str, str]:
        """The command line's option for each column that is read."""
        named = {"--text_column": self.text, "--text_pair_column": self.text_pair}
        return {key: name for key, name in named.items() if name} | {"--label_column": self.label}


@dataclass(frozen=True)
class LabelledTexts:
    """Texts, one or two a row, with the label that each bears.

    Attributes:
      texts: string, shape [rows], without nulls.
      pairs: the second texts, or None.
      targets: index into the labels that were asked for, int64, shape [rows].
    """

    texts: pa.Array
    pairs: pa.Array | None
    targets: npt.NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.texts)


def read(
    patterns: Sequence[str],
    columns: Columns,
    labels: Sequence[str],
    *,
    input_format: str = "auto",
) -> LabelledTexts:
    """Reads every labelled row of some files.

    Args:
      patterns: paths, globs and folders of Parquet or JSONL (.gz, .zst too), on any fsspec URL.
      columns: what to read.
      labels: the labels that there may be, in the order of the targets.
      input_format: `auto`, `parquet` or `jsonl`.

    Raises:
      RefusedError: a column that is not there or holds no texts, a null, a label that is none of
        `labels`, a file that cannot be read, or no rows; names file, column and what was found.
    """
    tables = []
    for file in input_files.expand(patterns, input_format):
        table = (
            _read_parquet(file, columns) if file.format == PARQUET else _read_jsonl(file, columns)
        )
        _refuse_nulls(file, columns, table)
        tables.append(_plain(file, columns, table, labels))
    table = pa.concat_tables(tables).combine_chunks()
    if not table.num_rows:
        raise RefusedError(f"--input {' '.join(patterns)}: expected labelled rows, found none")
    texts, pairs = table[columns.text], columns.text_pair and table[columns.text_pair]
    return LabelledTexts(
        texts=_one(texts),
        pairs=_one(pairs) if pairs else None,
        targets=table[_TARGET].to_numpy(),
    )


_TARGET = "__target"


def _one(column: pa.ChunkedArray) -> pa.Array:
    return pa.concat_arrays(column.chunks)


def _read_parquet(file: InputFile, columns: Columns) -> pa.Table:
    try:
        with input_files.open_input(file.path) as raw, pq.ParquetFile(raw) as parquet:
            schema = parquet.schema_arrow
            shown = ", ".join(f"{field.name} ({field.type})" for field in schema) or "none"
            for option, name in columns.options().items():
                if name not in schema.names:
                    raise RefusedError(
                        f"{option} {name}: expected such a column in {file.path}, found {shown}"
                    )
                if name != columns.label and not is_text(schema.field(name).type):
                    raise RefusedError(
                        f"{option} {name}: expected a column of texts in {file.path}, found "
                        f"{schema.field(name).type}"
                    )
            return parquet.read(columns=list(columns.options().values()))
    except (OSError, pa.ArrowException) as error:
        raise RefusedError(
            f"{file.path}: expected a readable Parquet file, found {error}"
        ) from error


def _read_jsonl(file: InputFile, columns: Columns) -> pa.Table:
    values: dict[str, list[Any]] = {name: [] for name in columns.options().values()}
    for number, row in _objects(file):
        for option, name in columns.options().items():
            if name not in row:
                raise RefusedError(
                    f"{option} {name}: expected such a column in {file.path}, found "
                    f"{', '.join(row) or 'none'} in line {number}"
                )
            value = row[name]
            if name == columns.label:
                value = None if value is None else str(value)
            elif not isinstance(value, str | None):
                raise RefusedError(
                    f"{option} {name}: expected texts in {file.path}, found "
                    f"{type(value).__name__} in line {number}"
                )
            values[name].append(value)
    return pa.table({name: pa.array(column, pa.string()) for name, column in values.items()})


def _objects(file: InputFile) -> Iterator[tuple[int, dict[str, Any]]]:
    """Line numbers and the JSON objects on them; blank lines are passed over."""
    for number, line in enumerate(_lines(file), start=1):
        if not line.strip():
            continue
        try:
            row = orjson.loads(line)
        except orjson.JSONDecodeError as error:
            raise RefusedError(
                f"{file.path}: expected a JSON object in line {number}, found {error}"
            ) from error
        if not isinstance(row, dict):
            raise RefusedError(
                f"{file.path}: expected a JSON object in line {number}, found {type(row).__name__}"
            )
        yield number, row


def _lines(file: InputFile) -> list[bytes]:
    try:
        stream = Bytes(file)
        try:
            blocks: Iterable[bytes] = iter(lambda: stream.read(_READ_BYTES), b"")
            return b"".join(blocks).removeprefix(b"\xef\xbb\xbf").split(b"\n")
        finally:
            stream.close()
    except (OSError, pa.ArrowException) as error:
        raise RefusedError(f"{file.path}: expected a readable file, found {error}") from error


def _refuse_nulls(file: InputFile, columns: Columns, table: pa.Table) -> None:
    for option, name in columns.options().items():
        if table[name].null_count:
            row = table[name].is_null().to_pylist().index(True)
            raise RefusedError(
                f"{option} {name}: expected no nulls in {file.path}, found "
                f"{table[name].null_count:,}, the first in row {row + 1}"
            )


def _plain(file: InputFile, columns: Columns, table: pa.Table, labels: Sequence[str]) -> pa.Table:
    """Texts as plain strings, and targets in place of labels."""
    names = [str(value) for value in table[columns.label].to_pylist()]
    index = {label: number for number, label in enumerate(labels)}
    unknown = sorted(set(names) - set(index))
    if unknown:
        more = f" and {len(unknown) - _SHOWN} more" if len(unknown) > _SHOWN else ""
        raise RefusedError(
            f"--label_column {columns.label}: expected the cascade's labels "
            f"({', '.join(labels)}) in {file.path}, found {', '.join(unknown[:_SHOWN])}{more}"
        )
    texts = [name for name in (columns.text, columns.text_pair) if name]
    targets = pa.array([index[name] for name in names], pa.int64())
    plain = {name: table[name].cast(pa.string()) for name in texts}
    return pa.table({**plain, _TARGET: targets})
