"""What a column of labels holds, by kind: a label a row, several, a score, texts of answers."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from tango_beam.answers.task import LABELS, MULTI_LABEL, SCORE, SPAN
from tango_beam.arrays import Float32, Int64
from tango_beam.errors import RefusedError

# Makes an error of a row's number, what was expected and what was found.
Refusal = Callable[[int, str, str], RefusedError]

_SHOWN, _CHARACTERS = 5, 80
_LISTS = (pa.types.is_list, pa.types.is_large_list, pa.types.is_fixed_size_list)
_NUMBERS = (pa.types.is_integer, pa.types.is_floating, pa.types.is_decimal)
_TEXTS = (pa.types.is_string, pa.types.is_large_string, pa.types.is_string_view)


def kind_of_column(column: pa.DataType, name: str) -> str:
    """The kind of answer that a column of this type states.

    Raises:
      RefusedError: a column of fractions, which may be scores or the names of labels.
    """
    if _is(column, _LISTS):
        return MULTI_LABEL
    if pa.types.is_floating(column):
        raise RefusedError(
            f"--label_column {name}: expected --task score or --task labels beside numbers with "
            f"fractions, found no --task and {column}"
        )
    return LABELS


def stored_as(column: pa.DataType, kind: str) -> pa.DataType:
    """The type of what `checked` gives."""
    lists = pa.list_(pa.string())
    return {MULTI_LABEL: lists, SCORE: pa.float32(), SPAN: lists}.get(kind, column)


def checked(
    column: pa.Array, kind: str, labels: Sequence[str] | None, refusal: Refusal
) -> pa.Array:
    """A column's values as their kind wants them, of the type that `stored_as` says.

    Args:
      column: some rows of it.
      kind: `labels` (as they are), `multi_label` (lists, or texts that are JSON arrays), `score`
        (numbers, or texts that are some), `span` (lists of the answers that count as right, or the
        one that does).
      labels: of `multi_label`, those that there may be; None for any.
      refusal: makes the error for a row here, of what was expected and what was found.

    Raises:
      RefusedError: a null, in a list too; an unknown label in a list; of scores, what is no finite
        number.
    """
    nulls = np.flatnonzero(column.is_null().to_numpy(zero_copy_only=False))
    if len(nulls):
        raise refusal(int(nulls[0]), "no nulls", "one")
    if kind == SCORE:
        return _scores(column, refusal)
    if kind == SPAN:
        return _answers(column, refusal)
    return _lists(column, labels, refusal) if kind == MULTI_LABEL else column


def _scores(column: pa.Array, refusal: Refusal) -> pa.Array:
    if _is(column.type, _TEXTS):  # CSV has no other columns
        wide = np.array([_number(text) for text in column.to_pylist()], np.float64)
    elif _is(column.type, _NUMBERS):
        wide = column.cast(pa.float64()).to_numpy(zero_copy_only=False)
    else:
        raise refusal(0, "scores (a column of numbers)", str(column.type))
    with np.errstate(over="ignore"):
        scores = wide.astype(np.float32)
    wrong = np.flatnonzero(~np.isfinite(scores))
    if len(wrong):
        row = int(wrong[0])
        raise refusal(row, "finite scores", repr(column[row].as_py())[:_CHARACTERS])
    return pa.array(scores)


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return np.nan


def _answers(column: pa.Array, refusal: Refusal) -> pa.Array:
    if _is(column.type, _TEXTS):
        return pa.array([[text] for text in column.to_pylist()], pa.list_(pa.string()))
    if pa.types.is_struct(column.type) and column.type.get_field_index("text") >= 0:
        # As the Hugging Face Hub has SQuAD: {"text": [...], "answer_start": [...]}.
        return _answers(pc.struct_field(column, "text"), refusal)
    if not _is(column.type, _LISTS):
        raise refusal(0, "answers (a column of texts, or of lists of texts)", str(column.type))
    return _lists(column, None, refusal)


def _lists(column: pa.Array, labels: Sequence[str] | None, refusal: Refusal) -> pa.Array:
    rows = column.to_pylist()
    if _is(column.type, _TEXTS):
        rows = [_parsed(text, row, refusal) for row, text in enumerate(rows)]
    elif not _is(column.type, _LISTS):
        expected = "lists of labels (in a column of texts, JSON arrays)"
        raise refusal(0, expected, str(column.type))
    for row, named in enumerate(rows):
        if any(label is None or isinstance(label, list | dict) for label in named):
            raise refusal(row, "lists of labels", str(named)[:_CHARACTERS])
        rows[row] = [str(label) for label in named]
        if labels is not None and not {*rows[row]} <= {*labels}:
            unknown = next(label for label in rows[row] if label not in labels)
            raise refusal(row, f"the labels {', '.join(labels)}", unknown)
    return pa.array(rows, pa.list_(pa.string()))


def _parsed(text: str, row: int, refusal: Refusal) -> list[Any]:
    try:
        labels = json.loads(text)
    except ValueError:
        labels = None
    if not isinstance(labels, list):
        raise refusal(row, "JSON arrays of labels", repr(text[:_CHARACTERS]))
    return labels


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


def sets_of(lists: pa.Array, labels: Sequence[str]) -> Float32:
    """Which labels each row bears, 0 or 1, float32, shape [rows, labels].

    Args:
      lists: list<string>, of these labels alone.
      labels: that there may be, in order.
    """
    index = {label: number for number, label in enumerate(labels)}
    sets = np.zeros((len(lists), len(labels)), np.float32)
    borne = [index[label] for label in lists.flatten().to_pylist()]
    sets[lists.value_parent_indices().to_numpy(), borne] = 1
    return sets


def answers_of(lists: pa.Array) -> npt.NDArray:
    """The answers that count as right for each row: tuples of strings, shape [rows]."""
    answers = np.empty(len(lists), object)
    answers[:] = [tuple(row) for row in lists.to_pylist()]
    return answers


def _is(column: pa.DataType, kinds: Sequence[Callable[[pa.DataType], bool]]) -> bool:
    return any(kind(column) for kind in kinds)
