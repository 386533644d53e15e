"""Which exits of a last tier to open, and a path of thresholds for them and the tiers before.

Every threshold that is read off some rows errs a little more often on others, and a network has an
exit behind every layer. So a few exits are chosen that pay together, and the others stay shut. The
rows here are those that fit: they choose, and sign for nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import combinations, pairwise

import numpy as np

from tango_beam.guarantees.chain_search import Search, Wanted
from tango_beam.guarantees.chains import Candidate, Demand
from tango_beam.guarantees.tier_answers import TierAnswers

SHUT = 1.0
MOST_EXITS = 2
# Points of a path at which another number of rows may err, and steps from one to the next.
POINTS, STEPS = 48, 4
# Exits are chosen on coarser grids than thresholds are; the best few chains are looked at again.
CHOOSING, CLOSER = Search(points=(96, 24, 12)), 6


@dataclass(frozen=True)
class _Network:
    """The tiers of a cascade, exits among them, on the rows that fit.

    Attributes:
      tiers: every one that may answer, the whole last tier at the end; an exit's cost is that of
        the layers since the exit before it.
      real: tiers that are none of the exits.
    """

    tiers: tuple[Candidate, ...]
    real: int

    @classmethod
    def of(cls, fit: TierAnswers, seconds: Sequence[float], real: int) -> _Network:
        sure = (*fit.confidences, np.ones(len(fit), np.float32))
        tiers = (
            Candidate(str(number), *given)
            for number, given in enumerate(
                zip(sure, (answer == fit.last for answer in fit.answers), seconds, strict=True)
            )
        )
        return cls(tuple(tiers), real)

    def opened(self, exits: Sequence[int]) -> list[Candidate]:
        """A chain with some of the exits; the next to answer pays for the layers of those shut."""
        before = self.real - 1
        chain, spent = [*self.tiers[:before]], 0.0
        for number in range(before, len(self.tiers)):
            spent += self.tiers[number].mean_cost
            if number in exits or number == len(self.tiers) - 1:
                chain.append(replace(self.tiers[number], cost=spent))
                spent = 0.0
        return chain

    def chains(self) -> Iterator[list[Candidate]]:
        """All chains with few exits, those with the fewest first."""
        exits = range(self.real - 1, len(self.tiers) - 1)
        for count in range(MOST_EXITS + 1):
            yield from map(self.opened, combinations(exits, count))

    def thresholds(self, chain: Sequence[Candidate], of: Sequence[float]) -> tuple[float, ...]:
        """A chain's thresholds, for all tiers but the last: exits that it lacks are shut."""
        known = {tier.name: threshold for tier, threshold in zip(chain, of, strict=False)}
        return tuple(known.get(tier.name, SHUT) for tier in self.tiers[:-1])


def path_of_exits(
    fit: TierAnswers, seconds: Sequence[float], real: int, demand: Demand
) -> list[tuple[float, ...]]:
    """Thresholds from the safest down, of the tiers before the last and of the exits that pay.

    The exits are those with which the demand costs least. Along the path more and more of the rows
    that fit may err: at each point the thresholds are the cheapest that let no more of them do so.

    Args:
      fit: rows that take no part in the test, answered by every tier and every exit.
      seconds: a row in each of them; in an exit, of its own layers alone.
      real: how many of the tiers are none of the exits.
      demand: what the thresholds are to keep on these rows.

    Returns:
      Tuples with a threshold for every tier and exit but the whole last tier, without repeats.
    """
    network = _Network.of(fit, seconds, real)
    wanted = Wanted(network.tiers[-1], (demand,), None, Search())
    chain = _cheapest(network, replace(wanted, search=CHOOSING))
    choices = [wanted.choice._replace(limits=(np.inf, errors)) for errors in _errors(demand, fit)]
    points = wanted.best(chain, wanted.first_grids(chain), choices)
    corners = [network.thresholds(chain, point.thresholds) for point in points]
    return list(dict.fromkeys(_stepwise(corners)))


def _stepwise(corners: Sequence[tuple[float, ...]]) -> Iterator[tuple[float, ...]]:
    """A path's corners, and points on the way from each to the next."""
    shares = np.arange(1, STEPS + 1)[:, None] / STEPS
    yield corners[0]
    for earlier, later in pairwise(np.array(corners)):
        way = earlier + shares * (later - earlier)
        yield from (tuple(map(float, point)) for point in way.astype(np.float32))


def _cheapest(network: _Network, wanted: Wanted) -> list[Candidate]:
    """The chain that keeps the demand at the least cost; each exit more must be worth it."""

    def cost(point: tuple[float, list[Candidate]]) -> float:
        return point[0] * wanted.search.tier_worth ** len(point[1])

    found = [
        (point.least, chain, point)
        for chain in network.chains()
        for point in wanted.best(chain, wanted.first_grids(chain), [wanted.choice])
    ]
    closest = sorted(found, key=lambda one: cost(one[:2]))[:CLOSER]
    refined = [(wanted.refined(point).least, chain) for _, chain, point in closest]
    return min(refined, key=cost)[1]


def _errors(demand: Demand, fit: TierAnswers) -> list[float]:
    """How many rows may err at the points of a path: none first, then more, far past the goal."""
    counted = len(fit) if demand.rows is None else int(demand.rows.sum())
    most = max(1, counted // 4)
    return np.unique(np.append(0, np.geomspace(1, most, POINTS).round())).tolist()
