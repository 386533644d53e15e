"""Confidence from logits, and who answers what under which thresholds."""

import hypothesis.extra.numpy as hnp
import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given

from tango_beam import routing

LOGITS = hnp.arrays(
    np.float32,
    st.tuples(st.integers(0, 30), st.integers(2, 6)),
    elements=st.floats(-80, 80, width=32),
)
CONFIDENCES = hnp.arrays(np.float32, st.integers(0, 50), elements=st.floats(0, 1, width=32))


@given(LOGITS, st.floats(0.1, 10))
def test_softmax_is_a_distribution_in_the_order_of_the_logits(logits, temperature):
    probabilities = routing.softmax(logits, temperature)
    assert probabilities.dtype == np.float32
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, rtol=1e-5)
    best = np.take_along_axis(probabilities, logits.argmax(axis=1)[:, None], axis=1)[:, 0]
    np.testing.assert_array_equal(best, probabilities.max(axis=1, initial=0))


@given(LOGITS)
def test_margin_is_best_less_second_best(logits):
    probabilities = routing.softmax(logits)
    ordered = np.sort(probabilities, axis=1)
    np.testing.assert_array_equal(routing.margin(probabilities), ordered[:, -1] - ordered[:, -2])


def test_a_row_that_is_not_finite_comes_out_as_nan_and_leaves_others_alone():
    probabilities = routing.softmax(np.array([[np.nan, 1], [np.inf, 1], [2, 1]], np.float32))
    assert np.isnan(probabilities[:2]).all()
    assert np.isfinite(probabilities[2]).all()


@given(CONFIDENCES)
def test_threshold_zero_escalates_nothing_and_one_everything(confidences):
    assert not routing.is_complex(confidences, 0).any()
    assert routing.is_complex(confidences, 1).all()


@given(CONFIDENCES, st.floats(0, 1), st.floats(0, 1))
def test_a_higher_threshold_never_accepts_more(confidences, one, other):
    low, high = sorted([one, other])
    assert (routing.is_complex(confidences, low) <= routing.is_complex(confidences, high)).all()


@given(CONFIDENCES.filter(len))
def test_a_confidence_equal_to_the_threshold_is_accepted(confidences):
    threshold = float(confidences[0])
    if threshold < 1:
        assert not routing.is_complex(confidences, threshold)[0]


def test_one_escalates_also_where_a_confidence_rounds_to_one():
    assert routing.is_complex(np.array([1.0], np.float32), 1.0).all()


@pytest.mark.parametrize("threshold", [-0.1, 1.1, float("nan")])
def test_a_threshold_outside_zero_to_one_is_refused(threshold):
    with pytest.raises(ValueError, match="between 0 and 1"):
        routing.is_complex(np.zeros(1, np.float32), threshold)


def test_nan_confidences_are_refused_not_routed():
    with pytest.raises(ValueError, match="without NaN"):
        routing.is_complex(np.array([np.nan], np.float32), 0.5)


@pytest.mark.parametrize("kind", routing.CONFIDENCES)
def test_a_confidence_lies_in_0_to_1_and_is_highest_where_the_model_is_certain(kind, rng):
    spread = routing.softmax(rng.normal(size=(100, 4)).astype(np.float32) * 3)
    even, certain = np.full((1, 4), 0.25, np.float32), np.eye(4, dtype=np.float32)[:1]
    values = routing.confidence(np.concatenate([even, spread, certain]), kind)
    assert values.dtype == np.float32
    assert ((values >= 0) & (values <= 1)).all()
    assert values.argmin() == 0
    assert values[-1] == 1
    assert kind == "max_softmax" or values[0] == pytest.approx(0, abs=1e-6)


def test_with_two_labels_every_confidence_orders_rows_alike(rng):
    spread = routing.softmax(rng.normal(size=(200, 2)).astype(np.float32) * 3)
    orders = [
        np.argsort(routing.confidence(spread, kind), kind="stable") for kind in routing.CONFIDENCES
    ]
    assert (orders[0] == orders[1]).all()
    assert (np.diff(routing.confidence(spread, "entropy")[orders[0]]) >= -1e-6).all()


def test_an_unknown_confidence_is_refused_with_the_known_ones():
    with pytest.raises(ValueError, match="max_softmax, margin, entropy"):
        routing.confidence(np.full((1, 2), 0.5, np.float32), "vibes")


@given(st.integers(1, 4), st.integers(0, 20), st.integers(0, 2**32 - 1))
def test_a_row_is_answered_by_the_first_tier_that_is_sure_of_it(tiers, rows, seed):
    rng = np.random.default_rng(seed)
    answers = list(rng.integers(3, size=(tiers, rows)))
    confidences = list(rng.random((tiers - 1, rows), dtype=np.float32))
    thresholds = rng.choice([0.0, 0.3, 0.8, 1.0], tiers - 1)
    found, tier = routing.cascade_answers(answers, confidences, thresholds)
    steps = list(zip(confidences, thresholds, strict=True))
    sure = np.array([~routing.is_complex(*step) for step in steps] + [np.ones(rows, bool)])
    for row, first in enumerate(sure.argmax(axis=0)):
        assert tier[row] == first + 1
        assert found[row] == answers[first][row]


def test_answers_and_confidences_that_do_not_go_together_are_refused():
    answers = [np.zeros(2, np.int64)] * 3
    with pytest.raises(ValueError, match="shorter"):
        routing.cascade_answers(answers, [np.zeros(2, np.float32)], [0.5, 0.5])
