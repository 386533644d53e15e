"""Labelled texts, read into memory and checked: one reader for every command that needs labels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa

from tango_beam import record_columns
from tango_beam.arrays import Int64
from tango_beam.errors import RefusedError
from tango_beam.io import inputs, sample
from tango_beam.io.planned import BYTES, Input
from tango_beam.io.slice_reader import Piece, SliceReader

_SHOWN = 5


@dataclass(frozen=True)
class LabelledTexts:
    """Texts, one or two a row, with the label that each bears.

    Attributes:
      texts: string, shape [rows], without nulls.
      pairs: the second texts, or None.
      targets: index into `labels`, int64, shape [rows].
      labels: the labels' names.
    """

    texts: pa.Array
    pairs: pa.Array | None
    targets: Int64
    labels: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.texts)

    def take(self, rows: Int64) -> LabelledTexts:
        """Some of the rows."""
        chosen = pa.array(rows)
        pairs = None if self.pairs is None else self.pairs.take(chosen)
        return replace(self, texts=self.texts.take(chosen), pairs=pairs, targets=self.targets[rows])


def read_labelled(
    patterns: Sequence[str],
    text_columns: Sequence[str],
    label_column: str,
    labels: Sequence[str] | None = None,
    *,
    input_format: str = "auto",
    option: str = "--input",
) -> LabelledTexts:
    """Reads every labelled row of some files, in any format that a job reads.

    Args:
      patterns: paths, globs and folders, on any fsspec URL.
      text_columns: one column, or two for pairs.
      label_column: labels; integers and other values are compared by how they are written.
      labels: the labels that there may be, in order; those that there are, sorted, by default.
      input_format: as the option has it.
      option: the option that names the files, for messages.

    Raises:
      RefusedError: a column that is not there or holds no texts, a null, a row or file that cannot
        be read, a label that is none of `labels`, or no rows; names file, column and what was
        found.
    """
    given = inputs.inspect(
        patterns,
        text_columns,
        input_format=input_format,
        columns=[label_column],
        unknown_keys="drop",
        option=option,
        columns_option="--label_column",
    )
    path = given.files[0].file.path
    columns = list(dict.fromkeys([*text_columns, label_column]))
    try:
        table = _read(given, columns, label_column)
    except OSError as error:
        raise RefusedError(str(error)) from error
    if not table.num_rows:
        raise RefusedError(f"{option} {' '.join(patterns)}: expected labelled rows, found none")
    names = [str(value) for value in table[label_column].to_pylist()]
    known = tuple(sorted(set(names)) if labels is None else labels)
    targets = targets_of(names, known, f"--label_column {label_column}: expected in {path}")
    texts, *pairs = (one_array(table[name]) for name in text_columns)
    return LabelledTexts(texts, pairs[0] if pairs else None, targets, known)


def read_rows(
    patterns: Sequence[str],
    texts: Sequence[str],
    columns: Sequence[str] = (),
    *,
    input_format: str = "auto",
    option: str = "--input",
) -> pa.Table:
    """Reads texts, and some other columns, into memory; rows without a text are passed over.

    Args:
      patterns: paths, globs and folders, on any fsspec URL.
      texts: text columns, or dotted paths.
      columns: others.
      input_format: `auto` or the name of a format.
      option: the option that names the files, for messages.

    Raises:
      RefusedError: a file that cannot be read, or a column that is not there.
    """
    given = inputs.inspect(
        patterns,
        texts,
        input_format=input_format,
        columns=columns,
        unknown_keys="drop",
        option=option,
        columns_option=option,
    )
    names = [*texts, *columns]
    parts = [sample.schema_of(given, names).empty_table()]
    try:
        for piece in SliceReader(given).read_all():
            if piece.good is not None:
                parts.append(pa.Table.from_batches([sample.select(given, piece.good, names)]))
    except OSError as error:
        raise RefusedError(str(error)) from error
    return pa.concat_tables(parts)


def _read(given: Input, columns: list[str], label_column: str) -> pa.Table:
    parts = [sample.schema_of(given, columns).empty_table()]
    rows_of_file: dict[int, int] = {}
    for piece in SliceReader(given).read_all():
        _refuse_dead(piece, given)
        if piece.good is None:
            continue
        file = piece.good.column(record_columns.POSITION).field("file")[0].as_py()
        before = rows_of_file.get(file, 0)
        rows_of_file[file] = before + piece.good.num_rows
        part = sample.select(given, piece.good, columns)
        path = given.files[file].file.path
        _refuse_nulls(part.column(label_column), path, before, label_column)
        parts.append(pa.Table.from_batches([part]))
    return pa.concat_tables(parts)


def _refuse_dead(piece: Piece, given: Input) -> None:
    if piece.dead is not None:
        position = piece.dead.column(record_columns.POSITION)[0].as_py()
        path = given.files[position["file"]].file.path
        error = piece.dead.column(record_columns.ERROR)[0].as_py()
        place = "byte" if position["row_group"] == BYTES else "row"
        raise RefusedError(f"{path}, {place} {position['row']}: {error}")


def _refuse_nulls(labels: pa.Array, path: str, before: int, label_column: str) -> None:
    nulls = np.flatnonzero(labels.is_null().to_numpy(zero_copy_only=False))
    if len(nulls):
        raise RefusedError(
            f"--label_column {label_column}: expected no nulls in {path}, found one in row "
            f"{before + int(nulls[0]) + 1}"
        )


def one_array(column: pa.ChunkedArray) -> pa.Array:
    """A column of texts as one plain string array."""
    plain = column.cast(pa.string())
    return plain.chunk(0) if plain.num_chunks == 1 else pa.concat_arrays(plain.chunks)


def targets_of(names: Sequence[str | None], labels: Sequence[str], where: str) -> Int64:
    """Index of each label, int64, shape [rows].

    Args:
      names: as they are written.
      labels: that there may be, in order.
      where: option and file, for the message.

    Raises:
      RefusedError: a label that is none of them.
    """
    index = {label: number for number, label in enumerate(labels)}
    unknown = sorted({str(name) for name in names if name not in index})
    if unknown:
        more = f" and {len(unknown) - _SHOWN} more" if len(unknown) > _SHOWN else ""
        raise RefusedError(
            f"{where} the labels {', '.join(labels)}, found {', '.join(unknown[:_SHOWN])}{more}"
        )
    return np.fromiter((index[str(name)] for name in names), np.int64, len(names))
