"""What every kind of answer has: predictions, confidences, and a decoder that makes them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa

from tango_beam.arrays import Float32
from tango_beam.record_columns import AnswerShape


@dataclass(frozen=True)
class Answers:
    """What a tier says of some rows.

    Attributes:
      predictions: shape [rows], of the kind's own type.
      confidences: float32, shape [rows], 0 to 1; NaN where the model gave no finite scores.
      scores: what `--scores` adds, one entry a row.
      more: further columns of the answer, by name.
    """

    predictions: pa.Array
    confidences: Float32
    scores: pa.StructArray
    more: Mapping[str, pa.Array] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.confidences)

    def columns(self) -> dict[str, pa.Array]:
        """The prediction and what belongs to it, by name."""
        return {"prediction": self.predictions, **self.more}


class Decoder(ABC):
    """Turns a model's outputs into answers, as the cascade asks for them.

    A kind of answer is a decoder: it says what the answer's columns are, how sure the tier is, and
    which answers agree. Routing, receipts and guarantees know no more than that.
    """

    @abstractmethod
    def __call__(
        self, outputs: Float32, labels: Sequence[str], contexts: pa.Array | None = None
    ) -> Answers:
        """Answers of some rows.

        Args:
          outputs: of the model, float32, shape [rows, outputs].
          labels: names of the outputs' columns, where they are those of labels.
          contexts: the second text of each row, for answers that are spans of it.
        """

    @abstractmethod
    def confidences(self, outputs: Float32) -> Float32:
        """How sure the tier is of its answer, float32, shape [rows]."""

    @abstractmethod
    def keys(self, answers: Mapping[str, pa.Array]) -> pa.Array:
        """What is equal where two answers agree, shape [rows]; of an answer's columns."""

    @abstractmethod
    def names(self, answers: Mapping[str, pa.Array]) -> pa.Array:
        """What rows are called, strings, to count them by; several of a row with several labels."""

    @abstractmethod
    def calls(self, answers: Mapping[str, pa.Array], label: str) -> pa.BooleanArray:
        """Which answers call a row by a label, or by the number of a bucket that it reaches."""

    @abstractmethod
    def filtering(self, label: str, labels: Sequence[str]) -> Decoder:
        """The decoder of a tier that stands in a filter: as sure as it is of that one call.

        Args:
          label: as for `calls`.
          labels: of the cascade, in its order.
        """

    def complaints(self, outputs: Float32) -> dict[int, str]:
        """Rows of which no answer can be made, with the reason."""
        bad = np.flatnonzero(~np.isfinite(outputs).all(axis=1))
        return {int(row): f"expected finite scores, found {outputs[row].tolist()}" for row in bad}

    def shape(self, labels: Sequence[str]) -> AnswerShape:
        """Which columns the answers have."""
        nothing = np.zeros((0, self.outputs(labels)), np.float32)
        empty = self(nothing, labels, pa.array([], pa.string()))
        more = tuple(pa.field(name, column.type) for name, column in empty.more.items())
        return AnswerShape(empty.predictions.type, more, empty.scores.type)

    def outputs(self, labels: Sequence[str]) -> int:
        """How many outputs a model has for these labels."""
        return len(labels)

    def agrees(
        self, first: Mapping[str, pa.Array], second: Mapping[str, pa.Array]
    ) -> pa.BooleanArray:
        """Whether two tiers' answers to the same rows agree, null where one is null."""
        return pa.compute.equal(self.keys(first), self.keys(second))


def probabilities(columns: Float32, labels: Sequence[str]) -> pa.StructArray:
    """Scores of labels as `--scores` adds them; of a matrix of shape [rows, labels]."""
    return pa.StructArray.from_arrays(
        [pa.array(column) for column in columns.T.copy()], list(labels)
    )
