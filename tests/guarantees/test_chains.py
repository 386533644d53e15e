"""The cheapest chain of tiers is found, and does what its plan says."""

from dataclasses import replace
from itertools import combinations, pairwise, product

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings
from scipy import stats

from tango_beam import routing
from tango_beam.guarantees import bounds
from tango_beam.guarantees.chain_search import Search
from tango_beam.guarantees.chains import Budget, Candidate, Demand, aimed_share, routed
from tango_beam.guarantees.plans import plan
from tango_beam.guarantees.threshold_grids import bins_of, quantile_grid, swaps, table
from tests.guarantees.simulated_tiers import simulated, teacher

# Every threshold is tried, and nothing but cost decides.
ALL = Search(gap=1, worth=1, tier_worth=1)
SEEDS = st.integers(0, 10_000)


def small(seed, rows=40, students=2):
    """Students of any quality, with ties, confidences of 1, and rows of different cost."""
    rng = np.random.default_rng(seed)
    found = []
    for number in range(students):
        sure = rng.choice(np.linspace(0.5, 1, 11, dtype=np.float32), rows)
        if seed % 2:
            sure = rng.random(rows, dtype=np.float32)
        right = rng.random(rows) < 0.4 + 0.6 * sure
        cost = 3.0 ** rng.normal(number, 0.3) * rng.uniform(0.5, 2, rows)
        found.append(Candidate(f"student{number}", sure, right, cost))
    return found, teacher(rows, 20 * rng.uniform(0.5, 2, rows))


def every_chain(students, last, demands=()):
    """All chains of these tiers at all thresholds, cheap tiers first."""
    students = sorted(
        (tier for tier in students if tier.mean_cost < last.mean_cost),
        key=lambda tier: tier.mean_cost,
    )
    for count in range(1, len(students) + 2):
        for tiers in combinations([*students, last], count):
            values = [
                [*np.unique(np.minimum(tier.confidences, routing.BELOW_ONE)), 1.0]
                for tier in tiers[:-1]
            ]
            for thresholds in product(*values):
                yield routed(tiers, thresholds, demands)


def cheapest(students, last, demands):
    chains = every_chain(students, last, demands)
    aims = [demand.aim for demand in demands]
    return min(
        chain.cost
        for chain in chains
        if all(kept >= aim - 1e-9 for kept, aim in zip(chain.kept, aims, strict=True))
    )


@settings(max_examples=40, deadline=None)
@given(SEEDS, st.sampled_from([0.8, 0.9, 0.95, 0.975]))
def test_a_chain_of_two_is_the_best_there_is(seed, goal):
    students, last = small(seed, students=1)
    found = plan(students, last, [Demand(goal)], ALL)
    assert found.chain.cost == pytest.approx(cheapest(students, last, [Demand(goal)]))
    assert found.chain.agreement >= goal - 1e-9


@pytest.mark.parametrize(
    ("seed", "rows", "students"), [*((seed, 40, 2) for seed in range(6)), (0, 15, 3), (1, 12, 3)]
)
def test_longer_chains_cost_next_to_nothing_more_than_the_best(seed, rows, students):
    students, last = small(seed, rows, students)
    found = plan(students, last, [Demand(0.9)], ALL)
    assert found.chain.cost <= 1.05 * cheapest(students, last, [Demand(0.9)])
    assert found.chain.agreement >= 0.9 - 1e-9


@settings(max_examples=40, deadline=None)
@given(SEEDS, st.integers(1, 3))
def test_every_point_of_a_grid_is_what_routing_makes_of_it(seed, count):
    students, last = small(seed, students=count)
    tiers = [*students, last]
    grids = [quantile_grid(tier.confidences, 5, 1) for tier in students]
    bins = [bins_of(tier.confidences, grid) for tier, grid in zip(students, grids, strict=True)]
    shape = tuple(map(len, grids))
    costs = table([tier.costs for tier in tiers], bins, shape)
    errors = table(swaps([1.0 * ~tier.right for tier in tiers]), bins, shape)
    for place in np.ndindex(shape):
        thresholds = [float(grid[one]) for grid, one in zip(grids, place, strict=True)]
        chain = routed(tiers, thresholds)
        assert costs[place] == pytest.approx(chain.cost * len(last))
        assert errors[place] == round((1 - chain.agreement) * len(last))


def test_a_threshold_of_the_plan_survives_being_written_as_float32():
    (*students, _), last = simulated(2000)
    found = plan(students, last, [Demand(0.97)]).chain
    assert len(found.thresholds) >= 2
    assert all(float(np.float32(one)) == one for one in found.thresholds)


def test_three_tiers_beat_both_pairs():
    (static, bilstm, *_), last = simulated(4000)
    wanted = [Demand(0.98)]
    found = plan([static, bilstm], last, wanted)
    pairs = [plan([one], last, wanted).chain for one in (static, bilstm)]
    assert found.chain.tiers == ("static", "bilstm", "teacher")
    assert found.chain.cost < 0.95 * min(pair.cost for pair in pairs)


def test_a_coarse_grid_is_searched_closer_around_its_best_point():
    (static, bilstm, *_), last = simulated(4000)
    coarse, fine = (
        plan([static, bilstm], last, [Demand(0.98)], Search(points=(points,) * 3)).chain
        for points in (16, 400)
    )
    assert len(coarse.tiers) == 3
    assert coarse.cost <= 1.01 * fine.cost


def test_a_useless_student_is_in_no_chain():
    (*students, _), last = simulated(2000)
    rng = np.random.default_rng(1)
    sure = rng.random(2000, dtype=np.float32)
    useless = Candidate("useless", sure, rng.random(2000) < 0.5, 5.0)
    found = plan([useless, *students], last, [Demand(0.98)])
    assert found.pays
    assert "useless" not in found.chain.tiers


def test_the_last_tier_is_left_out_where_the_goal_is_kept_without_it():
    students, last = simulated(2000)
    found = plan(students, last, [Demand(0.92)])
    assert "teacher" not in found.chain.tiers
    assert found.chain.kept[0] >= 0.92
    # A certificate is against the last tier: it stays in the cascade, and gets no row.
    assert found.path[-1].tiers[-1] == "teacher"


def test_a_longer_chain_must_be_better_by_what_a_tier_is_worth():
    (*students, _), last = simulated(2000)
    long = plan(students, last, [Demand(0.98)], Search(tier_worth=1))
    short = plan(students, last, [Demand(0.98)], Search(tier_worth=2))
    assert len(long.chain.tiers) > len(short.chain.tiers) == 2


def test_a_last_tier_as_fast_as_its_students_pays_for_none():
    students, _ = simulated(2000)
    found = plan(
        [replace(tier, cost=100.0) for tier in students], teacher(2000, 100.0), [Demand(0.9)]
    )
    assert not found.pays
    assert found.chain == found.alone
    assert found.chain.tiers == ("teacher",)
    assert "too slow" in found.why
    assert "costs 100 a row" in found.why


def test_students_that_agree_too_little_are_said_to():
    rng = np.random.default_rng(0)
    sure = rng.random(2000, dtype=np.float32)
    student = Candidate("student", sure, rng.random(2000) < 0.5, 10.0)
    found = plan([student], teacher(2000), [Demand(0.99)])
    assert not found.pays
    assert "agree too little: student > teacher" in found.why


def test_no_student_at_all_is_no_chain():
    found = plan([], teacher(100), [Demand(0.99)])
    assert (found.pays, found.why) == (False, "there is no student to stand before teacher")


def test_a_student_that_is_unsure_of_long_rows_saves_less():
    (student, *_), last = simulated(2000)
    anywhere = np.random.default_rng(0).permutation(2000) < 1000
    unsure = student.confidences < np.median(student.confidences)
    costs = [np.where(long, 1900.0, 100.0) for long in (anywhere, unsure)]
    even, skewed = (
        plan([student], replace(last, cost=cost), [Demand(0.97)], ALL).chain for cost in costs
    )
    assert even.reaching == skewed.reaching
    assert skewed.cost > 1.2 * even.cost


@pytest.mark.parametrize("budget", [Budget(escalation=0.2), Budget(cost=8.0)])
@pytest.mark.parametrize("seed", range(3))
def test_a_budget_is_kept_and_nothing_within_it_agrees_more_often(budget, seed):
    students, last = small(seed)
    found = plan(students, last, budget, ALL).chain

    def fits(chain):
        to_last = chain.reaching[-1] if chain.tiers[-1] == "teacher" else 0
        share, cost = budget.escalation or 1, min(budget.cost or np.inf, last.mean_cost)
        return to_last <= share + 1e-9 and chain.cost <= cost + 1e-9

    assert fits(found)
    best = max(chain.agreement for chain in every_chain(students, last) if fits(chain))
    assert found.agreement == pytest.approx(best)


def test_a_budget_that_no_student_keeps_is_said_so():
    students, last = simulated(500)
    found = plan(students, last, Budget(cost=0.5))
    assert not found.pays
    assert "static, costs 1 a row, teacher alone 1e+03, and at most 0.5 is asked" in found.why


@settings(max_examples=20, deadline=None)
@given(SEEDS, st.booleans())
def test_a_filter_keeps_its_recall_or_precision_at_the_least_cost(seed, precision):
    students, last = small(seed, students=1)
    label = np.random.default_rng(seed).random(40) < 0.4
    demands = [Demand(0.85, rows=label, precision=precision)]
    found = plan(students, last, demands, ALL).chain
    assert found.kept[0] >= 0.85 - 1e-9
    assert found.cost == pytest.approx(cheapest(students, last, demands))


def test_recall_beside_agreement_costs_more_than_either():
    (*students, _), last = simulated(2000)
    label = np.random.default_rng(0).random(2000) < 0.1
    demands = [Demand(0.96), Demand(0.98, rows=label)]
    found = plan(students, last, demands)
    assert found.chain.kept[0] >= 0.96
    assert found.chain.kept[1] >= 0.98
    assert found.chain.cost >= 0.99 * max(plan(students, last, [one]).chain.cost for one in demands)


def test_slack_is_kept_on_top():
    students, last = simulated(2000)
    assert plan(students, last, [Demand(0.95, slack=0.02)]).chain.agreement >= 0.97


def test_the_front_costs_more_the_more_it_agrees():
    students, last = simulated(2000)
    front = plan(students, last, [Demand(0.97)]).front
    assert len(front) >= 8
    assert all(low.cost < high.cost for low, high in pairwise(front))
    assert front[-1].agreement >= 0.998


def test_the_path_leads_from_safe_to_cheap_by_way_of_the_plan():
    students, last = simulated(2000)
    found = plan(students, last, [Demand(0.97, slack=0.01)])
    costs = [chain.cost for chain in found.path]
    assert found.chain in found.path[1:-1]
    assert costs == sorted(costs, reverse=True)
    assert found.path[0].agreement == 1
    assert found.path[-1].agreement == pytest.approx(0.97, abs=0.001)


def test_others_are_the_best_of_their_chains_and_the_cheapest_first():
    students, last = simulated(2000)
    found = plan(students, last, [Demand(0.97)])
    names = [chain.tiers for chain in found.others]
    assert len(set(names)) == len(names)
    assert [chain.cost for chain in found.others] == sorted(chain.cost for chain in found.others)


def test_a_share_is_aimed_at_that_signs_nine_times_in_ten():
    most = bounds.most_errors(2000, 0.05, 0.05)
    assert stats.binom.cdf(most, 2000, 1 - aimed_share(0.95, 0.05, 2000)) == pytest.approx(0.9)


def test_choosing_rows_that_tell_little_of_the_share_ask_for_more():
    plain = aimed_share(0.95, 0.05, 2000)
    told = [aimed_share(0.95, 0.05, 2000, rows) for rows in (500, 2000, 100_000)]
    assert told == sorted(told, reverse=True)
    assert told[0] > plain + 0.01
    assert told[-1] == pytest.approx(plain, abs=0.002)


def test_too_few_rows_to_sign_are_refused_with_their_number():
    with pytest.raises(ValueError, match=r"at least 299 rows that sign for 0\.99"):
        aimed_share(0.99, 0.05, 200)


def test_tiers_that_do_not_fit_together_are_refused():
    students, last = simulated(100)
    with pytest.raises(ValueError, match="different names, found static, static, teacher"):
        plan([students[0], students[0]], last, [Demand(0.9)])
    with pytest.raises(ValueError, match="static: expected the 50 rows of teacher, found 100"):
        plan(students, teacher(50), [Demand(0.9)])
    with pytest.raises(ValueError, match="expected demands or a budget, found none"):
        plan(students, last, [])
    with pytest.raises(ValueError, match="right on every row"):
        plan(students[:1], students[1], [Demand(0.9)])
