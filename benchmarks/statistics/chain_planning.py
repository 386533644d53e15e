"""How good plans of chains are: against the best there is, and on rows that nobody looked at.

    python -m benchmarks.statistics.chain_planning

Tiers are simulated (`tests.guarantees.simulated_tiers`). A plan is made on some choosing rows, with
the slack that `aimed_share` gives; fresh rows sign at the plan's thresholds, and along its path up
to the first failure. Optimism is by how much the chain agrees less often on the whole population
than on the rows that it was chosen on; its unit is the standard deviation of that many errors.
"""

import argparse
import time
from collections.abc import Sequence
from itertools import product

import numpy as np

from tango_beam.guarantees import betting, bounds
from tango_beam.guarantees.chain_search import Search
from tango_beam.guarantees.chains import Candidate, Chain, Demand, aimed_share, routed
from tango_beam.guarantees.plans import Plan, plan
from tango_beam.routing import BELOW_ONE
from tests.guarantees.simulated_tiers import STUDENTS, simulated, taken, teacher

POPULATION = 100_000
DELTA = 0.05
MANY = (*STUDENTS, ("static2", 1.4, 2.0), ("bilstm2", 2.2, 35.0), ("tiny6", 3.0, 150.0))


def best_of_three(first: Candidate, second: Candidate, last: Candidate, goal: float) -> float:
    """The least cost of a chain of three at any of its confidences; costs are one for all rows."""
    rows, least = len(last), np.inf
    allowed = int((1 - goal) * rows + 1e-9)
    order = np.argsort(-second.confidences, kind="stable")
    for threshold in [*np.unique(np.minimum(first.confidences, BELOW_ONE)), np.float32(1)]:
        waiting = np.minimum(first.confidences, BELOW_ONE) < threshold
        left = allowed - int((~first.right & ~waiting).sum())
        if left < 0:
            continue
        here = order[waiting[order]]
        wrong = np.append(0, np.cumsum(~second.right[here]))
        sure = second.confidences[here]
        ends = np.append(True, np.append(sure[1:] != sure[:-1], True)) if len(sure) else [True]
        accepted = np.flatnonzero((wrong <= left) & ends).max()
        cost = (
            first.mean_cost
            + (second.mean_cost * len(here) + last.mean_cost * (len(here) - accepted)) / rows
        )
        least = min(least, cost)
    return least


def report_search(rows: int) -> None:
    """Prints how long plans take, and what the grid loses against every pair of thresholds."""
    students, last = simulated(rows, 1, MANY)
    started = time.process_time()
    found = plan(students, last, [Demand(0.99)])
    print(
        f"{len(students)} students, {rows:,} rows: {time.process_time() - started:.1f} s of "
        f"processor time; {found.why}",
        flush=True,
    )
    lost = []
    for seed, goal in product(range(5), (0.95, 0.98, 0.99)):
        (first, second, *_), last = simulated(rows, seed)
        found = plan([first, second], last, [Demand(goal)])
        (ours,) = (one for one in (found.chain, *found.others) if len(one.tiers) == 3)
        lost.append(ours.cost / best_of_three(first, second, last, goal))
    print(
        f"three tiers, {rows:,} rows: {np.mean(lost):.4f} of the least cost, {max(lost):.4f} at most"
    )


def signed_on_path(found: Plan, tiers: dict[str, Candidate], most: int) -> Chain | None:
    """The last chain of the path before the first that fresh rows do not sign for."""

    def passes(number: int) -> bool:
        one = found.path[number]
        fresh = routed([tiers[name] for name in one.tiers], one.thresholds)
        return round((1 - fresh.agreement) * len(tiers["teacher"])) <= most

    number = betting.last_passed(len(found.path), passes)
    return found.path[number] if number >= 0 else None


def report_fresh(goal: float, probability: float, ours: argparse.Namespace, search: Search) -> None:
    """Prints what plans for a goal do on rows that took no part in them."""
    students, last = simulated(POPULATION, 7)
    everything = {tier.name: tier for tier in (*students, last)}
    rows = round(100 / (1 - goal))
    slack = aimed_share(goal, DELTA, rows, ours.rows, probability) - goal
    most = bounds.most_errors(rows, 1 - goal, DELTA)
    rng, seen = np.random.default_rng(1), []
    for _ in range(ours.times):
        choosing = rng.integers(0, POPULATION, ours.rows)
        found = plan(
            [taken(tier, choosing) for tier in students],
            teacher(ours.rows),
            [Demand(goal, slack)],
            search,
        )
        chain = found.chain
        truth = routed([everything[name] for name in chain.tiers], chain.thresholds)
        drawn = rng.integers(0, POPULATION, rows)
        fresh = {name: taken(tier, drawn) for name, tier in everything.items()}
        at_plan = routed([fresh[name] for name in chain.tiers], chain.thresholds)
        signs = round((1 - at_plan.agreement) * rows) <= most
        walked = signed_on_path(found, fresh, most)
        real = walked and routed([everything[name] for name in walked.tiers], walked.thresholds)
        deviation = (chain.agreement * (1 - chain.agreement) / ours.rows) ** 0.5
        seen.append(
            (
                (chain.agreement - truth.agreement) / deviation,
                truth.agreement,
                truth.cost,
                signs,
                real.cost if real else last.mean_cost,
                real.agreement < goal if real else False,
            )
        )
    print_fresh(goal, slack, rows, np.array(seen, float), search)


def print_fresh(goal: float, slack: float, rows: int, seen: np.ndarray, search: Search) -> None:
    optimism, agreement, cost, signs, walked, broken = seen.mean(axis=0)
    print(
        f"goal {goal}, slack {slack:.4f}, gap {search.gap}, up to {search.tiers} tiers: optimism "
        f"{optimism:.2f} (sd {seen[:, 0].std():.2f}); true agreement {agreement:.4f} at cost "
        f"{cost:.1f}; {rows:,} fresh rows sign at the plan {signs:.0%}; along the path at cost "
        f"{walked:.1f}, {broken:.0%} broken",
        flush=True,
    )


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="How good plans of chains are.")
    parser.add_argument("--rows", type=int, default=2000, help="choosing rows")
    parser.add_argument("--times", type=int, default=40)
    parser.add_argument("--gap", type=int, action="append")
    ours = parser.parse_args(arguments)
    for rows in (2_000, 10_000):
        report_search(rows)
    for goal, probability, gap, tiers in product(
        (0.95, 0.99), (0.9, 0.5), ours.gap or [Search().gap], (2, 4)
    ):
        report_fresh(goal, probability, ours, Search(gap=gap, tiers=tiers))


if __name__ == "__main__":
    main()
