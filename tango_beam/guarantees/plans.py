"""Which chain of tiers costs least and keeps what is wanted, on rows that all tiers have answered.

A plan is a choice and promises nothing: fresh rows sign for it. A chain of two is searched at every
confidence. A longer one is searched on a grid of quantiles, at all of its points at once, and then
on finer grids around the best point. Errors of fresh rows exceed those of the choosing rows, since
the search found the thresholds that look best on these: that is what `aimed_share` allows for.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np

from tango_beam.guarantees.chain_search import Point, Search, Wanted
from tango_beam.guarantees.chains import Budget, Candidate, Chain, Demand, routed
from tango_beam.guarantees.threshold_grids import ROUNDING, Choice

LADDER = (0.9, 0.92, 0.94, 0.95, 0.96, 0.97, 0.98, 0.985, 0.99, 0.995, 0.998)
PATH_POINTS = 25
# Chains that are searched closer for each agreement of the front.
CLOSER = 4


@dataclass(frozen=True)
class Plan:
    """The chain to build, and what else was found.

    Attributes:
      chain: the cheapest that keeps the demands, or the one within the budget that agrees most; the
        last tier alone where no chain pays.
      alone: the last tier alone.
      others: the best of each chain that was not chosen, the cheapest first (the one that agrees
        most first, under a budget).
      front: the cheapest of all chains for a ladder of agreements (of the first demand's shares
        where that is no agreement; empty where it is a precision).
      path: the chosen tiers, with the last tier behind them, at thresholds from the safest to the
        cheapest, the plan's among them. Fresh rows may test them in this order, each at the whole
        of delta, up to the first failure. Under a budget, the plan's alone.
      pays: whether the chain is cheaper than the last tier alone by what was asked.
      why: that in a sentence, with figures.
    """

    chain: Chain
    alone: Chain
    others: tuple[Chain, ...]
    front: tuple[Chain, ...]
    path: tuple[Chain, ...]
    pays: bool
    why: str


def plan(
    students: Sequence[Candidate],
    last: Candidate,
    wanted: Sequence[Demand] | Budget,
    search: Search | None = None,
) -> Plan:
    """The chain of students, with or without the last tier, that does best what is wanted.

    Tiers stand in a chain in the order of their mean cost; a student that costs as much as the last
    tier has no place in one.

    Args:
      students: what may stand before the last tier.
      last: the reference, right on every row.
      wanted: demands, all of which are to be kept at the least cost; or a budget.
      search: how far to look.

    Raises:
      ValueError: nothing wanted, tiers of different rows or of one name, or a last tier that is
        wrong.
    """
    search = search or Search()
    _check(students, last)
    if not isinstance(wanted, Budget) and not wanted:
        raise ValueError("expected demands or a budget, found none")
    budget = wanted if isinstance(wanted, Budget) else None
    # Under a budget, the share that there is a front of.
    demands = (Demand(LADDER[0]),) if isinstance(wanted, Budget) else tuple(wanted)
    task = Wanted(last, demands, budget, search)
    alone = routed([last], (), demands)
    found, front = _surveyed(task, _chains(students, last, search.tiers))
    chain, others = _chosen(found, alone, budget, search)
    pays = chain != alone
    path = _path(task, students, chain) if pays and budget is None else (chain,)
    why = _gain(chain, alone) if pays else _no_gain(students, others, task)
    return Plan(chain, alone, others, front, path, pays, why)


def _surveyed(
    task: Wanted, chains: Iterator[list[Candidate]]
) -> tuple[list[Chain], tuple[Chain, ...]]:
    """The best of every chain that can do what is wanted, and the front of them all."""
    rungs = {} if task.demands[0].precision else {goal: task.cheapest(goal) for goal in LADDER}
    found: list[Chain] = []
    offers: dict[Choice, list[Point]] = {choice: [] for choice in rungs.values()}
    choices = list(dict.fromkeys([task.choice, *offers]))
    for tiers in chains:
        points = task.best(tiers, task.first_grids(tiers), choices)
        for point in points:
            if point.choice == task.choice:
                found.append(task.routed(task.refined(point)))
            if point.choice in offers:
                offers[point.choice].append(point)
    front = []
    for goal, choice in rungs.items():
        closest = sorted(offers[choice], key=lambda point: point.least)[:CLOSER]
        tried = [task.routed(task.refined(point)) for point in closest]
        keeping = [chain for chain in (*found, *tried) if chain.kept[0] >= goal - ROUNDING]
        front.append(min(keeping, key=lambda chain: chain.cost))
    return found, tuple(dict.fromkeys(front))


def _check(students: Sequence[Candidate], last: Candidate) -> None:
    names = [tier.name for tier in (*students, last)]
    if len(set(names)) < len(names):
        raise ValueError(f"expected tiers of different names, found {', '.join(names)}")
    for student in students:
        if len(student) != len(last):
            raise ValueError(
                f"{student.name}: expected the {len(last)} rows of {last.name}, found "
                f"{len(student)}"
            )
    if not last.right.all():
        raise ValueError(
            f"{last.name}: expected the last tier to be right on every row, since it is the "
            f"reference, found {int((~last.right).sum())} rows on which it is not"
        )


def _chains(students: Sequence[Candidate], last: Candidate, most: int) -> Iterator[list[Candidate]]:
    """Chains of up to so many tiers, in the order of their costs, short ones first."""
    cheaper = [tier for tier in students if tier.mean_cost < last.mean_cost]
    cheaper.sort(key=lambda tier: tier.mean_cost)
    for count in range(1, most + 1):
        for before in combinations(cheaper, count - 1):
            yield [*before, last]
        for tiers in combinations(cheaper, count):
            yield list(tiers)


def _chosen(
    found: Sequence[Chain], alone: Chain, budget: Budget | None, search: Search
) -> tuple[Chain, tuple[Chain, ...]]:
    """The best chain, or the last tier alone where that does not pay; and the others."""

    def value(chain: Chain) -> tuple[float, float]:
        return (chain.cost, 0.0) if budget is None else (1 - chain.agreement, chain.cost)

    def handicapped(chain: Chain) -> tuple[float, float, int]:
        extra = len(chain.tiers) - 1
        return (value(chain)[0] * search.tier_worth**extra, value(chain)[1], extra)

    # A tier that no row reaches makes the chain a shorter one, which is there too.
    real = [chain for chain in found if all(chain.reaching)]
    paying = [chain for chain in real if chain.cost * search.worth <= alone.cost]
    chain = min(paying, key=handicapped, default=alone)
    others = [other for other in real if other not in (chain, alone)]
    return chain, tuple(sorted(others, key=value))


def _path(task: Wanted, students: Sequence[Candidate], chain: Chain) -> tuple[Chain, ...]:
    """The chosen tiers at thresholds from the safest to the cheapest; see `Plan.path`."""
    by_name = {tier.name: tier for tier in students}
    tiers = [*(by_name[name] for name in chain.tiers if name in by_name), task.last]
    # A chain without the last tier never escalates to it.
    planned = (*chain.thresholds, 0.0)[: len(tiers) - 1]
    found = {planned: routed(tiers, planned, task.demands)}
    grids = task.first_grids(tiers)
    for part in np.linspace(1, 0, PATH_POINTS):
        demands = tuple(replace(one, slack=part * (1 - one.value)) for one in task.demands)
        at_part = replace(task, demands=demands)
        for point in at_part.best(tiers, grids, [at_part.choice]):
            refined = at_part.refined(point)
            found.setdefault(refined.thresholds, routed(tiers, refined.thresholds, task.demands))
    return tuple(sorted(found.values(), key=lambda one: -one.cost))


def _gain(chain: Chain, alone: Chain) -> str:
    name, last = " > ".join(chain.tiers), alone.tiers[-1]
    to_last = chain.reaching[-1] if chain.tiers[-1] == last else 0.0
    return (
        f"{name} costs {chain.cost / alone.cost:.1%} of {last} alone a row: "
        f"{to_last:.1%} of the choosing rows go on to {last}, and {chain.agreement:.2%} of all "
        "rows get its answer"
    )


def _no_gain(students: Sequence[Candidate], others: Sequence[Chain], task: Wanted) -> str:
    last, most = task.last, task.most_cost / task.last.mean_cost if task.last.mean_cost else 0.0
    if not students:
        return f"there is no student to stand before {last.name}"
    if not others:
        cheapest = min(students, key=lambda tier: tier.mean_cost)
        return (
            f"the students are too slow: the cheapest, {cheapest.name}, costs "
            f"{cheapest.mean_cost:.3g} a row, {last.name} alone {last.mean_cost:.3g}, and at most "
            f"{task.most_cost:.3g} is asked"
        )
    best = min(others, key=lambda chain: chain.cost)
    to_last = best.reaching[-1] if best.tiers[-1] == last.name else 0.0
    ratio = best.cost / last.mean_cost
    fault = "are too slow" if ratio - to_last > to_last else "agree too little"
    return (
        f"the students {fault}: {' > '.join(best.tiers)}, the cheapest chain that keeps the goal, "
        f"costs {ratio:.1%} of {last.name} alone a row, and at most {most:.1%} is asked; "
        f"{to_last:.1%} of the choosing rows go on to {last.name}"
    )
