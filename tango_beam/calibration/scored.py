"""Scores a sample with every tier, timed."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from tango_beam import routing
from tango_beam.calibration.judged import IntArray, Judged
from tango_beam.calibration.temperature import expected_calibration_error, fit_temperature
from tango_beam.config import CascadeConfig
from tango_beam.models.base import Model
from tango_beam.models.bulk import logits_of

logger = logging.getLogger(__name__)

_WARM_UP_ROWS = 64
FloatArray = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Scored:
    """Rows with every tier's logits.

    Attributes:
      logits: of every tier, float32, shape [rows, labels], columns in the cascade's order.
      seconds: a row, in each tier, tokenization included, on this machine.
      truth: index of the right label, shape [rows]; None without labels.
    """

    logits: tuple[FloatArray, ...]
    seconds: tuple[float, ...]
    truth: IntArray | None = None

    def __len__(self) -> int:
        return len(self.logits[0])

    def take(self, rows: slice | IntArray) -> Scored:
        """Some of the rows."""
        truth = None if self.truth is None else self.truth[rows]
        return replace(self, logits=tuple(part[rows] for part in self.logits), truth=truth)

    def finite(self) -> IntArray:
        """Rows whose logits are finite in every tier."""
        return np.flatnonzero(
            np.all([np.isfinite(part).all(axis=1) for part in self.logits], axis=0)
        )

    def reference(self) -> IntArray:
        """What temperatures are fitted to: the right labels, else the last tier's answers."""
        return self.logits[-1].argmax(axis=1) if self.truth is None else self.truth

    def judged(self, cascade: CascadeConfig) -> Judged:
        """Answers and confidences, with the cascade's temperatures and kinds of confidence."""
        confidences = [
            confidences_of(logits, tier.temperature, tier.confidence)
            for logits, tier in zip(self.logits, cascade.tiers[:-1], strict=False)
        ]
        answers = tuple(logits.argmax(axis=1) for logits in self.logits)
        return Judged(tuple(confidences), answers, self.truth)


def confidences_of(logits: FloatArray, temperature: float, kind: str) -> FloatArray:
    """Confidences from logits, as a tier gives them; float32, shape [rows]."""
    return routing.confidence(routing.softmax(logits, temperature), kind)


def score(
    model: Model, texts: pa.Array, pairs: pa.Array | None, labels: Sequence[str]
) -> tuple[FloatArray, float]:
    """Logits of all rows, and seconds a row."""
    few = slice(0, _WARM_UP_ROWS)
    logits_of(model, texts[few], None if pairs is None else pairs[few])
    started = time.perf_counter()
    found = logits_of(model, texts, pairs, labels=labels)
    return found, (time.perf_counter() - started) / max(1, len(texts))


def score_all(
    models: Sequence[Model],
    texts: pa.Array,
    pairs: pa.Array | None,
    labels: Sequence[str],
    truth: IntArray | None = None,
) -> Scored:
    """Scores rows with every tier.

    Args:
      models: the tiers' models, first to last.
      texts: without nulls.
      pairs: second texts, or None.
      labels: order of the logits' columns.
      truth: index of the right label.
    """
    logits, seconds = [], []
    for number, model in enumerate(models, start=1):
        logger.info("tier %d scores %s rows", number, f"{len(texts):,}")
        found, spent = score(model, texts, pairs, labels)
        logits.append(found)
        seconds.append(spent)
    return Scored(tuple(logits), tuple(seconds), truth)


def with_temperatures(cascade: CascadeConfig, fit: Scored) -> CascadeConfig:
    """The cascade with temperatures fitted to rows (Guo et al., 2017; the paper's future work).

    Tiers before the last are fitted to the right labels, or to the last tier's answers where there
    are none; the last tier only to labels.
    """
    goal = fit.reference()
    tiers = []
    for number, tier in enumerate(cascade.tiers):
        known = fit.truth is not None or number < len(cascade.tiers) - 1
        fitted = fit_temperature(fit.logits[number], goal) if known else tier.temperature
        tiers.append(replace(tier, temperature=fitted))
    return replace(cascade, tiers=tuple(tiers))


def calibration_errors(before: CascadeConfig, after: CascadeConfig, rows: Scored) -> list[dict]:
    """Expected calibration error of every tier's best probability, before and after."""
    goal = rows.reference()
    found = []
    for number, logits in enumerate(rows.logits):
        if rows.truth is None and number == len(rows.logits) - 1:
            continue
        right = logits.argmax(axis=1) == goal
        entry: dict = {"tier": number + 1, "against": "labels" if rows.truth is not None else
                       "last tier"}  # fmt: skip
        for name, cascade in (("before", before), ("after", after)):
            temperature = cascade.tiers[number].temperature
            confidences = confidences_of(logits, temperature, "max_softmax")
            error = expected_calibration_error(confidences, right)
            entry |= {f"temperature_{name}": temperature, f"error_{name}": error}
        found.append(entry)
    return found
