"""Curves and baselines: what holds for any rows, and what was worked by hand."""

import hypothesis.extra.numpy as hnp
import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given

from tango_beam import routing
from tango_beam.evaluation import corrections, curves, heldout
from tango_beam.evaluation.curves import Scored
from tango_beam.evaluation.metrics import METRICS, Metric

ACCURACY = Metric("labels", "accuracy", 4)
# Ties, the ends, and the two largest float32 up to 1.
CONFIDENCES = [0.0, 0.5, 0.6, 0.75, 0.9, float(np.nextafter(np.float32(1), np.float32(0))), 1.0]


@st.composite
def any_rows(draw, least=1, three_tiers=True, kind="labels"):
    count, labels = draw(st.integers(least, 40)), 4
    answers = {
        "labels": hnp.arrays(np.int64, count, elements=st.integers(0, labels - 1)),
        "multi_label": hnp.arrays(bool, (count, labels)),
        "score": hnp.arrays(float, (count, 2), elements=st.sampled_from([0.0, 1.0, 2.0])),
        "span": hnp.arrays(float, (count, 2), elements=st.sampled_from([0.0, 0.25, 0.6, 1.0])),
    }[kind]
    confidences = draw(hnp.arrays(np.float32, count, elements=st.sampled_from(CONFIDENCES)))
    later = draw(answers)
    last = draw(answers) if three_tiers and draw(st.booleans()) else later
    return Scored(draw(answers), draw(answers), later, last, confidences)


EVERY = [Metric(kind, name, 4, 1) for kind, names in METRICS.items() for name in names]


def routed(scored, escalate):
    # One row at a time, whatever an answer is.
    pairs = zip(escalate, scored.later, scored.first, strict=True)
    return np.array([later if goes else first for goes, later, first in pairs])


def accuracy(scored, escalate):
    return float((routed(scored, escalate) == scored.targets).mean())


@pytest.mark.parametrize("metric", EVERY, ids=lambda metric: f"{metric.kind} {metric.name}")
@given(data=st.data())
def test_every_step_is_what_its_threshold_routes(metric, data):
    scored = data.draw(any_rows(kind=metric.kind))
    curve = curves.cascade_curve(scored, metric)
    for threshold, escalated, score in zip(
        curve.thresholds, curve.escalated, curve.scores, strict=True
    ):
        complex_rows = routing.is_complex(scored.confidences, threshold)
        assert complex_rows.sum() == escalated
        assert score == pytest.approx(metric(routed(scored, complex_rows), scored.targets))
    ends = [metric(answers, scored.targets) for answers in (scored.first, scored.later)]
    assert [curve.scores[0], curve.scores[-1]] == pytest.approx(ends)
    band = curves.random_band(scored, metric, curve.escalated, draws=2)
    assert [band.expected[0], band.expected[-1]] == pytest.approx(ends)


MEANS = ("accuracy", "exact_sets", "bucket_accuracy", "exact_match")


@pytest.mark.parametrize("metric", EVERY, ids=lambda metric: f"{metric.kind} {metric.name}")
@given(data=st.data())
def test_no_routing_is_above_the_oracle_where_it_sees_the_metric(metric, data):
    scored = data.draw(any_rows(kind=metric.kind))
    escalate = data.draw(hnp.arrays(bool, len(scored)))
    score = metric(routed(scored, escalate), scored.targets)
    oracle = curves.oracle_scores(scored, metric, np.arange(len(scored) + 1))
    if metric.oracle == metric:
        assert oracle.max() >= score - 1e-12
    if metric.name in MEANS or metric.kind == "span":
        assert oracle[escalate.sum()] >= score - 1e-12


@given(any_rows())
def test_the_ends_are_the_first_tier_and_the_later_ones(scored):
    curve = curves.cascade_curve(scored, ACCURACY)
    assert (curve.thresholds[0], curve.thresholds[-1]) == (0, 1)
    assert (curve.escalated[0], curve.escalated[-1]) == (0, len(scored))
    assert curve.scores[0] == pytest.approx((scored.first == scored.targets).mean())
    assert curve.scores[-1] == pytest.approx((scored.later == scored.targets).mean())


@given(any_rows(), st.lists(st.floats(0, 1, width=32), max_size=20))
def test_no_threshold_makes_a_routing_that_the_curve_lacks(scored, thresholds):
    curve = curves.cascade_curve(scored, ACCURACY)
    assert (np.diff(curve.thresholds) > 0).all()
    assert (np.diff(curve.escalated) > 0).all()
    for threshold in [*thresholds, *CONFIDENCES]:
        assert routing.is_complex(scored.confidences, threshold).sum() in curve.escalated


@given(any_rows())
def test_the_oracle_is_at_least_the_cascade_at_every_threshold(scored):
    curve = curves.cascade_curve(scored, ACCURACY)
    oracle = curves.oracle_scores(scored, ACCURACY, curve.escalated)
    assert (oracle >= curve.scores - 1e-12).all()


@given(any_rows())
def test_random_routing_is_a_straight_line_in_expectation(scored):
    escalated = np.arange(len(scored) + 1)
    band = curves.random_band(scored, ACCURACY, escalated, draws=2)
    ends = [(answers == scored.targets).mean() for answers in (scored.first, scored.later)]
    assert np.allclose(band.expected, np.linspace(*ends, len(escalated)))


def test_draws_of_random_routing_lie_around_the_line(rng):
    targets, first, later = rng.integers(0, 3, (3, 400))
    scored = Scored(targets, first, later, later, rng.random(400, np.float32))
    escalated = np.array([0, 100, 200, 300, 400])
    drawn = [
        accuracy(scored, np.isin(np.arange(400), curves.random_order(400, seed)[:200]))
        for seed in range(300)
    ]
    band = curves.random_band(scored, ACCURACY, escalated, draws=300)
    error = np.std(drawn) / np.sqrt(300)
    assert abs(np.mean(drawn) - band.expected[2]) < 4 * error
    assert band.low[2] < band.expected[2] < band.high[2]
    inside = np.mean((drawn >= band.low[2]) & (drawn <= band.high[2]))
    assert 0.85 < inside <= 1
    # At the ends there is nothing to draw.
    for end in (0, -1):
        assert band.low[end] == band.high[end] == pytest.approx(band.expected[end])


def scored_by_hand():
    # Row:        0    1    2    3    4
    # first:      F    T    F    T    T
    # later:      T    F    F    T    T
    targets = np.zeros(5, np.int64)
    first, later = np.array([1, 0, 1, 0, 0]), np.array([0, 1, 1, 0, 0])
    confidences = np.array([0.6, 0.7, 0.8, 0.9, 0.9], np.float32)
    return Scored(targets, first, later, later, confidences)


def test_curves_by_hand():
    scored = scored_by_hand()
    curve = curves.cascade_curve(scored, ACCURACY)
    assert curve.escalated.tolist() == [0, 1, 2, 3, 5]  # 0.9 twice: both or neither
    assert curve.scores.tolist() == pytest.approx([0.6, 0.8, 0.6, 0.6, 0.6])
    oracle = curves.oracle_scores(scored, ACCURACY, np.arange(6))
    assert oracle.tolist() == pytest.approx([0.6, 0.8, 0.8, 0.8, 0.8, 0.6])
    assert curves.oracle_order(scored, ACCURACY).tolist() == [0, 2, 3, 4, 1]


def test_the_cheapest_step_is_the_fastest_that_keeps_the_share():
    scores, speedups = np.array([0.80, 0.89, 0.88, 0.90]), np.array([9.0, 5.0, 3.0, 0.9])
    assert curves.cheapest(scores, speedups, 0.9, 0.98) == 1
    assert curves.cheapest(scores, speedups, 0.9, 0.99) == 3
    assert curves.cheapest(scores, speedups, 0.9, 0.85) == 0
    assert curves.cheapest(scores, speedups, 1.0, 0.99) is None
    assert curves.cheapest(scores, speedups, 0.0, 0.99) is None


@given(any_rows(least=2), st.integers(0, 5))
def test_the_halves_share_no_row_and_leave_none_out(scored, seed):
    choosing, scoring = heldout.halves(len(scored), seed)
    both = np.concatenate([choosing, scoring])
    assert np.sort(both).tolist() == list(range(len(scored)))
    assert len(choosing) == len(scored) // 2


@given(any_rows(), st.sampled_from([0.5, 0.9, 0.98, 1.0]))
def test_the_chosen_threshold_keeps_the_share_and_no_lower_one_does(scored, share):
    threshold = heldout.choose_threshold(scored, ACCURACY, share)
    goal = share * scored.reference(ACCURACY) - 1e-12
    curve = curves.cascade_curve(scored, ACCURACY)
    fine = (curve.scores >= goal) & (goal > 0)
    assert threshold == (curve.thresholds[fine][0] if fine.any() else 1)


def test_the_other_half_is_scored_with_the_chosen_threshold(rng):
    targets, first, later = rng.integers(0, 2, (3, 100))
    scored = Scored(targets, first, later, later, rng.random(100, np.float32))
    found = heldout.score_splits(scored, ACCURACY, 0.99, splits=3, seed=7)
    again = heldout.score_splits(scored, ACCURACY, 0.99, splits=3, seed=7)
    assert found.scores.tolist() == again.scores.tolist()
    choosing, scoring = heldout.halves(100, 8)
    threshold = heldout.choose_threshold(scored.take(choosing), ACCURACY, 0.99)
    other = scored.take(scoring)
    escalate = routing.is_complex(other.confidences, threshold)
    assert found.thresholds[1] == threshold
    assert found.escalated[1] == pytest.approx(escalate.mean())
    assert found.scores[1] == pytest.approx(accuracy(other, escalate))
    kept = found.scores >= 0.99 * found.references - 1e-12
    assert found.reached == pytest.approx(kept.mean())


def test_corrections_by_hand():
    found = corrections.by_quantile(scored_by_hand(), "labels", quantiles=2)
    assert found.edges.tolist() == pytest.approx([0.6, 0.8, 0.9])
    assert found.rows.tolist() == [2, 3]
    counts = dict(zip(corrections.KINDS, found.counts.tolist(), strict=True))
    assert counts == {
        "corrected": [1, 0],
        "introduced": [1, 0],
        "both_wrong": [0, 1],
        "both_right": [0, 2],
    }


@given(any_rows(), st.integers(1, 12))
def test_every_row_is_in_one_quantile_and_ties_are_together(scored, quantiles):
    found = corrections.by_quantile(scored, "labels", quantiles)
    assert found.counts.sum(axis=0).tolist() == found.rows.tolist()
    assert found.rows.sum() == len(scored)
    _, sizes = np.unique(scored.confidences, return_counts=True)
    # With ties together, every quantile's size is a sum of consecutive groups' sizes.
    ends = {0, *np.cumsum(sizes).tolist()}
    assert set(np.cumsum(found.rows).tolist()) <= ends
    gained = found.counts[0].sum() - found.counts[1].sum()
    right = [(answers == scored.targets).sum() for answers in (scored.first, scored.later)]
    assert gained == right[1] - right[0]
