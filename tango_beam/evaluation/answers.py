"""Every tier's answer to every row, and what the tiers behind the first answer together."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tango_beam import routing
from tango_beam.answers.margins import MarginDecoder
from tango_beam.answers.span import SpanDecoder
from tango_beam.answers.task import MULTI_LABEL, SCORE, SPAN
from tango_beam.arrays import Float32
from tango_beam.config import CascadeConfig, TierConfig
from tango_beam.errors import JobError
from tango_beam.evaluation import metrics
from tango_beam.evaluation.costs import Stage
from tango_beam.evaluation.curves import Scored
from tango_beam.io.labelled import LabelledTexts
from tango_beam.models.logits import logits_of
from tango_beam.models.protocol import Model

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Answered:
    """All rows, answered by all tiers.

    Attributes:
      tiers: the answers of each tier, as `metrics` takes them.
      stages: the loaded tiers, ready to be timed.
      scored: the rows as the curves take them.
    """

    tiers: tuple[npt.NDArray, ...]
    stages: list[Stage]
    scored: Scored


def outputs_of(
    cascade: CascadeConfig, texts: LabelledTexts, models: Sequence[Model]
) -> list[Float32]:
    """Scores every row with every tier; the tiers' raw outputs.

    Args:
      cascade: its labels order the columns.
      texts: the rows.
      models: the loaded tiers, in order.

    Raises:
      JobError: outputs of which a tier can make no answer, such as scores that are not finite.
    """
    found = []
    for number, (tier, model) in enumerate(zip(cascade.tiers, models, strict=True), start=1):
        logger.info("scoring %s rows with tier %s", f"{len(texts):,}", number)
        outputs = logits_of(model, texts.texts, texts.pairs, labels=cascade.labels)
        for row, complaint in cascade.decoder(tier).complaints(outputs).items():
            raise JobError(f"tier {tier.source}: {complaint} for row {row + 1}")
        found.append(outputs)
    return found


def answer(
    cascade: CascadeConfig,
    texts: LabelledTexts,
    models: Sequence[Model],
    outputs: Sequence[Float32],
) -> Answered:
    """Makes answers of the tiers' outputs.

    Args:
      cascade: the thresholds of its later tiers stay as they are.
      texts: the rows.
      models: the loaded tiers, in order.
      outputs: of each tier.
    """
    both = list(zip(cascade.tiers, outputs, strict=True))
    answers = [of_tier(cascade, tier, found, texts) for tier, found in both]
    confidences = [cascade.decoder(tier).confidences(found) for tier, found in both[:-1]]
    thresholds = [tier.threshold or 0.0 for tier in cascade.tiers[1:-1]]
    later, tier_of = routing.cascade_answers(answers[1:], confidences[1:], thresholds)
    targets = _targets(cascade, texts)
    scored = Scored(targets, answers[0], later, answers[-1], confidences[0])
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
    return Answered(tuple(answers), stages, scored)


def of_tier(
    cascade: CascadeConfig, tier: TierConfig, outputs: Float32, texts: LabelledTexts
) -> npt.NDArray:
    """A tier's answers, as `metrics` takes them."""
    decoder = cascade.decoder(tier)
    if isinstance(decoder, SpanDecoder):
        assert texts.pairs is not None
        return metrics.of_texts(decoder.texts(outputs, texts.pairs), texts.targets)
    if not isinstance(decoder, MarginDecoder):
        return outputs.argmax(axis=1)
    decisions = decoder.decisions(outputs)
    if cascade.task.kind == MULTI_LABEL:
        return decisions
    return np.stack([outputs[:, 0], decisions.sum(axis=1)], axis=1).astype(np.float64)


def _targets(cascade: CascadeConfig, texts: LabelledTexts) -> npt.NDArray:
    """The right answers, as `metrics` takes them."""
    kind, targets = cascade.task.kind, texts.targets
    if kind == SPAN:
        return np.ones((len(texts), 2))
    if kind == SCORE:
        buckets = (targets >= np.array(cascade.task.cuts, np.float32)).sum(axis=1, keepdims=True)
        return np.hstack([targets, buckets]).astype(np.float64)
    return targets.astype(bool) if kind == MULTI_LABEL else targets
