"""The bounds are exact: checked against sums, against enumeration, and against known counts."""

from math import comb

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given
from scipy import stats

from tango_beam.guarantees import bounds


def binomial(k, n, p):
    return sum(comb(n, i) * p**i * (1 - p) ** (n - i) for i in range(k + 1))


def hypergeometric(k, corpus, bad, n):
    return sum(comb(bad, i) * comb(corpus - bad, n - i) for i in range(k + 1)) / comb(corpus, n)


@pytest.mark.parametrize(("goal", "errors"), [(0.99, 4), (0.95, 38)])
def test_a_thousand_rows_allow_as_many_errors_as_the_tables_say(goal, errors):
    assert bounds.most_errors(1000, 1 - goal, 0.05) == errors


@given(st.integers(1, 60), st.floats(0.01, 0.6), st.sampled_from([0.01, 0.05, 0.1]))
def test_the_most_errors_are_rejected_and_one_more_is_not(rows, share, delta):
    most = bounds.most_errors(rows, share, delta)
    if most >= 0:
        assert binomial(most, rows, share) <= delta * (1 + 1e-9)
    assert binomial(most + 1, rows, share) > delta * (1 - 1e-9)


@given(st.data())
def test_in_a_small_corpus_no_broken_one_passes_too_often(data):
    corpus = data.draw(st.integers(5, 60))
    rows = data.draw(st.integers(1, corpus))
    share, delta = data.draw(st.sampled_from([0.05, 0.1, 0.3])), 0.05
    most = bounds.most_errors(rows, share, delta, corpus)
    for bad in range(corpus + 1):
        if bad > share * corpus + 1e-9 and most >= 0:
            assert hypergeometric(most, corpus, bad, rows) <= delta * (1 + 1e-9)


def test_a_sample_that_is_the_whole_corpus_allows_what_the_goal_allows():
    assert bounds.most_errors(200, 0.05, 0.05, corpus=200) == 10


@given(st.integers(0, 40), st.integers(1, 40), st.sampled_from([0.01, 0.05]))
def test_the_bounds_are_where_the_tail_is_delta(errors, more, delta):
    rows = errors + more
    high, low = bounds.upper(errors, rows, delta), bounds.lower(errors, rows, delta)
    assert binomial(errors, rows, high) == pytest.approx(delta, rel=1e-6)
    assert low <= errors / rows <= high
    if errors:
        assert 1 - binomial(errors - 1, rows, low) == pytest.approx(delta, rel=1e-6)


@given(st.data())
def test_the_bound_in_a_small_corpus_is_the_most_that_is_not_rejected(data):
    corpus = data.draw(st.integers(5, 60))
    rows = data.draw(st.integers(2, corpus))
    errors = data.draw(st.integers(0, rows - 1))
    most = round(bounds.upper(errors, rows, 0.05, corpus) * corpus)
    tails = {
        bad: hypergeometric(errors, corpus, bad, rows)
        for bad in range(errors, corpus - (rows - errors) + 1)
    }
    # A tail of exactly delta (0 errors of 2, 19 bad among 25) may round to either side of it.
    fewest = max(bad for bad, tail in tails.items() if tail > 0.05 + 1e-9)
    assert fewest <= most <= max(bad for bad, tail in tails.items() if tail > 0.05 - 1e-9)


def test_fewer_rows_than_the_fewest_cannot_sign():
    assert bounds.fewest_rows(0.99, 0.05) == 299
    assert bounds.most_errors(299, 1 - 0.99, 0.05) == 0
    assert bounds.most_errors(298, 1 - 0.99, 0.05) == -1
    with pytest.raises(ValueError, match="delta"):
        bounds.upper(0, 10, 0.0)


@pytest.mark.parametrize("rows", [1, 2, 17, 299, 1000, 10_000])
def test_the_binomial_and_the_beta_are_those_of_scipy_stats(rows):
    counts = np.unique(np.linspace(0, rows + 1, 60).astype(np.int64))
    for share in (1e-4, 0.001, 0.01, 0.05, 0.3, 0.6):
        expected = stats.binom.cdf(counts, rows, share)
        # Under 1e-200 a p-value decides nothing.
        assert bounds.p_values(counts, rows, share) == pytest.approx(
            expected, rel=1e-12, abs=1e-200
        )
    for errors in counts[counts < rows].tolist():
        for delta in (0.1, 0.05, 0.01, 1e-4):
            high = stats.beta.ppf(1 - delta, errors + 1, rows - errors)
            assert bounds.upper(errors, rows, delta) == pytest.approx(high, rel=1e-12)
            low = stats.beta.ppf(delta, errors, rows - errors + 1) if errors else 0.0
            assert bounds.lower(errors, rows, delta) == pytest.approx(low, rel=1e-12)
