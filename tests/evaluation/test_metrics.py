"""Metrics against what was worked by hand, and against plain computations of what they mean."""

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given
from hypothesis.extra import numpy as arrays
from scipy import stats

from tango_beam import answer_metrics
from tango_beam.evaluation import metrics
from tango_beam.evaluation.metrics import METRICS, Metric

# Worked by hand: tp 3, fn 1, fp 2, tn 4 for label 1.
TARGETS = np.array([1, 1, 1, 1, 0, 0, 0, 0, 0, 0])
ANSWERS = np.array([1, 1, 1, 0, 1, 1, 0, 0, 0, 0])


def of_labels(name, answers, targets, labels=2, positive=1):
    return Metric("labels", name, labels, positive)(np.array(answers), np.array(targets))


def test_two_labels_by_hand():
    assert of_labels("accuracy", ANSWERS, TARGETS) == pytest.approx(7 / 10)
    assert of_labels("f1", ANSWERS, TARGETS) == pytest.approx(6 / 9)  # 2*3 / (2*3 + 2 + 1)
    assert of_labels("f1", ANSWERS, TARGETS, positive=0) == pytest.approx(8 / 11)
    assert of_labels("macro_f1", ANSWERS, TARGETS) == pytest.approx((6 / 9 + 8 / 11) / 2)
    # Matthews: (tp*tn - fp*fn) / sqrt((tp+fp)(tp+fn)(tn+fp)(tn+fn))
    mcc = (3 * 4 - 2 * 1) / np.sqrt(5 * 4 * 6 * 5)
    assert of_labels("mcc", ANSWERS, TARGETS) == pytest.approx(mcc)


def test_three_labels_by_hand():
    both = [0, 1, 1, 1, 2, 0], [0, 0, 1, 1, 2, 2]
    assert of_labels("accuracy", *both, 3) == pytest.approx(4 / 6)
    # F1: 2*1/(2+2), 2*2/(3+2), 2*1/(1+2)
    assert of_labels("macro_f1", *both, 3) == pytest.approx((1 / 2 + 4 / 5 + 2 / 3) / 3)
    # Gorodkin: (4*6 - (2*2 + 3*2 + 1*2)) / sqrt((36 - 14)(36 - 12))
    assert of_labels("mcc", *both, 3) == pytest.approx(12 / np.sqrt(22 * 24))


def test_what_is_not_defined_is_zero_not_nan():
    assert of_labels("mcc", np.zeros(10, np.int64), TARGETS) == 0
    assert of_labels("f1", np.zeros(10, np.int64), TARGETS) == 0
    assert of_labels("f1", [0, 0, 0], [0, 0, 0]) == 0
    nothing = np.zeros((3, 2), bool)
    for name in ("micro_f1", "macro_f1", "f1"):
        assert Metric("multi_label", name, 2, 1)(nothing, nothing) == 0


def test_a_label_that_never_occurs_is_left_out_of_the_macro_mean():
    assert of_labels("macro_f1", ANSWERS, TARGETS, 5) == pytest.approx((6 / 9 + 8 / 11) / 2)


@given(st.lists(st.tuples(st.integers(0, 1), st.integers(0, 1)), min_size=1))
def test_for_two_labels_mcc_is_the_correlation_of_the_indicators(pairs):
    targets, answers = np.array(pairs).T
    found = of_labels("mcc", answers, targets)
    if targets.std() and answers.std():
        assert found == pytest.approx(np.corrcoef(targets, answers)[0, 1])
    else:
        assert found == 0


SETS = arrays.arrays(bool, (9, 3))


@given(SETS, SETS)
def test_sets_of_labels_are_scored_as_in_training(answers, targets):
    found = metrics.every(Metric("multi_label", "micro_f1", 3, 2), answers, targets)
    expected = answer_metrics.of_sets(answers, targets)
    assert found == pytest.approx(
        {
            "micro_f1": expected["micro F1"],
            "macro_f1": expected["macro F1"],
            "f1": answer_metrics.f1_by_label(answers, targets)[2],
            "exact_sets": expected["exact sets"],
        }
    )


def test_scores_are_right_by_bucket_and_compared_by_rank(rng):
    answers, targets = rng.integers(0, 4, (2, 50, 2)).astype(float)
    found = metrics.every(Metric("score", "bucket_accuracy"), answers, targets)
    assert found == pytest.approx(
        {
            "bucket_accuracy": np.mean(answers[:, 1] == targets[:, 1]),
            "mean_absolute_error": np.mean(np.abs(answers[:, 0] - targets[:, 0])),
            "spearman": stats.spearmanr(answers[:, 0], targets[:, 0]).statistic,
        }
    )


def test_spans_are_compared_as_squad_compares_them():
    texts = ["The Cat.", "a black cat sat", "dog", "", "x"]
    answers = metrics.of_texts(texts, [["cat"], ["dog", "the cat"], ["cat"], [], []])
    # "black cat sat" and "cat" share one word of 3 + 1.
    assert answers.tolist() == [[1, 1], [0, 0.5], [0, 0], [1, 1], [0, 0]]
    found = metrics.every(Metric("span", "f1"), answers, np.ones((5, 2)))
    assert found == pytest.approx({"f1": 2.5 / 5, "exact_match": 2 / 5})


@pytest.mark.parametrize(
    ("kind", "answers", "expected"),
    [
        ("labels", [0, 1, 2], [True, False, False]),
        ("multi_label", [[True, False], [True, True], [False, False]], [True, False, False]),
        ("score", [[7.0, 1], [0.0, 2], [0.0, 1]], [True, False, True]),
        ("span", [[1.0, 1.0], [0.0, 0.9], [0.0, 0.0]], [True, False, False]),
    ],
)
def test_what_is_right_of_each_kind(kind, answers, expected):
    targets = {"labels": 0, "multi_label": [True, False], "score": [1.5, 1], "span": [1.0, 1.0]}
    answers = np.array(answers)
    truth = np.broadcast_to(np.array(targets[kind]), answers.shape)
    assert metrics.right(kind, answers, truth).tolist() == expected


def test_a_stack_of_sums_is_scored_one_by_one(rng):
    for name in METRICS["labels"]:
        metric = Metric("labels", name, 2, 1)
        one, other = (metric.counts(each, TARGETS).sum(axis=0) for each in (ANSWERS, TARGETS))
        assert metric.of(np.stack([one, other])).tolist() == [metric(ANSWERS, TARGETS), 1.0]


def test_a_metric_that_is_none_is_refused():
    with pytest.raises(ValueError, match="found 'recall'"):
        Metric("labels", "recall")
    with pytest.raises(ValueError, match="label that F1 is of"):
        Metric("multi_label", "f1")
    with pytest.raises(ValueError, match="answers of shape"):
        of_labels("accuracy", ANSWERS[:3], TARGETS)
