"""How right answers of each kind are, for one set of them or along a curve. Pure NumPy, SciPy.

Answers and right answers are arrays with a row for each text:

| kind | an answer | it is right where |
|---|---|---|
| labels | index of the label, int64, shape [rows] | it is the label |
| multi_label | which labels, bool, shape [rows, labels] | the set is the same |
| score | score and bucket, float64, shape [rows, 2] | the bucket is the same |
| span | exact match and F1, float64, shape [rows, 2]; 1 and 1 is right | it matches exactly |

A metric that a curve is drawn of is a function of sums over rows, its *counts*. So a whole curve
costs one running sum, and what random routing is worth follows from the counts expected of it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from tango_beam import answer_metrics
from tango_beam.answers import span_text
from tango_beam.answers.task import LABELS, MULTI_LABEL, SCORE, SPAN
from tango_beam.arrays import Bool, Float64

NAMES = {
    "accuracy": "accuracy",
    "f1": "F1",
    "micro_f1": "micro F1",
    "macro_f1": "macro F1",
    "mcc": "Matthews correlation",
    "exact_sets": "exact sets",
    "bucket_accuracy": "bucket accuracy",
    "mean_absolute_error": "mean absolute error (lower is better)",
    "spearman": "Spearman",
    "exact_match": "exact match",
}
# What a curve may be of; the first is what it is of unless another is asked for.
METRICS = {
    LABELS: ("accuracy", "f1", "macro_f1", "mcc"),
    MULTI_LABEL: ("micro_f1", "macro_f1", "f1", "exact_sets"),
    SCORE: ("bucket_accuracy",),
    SPAN: ("f1", "exact_match"),
}


@dataclass(frozen=True)
class Metric:
    """One of `METRICS`, ready to be applied.

    Attributes:
      kind: of answer.
      name: which metric.
      labels: how many labels there are, where answers are labels.
      positive: index of the label that F1 is of; the others do without.
    """

    kind: str
    name: str
    labels: int = 0
    positive: int | None = None

    def __post_init__(self) -> None:
        if self.name not in METRICS[self.kind]:
            known = ", ".join(METRICS[self.kind])
            raise ValueError(f"expected a metric of {known}, found {self.name!r}")
        if self.name == "f1" and self.positive is None and self.kind != SPAN:
            raise ValueError("expected the label that F1 is of, found none")

    def __call__(self, answers: npt.NDArray, targets: npt.NDArray) -> float:
        """The metric of some answers."""
        return float(self.of(self.counts(answers, targets).sum(axis=0)))

    def counts(self, answers: npt.NDArray, targets: npt.NDArray) -> Float64:
        """What each row adds to the sums that the metric is of, float64, shape [rows, counts].

        Raises:
          ValueError: not as many answers as targets.
        """
        if answers.shape != targets.shape:
            raise ValueError(f"expected answers of shape {targets.shape}, found {answers.shape}")
        if self.kind == SPAN:
            return _with_one(answers[:, 1 if self.name == "f1" else 0])
        if self.name in ("accuracy", "exact_sets", "bucket_accuracy"):
            return _with_one(right(self.kind, answers, targets))
        given, borne = self._sets(answers), self._sets(targets)
        if self.name == "mcc":
            hit = right(self.kind, answers, targets)
            return np.hstack([hit[:, None], given, borne]).astype(float)
        hits, either = 2.0 * (given & borne), given.astype(float) + borne
        if self.name == "micro_f1":
            return np.stack([hits.sum(axis=1), either.sum(axis=1)], axis=1)
        if self.name == "f1":
            return np.stack([hits[:, self.positive], either[:, self.positive]], axis=1)
        return np.hstack([hits, either])

    def of(self, sums: Float64) -> Float64:
        """The metric of sums of counts, float64, shape [...], of sums of shape [..., counts].

        The sums may be those expected of a random routing.
        """
        if self.name == "mcc":
            return _mcc(sums[..., 0], *np.split(sums[..., 1:], 2, axis=-1))
        above, below = np.split(sums, 2, axis=-1)
        # The mean is over the labels that some row bears or is given.
        return _ratio(_ratio(above, below).sum(axis=-1), (below > 0).sum(axis=-1))

    @property
    def oracle(self) -> Metric:
        """What the oracle sees of a row: a metric with two counts, a share of one in the other.

        For one of several labels it is accuracy (TangoBERT, section 5.2.4).
        """
        if self.kind == LABELS or self.name == "macro_f1":
            return replace(self, name=METRICS[self.kind][0])
        return self

    def _sets(self, answers: npt.NDArray) -> Bool:
        return np.eye(self.labels, dtype=bool)[answers] if self.kind == LABELS else answers


def right(kind: str, answers: npt.NDArray, targets: npt.NDArray) -> Bool:
    """Which rows are answered right, shape [rows]."""
    if kind == SCORE:
        return answers[:, 1] == targets[:, 1]
    if kind == SPAN:
        return answers[:, 0] == targets[:, 0]
    same = answers == targets
    return same.all(axis=1) if kind == MULTI_LABEL else same


def every(metric: Metric, answers: npt.NDArray, targets: npt.NDArray) -> dict[str, float]:
    """Every metric of some answers, by name, those among them that no curve is drawn of.

    Args:
      metric: says of which kind the answers are, and of which label F1 is, if of any.
      answers: as the module says.
      targets: the right ones.
    """
    kind = metric.kind
    skipped = "f1" if metric.positive is None and kind != SPAN else None
    names = [name for name in METRICS[kind] if name != skipped]
    found = {name: replace(metric, name=name)(answers, targets) for name in names}
    if kind == SCORE:
        scores = answer_metrics.of_scores(answers[:, 0], targets[:, 0])
        found["mean_absolute_error"] = scores["mean absolute error"]
        found["spearman"] = scores["Spearman"]
    return found


def of_texts(texts: Sequence[str], right_answers: Iterable[Sequence[str]]) -> Float64:
    """Exact match and F1 of spans' texts, float64, shape [rows, 2] (Rajpurkar et al., 2016).

    Args:
      texts: the answers.
      right_answers: of each row, all that count as right; none stands for an empty text.
    """
    pairs = list(zip(texts, right_answers, strict=True))
    matches = [span_text.is_match(text, answers) for text, answers in pairs]
    scores = [span_text.best_f1(text, answers) for text, answers in pairs]
    return np.array([matches, scores], np.float64).T


def _with_one(values: npt.NDArray) -> Float64:
    return np.stack([values.astype(float), np.ones(len(values))], axis=1)


def _mcc(hits: Float64, answered: Float64, actual: Float64) -> Float64:
    """Matthews correlation, float64, shape [...], -1 to 1; 0 where either side is constant.

    For any number of labels, after Gorodkin (2004), "Comparing two K-category assignments by a
    K-category correlation coefficient"; for two it is Matthews' own (1975).
    """
    rows = actual.sum(axis=-1)
    covariance = hits * rows - (answered * actual).sum(axis=-1)
    spread = (rows**2 - (answered**2).sum(axis=-1)) * (rows**2 - (actual**2).sum(axis=-1))
    return _ratio(covariance, np.sqrt(np.maximum(spread, 0)))


def _ratio(above: npt.ArrayLike, below: npt.ArrayLike) -> Float64:
    """A quotient, float64; 0 where the divisor is 0."""
    top, bottom = np.broadcast_arrays(np.asarray(above, float), np.asarray(below, float))
    return np.divide(top, bottom, out=np.zeros_like(top), where=bottom != 0)
