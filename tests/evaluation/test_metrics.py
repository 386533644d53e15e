import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given

from tango_beam.evaluation import metrics
from tango_beam.evaluation.metrics import Metric, Tallies, tally

# Worked by hand: tp 3, fn 1, fp 2, tn 4 for label 1.
TARGETS = np.array([1, 1, 1, 1, 0, 0, 0, 0, 0, 0])
ANSWERS = np.array([1, 1, 1, 0, 1, 1, 0, 0, 0, 0])


def test_two_labels_by_hand():
    found = tally(TARGETS, ANSWERS, 2)
    assert metrics.accuracy(found) == pytest.approx(7 / 10)
    assert metrics.f1(found, 1) == pytest.approx(6 / 9)  # 2*3 / (2*3 + 2 + 1)
    assert metrics.f1(found, 0) == pytest.approx(8 / 11)  # 2*4 / (2*4 + 1 + 2)
    assert metrics.macro_f1(found) == pytest.approx((6 / 9 + 8 / 11) / 2)
    # Matthews: (tp*tn - fp*fn) / sqrt((tp+fp)(tp+fn)(tn+fp)(tn+fn))
    assert metrics.mcc(found) == pytest.approx((3 * 4 - 2 * 1) / np.sqrt(5 * 4 * 6 * 5))


def test_three_labels_by_hand():
    found = tally(np.array([0, 0, 1, 1, 2, 2]), np.array([0, 1, 1, 1, 2, 0]), 3)
    assert metrics.accuracy(found) == pytest.approx(4 / 6)
    # F1: 2*1/(2+2), 2*2/(3+2), 2*1/(1+2)
    assert metrics.macro_f1(found) == pytest.approx((1 / 2 + 4 / 5 + 2 / 3) / 3)
    # Gorodkin: (4*6 - (2*2 + 3*2 + 1*2)) / sqrt((36 - 14)(36 - 12))
    assert metrics.mcc(found) == pytest.approx(12 / np.sqrt(22 * 24))


def test_what_is_not_defined_is_zero_not_nan():
    constant = tally(TARGETS, np.zeros(10, np.int64), 2)
    assert metrics.mcc(constant) == 0
    assert metrics.f1(constant, 1) == 0
    nothing = tally(np.zeros(3, np.int64), np.zeros(3, np.int64), 2)
    assert metrics.f1(nothing, 1) == 0


def test_a_label_that_never_occurs_is_left_out_of_the_macro_mean():
    assert metrics.macro_f1(tally(TARGETS, ANSWERS, 5)) == pytest.approx((6 / 9 + 8 / 11) / 2)


@given(st.lists(st.tuples(st.integers(0, 1), st.integers(0, 1)), min_size=1))
def test_for_two_labels_mcc_is_the_correlation_of_the_indicators(pairs):
    targets, answers = np.array(pairs).T
    found = float(metrics.mcc(tally(targets, answers, 2)))
    if targets.std() and answers.std():
        assert found == pytest.approx(np.corrcoef(targets, answers)[0, 1])
    else:
        assert found == 0


def test_a_stack_of_tallies_is_scored_one_by_one():
    one, other = tally(TARGETS, ANSWERS, 2), tally(TARGETS, TARGETS, 2)
    stack = Tallies(
        np.stack([one.hits, other.hits]), np.stack([one.answered, other.answered]), one.actual
    )
    for name in metrics.METRICS:
        metric = Metric(name, positive=1)
        assert metric(stack).tolist() == [float(metric(one)), 1.0]


def test_a_metric_that_is_none_is_refused():
    with pytest.raises(ValueError, match="found 'recall'"):
        Metric("recall")
    with pytest.raises(ValueError, match="label that F1 is of"):
        Metric("f1")
