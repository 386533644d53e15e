"""Labelled texts, read into memory and checked: one reader for every command that needs labels."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from tango_beam import record_columns
from tango_beam.answers.task import LABELS, MULTI_LABEL, SCORE, SPAN
from tango_beam.arrays import Int64
from tango_beam.errors import RefusedError
from tango_beam.io import inputs, label_columns, sample
from tango_beam.io.planned import BYTES, Input
from tango_beam.io.slice_reader import Piece, SliceReader


@dataclass(frozen=True)
class LabelledTexts:
    """Texts, one or two a row, with the right answer to each.

    Attributes:
      texts: string, shape [rows], without nulls.
      pairs: the second texts, or None.
      targets: of `labels`, index into them, int64, shape [rows]; of `multi_label`, which of them
        a row bears, 0 or 1, float32, shape [rows, labels]; of `score`, the scores, float32, shape
        [rows, 1]; of `span`, tuples of the texts that count as right, shape [rows].
      labels: the labels' names; of `score` and `span`, the column's.
      kind: one of `answers.task.KINDS`.
      groups: number of each row's value in the column that rows are grouped by, int64, shape
        [rows]; None where none was asked for.
    """

    texts: pa.Array
    pairs: pa.Array | None
    targets: npt.NDArray
    labels: tuple[str, ...]
    kind: str = LABELS
    groups: Int64 | None = None

    def __len__(self) -> int:
        return len(self.texts)

    def take(self, rows: Int64) -> LabelledTexts:
        """Some of the rows."""
        chosen = pa.array(rows)
        return replace(
            self,
            texts=self.texts.take(chosen),
            pairs=None if self.pairs is None else self.pairs.take(chosen),
            targets=self.targets[rows],
            groups=None if self.groups is None else self.groups[rows],
        )


def read_labelled(
    patterns: Sequence[str],
    text_columns: Sequence[str],
    label_column: str,
    labels: Sequence[str] | None = None,
    *,
    kind: str | None = LABELS,
    group_column: str | None = None,
    input_format: str = "auto",
    option: str = "--input",
) -> LabelledTexts:
    """Reads every labelled row of some files, in any format that a job reads.

    Args:
      patterns: paths, globs and folders, on any fsspec URL.
      text_columns: one column, or two for pairs.
      label_column: labels, or lists of them, as `kind` says; integers and other values are
        compared by how they are written. Or scores: numbers. Or answers: texts, or lists of them.
      labels: the labels that there may be, in order; those that there are, sorted, by default.
      kind: one of `answers.task.KINDS`; None for the one that the column's type states.
      group_column: rows of one value in it get the same number in `groups`.
      input_format: as the option has it.
      option: the option that names the files, for messages.

    Raises:
      RefusedError: a column that is not there or holds no texts, a null, a row or file that cannot
        be read, a label that is none of `labels`, what is no list or no score where one must be,
        or no rows; names file, column and what was found.
    """
    more = [label_column, *([group_column] if group_column else [])]
    named = "--label_column" + " or --held_out_by" * bool(group_column)
    given = _inspect(patterns, text_columns, more, named, input_format, option)
    schema = sample.schema_of(given, list(dict.fromkeys([*text_columns, *more])))
    kind = kind or label_columns.kind_of_column(schema.field(label_column).type, label_column)
    table = _read(given, schema, label_column, kind, labels)
    if not table.num_rows:
        raise RefusedError(f"{option} {' '.join(patterns)}: expected labelled rows, found none")
    where = f"--label_column {label_column}: expected in {given.files[0].file.path}"
    targets, known = _targets(table[label_column], kind, labels, where)
    texts, *pairs = (one_array(table[name]) for name in text_columns)
    return LabelledTexts(
        texts,
        pairs[0] if pairs else None,
        targets,
        known or (label_column,),
        kind,
        _groups(table[group_column], group_column) if group_column else None,
    )


def _inspect(
    patterns: Sequence[str],
    texts: Sequence[str],
    columns: Sequence[str],
    columns_option: str,
    input_format: str,
    option: str,
) -> Input:
    return inputs.inspect(
        patterns,
        texts,
        input_format=input_format,
        columns=columns,
        unknown_keys="drop",
        option=option,
        columns_option=columns_option,
    )


def _targets(
    column: pa.ChunkedArray, kind: str, labels: Sequence[str] | None, where: str
) -> tuple[npt.NDArray, tuple[str, ...]]:
    """What `LabelledTexts.targets` holds, and the labels' names."""
    if kind == SCORE:
        return column.to_numpy()[:, None], tuple(labels or ())
    if kind == SPAN:
        return label_columns.answers_of(column.combine_chunks()), ()
    if kind == MULTI_LABEL:
        lists = column.combine_chunks()
        known = tuple(sorted(set(lists.flatten().to_pylist())) if labels is None else labels)
        return label_columns.sets_of(lists, known), known
    names = [str(value) for value in column.to_pylist()]
    known = tuple(sorted(set(names)) if labels is None else labels)
    return label_columns.targets_of(names, known, where), known


def _groups(column: pa.ChunkedArray, name: str) -> Int64:
    kind = column.type
    try:
        plain = column.cast(kind.value_type) if pa.types.is_dictionary(kind) else column
        encoded = plain.combine_chunks().dictionary_encode(null_encoding="encode")
    except pa.ArrowNotImplementedError as error:
        raise RefusedError(f"--held_out_by {name}: expected plain values, found {kind}") from error
    return encoded.indices.to_numpy().astype(np.int64)


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
    given = _inspect(patterns, texts, columns, option, input_format, option)
    names = [*texts, *columns]
    parts = [sample.schema_of(given, names).empty_table()]
    for piece in _pieces(given):
        if piece.good is not None:
            parts.append(pa.Table.from_batches([sample.select(given, piece.good, names)]))
    return pa.concat_tables(parts)


def _pieces(given: Input) -> Iterator[Piece]:
    try:
        yield from SliceReader(given).read_all()
    except OSError as error:
        raise RefusedError(str(error)) from error


def _read(
    given: Input, schema: pa.Schema, label_column: str, kind: str, labels: Sequence[str] | None
) -> pa.Table:
    at = schema.get_field_index(label_column)
    stored = label_columns.stored_as(schema.field(at).type, kind)
    schema = schema.set(at, pa.field(label_column, stored))
    parts = [schema.empty_table()]
    rows_of_file: dict[int, int] = {}
    for piece in _pieces(given):
        _refuse_dead(piece, given)
        if piece.good is None:
            continue
        file = piece.good.column(record_columns.POSITION).field("file")[0].as_py()
        before = rows_of_file.get(file, 0)
        rows_of_file[file] = before + piece.good.num_rows
        part = sample.select(given, piece.good, schema.names)
        refusal = _refusal(label_column, given.files[file].file.path, before)
        checked = label_columns.checked(part.column(at), kind, labels, refusal)
        parts.append(pa.Table.from_batches([part.set_column(at, schema.field(at), checked)]))
    return pa.concat_tables(parts)


def _refuse_dead(piece: Piece, given: Input) -> None:
    if piece.dead is not None:
        position = piece.dead.column(record_columns.POSITION)[0].as_py()
        path = given.files[position["file"]].file.path
        error = piece.dead.column(record_columns.ERROR)[0].as_py()
        place = "byte" if position["row_group"] == BYTES else "row"
        raise RefusedError(f"{path}, {place} {position['row']}: {error}")


def _refusal(label_column: str, path: str, before: int) -> label_columns.Refusal:
    def refusal(row: int, expected: str, found: str) -> RefusedError:
        return RefusedError(
            f"--label_column {label_column}: expected {expected} in {path}, found {found} in row "
            f"{before + row + 1}"
        )

    return refusal


def one_array(column: pa.ChunkedArray) -> pa.Array:
    """A column of texts as one plain string array."""
    plain = column.cast(pa.string())
    return plain.chunk(0) if plain.num_chunks == 1 else pa.concat_arrays(plain.chunks)
