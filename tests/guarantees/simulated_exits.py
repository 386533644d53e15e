"""Simulated calibrations of exits: a cascade whose second tier may be left behind each layer.

A population of 200,000 rows is drawn once: how hard a row is decides how often the first tier, and
each exit, says something else than the whole second tier, and how sure they are of it. On each
sample the real selection code opens exits and picks a point of their path; what the point breaks is
counted over the population.
"""

from dataclasses import dataclass

import numpy as np

from tango_beam.calibration.goals import EXITS_FIT_PART
from tango_beam.guarantees import guarantees
from tango_beam.guarantees.chains import Demand, aimed_share
from tango_beam.guarantees.exit_paths import path_of_exits
from tango_beam.guarantees.thresholds import lowest_threshold
from tango_beam.guarantees.tier_answers import TierAnswers

POPULATION = 200_000
EXITS = 5
# Of a row in the first tier, and in the layers before each exit and behind the last.
SECONDS = (0.1, *[1.0] * (EXITS + 1))
_SPENT = np.cumsum(SECONDS) / (EXITS + 1)


@dataclass(frozen=True)
class Case:
    """A population, answered by a first tier, by every exit, and by the whole second tier."""

    name: str
    population: TierAnswers
    goal: float
    rows: int = 2000


def cases(seed: int = 0) -> list[Case]:
    rng = np.random.default_rng(seed)
    return [
        Case("exits", answered(rng, skill=0.0), 0.95),
        Case("exits, over-confident", answered(rng, skill=0.0, boast=0.3), 0.95),
        Case("exits, early ones better than late ones", answered(rng, skill=-0.3), 0.95),
    ]


def answered(rng: np.random.Generator, *, skill: float, boast: float = 1.0) -> TierAnswers:
    """Answers and confidences of all.

    Args:
      rng: draws the rows.
      skill: how much surer an exit is than the one before it.
      boast: power that confidences are raised to; under 1, all are surer than they should be.
    """
    hard = rng.normal(0, 1.0, POPULATION)
    whole = np.ones(POPULATION, np.int64)
    answers, confidences = [], []
    for number in range(EXITS + 1):
        margin = 4.0 - 2.2 * hard + skill * number + rng.normal(0, 1.0, POPULATION)
        sure = 1 / (1 + np.exp(-np.abs(margin)))
        answers.append(np.where(rng.random(POPULATION) < sure, whole, 0))
        confidences.append((2 * sure - 1).astype(np.float32) ** np.float32(boast))
    return TierAnswers(tuple(confidences), (*answers, whole))


def simulate(case: Case, delta: float, times: int, *, plain: bool = False) -> dict[str, float]:
    """Share of broken promises, and means of what they take.

    Returns:
      `broken`; `noise`, three standard deviations of it; `reached`, the mean share of rows that
      reach the whole second tier; `cost`, that of the second tier alone being 1.
    """
    rng = np.random.default_rng(1)
    broken, reached, cost = 0, 0.0, 0.0
    fit = round(EXITS_FIT_PART * case.rows)
    aim = aimed_share(case.goal, delta, case.rows - fit, fit, 0.5)
    demand = Demand(case.goal, max(0.0, aim - case.goal))
    for _ in range(times):
        sample = case.population.take(rng.integers(0, POPULATION, case.rows))
        parts = sample.take(np.arange(fit)), sample.take(np.arange(fit, case.rows))
        point = _plain(sample, case.goal) if plain else _signed(*parts, demand, delta)
        given, tier = case.population.cascaded(point)
        broken += float((given != case.population.last).mean()) > 1 - case.goal
        reached += float((tier > EXITS + 1).mean())
        cost += float(_SPENT[tier - 1].mean())
    noise = 3 * (delta * (1 - delta) / times) ** 0.5
    means = {"reached": reached / times, "cost": cost / times}
    return {"broken": broken / times, "noise": noise, **means}


def _signed(fit: TierAnswers, test: TierAnswers, demand: Demand, delta: float) -> tuple[float, ...]:
    path = path_of_exits(fit, SECONDS, 2, demand)
    return guarantees.path_agreement(fit, test, demand.value, delta, path=path).thresholds


def _plain(sample: TierAnswers, goal: float) -> tuple[float, ...]:
    """The cheapest point of a path that looks good on the rows that it was read off."""
    wrong = [answer != sample.last for answer in sample.answers[:-1]]
    found: tuple[float, ...] = (1.0,) * len(wrong)
    for allowed in range(int((1 - goal) * len(sample)) + 1):
        point = tuple(
            lowest_threshold(sure, flags, allowed)
            for sure, flags in zip(sample.confidences, wrong, strict=True)
        )
        if sample.disagrees(point).mean() <= 1 - goal:
            found = point
    return found
