"""Which errors escalation corrects, which it introduces, by confidence. Pure NumPy."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tango_beam.arrays import Float64, Int64
from tango_beam.evaluation.curves import Scored
from tango_beam.evaluation.metrics import right

KINDS = ("corrected", "introduced", "both_wrong", "both_right")


@dataclass(frozen=True)
class Corrections:
    """Rows by quantile of the first tier's confidence, least confident first.

    Attributes:
      edges: confidences between which each quantile lies, float64, shape [quantiles + 1].
      rows: int64, shape [quantiles].
      counts: int64, shape [kinds, quantiles], the kinds as in `KINDS`: corrected (first tier false,
        later true: F-T), introduced (T-F), both wrong (F-F), both right (T-T).
    """

    edges: Float64
    rows: Int64
    counts: Int64


def by_quantile(scored: Scored, kind: str, quantiles: int = 10) -> Corrections:
    """Counts corrected and introduced errors by confidence quantile (TangoBERT, Figure 4).

    Equal confidences stay in one quantile. Where a model is often certain, a quantile may hold more
    rows than its share, or none.

    Args:
      scored: the rows, as if every one of them were escalated.
      kind: of answer, which says what is right.
      quantiles: how many.

    Raises:
      ValueError: no rows, or fewer than one quantile.
    """
    if quantiles < 1 or not len(scored):
        raise ValueError(f"expected rows and quantiles, found {len(scored)} and {quantiles}")
    confidences = scored.confidences.astype(float)
    edges = np.quantile(confidences, np.linspace(0, 1, quantiles + 1))
    place = np.searchsorted(edges[1:-1], confidences, side="right")
    before, after = (right(kind, each, scored.targets) for each in (scored.first, scored.later))
    masks = (~before & after, before & ~after, ~before & ~after, before & after)
    counts = [np.bincount(place[mask], minlength=quantiles) for mask in masks]
    return Corrections(edges, np.bincount(place, minlength=quantiles), np.array(counts))
