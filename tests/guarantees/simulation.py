"""Simulated calibrations through the real selection code.

Each shape is a population of 200,000 rows whose loss at every threshold is known. Samples are drawn
from it again and again, a threshold is chosen on each, and the thresholds that break the goal are
counted. Their share must not exceed delta, beyond the noise of the number of simulations.
"""

from dataclasses import dataclass

import numpy as np

from tango_beam.guarantees import bounds, guarantees, means
from tango_beam.guarantees.thresholds import BELOW_ONE, lowest_threshold
from tango_beam.guarantees.tier_answers import TierAnswers

POPULATION = 200_000


@dataclass(frozen=True)
class Shape:
    """A population that both tiers have answered; with truth where the goal wants it."""

    name: str
    population: TierAnswers
    goal: float
    labelled: bool = False


def shapes(seed: int = 0) -> list[Shape]:
    rng = np.random.default_rng(seed)
    z = np.abs(rng.normal(0, 4.76, POPULATION))
    sure = 1 / (1 + np.exp(-z))
    right = rng.random(POPULATION) < sure
    modest = rng.random(POPULATION) < 0.5 + (sure - 0.5) * 0.7
    even = rng.random(POPULATION) < 0.5
    # One row in fifty is of a class that the first tier never gives, however sure it is.
    rare = right & (rng.random(POPULATION) > 0.02)
    ties = np.round(sure * 20) / 20
    # Nearly all rows at exactly 1, and together they break the goal by a hair.
    saturated = np.where(z > 0.9, 1.0, sure)
    return [
        Shape("calibrated", answers(sure, right), 0.95),
        Shape("over-confident", answers(sure**0.2, modest), 0.95),
        Shape("useless first tier", answers(sure, even), 0.95),
        Shape("rare class", answers(sure, rare), 0.95),
        Shape("ties", answers(ties, right), 0.95),
        Shape("saturated at 1.0", answers(saturated, right), 0.95),
        Shape("not monotone, accuracy retained", not_monotone(rng, sure), 0.98, labelled=True),
    ]


def answers(confidence: np.ndarray, agrees: np.ndarray) -> TierAnswers:
    second = np.ones(len(agrees), np.int64)
    return TierAnswers((confidence.astype(np.float32),), (np.where(agrees, 1, 0), second))


def not_monotone(rng: np.random.Generator, sure: np.ndarray) -> TierAnswers:
    """In a middle band of confidence the first tier is right where the second is often wrong."""
    band = (sure > 0.8) & (sure < 0.9)
    truth = np.ones(POPULATION, np.int64)
    second = np.where(rng.random(POPULATION) < np.where(band, 0.7, 0.93), 1, 0)
    first = np.where(rng.random(POPULATION) < np.where(band, 0.9, sure * 0.97), 1, 0)
    return TierAnswers((sure.astype(np.float32),), (first, second), truth)


class Truth:
    """The loss of every threshold over the whole population."""

    def __init__(self, shape: Shape) -> None:
        population = shape.population
        confidence = np.minimum(population.confidences[0], BELOW_ONE)
        order = np.argsort(-confidence, kind="stable")
        self._ordered = -confidence[order]
        first, last = (answers[order] for answers in population.answers)
        if shape.labelled:
            truth = population.truth[order]
            change = (first == truth).astype(int) - (last == truth).astype(int)
            kept = (last == truth).sum() + np.concatenate([[0], np.cumsum(change)])
            self._broken = kept / (last == truth).sum() < shape.goal
        else:
            wrong = np.concatenate([[0], np.cumsum(first != last)])
            self._broken = wrong / len(order) > 1 - shape.goal

    def accepted(self, threshold: float) -> int:
        if threshold >= 1:
            return 0
        return int(np.searchsorted(self._ordered, -np.float32(threshold), side="right"))

    def broken(self, threshold: float) -> bool:
        return bool(self._broken[self.accepted(threshold)])

    def ideal(self) -> float:
        """The least escalation that keeps the goal."""
        ends = np.append(np.flatnonzero(np.diff(self._ordered)) + 1, len(self._ordered))
        fine = ends[~self._broken[ends]]
        return 1 - fine.max(initial=0) / len(self._ordered)


def choose(shape: Shape, sample: TierAnswers, delta: float, seed: int, bound: str) -> float:
    if bound == "plain":
        # What a sample looks like is no promise: this is the swap that must fail.
        allowed = int((1 - shape.goal) * len(sample))
        wrong = sample.answers[0] != sample.last
        return lowest_threshold(sample.confidences[0], wrong, allowed)
    if shape.labelled:
        fit = np.arange(len(sample)) < len(sample) // 5
        return means.accuracy_retained(
            sample.take(fit), sample.take(~fit), shape.goal, delta, seed
        ).thresholds[0]
    return guarantees.agreement(sample, shape.goal, delta).thresholds[0]


def simulate(
    shape: Shape, delta: float, rows: int, times: int, bound: str = "exact"
) -> dict[str, float]:
    """Share of broken promises, and mean escalation beside the least that would do."""
    rng = np.random.default_rng(1)
    truth = Truth(shape)
    broken, escalated, walked = 0, 0.0, 0.0
    allowed = bounds.most_errors(rows, 1 - shape.goal, delta)
    for number in range(times):
        sample = shape.population.take(rng.integers(0, POPULATION, rows))
        threshold = choose(shape, sample, delta, number, bound)
        broken += truth.broken(threshold)
        escalated += 1 - truth.accepted(threshold) / POPULATION
        if not shape.labelled:
            wrong = sample.answers[0] != sample.last
            walk = lowest_threshold(sample.confidences[0], wrong, allowed)
            walked += 1 - truth.accepted(walk) / POPULATION
    return {
        "broken": broken / times,
        "noise": 3 * (delta * (1 - delta) / times) ** 0.5,
        "escalated": escalated / times,
        "least": truth.ideal(),
        "walk": walked / times,
    }
