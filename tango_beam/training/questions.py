"""Questions with contexts and answers, and where in a model's windows the answers stand."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from tango_beam.arrays import Int64
from tango_beam.errors import RefusedError
from tango_beam.io.labelled import one_array, read_rows
from tango_beam.models.windows import Windows


@dataclass(frozen=True)
class Questions:
    """Questions, each with a context and the answers that count as right.

    Attributes:
      questions: string, shape [rows].
      contexts: string, shape [rows].
      answers: of each row, none where the context has no answer.
      starts: where each answer begins, in characters of the context.
      group: what rows that belong together have in common, shape [rows]; None where none was asked.
    """

    questions: pa.Array
    contexts: pa.Array
    answers: tuple[tuple[str, ...], ...]
    starts: tuple[tuple[int, ...], ...]
    group: pa.Array | None = None

    def __len__(self) -> int:
        return len(self.questions)

    def take(self, rows: Int64) -> Questions:
        """Some of the rows."""
        chosen = pa.array(rows)
        return Questions(
            self.questions.take(chosen),
            self.contexts.take(chosen),
            tuple(self.answers[row] for row in rows),
            tuple(self.starts[row] for row in rows),
            None if self.group is None else self.group.take(chosen),
        )


def read_questions(
    pattern: str,
    text_columns: Sequence[str],
    answer_column: str,
    start_column: str,
    *,
    group: str | None = None,
    input_format: str = "auto",
    option: str = "--train",
) -> Questions:
    """Reads questions, contexts and answers, in any format that a job reads.

    Args:
      pattern: file, folder or glob.
      text_columns: of questions and of contexts.
      answer_column: lists of strings, or strings.
      start_column: lists of integers, or integers.
      group: a column whose values tell which rows belong together.
      input_format: `auto` or the name of a format.
      option: the option that names the files, for messages.

    Raises:
      RefusedError: a column that is not there, no context, or an answer that does not stand in its
        context where it is said to.
    """
    if len(text_columns) != 2:
        raise RefusedError("--task span: expected --text_pair_column for contexts, found none")
    more = [answer_column, start_column, *([group] if group else [])]
    table = read_rows([pattern], text_columns, more, input_format=input_format, option=option)
    if not table.num_rows:
        raise RefusedError(f"{option} {pattern}: expected questions, found none")
    questions, contexts = (one_array(table[name]) for name in text_columns)
    answers = [_list(value) for value in table[answer_column].to_pylist()]
    starts = [_list(value) for value in table[start_column].to_pylist()]
    for row, (context, found, places) in enumerate(
        zip(contexts.to_pylist(), answers, starts, strict=True)
    ):
        at = [
            context[place : place + len(text)] for text, place in zip(found, places, strict=False)
        ]
        if at != [*found] or len(found) != len(places):
            raise RefusedError(
                f"{option} {pattern}, row {row}: expected answers of {answer_column!r} in the "
                f"context at the characters of {start_column!r}, found {[*found][:3]} and "
                f"{at[:3]}"
            )
    groups = one_array(table[group]) if group else None
    return Questions(questions, contexts, tuple(answers), tuple(starts), groups)


def _list(value: object) -> tuple:
    if value is None:
        return ()
    return tuple(value) if isinstance(value, list | tuple) else (value,)


def positions(windows: Windows, data: Questions) -> Int64:
    """First and last token of the first answer in each window, int64, shape [windows, 2].

    Both are 0, which is no token of a context, where a window does not hold the whole answer.
    """
    found = np.zeros((len(windows), 2), np.int64)
    for window, row in enumerate(windows.owners):
        if not data.answers[row]:
            continue
        start = data.starts[row][0]
        stop = start + len(data.answers[row][0])
        first = int(windows.first[window])
        begin = int(windows.offsets[window])
        tokens = windows.characters[begin + first : begin + int(windows.stop[window])]
        if not len(tokens) or start < tokens[0, 0] or stop > tokens[-1, 1]:
            continue
        edges = np.searchsorted(tokens[:, 0], [start, stop - 1], side="right") - 1
        found[window] = first + edges
    return found
