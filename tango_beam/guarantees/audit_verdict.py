"""What an audit says of a certificate. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from tango_beam.guarantees import bounds
from tango_beam.json_record import JsonRecord

LEVEL = 0.01
ALARM, NO_CONTRADICTION, TOO_FEW = "alarm", "no contradiction", "too few to tell"
NO_GOAL = "no agreement certified"


@dataclass(frozen=True)
class AuditVerdict(JsonRecord):
    """What an audit says of a promise of agreement.

    Attributes:
      verdict: one of `ALARM`, `NO_CONTRADICTION`, `TOO_FEW` and `NO_GOAL`.
      goal: share of all rows on which cascade and last tier agree; None: none was certified.
      checked: drawn rows to which the last tier gave an answer of its own.
      disagreements: among them.
      accepted_share: share of all answered rows that were drawn from: those that an earlier tier
        answers; all, where the last tier may answer from an exit.
      disagreement: estimated share of all rows that disagree; None where none was checked.
      interval: exact bounds on that share, each at `level`.
      level: probability that one bound does not hold.
    """

    verdict: str
    goal: float | None
    checked: int
    disagreements: int
    accepted_share: float
    disagreement: float | None
    interval: tuple[float, float]
    level: float = LEVEL


def conclude(
    checked: int, disagreements: int, accepted: int, answered: int, goal: float | None
) -> AuditVerdict:
    """Compares an audit with a promise of agreement.

    Alarm: the share of the rows drawn from times the lower exact bound on disagreement among them
    (at `LEVEL`) is over 1 - goal, so that the promise does not hold on this corpus. Too few to
    tell: no alarm, but more disagreement was seen than the goal allows, or twice as much is still
    possible.

    Args:
      checked: drawn rows to which the last tier gave an answer of its own.
      disagreements: among them.
      accepted: rows drawn from: accepted ones, audited ones included; with exits in the last tier,
        all that were answered.
      answered: accepted and escalated rows.
      goal: share of all rows on which cascade and last tier agree; None: none was certified.
    """
    share = accepted / answered if answered else 0.0
    low = share * bounds.lower(disagreements, checked, LEVEL) if checked else 0.0
    high = share * bounds.upper(disagreements, checked, LEVEL) if checked else share
    if goal is None:
        verdict = NO_GOAL
    elif low > 1 - goal:
        verdict = ALARM
    else:
        seen = share * disagreements / max(1, checked)
        unclear = seen > 1 - goal or high > 2 * (1 - goal)
        verdict = TOO_FEW if unclear else NO_CONTRADICTION
    disagreement = share * disagreements / checked if checked else None
    return AuditVerdict(verdict, goal, checked, disagreements, share, disagreement, (low, high))
