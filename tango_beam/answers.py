"""Answers that are one of a set of labels: how a tier's outputs become them, and how sure it is.

This is the one kind of answer there is. Another kind (several labels, a score, a span of a context)
is another decoder: it says what the answer's columns are and how sure the tier is, from 0 to 1;
routing, receipts and guarantees know no more than that.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pyarrow as pa

from tango_beam import routing
from tango_beam.arrays import Float32


@dataclass(frozen=True)
class Answers:
    """What a tier says of some rows.

    Attributes:
      predictions: string, shape [rows].
      confidences: float32, shape [rows], 0 to 1; NaN where the model gave no finite scores.
      scores: what `--scores` adds, one entry a row: a struct of every label's probability.
    """

    predictions: pa.Array
    confidences: Float32
    scores: pa.StructArray

    def __len__(self) -> int:
        return len(self.confidences)


@dataclass(frozen=True)
class Decoder:
    """Turns logits into answers, as the cascade asks for them.

    Attributes:
      temperature: divides the logits before the softmax (Guo et al., 2017, section 4.2).
      confidence: how sure the tier is: `max_softmax` (the paper's), `margin` or `entropy`.
    """

    temperature: float = 1.0
    confidence: str = "max_softmax"

    def __call__(self, logits: Float32, labels: Sequence[str]) -> Answers:
        """Best label and confidence in it (TangoBERT, section 3).

        Args:
          logits: float32, shape [rows, labels].
          labels: names of the logits' columns.
        """
        probabilities = routing.softmax(logits, self.temperature)
        best = pa.array(probabilities.argmax(axis=1))
        return Answers(
            predictions=pa.array(labels).take(best),
            confidences=routing.confidence(probabilities, self.confidence),
            scores=pa.StructArray.from_arrays(
                [pa.array(column) for column in probabilities.T.copy()], list(labels)
            ),
        )

    def confidences(self, logits: Float32) -> Float32:
        """How sure the tier is of its best label, float32, shape [rows]."""
        return routing.confidence(routing.softmax(logits, self.temperature), self.confidence)
