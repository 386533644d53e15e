"""Every tier's answer to every row, and how the tiers behind the first answer between them."""

from __future__ import annotations

import logging
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tango_beam import routing
from tango_beam.config import CascadeConfig
from tango_beam.errors import JobError
from tango_beam.evaluation.costs import Stage
from tango_beam.evaluation.curves import Scored
from tango_beam.evaluation.labelled import LabelledTexts
from tango_beam.models.bulk import logits_of
from tango_beam.tier import Compute, load_tier

logger = logging.getLogger(__name__)

IntArray = npt.NDArray[np.int64]
FloatArray = npt.NDArray[np.float32]


@dataclass(frozen=True)
class TierAnswers:
    """One tier's answers to all rows.

    Attributes:
      answers: index into the cascade's labels, int64, shape [rows].
      confidences: float32, shape [rows], of the tier's own kind and temperature.
    """

    answers: IntArray
    confidences: FloatArray


@dataclass(frozen=True)
class Answered:
    """All rows, answered by all tiers.

    Attributes:
      tiers: the answers of each tier.
      stages: the loaded tiers, ready to be timed.
      scored: the rows as the curves take them.
    """

    tiers: list[TierAnswers]
    stages: list[Stage]
    scored: Scored


def answer(cascade: CascadeConfig, texts: LabelledTexts, compute: Compute) -> Answered:
    """Scores every row with every tier.

    Raises:
      JobError: a tier gives a score that is not finite.
      ValueError: a checkpoint that does not fit the cascade; OSError: one that is not there.
    """
    models = [load_tier(tier, compute) for tier in cascade.tiers]
    tiers = []
    for number, (tier, model) in enumerate(zip(cascade.tiers, models, strict=True), start=1):
        logger.info("scoring %s rows with tier %s", f"{len(texts):,}", number)
        logits = logits_of(model, texts.texts, texts.pairs, labels=cascade.labels)
        wrong = np.flatnonzero(~np.isfinite(logits).all(axis=1))
        if len(wrong):
            raise JobError(
                f"tier {tier.source}: expected finite scores, found {logits[wrong[0]].tolist()} "
                f"for row {wrong[0] + 1}"
            )
        probabilities = routing.softmax(logits, tier.temperature)
        confidences = routing.confidence(probabilities, tier.confidence)
        tiers.append(TierAnswers(probabilities.argmax(axis=1), confidences))
    thresholds = [tier.threshold or 0.0 for tier in cascade.tiers[1:-1]]
    later, reached = escalated_answers(tiers[1:], thresholds)
    stages = []
    for number, (tier, model) in enumerate(zip(cascade.tiers, models, strict=True)):
        shares = number > 0 and model.vocabulary == models[number - 1].vocabulary
        everyone = np.ones(len(texts), bool)
        stages.append(
            Stage(
                model=model,
                batch_rows=tier.batch_rows,
                tokens=model.tokenize(texts.texts, texts.pairs),
                takes_tokens=shares,
                reached=reached[number - 1] if number else everyone,
            )
        )
    scored = Scored(
        targets=texts.targets,
        first=tiers[0].answers,
        later=later,
        last=tiers[-1].answers,
        confidences=tiers[0].confidences,
        labels=len(cascade.labels),
    )
    return Answered(tiers, stages, scored)


def escalated_answers(
    tiers: list[TierAnswers], thresholds: list[float]
) -> tuple[IntArray, list[npt.NDArray[np.bool_]]]:
    """What the tiers behind the first answer, between them, if every row is escalated to them.

    Args:
      tiers: the second tier and those behind it.
      thresholds: of all of them but the last.

    Returns:
      Answers, int64, shape [rows], and for each tier which rows reach it, bool, shape [rows].
    """
    reached = [np.ones(len(tiers[0].answers), bool)]
    answers = tiers[0].answers
    for tier, following, threshold in zip(tiers, tiers[1:], thresholds, strict=False):
        onwards = reached[-1] & routing.is_complex(tier.confidences, threshold)
        answers = np.where(onwards, following.answers, answers)
        reached.append(onwards)
    return answers, reached
