"""The best point of a chain of tiers on a grid of its thresholds, and closer points near it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from tango_beam.arrays import Float32, Float64
from tango_beam.guarantees.chains import Budget, Candidate, Chain, Demand, routed
from tango_beam.guarantees.threshold_grids import (
    Choice,
    best_point,
    bins_of,
    near,
    quantile_grid,
    swaps,
    table,
)
from tango_beam.routing import is_complex


@dataclass(frozen=True)
class Search:
    """How far a search goes.

    Attributes:
      tiers: the most that a chain has.
      points: quantiles a threshold where there are two of them, three, and four or more.
      gap: the fewest rows between two quantiles, of the rows that reach the tier. Finer grids find
        next to nothing more on the choosing rows, coarser ones do no better on fresh rows.
      worth: so many times cheaper than the last tier alone a chain must be to pay.
      tier_worth: so many times better a chain must be for each tier that it has more; its weights
        and its moving parts are no part of a row's cost.
    """

    tiers: int = 4
    points: tuple[int, int, int] = (192, 64, 24)
    gap: int = 5
    worth: float = 1.1
    tier_worth: float = 1.02

    def resolution(self, thresholds: int, rows: int) -> tuple[int, int]:
        """Quantiles a threshold, and rows between them; one threshold is tried everywhere."""
        if thresholds == 1:
            return rows, 1
        return self.points[min(max(thresholds, 2), 4) - 2], self.gap


class Point(NamedTuple):
    """A chain at thresholds of a grid that a choice asks for, and what is least there, in all."""

    least: float
    tiers: Sequence[Candidate]
    choice: Choice
    thresholds: tuple[float, ...]


@dataclass(frozen=True)
class Wanted:
    """Demands or a budget, as measures of a chain: its cost, what demands count, its escalation."""

    last: Candidate
    demands: tuple[Demand, ...]
    budget: Budget | None
    search: Search

    @property
    def choice(self) -> Choice:
        rows = len(self.last)
        if self.budget is None:
            allowed = (demand.allowed(rows) for demand in self.demands)
            return Choice(0, 1, (np.inf, *allowed))
        share = 1.0 if self.budget.escalation is None else self.budget.escalation
        return Choice(1, 0, (self.most_cost * rows, np.inf, share * rows))

    @property
    def most_cost(self) -> float:
        """Mean cost a row that a chain may have to pay, and to keep within a budget."""
        paying = self.last.mean_cost / self.search.worth
        asked = None if self.budget is None else self.budget.cost
        return paying if asked is None else min(paying, asked)

    def cheapest(self, value: float) -> Choice:
        """The least cost at another share of the first demand."""
        allowed = replace(self.demands[0], value=value, slack=0).allowed(len(self.last))
        limits = (np.inf, np.inf, np.inf) if self.budget else self.choice.limits
        return Choice(0, 1, (np.inf, allowed, *limits[2:]))

    def steps(self, tiers: Sequence[Candidate]) -> list[list[Float64]]:
        """Steps of every measure."""
        found = [[tier.costs for tier in tiers]]
        for demand in self.demands:
            found.append(swaps([demand.losses(tier.right) for tier in tiers]))
        if self.budget is not None:
            found.append([np.full(len(tier), float(tier is self.last)) for tier in tiers])
        return found

    def best(
        self, tiers: Sequence[Candidate], grids: Sequence[Float32], choices: Sequence[Choice]
    ) -> list[Point]:
        """What a grid has for each choice that some point of it keeps the limits of."""
        bins = [bins_of(tier.confidences, grid) for tier, grid in zip(tiers, grids, strict=False)]
        shape = tuple(map(len, grids))
        tables = [table(steps, bins, shape) for steps in self.steps(tiers)]
        found = []
        for choice in choices:
            place = best_point(tables, choice)
            if place is not None:
                at = tuple(float(grid[one]) for grid, one in zip(grids, place, strict=True))
                found.append(Point(float(tables[choice.least][place]), tiers, choice, at))
        return found

    def first_grids(self, tiers: Sequence[Candidate]) -> list[Float32]:
        """Quantiles of all rows."""
        points, gap = self.search.resolution(len(tiers) - 1, len(self.last))
        return [quantile_grid(tier.confidences, points, gap) for tier in tiers[:-1]]

    def refined(self, point: Point) -> Point:
        """A better point near one that keeps its limits, or the same.

        First among quantiles of the rows that reach each tier there, then closer by.
        """
        count = len(point.thresholds)
        if count < 2:
            return point
        points, gap = self.search.resolution(count, len(self.last))
        for part in (1.0, 2 / points):
            waiting, grids = np.ones(len(self.last), bool), []
            for tier, threshold in zip(point.tiers, point.thresholds, strict=False):
                limit = np.float32(threshold)
                closer = quantile_grid(near(tier.confidences[waiting], limit, part), points, gap)
                grids.append(np.union1d(closer, limit))
                waiting &= is_complex(tier.confidences, threshold)
            point = next(iter(self.best(point.tiers, grids, [point.choice])), point)
        return point

    def routed(self, point: Point) -> Chain:
        return routed(point.tiers, point.thresholds, self.demands)
