"""What the rows of a calibration say of other goals than the one that was asked for."""

from __future__ import annotations

from dataclasses import dataclass

from tango_beam.guarantees import guarantees
from tango_beam.guarantees.tier_answers import TierAnswers

OTHER_GOALS = (0.999, 0.995, 0.99, 0.98, 0.97, 0.95, 0.9)


@dataclass(frozen=True)
class Offer:
    """What the same rows say of another goal of agreement: a description, no promise.

    It would have been signed had it been the one goal; picking it afterwards is another attempt.

    Attributes:
      agreement: the goal.
      met: whether it can be signed.
      threshold: of the first tier.
      escalated: share of the sample.
    """

    agreement: float
    met: bool
    threshold: float
    escalated: float


def offers(answers: TierAnswers, delta: float, corpus: int | None) -> tuple[Offer, ...]:
    """Goals of agreement with the threshold and the escalation that each would take."""
    if len(answers.answers) > 2 or answers.called:
        return ()
    found = []
    for goal in OTHER_GOALS:
        one = guarantees.agreement(answers, goal, delta, corpus)
        tier = answers.cascaded(one.thresholds)[1]
        found.append(Offer(goal, one.met, one.thresholds[0], float((tier > 1).mean())))
    return tuple(found)
