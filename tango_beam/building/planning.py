"""Which chain to build: candidates' answers on the rows that choose, and the planner."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa

from tango_beam.arrays import Bool
from tango_beam.building.measured import Measured, costs
from tango_beam.building.options import BuildOptions
from tango_beam.building.teacher import Teacher
from tango_beam.calibration import kinds
from tango_beam.calibration.goals import Goals
from tango_beam.calibration.score_sample import TierLogits
from tango_beam.config import CascadeConfig
from tango_beam.guarantees import bounds, plans
from tango_beam.guarantees.chain_search import Search
from tango_beam.guarantees.chains import Budget, Candidate, Demand, aimed_share
from tango_beam.guarantees.plans import Plan

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Planned:
    """The chain that was chosen.

    Attributes:
      plan: see `guarantees.plans.Plan`.
      cascade: its tiers, the second tier last.
      tiers: the chain's, as they were measured, the second tier last.
      texts: of the rows that `choose` and that `sign`, a column, or two for pairs.
    """

    plan: Plan
    cascade: CascadeConfig
    tiers: tuple[Measured, ...]
    texts: Mapping[str, Sequence[pa.Array]]

    def logits(self, part: str) -> TierLogits:
        """What the chain's tiers say of the rows that `choose` or `sign`."""
        return _logits(self.tiers, part, self.texts[part])


def cascade_of(
    measured: Sequence[Measured], teacher: Teacher, goals: Goals, name: str
) -> CascadeConfig:
    """A cascade of some tiers, the last of them the second tier; its thresholds mean nothing."""
    *before, last = (one.settings.tier for one in measured)
    tiers = (*(replace(tier, threshold=0.5) for tier in before), last)
    return CascadeConfig(
        tiers, teacher.labels, name, pair=teacher.pair, task=teacher.task, filter=goals.label
    )


def plan(
    measured: Sequence[Measured],
    teacher: Teacher,
    options: BuildOptions,
    texts: Mapping[str, Sequence[pa.Array]],
    name: str,
) -> Planned:
    """Chooses the cheapest chain that keeps the goals on the rows that choose.

    Args:
      measured: candidates, the second tier last.
      teacher: the second tier.
      options: say the goals.
      texts: of the rows that `choose` and that `sign`.
      name: of the cascade.
    """
    goals = options.goals
    whole = cascade_of(measured, teacher, goals, name)
    rows = _logits(measured, "choose", texts["choose"])
    fitted = kinds.fitted(whole, rows)
    answers = rows.answers(fitted)
    right = [answer == answers.last for answer in answers.answers]
    if goals.label is not None:
        right = [called == answers.called[-1] for called in answers.called]
    confidences = (*answers.confidences, np.ones(len(rows), np.float32))
    each = zip(measured, confidences, right, strict=True)
    *students, last = (
        Candidate(one.name, sure, same, costs(one.settings, texts["choose"]))
        for one, sure, same in each
    )
    called = answers.called[-1] if goals.label is not None else None
    wanted = _wanted(goals, options, len(measured[-1].sign), called)
    found = plans.plan(students, last, wanted, Search(tiers=options.tiers))
    logger.info("%s", found.why)
    by_name = {one.name: one for one in measured}
    tiers = [by_name[each] for each in found.chain.tiers]
    if tiers[-1] is not measured[-1]:
        # The second tier stays in the chain, to be held against, even where no row needs it.
        tiers.append(measured[-1])
    return Planned(found, cascade_of(tiers, teacher, goals, name), tuple(tiers), texts)


def _logits(measured: Sequence[Measured], part: str, texts: Sequence[pa.Array]) -> TierLogits:
    return TierLogits(
        tuple(getattr(one, part) for one in measured),
        tuple(one.settings.whole for one in measured),
        contexts=texts[1] if len(texts) > 1 else None,
    )


def agreement(
    student: Measured, last: Measured, teacher: Teacher, texts: Sequence[pa.Array]
) -> float:
    """Share of the rows that choose to which a student gives the second tier's answer, alone.

    Args:
      student: measured.
      last: the second tier.
      teacher: the same.
      texts: of the rows.
    """
    cascade = cascade_of((student, last), teacher, Goals(agreement=0.5), student.name)
    answers = _logits((student, last), "choose", texts).answers(cascade)
    return float(np.mean(answers.answers[0] == answers.last))


def _wanted(
    goals: Goals, options: BuildOptions, signing: int, called: Bool | None
) -> tuple[Demand, ...] | Budget:
    """Goals as the planner has them, each with what fresh rows need beyond it."""
    if goals.has_budget:
        return Budget(escalation=goals.max_escalation)
    demands = []
    for name in ("agreement", "recall", "precision"):
        value = getattr(goals, name)
        if value is None:
            continue
        of_label = name != "agreement"
        counted = called if of_label and called is not None else None
        rows = signing if counted is None else int(signing * float(counted.mean()))
        # Signing goes along the plan's path, so it need not pass at the plan's own point.
        enough = rows >= bounds.fewest_rows(value, goals.share)
        aim = aimed_share(value, goals.share, rows, probability=0.5) if enough else value
        slack = max(0.0, aim - value)
        demands.append(Demand(value, slack, counted, precision=name == "precision"))
    return tuple(demands)
