"""How many rows it takes to sign for a filter: told by a first, small draw that tests nothing."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from tango_beam.calibration.goals import Goals
from tango_beam.errors import RefusedError
from tango_beam.guarantees import filters
from tango_beam.guarantees.filters import PRECISION, RECALL, Promise
from tango_beam.guarantees.tier_answers import TierAnswers

# Rows of the first draw, of which the label's share is taken; they also fit temperatures and paths.
FIRST_DRAW_ROWS = 2_000
# So many times the fewest rows are tested by default; half of the errors that the goal allows then
# pass the test.
TIMES_THE_FEWEST = 5


@dataclass(frozen=True)
class Need:
    """What a promise takes.

    Attributes:
      promise: which.
      share: of the first draw, of the rows that tell of it.
      seen: rows of the first draw.
      fewest: rows that can sign for it, if not one of them counts against it.
    """

    promise: Promise
    share: float
    seen: int
    fewest: int


def promises(goals: Goals) -> list[Promise]:
    """What is promised of a filter's label."""
    given = (RECALL, goals.recall), (PRECISION, goals.precision)
    return [Promise(goal, value, goals.share) for goal, value in given if value is not None]


def needs(goals: Goals, first_draw: TierAnswers) -> Iterator[Need]:
    """What each promise of a filter takes, by the share of its rows in a first draw.

    Recall is told by rows that the last tier calls the label, precision by those that the first
    tier does too.
    """
    called, rows = first_draw.called, len(first_draw)
    for promise in promises(goals):
        two_tiers = len(called) == 2 and promise.goal != RECALL
        telling = called[-1] & called[0] if two_tiers else called[-1]
        share = max(1, int(telling.sum())) / max(1, rows)
        fewest = filters.rows_needed(promise.value, promise.delta, share)
        yield Need(promise, share, rows, fewest)


def refuse_too_few(found: int, needed: list[Need], label: str, corpus: int, whole: bool) -> None:
    """Refuses a sample that cannot sign, with the number of rows that could.

    Args:
      found: rows of the sample.
      needed: what the promises take.
      label: the filter's.
      corpus: rows that there are.
      whole: whether all of them may be drawn.

    Raises:
      RefusedError: says how many rows it takes.
    """
    need = max(needed, key=lambda need: need.fewest)
    if found >= need.fewest:
        return
    goal, value, delta = need.promise
    more = f" (--sample_rows {need.fewest} takes more)" if need.fewest <= corpus else ""
    raise RefusedError(
        f"--{goal} {label}={value}: expected at least {need.fewest:,} rows to test with, found "
        f"{found:,}: {need.share:.2%} of a first draw of {need.seen:,} rows tell of it, and "
        f"fewer cannot sign for it at delta {delta:.4g}, even without a single error. The corpus "
        f"has {corpus:,} rows, of which {'all' if whole else 'a tenth'} may be drawn"
        + ("" if whole else more)
    )
