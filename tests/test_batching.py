"""Batches are cut by length within a budget, every row once."""

import hypothesis.strategies as st
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given

from tango_beam import batching

LENGTHS = st.lists(st.integers(0, 600), max_size=300)


@given(LENGTHS, st.integers(1, 5000), st.floats(1, 3), st.integers(1, 64))
def test_every_row_is_in_exactly_one_batch(lengths, budget, stretch, min_rows):
    batches = batching.plan_batches(lengths, budget, stretch=stretch, min_rows=min_rows)
    rows = np.concatenate([np.zeros(0, int), *batches])
    assert sorted(rows.tolist()) == list(range(len(lengths)))
    assert all(len(batch) for batch in batches)


@given(LENGTHS, st.integers(1, 5000))
def test_only_a_row_longer_than_the_budget_exceeds_it_and_it_stands_alone(lengths, budget):
    for batch in batching.plan_batches(lengths, budget):
        padded = len(batch) * max(1, max(lengths[row] for row in batch))
        assert padded <= budget or len(batch) == 1


@given(LENGTHS, st.integers(1, 5000), st.floats(1, 3), st.integers(1, 64))
def test_stretch_holds_past_min_rows(lengths, budget, stretch, min_rows):
    for batch in batching.plan_batches(lengths, budget, stretch=stretch, min_rows=min_rows):
        sizes = [max(1, lengths[row]) for row in batch]
        assert len(batch) <= min_rows or max(sizes) <= min(sizes) * stretch


@given(LENGTHS, st.integers(1, 5000))
def test_lengths_ascend_within_and_across_batches(lengths, budget):
    order = [lengths[row] for batch in batching.plan_batches(lengths, budget) for row in batch]
    assert [max(1, length) for length in order] == sorted(max(1, length) for length in lengths)


def test_equal_lengths_fill_the_budget():
    batches = batching.plan_batches([10] * 100, 200)
    assert [len(batch) for batch in batches] == [20] * 5


@pytest.mark.parametrize("bad", [{"token_budget": 0}, {"stretch": 0.5}, {"min_rows": 0}])
def test_limits_under_one_are_refused(bad):
    with pytest.raises(ValueError, match="at least 1"):
        batching.plan_batches([1, 2], **{"token_budget": 8, **bad})


def test_padding_ratio_counts_what_is_filled_up():
    assert batching.padding_ratio([2, 4], [np.array([0, 1])]) == pytest.approx(8 / 6)
    assert batching.padding_ratio([2, 4], [np.array([0]), np.array([1])]) == 1.0
    assert batching.padding_ratio([], []) == 1.0


@given(st.integers(0, 50), st.integers(1, 20))
def test_cut_and_join_give_back_the_batch(rows, most):
    batch = pa.record_batch({"a": pa.array(range(rows), pa.int64())})
    pieces = list(batching.cut(batch, most))
    assert all(0 < piece.num_rows <= most for piece in pieces)
    if pieces:
        assert batching.join(pieces).equals(batch)


def test_join_shows_both_schemas_when_they_differ():
    a, b = pa.record_batch({"a": [1]}), pa.record_batch({"b": ["x"]})
    with pytest.raises(ValueError, match=r"a: int64[\s\S]*against[\s\S]*b: string"):
        batching.join([a, b])
