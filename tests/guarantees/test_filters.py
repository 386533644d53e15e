"""Promises of filters, labels, buckets and mean F1 hold as often as they say."""

import hypothesis.extra.numpy as hnp
import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given
from scipy import stats

from tango_beam import routing
from tango_beam.guarantees import bounds, filters, guarantees, means
from tango_beam.guarantees.filters import PRECISION, RECALL, Promise, Sides
from tango_beam.guarantees.tier_answers import TierAnswers
from tests.guarantees import simulated_kinds

CASES = [*simulated_kinds.cases()]
CONFIDENCES = hnp.arrays(
    np.float32, st.integers(1, 60), elements=st.sampled_from([0.5, 0.625, 0.75, 0.9375, 1.0])
)


# A path of three tiers takes five seconds.
EACH = [
    pytest.param(case, id=case.name, marks=pytest.mark.slow if "three" in case.name else ())
    for case in CASES
]


@pytest.mark.parametrize("case", EACH)
def test_a_promise_is_broken_no_more_often_than_delta(case):
    found = simulated_kinds.simulate(case, 0.1, 100 if case.rows > 10_000 else 200)
    assert found["broken"] <= 0.1 + found["noise"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "least"),
    [
        ("recall, label at 5%", 0.3),
        ("precision, label at 5%, none missed", 0.3),
        ("recall and precision, label at 30%", 0.3),
        ("recall, three tiers on one path", 0.15),
        ("label by label", 0.15),
        ("bucket", 0.15),
        ("mean F1 against the last tier", 0.25),
        ("mean F1 retained", 0.25),
    ],
)
def test_what_a_sample_looks_like_breaks_it_far_more_often(name, least):
    (case,) = (case for case in CASES if case.name == name)
    assert simulated_kinds.simulate(case, 0.05, 100, plain=True)["broken"] > least


def test_a_filter_is_not_timid():
    found = simulated_kinds.simulate(CASES[0], 0.1, 100)
    assert found["escalated"] <= 1.35 * found["least"]


def a_filter(confidences, first, last):
    return simulated_kinds.filter_of((confidences,), (first.astype(int), last.astype(int)))


@given(CONFIDENCES, st.data(), st.sampled_from([RECALL, PRECISION]))
def test_each_side_goes_as_low_as_the_exact_test_lets_it(confidences, data, goal):
    first, last = (data.draw(hnp.arrays(bool, len(confidences))) for _ in range(2))
    sample = a_filter(confidences, first, last)
    promise = Promise(goal, 0.6, 0.2)
    (found,) = {filters.sides(sample, [promise]).threshold}
    side = first if goal == PRECISION else ~first
    passing = [1.0]
    for threshold in sorted({*confidences[side].tolist()} - {1.0} | {0.9999999}, reverse=True):
        errs = side & (first != last) & ~routing.is_complex(confidences, threshold)
        rows = errs.sum() + (first & last).sum() if goal == PRECISION else last.sum()
        if stats.binom.cdf(errs.sum(), rows, 0.4) > 0.2:
            break
        passing.append(threshold)
    same = [routing.is_complex(confidences, t)[side].tolist() for t in (found, passing[-1])]
    assert same[0] == same[1]


@given(st.integers(0, 300), st.sampled_from([0.05, 0.1, 0.4]), st.sampled_from([0.1, 0.01]))
def test_the_most_false_calls_are_rejected_and_one_more_is_not(right, share, delta):
    most = bounds.most_false(right, share, delta)
    if most >= 0:
        assert stats.binom.cdf(most, right + most, share) <= delta
    assert stats.binom.cdf(most + 1, right + most + 1, share) > delta


def test_both_promises_share_delta_and_each_decides_its_own_side():
    rng = np.random.default_rng(3)
    sample = simulated_kinds.filter_population(rng, 0.3).take(rng.integers(0, 200_000, 4000))
    promises = [Promise(RECALL, 0.95, 0.025), Promise(PRECISION, 0.9, 0.025)]
    at = filters.sides(sample, promises)
    assert at.threshold == filters.recall_threshold(sample, 0.95, 0.025)
    assert at.label_threshold == filters.precision_threshold(sample, 0.9, 0.025)
    signed = filters.sign(sample, promises, at, "spam")
    assert [(one.goal, one.met, one.label) for one in signed] == [
        (RECALL, True, "spam"),
        (PRECISION, True, "spam"),
    ]
    # One threshold of another promise raises both sides, and all still holds.
    higher = at.at_least(0.99)
    assert higher == Sides(max(0.99, at.threshold), max(0.99, at.label_threshold))
    assert all(one.met for one in filters.sign(sample, promises, higher, "spam"))
    # A threshold under what the test lets pass is not signed for.
    assert not filters.sign(sample, promises, Sides(0.5, 0.5), "spam")[0].met


def test_with_too_few_rows_of_the_label_nothing_is_signed():
    rng = np.random.default_rng(4)
    sample = simulated_kinds.filter_population(rng, 0.01).take(rng.integers(0, 200_000, 2000))
    promises = [Promise(RECALL, 0.95, 0.05)]
    at = filters.sides(sample, promises)
    assert at == Sides(1.0)
    assert not filters.sign(sample, promises, at, "spam")[0].met


@pytest.mark.parametrize(("share", "rows"), [(0.01, 5992), (0.001, 59_915)])
def test_so_many_rows_it_takes(share, rows):
    assert filters.rows_needed(0.95, 0.05, share) == rows


def test_labels_share_delta_and_keep_their_promises_at_one_threshold(rng):
    case = next(case for case in CASES if case.name == "label by label")
    whole, columns = simulated_kinds.drawn(case, rng.integers(0, 200_000, 3000))
    labels = simulated_kinds.LABELS
    each = guarantees.label_agreement(columns, labels, 0.97, 0.05)
    assert {one.delta for one in each} == {0.01}
    together = guarantees.at_one_threshold(each, whole, labels=labels, corpus=None, columns=columns)
    assert [(one.label, one.met) for one in together] == [(label, True) for label in labels]
    assert {one.thresholds for one in together} == {max(one.thresholds for one in each)}


def test_labels_of_three_tiers_stop_at_the_first_point_that_fails(rng):
    case = next(case for case in CASES if case.name.startswith("recall, three"))
    rows = case.population.take(rng.integers(0, 200_000, 3000))
    fit, test = rows.take(slice(0, 600)), rows.take(slice(600, 3000))
    each = guarantees.path_label_agreement(fit, [test, test], ("a", "b"), 0.9, 0.05)
    alone = guarantees.path_agreement(fit, test, 0.9, 0.025)
    assert [one.thresholds for one in each] == [alone.thresholds] * 2
    assert all(one.met for one in each)


def test_accuracy_is_the_mean_of_a_value_of_0_or_1(rng):
    truth = rng.integers(0, 2, 3000)
    answers = [np.where(rng.random(3000) < part, truth, 1 - truth) for part in (0.9, 0.93)]
    sample = TierAnswers((rng.random(3000).astype(np.float32),), (*answers,), truth)
    fit, test = sample.take(slice(0, 600)), sample.take(slice(600, 3000))
    right = [(answer == test.truth).astype(float) for answer in test.answers]
    accuracy = means.accuracy_retained(fit, test, 0.95, 0.05, 0)
    assert accuracy.thresholds == means.f1_retained(fit, test, right, 0.95, 0.05, 0).thresholds
    assert accuracy.met
