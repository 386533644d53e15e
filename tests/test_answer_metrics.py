"""Scores of sets of labels and of numbers, against what they are defined as."""

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given
from hypothesis.extra import numpy as arrays

from tango_beam import answer_metrics

SETS = arrays.arrays(bool, (7, 3))


def f1(found, truth):
    return 2 * (found & truth).sum() / max(1, found.sum() + truth.sum())


@given(SETS, SETS)
def test_scores_of_sets_are_what_their_names_say(found, truth):
    scores = answer_metrics.of_sets(found, truth)
    assert scores["exact sets"] == np.mean([np.array_equal(found[n], truth[n]) for n in range(7)])
    assert scores["micro F1"] == pytest.approx(f1(found, truth))
    labels = [n for n in range(3) if found[:, n].any() or truth[:, n].any()]
    by_label = [f1(found[:, n], truth[:, n]) for n in labels]
    assert scores["macro F1"] == pytest.approx(np.mean(by_label) if by_label else 0)


@given(st.lists(st.integers(-3, 3), min_size=2, max_size=9))
def test_ranks_of_scores_are_compared_with_ties(truth):
    truth = np.array(truth, np.float32)
    varied = len({*truth}) > 1
    for found, expected in ((truth * 2 + 9, 1), (-truth, -1), (0 * truth, 0)):
        scores = answer_metrics.of_scores(found, truth)
        assert scores["Spearman"] == pytest.approx(expected if varied else 0)
        assert scores["mean absolute error"] == pytest.approx(np.abs(found - truth).mean())
