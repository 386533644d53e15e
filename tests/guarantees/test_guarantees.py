"""The guarantees hold as often as they say, and are not timid. Through the real selection code."""

import hypothesis.extra.numpy as hnp
import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given
from scipy import stats

from tango_beam import routing
from tango_beam.guarantees import betting, guarantees, means
from tango_beam.guarantees.thresholds import BELOW_ONE, highest_threshold, lowest_threshold
from tango_beam.guarantees.tier_answers import TierAnswers, path_of_thresholds
from tests.guarantees import simulation

SHAPES = simulation.shapes()
CONFIDENCES = hnp.arrays(
    np.float32, st.integers(1, 60), elements=st.sampled_from([0.25, 0.5, 0.75, 0.9375, 1.0])
)


def times(shape):
    return 300 if shape.labelled else 1000


@pytest.mark.parametrize("delta", [0.1, 0.05])
@pytest.mark.parametrize("shape", SHAPES, ids=[shape.name for shape in SHAPES])
def test_a_promise_is_broken_no_more_often_than_delta(shape, delta):
    found = simulation.simulate(shape, delta, 1000, times(shape))
    assert found["broken"] <= delta + found["noise"]


def test_the_plain_estimate_in_place_of_the_bound_breaks_its_promise():
    found = simulation.simulate(SHAPES[0], 0.05, 1000, 1000, bound="plain")
    assert found["broken"] > 0.3


def test_it_is_not_timid():
    found = simulation.simulate(SHAPES[0], 0.05, 1000, 1000)
    assert found["escalated"] <= 1.35 * found["least"]


@given(CONFIDENCES, st.data())
def test_the_threshold_is_the_lowest_that_an_exact_test_lets_pass(confidences, data):
    agrees = data.draw(hnp.arrays(bool, len(confidences)))
    sample = simulation.answers(confidences, agrees)
    found = guarantees.agreement(sample, 0.7, 0.1)
    passing = [1.0]
    for threshold in sorted({*confidences.tolist(), 0.9999999}, reverse=True):
        simple = ~routing.is_complex(confidences, threshold)
        errors = int((simple & ~agrees).sum())
        if stats.binom.cdf(errors, len(agrees), 0.3) > 0.1:
            break
        passing.append(threshold)
    same = [routing.is_complex(confidences, t).tolist() for t in (found.thresholds[0], passing[-1])]
    assert same[0] == same[1]
    assert found.met == (not all(same[0]))


@given(CONFIDENCES, st.integers(-1, 60))
def test_the_highest_threshold_escalates_what_is_allowed_and_any_higher_more(confidences, allowed):
    threshold = highest_threshold(confidences, allowed)
    escalated = routing.is_complex(confidences, threshold).sum()
    assert escalated <= max(allowed, 0)
    above = [value for value in np.minimum(confidences, BELOW_ONE) if value > threshold]
    if above and allowed >= 0:
        assert routing.is_complex(confidences, float(min(above))).sum() > allowed


def test_rows_that_saturate_at_one_are_accepted_under_a_threshold_below_one():
    confidences = np.array([1, 1, 1, 0.5], np.float32)
    threshold = lowest_threshold(confidences, np.array([False, False, False, True]), 0)
    assert 0.5 < threshold < 1
    assert routing.is_complex(confidences, threshold).tolist() == [False, False, False, True]


def three_tiers(rng, rows=1500):
    last = rng.integers(0, 2, rows)
    sure = [rng.random(rows).astype(np.float32) for _ in range(2)]
    answers = [np.where(rng.random(rows) < 0.6 + 0.4 * part, last, 1 - last) for part in sure]
    return TierAnswers(tuple(sure), (*answers, last))


def test_three_tiers_are_tested_along_one_path_against_the_last(rng):
    broken = 0
    for _ in range(60):
        population = three_tiers(rng, 20_000)
        rows = rng.permutation(len(population))[:1200]
        sample = population.take(rows)
        fit, test = sample.take(np.arange(300)), sample.take(np.arange(300, 1200))
        found = guarantees.path_agreement(fit, test, 0.95, 0.1)
        broken += population.disagrees(found.thresholds).mean() > 0.05
        assert found.met
    assert broken <= 12  # 6 expected at most; 12 is five times less likely than one in a hundred


def test_the_path_goes_from_the_safest_down(rng):
    sample = three_tiers(rng)
    errors = [int(sample.disagrees(point).sum()) for point in path_of_thresholds(sample)]
    assert errors[0] < errors[-1]
    assert len(errors) > 20


def test_every_class_keeps_its_own_promise(rng):
    last = np.where(rng.random(4000) < 0.1, 1, 0)
    sure = rng.random(4000).astype(np.float32)
    # The rare class is lost whole, at any confidence.
    sample = TierAnswers((sure,), (np.zeros(4000, np.int64), last))
    whole = guarantees.agreement(sample, 0.85, 0.05)
    assert whole.met
    labels = ("common", "rare")
    classes = guarantees.class_agreement(sample, labels, 0.8, 0.05)
    together = guarantees.at_one_threshold([whole, *classes], sample, labels=labels, corpus=None)
    assert [one.label for one in together] == [None, "common", "rare"]
    assert all(one.met for one in together)
    rare = sample.take(last == 1)
    assert rare.disagrees(together[0].thresholds).mean() <= 0.2
    assert rare.disagrees(whole.thresholds).mean() > 0.5


def test_an_escalation_budget_is_kept(rng):
    broken = 0
    for _ in range(300):
        found = guarantees.escalation(rng.random(500).astype(np.float32), 0.2, 0.05)
        broken += found.thresholds[0] > 0.2
    assert broken <= 27  # 15 expected at most, three deviations on top


@pytest.mark.parametrize(("mean", "share"), [(-0.02, 0.05), (0.2, 1.0)])
def test_a_bet_wins_against_a_positive_mean_and_seldom_against_a_negative_one(rng, mean, share):
    won = [
        betting.rejects_negative_mean(
            np.where(rng.random(1000) < 0.5 + mean / 2, 1.0, -1.0), 0.05, 1.0
        )
        for _ in range(200)
    ]
    assert np.mean(won) <= 0.05 + 0.046 if mean < 0 else np.mean(won) >= 0.99


def test_without_labels_no_accuracy_is_signed_for(rng):
    sample = three_tiers(rng)
    with pytest.raises(ValueError, match="labelled"):
        means.accuracy_retained(sample, sample, 0.98, 0.05, 0)


def test_whether_any_row_is_accepted_under_a_threshold():
    sample = simulation.answers(np.array([0.5, 0.75]), np.array([True, False]))
    assert [sample.accepts_any((threshold,)) for threshold in (0.5, 0.75, 0.76, 1.0)] == [
        True,
        True,
        False,
        False,
    ]
