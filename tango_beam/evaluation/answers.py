"""Every tier's answer to every row, and what the tiers behind the first answer together."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tango_beam import routing
from tango_beam.config import CascadeConfig
from tango_beam.errors import JobError
from tango_beam.evaluation.costs import Stage
from tango_beam.evaluation.curves import Scored
from tango_beam.guarantees.tier_answers import TierAnswers
from tango_beam.io.labelled import LabelledTexts
from tango_beam.models.logits import logits_of
from tango_beam.models.protocol import Model

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Answered:
    """All rows, answered by all tiers.

    Attributes:
      tiers: the answers of each tier.
      stages: the loaded tiers, ready to be timed.
      scored: the rows as the curves take them.
    """

    tiers: TierAnswers
    stages: list[Stage]
    scored: Scored


def answer(cascade: CascadeConfig, texts: LabelledTexts, models: Sequence[Model]) -> Answered:
    """Scores every row with every tier.

    Args:
      cascade: the thresholds of its later tiers stay as they are.
      texts: the rows.
      models: the loaded tiers, in order.

    Raises:
      JobError: a tier gives a score that is not finite.
    """
    answers, confidences = [], []
    for number, (tier, model) in enumerate(zip(cascade.tiers, models, strict=True), start=1):
        logger.info("scoring %s rows with tier %s", f"{len(texts):,}", number)
        logits = logits_of(model, texts.texts, texts.pairs, labels=cascade.labels)
        wrong = np.flatnonzero(~np.isfinite(logits).all(axis=1))
        if len(wrong):
            raise JobError(
                f"tier {tier.source}: expected finite scores, found {logits[wrong[0]].tolist()} "
                f"for row {wrong[0] + 1}"
            )
        answers.append(logits.argmax(axis=1))
        confidences.append(cascade.decoder(tier).confidences(logits))
    thresholds = [tier.threshold or 0.0 for tier in cascade.tiers[1:-1]]
    later, tier_of = routing.cascade_answers(answers[1:], confidences[1:-1], thresholds)
    scored = Scored(
        targets=texts.targets,
        first=answers[0],
        later=later,
        last=answers[-1],
        confidences=confidences[0],
        labels=len(cascade.labels),
    )
    stages = [
        Stage(
            model=model,
            decoder=cascade.decoder(tier),
            batch_rows=tier.batch_rows,
            tokens=model.tokenize(texts.texts, texts.pairs),
            takes_tokens=place > 0 and model.vocabulary == models[place - 1].vocabulary,
            reached=tier_of >= place,
        )
        for place, (tier, model) in enumerate(zip(cascade.tiers, models, strict=True))
    ]
    tiers = TierAnswers(tuple(confidences[:-1]), tuple(answers), texts.targets)
    return Answered(tiers, stages, scored)
