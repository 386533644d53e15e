"""Confidence from logits, and accept or escalate. Pure NumPy: no Beam, no torch."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from tango_beam.arrays import Bool, Float32, Float64, Int64

CONFIDENCES = ("max_softmax", "margin", "entropy")
# A threshold of 1 escalates every row, also one whose confidence rounds to 1. This is the highest
# threshold that accepts any row; it cannot tell a confidence of 1 from the number below.
BELOW_ONE = np.nextafter(np.float32(1), np.float32(0))


def softmax(logits: Float32, temperature: float = 1.0) -> Float32:
    """Probabilities from logits, float32, shape [rows, labels]; computed in float64.

    Args:
      logits: shape [rows, labels].
      temperature: divides the logits; above 1 flattens (Guo et al., 2017, section 4.2).

    Raises:
      ValueError: a temperature that is not positive, or logits that are not a matrix.
    """
    if not temperature > 0:
        raise ValueError(f"expected a temperature above 0, found {temperature}")
    if logits.ndim != 2:
        raise ValueError(f"expected logits of shape [rows, labels], found shape {logits.shape}")
    scaled = logits.astype(np.float64) / temperature
    # A row that holds a NaN or an infinity comes out as NaN, which the caller turns into a failure.
    with np.errstate(invalid="ignore"):
        exps = np.exp(scaled - scaled.max(axis=1, keepdims=True, initial=-np.inf))
        return (exps / exps.sum(axis=1, keepdims=True)).astype(np.float32)


def sigmoid(values: Float32) -> Float32:
    """The logistic function, float32, of any shape; computed in float64."""
    with np.errstate(over="ignore"):
        return (1 / (1 + np.exp(-values.astype(np.float64)))).astype(np.float32)


def top(probabilities: Float32) -> tuple[Int64, Float32]:
    """Index and probability of the best label in each row: int64 and float32, shape [rows]."""
    best = probabilities.argmax(axis=1)
    return best, np.take_along_axis(probabilities, best[:, None], axis=1)[:, 0]


def margin(probabilities: Float32) -> Float32:
    """Best minus second-best probability, float32, shape [rows]; 1 where there is one label."""
    if probabilities.shape[1] < 2:
        return np.ones(len(probabilities), np.float32)
    best_two = np.partition(probabilities, -2, axis=1)[:, -2:]
    return best_two[:, 1] - best_two[:, 0]


def confidence(probabilities: Float32, kind: str = "max_softmax") -> Float32:
    """How sure a model is of its best label, float32, shape [rows], 0 to 1.

    Args:
      probabilities: shape [rows, labels].
      kind: `max_softmax`, the best label's probability (TangoBERT, section 3); `margin`, how far it
        is ahead of the next; `entropy`, 1 - H(p) / log(labels), which is 1 for a single certain
        label and 0 where all are alike.

    Raises:
      ValueError: a kind that is none of these.
    """
    if kind == "max_softmax":
        return probabilities.max(axis=1)
    if kind == "margin":
        return margin(probabilities)
    if kind == "entropy":
        wide = probabilities.astype(np.float64)
        logs = np.log(np.maximum(wide, np.finfo(np.float64).tiny))
        entropy = -(wide * logs).sum(axis=1) / np.log(max(2, wide.shape[1]))
        return np.clip(1 - entropy, 0, 1).astype(np.float32)
    raise ValueError(f"expected a confidence of {', '.join(CONFIDENCES)}, found {kind!r}")


def is_complex(confidences: Float32, threshold: float | Float64) -> Bool:
    """Which rows go on to the next tier: those with confidence under the threshold.

    A threshold of 0 escalates nothing and a threshold of 1 everything, also where a confidence
    rounds to 1 (TangoBERT, section 3: 0 is the first tier alone, 1 the second tier alone).

    Args:
      confidences: float32, shape [rows], without NaN.
      threshold: 0 to 1, one for all rows or one a row. It is compared as float32, the type in
        which it is written out.

    Raises:
      ValueError: a threshold outside 0..1, or a confidence that is NaN.
    """
    limits = np.asarray(threshold, np.float64)
    if not ((limits >= 0) & (limits <= 1)).all():
        raise ValueError(f"expected a threshold between 0 and 1, found {threshold}")
    if np.isnan(confidences).any():
        raise ValueError("expected confidences without NaN; rows that failed are not routed")
    return (confidences < limits.astype(np.float32)) | (limits >= 1)


def of_sides(called: Bool, threshold: float, label_threshold: float) -> Float64:
    """A filter's threshold for each row, by the side on which the tier puts it, shape [rows].

    Args:
      called: rows that the tier calls the filter's label, shape [rows].
      threshold: of the other rows.
      label_threshold: of those.
    """
    return np.where(called, label_threshold, threshold)


def cascade_answers(
    answers: Sequence[npt.NDArray],
    confidences: Sequence[Float32],
    thresholds: Sequence[float | Float64],
) -> tuple[npt.NDArray, Int64]:
    """Who answers what: the first tier that is sure of a row, or else the last one.

    Args:
      answers: of every tier, index into the labels, say; shape [rows, ...] each.
      confidences: of every tier but the last, float32, shape [rows] each.
      thresholds: of every tier but the last; one for all rows, or one a row.

    Returns:
      The cascade's answers, and the number of the tier that gives each (1 is the first), int64,
      shape [rows].
    """
    chosen = answers[-1].copy()
    tier = np.full(len(chosen), len(answers), np.int64)
    waiting = np.ones(len(chosen), bool)
    steps = zip(answers[:-1], confidences, thresholds, strict=True)
    for number, (answer, confidence, threshold) in enumerate(steps, start=1):
        simple = waiting & ~is_complex(confidence, threshold)
        chosen[simple], tier[simple] = answer[simple], number
        waiting &= ~simple
    return chosen, tier
