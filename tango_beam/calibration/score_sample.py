"""Scores a sample with every tier, timed; fits temperatures to what came out."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from tango_beam.answers import LabelDecoder
from tango_beam.answers.task import LABELS
from tango_beam.arrays import Float32, Int64
from tango_beam.calibration.temperature import expected_calibration_error, fit_temperature
from tango_beam.config import CascadeConfig
from tango_beam.guarantees.certificate import CalibrationError
from tango_beam.guarantees.tier_answers import TierAnswers
from tango_beam.models.logits import logits_of
from tango_beam.models.protocol import Model
from tango_beam.models.texts import is_asked

logger = logging.getLogger(__name__)

_WARM_UP_ROWS = 64


@dataclass(frozen=True)
class TierLogits:
    """Rows with the logits of every tier.

    Attributes:
      logits: of every tier, float32, shape [rows, labels], columns in the cascade's order.
      seconds: a row, in each tier, tokenization included, on this machine.
      truth: index of the right label, or the right answers, shape [rows]; None without labels.
      contexts: the second texts, of which spans are answers; None without.
      exits: how many of the tiers are exits of the last one, whose seconds are then its own ones
        behind the last of them.
    """

    logits: tuple[Float32, ...]
    seconds: tuple[float, ...]
    truth: npt.NDArray | None = None
    contexts: pa.Array | None = None
    exits: int = 0

    @property
    def alone(self) -> float:
        """Seconds a row of the last tier alone."""
        return sum(self.seconds[-1 - self.exits :])

    def __len__(self) -> int:
        return len(self.logits[0])

    def take(self, rows: slice | Int64) -> TierLogits:
        """Some of the rows."""
        truth = None if self.truth is None else self.truth[rows]
        chosen = pa.array(np.arange(len(self))[rows])
        contexts = None if self.contexts is None else self.contexts.take(chosen)
        logits = tuple(logits[rows] for logits in self.logits)
        return replace(self, logits=logits, truth=truth, contexts=contexts)

    def answered(self, cascade: CascadeConfig) -> TierLogits:
        """The rows that every tier has an answer to; a run counts the others as dead."""
        lost: set[int] = set()
        for tier, logits in zip(cascade.tiers, self.logits, strict=True):
            lost |= cascade.decoder(tier).complaints(logits).keys()
        return self.take(np.setdiff1d(np.arange(len(self)), [*lost]))

    def reference(self) -> Int64:
        """What temperatures are fitted to: the right labels, else the last tier's answers."""
        return self.logits[-1].argmax(axis=1) if self.truth is None else self.truth

    def answers(self, cascade: CascadeConfig) -> TierAnswers:
        """Answers and confidences, with the cascade's temperatures and kinds of confidence."""
        return cascade.answers(self.logits, self.truth, self.contexts)


def score(model: Model, texts: Sequence[pa.Array], labels: Sequence[str]) -> tuple[Float32, float]:
    """Logits of all rows, and seconds a row.

    Args:
      model: a tier's.
      texts: one column of strings without nulls, or two for pairs.
      labels: order of the logits' columns.
    """
    if not is_asked(model):
        logits_of(model, *(column[:_WARM_UP_ROWS] for column in texts))
    started = time.perf_counter()
    logits = logits_of(model, *texts, labels=labels)
    return logits, (time.perf_counter() - started) / max(1, len(logits))


def score_all(
    models: Sequence[Model],
    texts: Sequence[pa.Array],
    labels: Sequence[str],
    truth: npt.NDArray | None = None,
    score_last: Callable[..., tuple[list[Float32], list[float]]] | None = None,
) -> TierLogits:
    """Scores rows with every tier.

    Args:
      models: the tiers' models, first to last.
      texts: one column of strings without nulls, or two for pairs.
      labels: order of the logits' columns.
      truth: index of the right label, or the right answers.
      score_last: as `score`, for a last tier with exits: logits and seconds of each.
    """
    logits, seconds = [], []
    for number, model in enumerate(models, start=1):
        logger.info("tier %d scores %s rows", number, f"{len(texts[0]):,}")
        if score_last is not None and number == len(models):
            scores, spent = score_last(model, texts, labels)
        else:
            one, took = score(model, texts, labels)
            scores, spent = [one], [took]
        logits += scores
        seconds += spent
    contexts = texts[1][: len(texts[0])] if len(texts) > 1 else None
    exits = len(logits) - len(models)
    return TierLogits(tuple(logits), tuple(seconds), truth, contexts, exits)


def with_temperatures(cascade: CascadeConfig, fit: TierLogits) -> CascadeConfig:
    """The cascade with temperatures fitted to rows (Guo et al., 2017; the paper's future work).

    Tiers before the last are fitted to the right labels, or to the last tier's answers where there
    are none; the last tier only to labels.
    """
    goal = fit.reference()
    count = len(fit.logits) - max(int(fit.truth is None), fit.exits and fit.exits + 1)
    fitted = (
        replace(tier, temperature=fit_temperature(logits, goal))
        for tier, logits in zip(cascade.tiers[:count], fit.logits[:count], strict=True)
    )
    return replace(cascade, tiers=(*fitted, *cascade.tiers[count:]))


def calibration_errors(
    before: CascadeConfig, after: CascadeConfig, rows: TierLogits
) -> tuple[CalibrationError, ...]:
    """Expected calibration error of every tier's best probability, before and after.

    Of one of several labels only; none for other kinds of answer, which have no temperature.
    """
    if after.task.kind != LABELS:
        return ()
    goal = rows.reference()
    labelled = rows.truth is not None
    errors = []
    ahead = len(rows.logits) - max(int(not labelled), rows.exits and rows.exits + 1)
    for number, logits in enumerate(rows.logits[:ahead]):
        right = logits.argmax(axis=1) == goal
        temperatures = [cascade.tiers[number].temperature for cascade in (before, after)]
        first, second = (
            expected_calibration_error(LabelDecoder(temperature).confidences(logits), right)
            for temperature in temperatures
        )
        against = "labels" if labelled else "last tier"
        errors.append(
            CalibrationError(number + 1, against, temperatures[0], first, temperatures[1], second)
        )
    return tuple(errors)
