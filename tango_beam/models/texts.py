"""What endpoints and handlers share: they are given texts, no tokens, and answer with labels."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from tango_beam.arrays import Bool, Float32, Float64, Int64

# Log probability of a label to which none was given: far below what any model says.
NEVER = -30.0


class RowsFailedError(Exception):
    """A model says which of a micro-batch's rows have no answer, so that nobody asks again.

    Attributes:
      outputs: of the micro-batch, float32, shape [rows, width]; NaN in the rows that failed.
      errors: what went wrong, by place in the micro-batch.
    """

    def __init__(self, outputs: Float32, errors: dict[int, str]) -> None:
        super().__init__(f"{len(errors)} rows have no answer")
        self.outputs, self.errors = outputs, errors


@dataclass(frozen=True)
class Texts:
    """Texts as an endpoint or a handler reads them; stands where a checkpoint has `Tokens`.

    Attributes:
      texts: without nulls, shape [rows].
      pairs: the second text of each row; None where there is one text.
      taken: calls, tokens of prompts and tokens of answers that each row took so far, int64, shape
        [rows, 3]; the model writes it. None where nobody counts.
    """

    texts: pa.Array
    pairs: pa.Array | None = None
    taken: Int64 | None = None

    def __len__(self) -> int:
        return len(self.texts)

    @property
    def lengths(self) -> Int64:
        """Bytes in each row, int64, shape [rows]."""
        columns = [self.texts, *([] if self.pairs is None else [self.pairs])]
        sizes = (pc.binary_length(column).to_numpy(zero_copy_only=False) for column in columns)
        return sum(sizes, np.zeros(len(self), np.int64))

    @property
    def truncated(self) -> Bool:
        """No text is cut on this side, shape [rows]."""
        return np.zeros(len(self), bool)

    @property
    def rows(self) -> int:
        """How many rows these are."""
        return len(self)

    @property
    def owners(self) -> Int64:
        """The row that each piece is of: a piece is a row."""
        return np.arange(len(self))

    def by_row(self, values: npt.NDArray) -> npt.NDArray:
        """Numbers of pieces, summed up by row."""
        return values

    def take(self, rows: Int64) -> Texts:
        """Some of the rows."""
        chosen = pa.array(rows)
        return Texts(
            self.texts.take(chosen),
            None if self.pairs is None else self.pairs.take(chosen),
            None if self.taken is None else self.taken[rows],
        )


class TextModel:
    """What models of texts share; see `models.protocol.Model`.

    Args:
      labels: the answers that it may give, in the order of the outputs.
      fingerprint: of what answers.
      batch_rows: rows that `forward` is given at once; None for all that there are.
    """

    device = "elsewhere"  # its micro-batches take turns
    precision = "fp32"
    parameters = 0
    threads = 1

    def __init__(
        self, labels: tuple[str, ...], fingerprint: str, batch_rows: int | None = None
    ) -> None:
        self.labels, self._fingerprint, self._batch_rows = labels, fingerprint, batch_rows

    @property
    def vocabulary(self) -> str:
        """Shared by nobody: there are no tokens."""
        return "texts " + self._fingerprint

    @property
    def width(self) -> int:
        """How many numbers `forward` gives for a row."""
        return len(self.labels)

    @property
    def outputs(self) -> int:
        """How many numbers `gathered` gives for a row."""
        return self.width

    def tokenize(self, texts: pa.Array, pairs: pa.Array | None = None) -> Texts:
        """The texts as they are."""
        return Texts(texts, pairs)

    def plan(
        self, lengths: Int64, budget: int | None = None, threads: int | None = None
    ) -> list[Int64]:
        """Cuts rows into micro-batches, in the order in which they stand."""
        count = self._batch_rows or max(1, len(lengths))
        return [
            np.arange(at, min(at + count, len(lengths))) for at in range(0, len(lengths), count)
        ]

    def gathered(self, found: Float32, tokens: Texts) -> Float32:
        """Outputs by row."""
        return found

    def padded(self, lengths: Int64) -> Int64:
        """Nothing is padded on this side."""
        return lengths

    def operations(self, lengths: Int64) -> Float64:
        """Unknown, and so 0."""
        return np.zeros(len(lengths))


def is_asked(model: object) -> bool:
    """Whether a model is given texts, and every call may cost."""
    return isinstance(model, TextModel)


def log_probabilities(probabilities: Float32) -> Float32:
    """Outputs whose softmax is these probabilities, float32, shape [rows, labels]."""
    with np.errstate(divide="ignore"):
        return np.maximum(np.log(probabilities.astype(np.float64)), NEVER).astype(np.float32)
