"""What the rows of a calibration say of other goals than the one that was asked for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tango_beam.guarantees import guarantees
from tango_beam.guarantees.tier_answers import TierAnswers, path_of_thresholds

OTHER_GOALS = (0.999, 0.995, 0.99, 0.98, 0.97, 0.95, 0.9)


@dataclass(frozen=True)
class Offer:
    """What the same rows say of another goal of agreement: a description, no promise.

    It would have been signed had it been the one goal; picking it afterwards is another attempt.

    Attributes:
      agreement: the goal.
      met: whether it can be signed.
      thresholds: of every tier but the last.
      escalated: share of the sample.
    """

    agreement: float
    met: bool
    thresholds: tuple[float, ...]
    escalated: float


def offers(
    fit: TierAnswers,
    answers: TierAnswers,
    delta: float,
    corpus: int | None,
    path: Sequence[tuple[float, ...]] = (),
) -> tuple[Offer, ...]:
    """Goals of agreement with the thresholds and the escalation that each would take.

    Args:
      fit: rows that give the path of three tiers or more, none of them among those that test.
      answers: the rows that test.
      delta: level.
      corpus: rows of the corpus; None where they are not counted.
      path: to be tested in place of that of `fit`.
    """
    chain = len(answers.answers) > 2
    if answers.called or (chain and not path and not len(fit)):
        return ()
    path = path or (path_of_thresholds(fit) if chain else ())
    found = []
    for goal in OTHER_GOALS:
        if chain:
            one = guarantees.path_agreement(fit, answers, goal, delta, corpus, path)
        else:
            one = guarantees.agreement(answers, goal, delta, corpus)
        tier = answers.cascaded(one.thresholds)[1]
        found.append(Offer(goal, one.met, one.thresholds, float((tier > 1).mean())))
    return tuple(found)
