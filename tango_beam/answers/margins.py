"""Answers that are made of yes and no: several labels at once, and a score beside its cuts.

A margin says how far a row lies on which side of a decision: of a label, whether its probability
reaches its cut; of a score, whether it reaches a cut. A tier is as sure of a row as of its least
sure decision.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tango_beam import routing
from tango_beam.answers.base import Answers, Decoder, probabilities
from tango_beam.arrays import Bool, Float32

USUAL_CUT = 0.5
NO_LABEL = "(none)"  # what a row without a label is called
_APART = "\x1f"


@dataclass(frozen=True)
class MarginDecoder(Decoder):
    """What both kinds share.

    Attributes:
      cuts: of the decisions.
      fits: slope and intercept of each decision's margin, which make the probability that the last
        tier decides alike of it (Platt, 1999); none: the slope is 1.
      decision: the one that the tier is as sure as, in a filter; None: the least sure.
    """

    cuts: tuple[float, ...] = ()
    fits: tuple[tuple[float, float], ...] = ()
    decision: int | None = None

    @abstractmethod
    def raw_margins(self, outputs: Float32) -> Float32:
        """Margins before the fits, float32, shape [rows, decisions]."""

    def margins(self, outputs: Float32) -> Float32:
        """How far rows lie on which side of each decision, float32, shape [rows, decisions]."""
        raw = self.raw_margins(outputs)
        if not self.fits:
            return raw
        slopes, intercepts = np.array(self.fits, np.float32).T
        return raw * slopes + intercepts

    def decisions(self, outputs: Float32) -> Bool:
        """Which decisions are yes, shape [rows, decisions]."""
        return self.margins(outputs) >= 0

    def confidences(self, outputs: Float32) -> Float32:
        """Probability of the least sure decision, 0.5 to 1, float32, shape [rows]."""
        return self.sureness(self.margins(outputs))

    def sureness(self, margins: Float32) -> Float32:
        """Confidences of margins, float32, shape [rows]."""
        chosen = margins if self.decision is None else margins[:, [self.decision]]
        return routing.sigmoid(np.abs(chosen).min(axis=1, initial=np.inf))


@dataclass(frozen=True)
class MultiLabelDecoder(MarginDecoder):
    """The labels whose probability reaches their cut: any number of them, in the cascade's order.

    Attributes:
      labels: of the cascade; models may give them in another order.
      cuts: a probability for every label; none: 0.5 for each.
    """

    labels: tuple[str, ...] = ()

    def __call__(
        self, outputs: Float32, labels: Sequence[str], contexts: pa.Array | None = None
    ) -> Answers:
        """Answers of logits, float32, shape [rows, labels]."""
        ordered = self._ordered(outputs, labels)
        margins = self.margins(ordered)
        chosen = margins >= 0
        names = pa.array(self.labels, pa.string()).take(pa.array(np.nonzero(chosen)[1]))
        ends = np.concatenate([[0], np.cumsum(chosen.sum(axis=1))]).astype(np.int32)
        return Answers(
            predictions=pa.ListArray.from_arrays(pa.array(ends), names),
            confidences=self.sureness(margins),
            scores=probabilities(routing.sigmoid(ordered), self.labels),
        )

    def _ordered(self, outputs: Float32, labels: Sequence[str]) -> Float32:
        if tuple(labels) == self.labels:
            return outputs
        return outputs[:, [list(labels).index(name) for name in self.labels]]

    def raw_margins(self, outputs: Float32) -> Float32:
        """Logits over those of the cuts; columns in the cascade's order."""
        cuts = np.array(self.cuts or [USUAL_CUT] * len(self.labels), np.float64)
        return outputs - np.log(cuts / (1 - cuts)).astype(np.float32)

    def names(self, answers: Mapping[str, pa.Array]) -> pa.Array:
        """Every label that a row is given; `(none)` of a row without one."""
        given = answers["prediction"]
        bare = pc.sum(pc.equal(pc.list_value_length(given), 0)).as_py() or 0
        return pa.concat_arrays([pc.list_flatten(given), pa.repeat(NO_LABEL, bare)])

    def calls(self, answers: Mapping[str, pa.Array], label: str) -> pa.BooleanArray:
        """Which rows are given the label, among others or alone."""
        given = answers["prediction"]
        owners = pc.list_parent_indices(given).filter(pc.equal(pc.list_flatten(given), label))
        called = np.zeros(len(given), bool)
        called[owners.to_numpy()] = True
        return pa.array(called)

    def filtering(self, label: str, labels: Sequence[str]) -> Decoder:
        """Goes by the label's decision."""
        return replace(self, decision=self.labels.index(label))

    def keys(self, answers: Mapping[str, pa.Array]) -> pa.Array:
        """The sets, as strings; their size tells a label without a name from no label."""
        sets = answers["prediction"]
        sizes = pc.list_value_length(sets).cast(pa.string())
        return pc.binary_join_element_wise(sizes, pc.binary_join(sets, _APART), _APART)


@dataclass(frozen=True)
class ScoreDecoder(MarginDecoder):
    """A number, and how many of the cuts it reaches.

    Attributes:
      cuts: of the score, ascending.
      tolerance: scores agree that differ by no more; None: those of one bucket.
    """

    tolerance: float | None = None

    def __call__(
        self, outputs: Float32, labels: Sequence[str], contexts: pa.Array | None = None
    ) -> Answers:
        """Answers of scores, float32, shape [rows, 1]."""
        margins = self.margins(outputs)
        return Answers(
            predictions=pa.array(outputs[:, 0]),
            confidences=self.sureness(margins),
            scores=probabilities(outputs, labels),
            more={"bucket": pa.array((margins >= 0).sum(axis=1).astype(np.int8))},
        )

    def raw_margins(self, outputs: Float32) -> Float32:
        """The score over each cut."""
        return outputs[:, :1] - np.array(self.cuts, np.float32)

    def outputs(self, labels: Sequence[str]) -> int:
        """One."""
        return 1

    def names(self, answers: Mapping[str, pa.Array]) -> pa.Array:
        """The buckets, by the cuts about them."""
        edges = [*map(str, self.cuts)]
        between = [f"{low} to {high}" for low, high in pairwise(edges)]
        known = [f"under {edges[0]}", *between, f"{edges[-1]} or more"]
        return pa.array(known, pa.string()).take(answers["bucket"])

    def calls(self, answers: Mapping[str, pa.Array], label: str) -> pa.BooleanArray:
        """Which rows reach a bucket, by its number."""
        return pc.greater_equal(answers["bucket"], int(label))

    def filtering(self, label: str, labels: Sequence[str]) -> Decoder:
        """Goes by the cut under the bucket."""
        return replace(self, decision=int(label) - 1)

    def keys(self, answers: Mapping[str, pa.Array]) -> pa.Array:
        """The buckets."""
        return answers["bucket"]

    def agrees(
        self, first: Mapping[str, pa.Array], second: Mapping[str, pa.Array]
    ) -> pa.BooleanArray:
        """Whether two tiers' answers agree: by bucket, or within the tolerance."""
        if self.tolerance is None:
            return super().agrees(first, second)
        apart = pc.abs(pc.subtract(first["prediction"], second["prediction"]))
        return pc.less_equal(apart, self.tolerance)
