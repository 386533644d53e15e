"""Simulated calibrations through the real selection code: `python -m benchmarks.promise`.

Each shape is a population of 200,000 rows whose loss at every threshold is known; samples are drawn
from it again and again, a threshold is chosen, and the share of thresholds that break the goal is
counted. It must not exceed delta, beyond the noise of so many simulations.
"""

import argparse
import sys
from dataclasses import dataclass

import numpy as np

from tango_beam.calibration import bounds, signing
from tango_beam.calibration.judged import Judged
from tango_beam.calibration.threshold import BELOW_ONE, lowest_threshold

POPULATION = 200_000


@dataclass(frozen=True)
class Shape:
    """A population: both tiers' answers and the first's confidence; truth where the goal wants it."""

    name: str
    population: Judged
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
        Shape("calibrated", judged(sure, right), 0.95),
        Shape("over-confident", judged(sure**0.2, modest), 0.95),
        Shape("useless first tier", judged(sure, even), 0.95),
        Shape("rare class", judged(sure, rare), 0.95),
        Shape("ties", judged(ties, right), 0.95),
        Shape("saturated at 1.0", judged(saturated, right), 0.95),
        Shape("not monotone, accuracy retained", not_monotone(rng, sure), 0.98, labelled=True),
    ]


def judged(confidence: np.ndarray, agrees: np.ndarray) -> Judged:
    second = np.ones(len(agrees), np.int64)
    return Judged((confidence.astype(np.float32),), (np.where(agrees, 1, 0), second))


def not_monotone(rng: np.random.Generator, sure: np.ndarray) -> Judged:
    """In a middle band of confidence the first tier is right where the second is often wrong."""
    band = (sure > 0.8) & (sure < 0.9)
    truth = np.ones(POPULATION, np.int64)
    second = np.where(rng.random(POPULATION) < np.where(band, 0.7, 0.93), 1, 0)
    first = np.where(rng.random(POPULATION) < np.where(band, 0.9, sure * 0.97), 1, 0)
    return Judged((sure.astype(np.float32),), (first, second), truth)


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


def choose(shape: Shape, sample: Judged, delta: float, seed: int, bound: str) -> float:
    if bound == "plain":
        # What a sample looks like is no promise: this is the swap that must fail.
        allowed = int((1 - shape.goal) * len(sample))
        wrong = sample.answers[0] != sample.last
        return lowest_threshold(sample.confidences[0], wrong, allowed)
    if shape.labelled:
        fit = np.arange(len(sample)) < len(sample) // 5
        return signing.accuracy_retained(
            sample.take(fit), sample.take(~fit), shape.goal, delta, seed
        ).thresholds[0]
    return signing.agreement(sample, shape.goal, delta).thresholds[0]


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


def main() -> None:
    parser = argparse.ArgumentParser(description="Share of simulated promises that are broken.")
    parser.add_argument("--times", type=int, default=10_000)
    parser.add_argument("--rows", type=int, default=1000)
    parser.add_argument("--bound", choices=("exact", "plain"), default="exact")
    parser.add_argument("--only", help="shapes whose name holds this")
    ours = parser.parse_args()
    failed = False
    for shape in shapes():
        if ours.only and ours.only not in shape.name:
            continue
        for delta in (0.1, 0.05):
            found = simulate(shape, delta, ours.rows, ours.times, ours.bound)
            fine = found["broken"] <= delta + found["noise"]
            failed |= not fine
            print(
                f"{shape.name}, goal {shape.goal}, delta {delta}: {found['broken']:.4f} broken "
                f"({'fine' if fine else 'TOO MANY'}); escalated {found['escalated']:.4f}, the least "
                f"that would do {found['least']:.4f}, exact walk {found['walk']:.4f}",
                flush=True,
            )
    sys.exit(failed)


if __name__ == "__main__":
    main()
