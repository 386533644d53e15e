"""Answers that are one of a set of labels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tango_beam import routing
from tango_beam.answers.base import Answers, Decoder, probabilities
from tango_beam.arrays import Float32


@dataclass(frozen=True)
class LabelDecoder(Decoder):
    """Best label and confidence in it (TangoBERT, section 3).

    Attributes:
      temperature: divides the logits before the softmax (Guo et al., 2017, section 4.2).
      confidence: how sure the tier is: `max_softmax` (the paper's), `margin` or `entropy`.
    """

    temperature: float = 1.0
    confidence: str = "max_softmax"

    def __call__(
        self, outputs: Float32, labels: Sequence[str], contexts: pa.Array | None = None
    ) -> Answers:
        """Answers of logits, float32, shape [rows, labels]."""
        scores = routing.softmax(outputs, self.temperature)
        best = pa.array(scores.argmax(axis=1))
        return Answers(
            predictions=pa.array(labels, pa.string()).take(best),
            confidences=routing.confidence(scores, self.confidence),
            scores=probabilities(scores, labels),
        )

    def confidences(self, outputs: Float32) -> Float32:
        """How sure the tier is of its best label, float32, shape [rows]."""
        return routing.confidence(routing.softmax(outputs, self.temperature), self.confidence)

    def keys(self, answers: Mapping[str, pa.Array]) -> pa.Array:
        """The labels."""
        return answers["prediction"]

    def names(self, answers: Mapping[str, pa.Array]) -> pa.Array:
        """The labels."""
        return answers["prediction"]

    def calls(self, answers: Mapping[str, pa.Array], label: str) -> pa.BooleanArray:
        """Which rows are given the label."""
        return pc.equal(answers["prediction"], label)

    def filtering(self, label: str, labels: Sequence[str]) -> Decoder:
        """Goes by the label's probability."""
        return FilterDecoder(self.temperature, label=label, labels=tuple(labels))


@dataclass(frozen=True)
class FilterDecoder(LabelDecoder):
    """Calls the label where its probability p is at least a half; is as sure as max(p, 1 - p).

    A row that is not called the label is given its best other one.

    Attributes:
      label: the filter's.
      labels: of the cascade; models may give them in another order.
    """

    label: str = ""
    labels: tuple[str, ...] = ()

    def __call__(
        self, outputs: Float32, labels: Sequence[str], contexts: pa.Array | None = None
    ) -> Answers:
        """Answers of logits, float32, shape [rows, labels]."""
        scores = routing.softmax(outputs, self.temperature)
        at = [*labels].index(self.label)
        others = scores.copy()
        others[:, at] = np.where(scores[:, at] >= 0.5, 2, -1)
        return Answers(
            predictions=pa.array(labels, pa.string()).take(pa.array(others.argmax(axis=1))),
            confidences=np.maximum(scores[:, at], 1 - scores[:, at]),
            scores=probabilities(scores, labels),
        )

    def confidences(self, outputs: Float32) -> Float32:
        """How sure the tier is of its call, float32, shape [rows]."""
        return self(outputs, self.labels).confidences
