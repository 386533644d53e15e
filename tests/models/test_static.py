"""The static family: beside a naive reference, and a row's scores whatever stands beside it."""

from itertools import pairwise

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tango_beam.models.static import hashed_bigrams, sides
from tango_beam.models.tokens import Tokens
from tests import tiny

TEXTS = ["good", "a very bad film", "", "the plot is dull", "good " * 90, "not very funny", ""] * 3
PAIRS = ["bad", "", "a film", "the plot", "was very sad", "dull", ""] * 3
SHAPES = {
    "single": {},
    "no bigrams": {"bigrams": 0},
    "pairs": {"separator": tiny.SPECIAL.index("[SEP]")},
    "wide pairs": {"separator": tiny.SPECIAL.index("[SEP]"), "feed_forward_size": 200},
}


def bucket(before, token, buckets):
    mixed = (before * 0x9E3779B1 + token) % 2**32
    mixed = (mixed ^ (mixed >> 15)) * 0x85EBCA77 % 2**32
    return mixed * buckets // 2**32


def means(weights, ids):
    """Of a text's pieces, and of its bigrams; zeros for one without tokens."""
    pieces, bigrams = weights["embedding.weight"], weights.get("bigrams.weight")
    rows = [pieces[ids]]
    if bigrams is not None:
        edge = 2**32 - 1
        rows.append(bigrams[[bucket(*pair, len(bigrams)) for pair in pairwise([edge, *ids])]])
    return np.concatenate([part.sum(axis=0) / max(1, len(ids)) for part in rows])


def reference(model, ids):
    weights = {name: tensor.float().numpy() for name, tensor in model.network.state_dict().items()}
    separator = model.config.separator
    seen = means(weights, ids)
    if separator is not None:
        at = next((n for n, one in enumerate(ids) if n and one == separator), len(ids))
        one, two = means(weights, ids[:at]), means(weights, ids[at:])
        seen = np.concatenate([one, two, one * two, np.abs(one - two)])
    names = [f"feed_forward.{layer}.{part}" for layer in (0, 2) for part in ("weight", "bias")]
    first, bias, last, shift = (weights[name] for name in names)
    return last @ np.maximum(first @ seen + bias, 0) + shift


@pytest.fixture(params=SHAPES)
def folder(request, tmp_path):
    return tiny.static(tmp_path / "static", **SHAPES[request.param])


def tokens_of(model):
    pairs = None if model.config.separator is None else pa.array(PAIRS)
    tokens = model.tokenize(pa.array(TEXTS), pairs)
    bare = Tokens(tokens.ids[:0], np.zeros(3, np.int64), np.zeros(2, bool))  # rows without tokens
    ids, offsets = np.concatenate([tokens.ids, bare.ids]), [*tokens.offsets, *[len(tokens.ids)] * 2]
    return Tokens(ids, np.array(offsets), np.concatenate([tokens.truncated, bare.truncated]))


def test_its_logits_are_those_of_a_naive_reference(folder):
    model = tiny.load(folder)
    tokens = tokens_of(model)
    found = model.forward(tokens, np.arange(len(tokens)))
    rows = [tokens.ids[a:b].tolist() for a, b in pairwise(tokens.offsets)]
    np.testing.assert_allclose(found, [reference(model, ids) for ids in rows], atol=1e-5)
    assert np.isfinite(found).all() and len({*found[:, 0].tolist()}) > 5


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_what_a_row_shares_a_micro_batch_with_moves_no_bit_of_its_logits(folder, precision, rng):
    model = tiny.load(folder, precision=precision)
    tokens = tokens_of(model)
    alone = tiny.one_at_a_time(model, tokens)
    for size in (2, 3, 7, 16, 17, len(tokens)):
        rows = rng.permutation(len(tokens))[:size]
        np.testing.assert_array_equal(model.forward(tokens, rows), alone[rows])
        rows = np.arange(len(tokens))[-size:]
        np.testing.assert_array_equal(model.forward(tokens, rows), alone[rows])


def test_rows_stay_as_they_stand_in_large_micro_batches(folder):
    model = tiny.load(folder)
    parts = model.plan(np.full(10_000, 20))
    assert np.concatenate(parts).tolist() == [*range(10_000)]
    assert 10_000 * 20 / len(parts) > 2**15
    assert model.padded(np.array([3, 9])).tolist() == [3, 9]


def test_its_operations_are_its_heads_and_an_addition_for_each_number_read(tmp_path):
    model = tiny.load(tiny.static(tmp_path, embedding_size=8, feed_forward_size=4))
    head = 2 * (16 * 4 + 4 * 2)
    assert model.operations(np.array([0, 10])).tolist() == [head, head + 10 * 16]


@given(st.lists(st.lists(st.integers(0, 9), max_size=6), max_size=8), st.integers(1, 20))
@settings(max_examples=60)
def test_no_bigram_and_no_side_goes_over_a_rows_edge(rows, bits):
    ids = np.array([token for row in rows for token in row], np.int32)
    offsets = np.cumsum([0, *map(len, rows)])
    found = hashed_bigrams(ids, offsets[:-1], 1 << bits).tolist()
    edge = 2**32 - 1
    assert found == [bucket(*pair, 1 << bits) for row in rows for pair in pairwise([edge, *row])]
    edges = sides(ids, offsets, separator=3)
    assert edges[::2].tolist() == offsets.tolist()
    inner = [next((n for n, one in enumerate(r) if n and one == 3), len(r)) for r in rows]
    assert (edges[1::2] - edges[:-1:2]).tolist() == inner


def test_bigrams_fill_their_buckets_evenly():
    ids = np.arange(1 << 16, dtype=np.int32) % 30_000
    counts = np.bincount(hashed_bigrams(ids, np.zeros(1, np.int64), 256), minlength=256)
    assert counts.min() > 150 and counts.max() < 360


def test_the_order_of_words_is_seen_through_bigrams_alone(tmp_path):
    seen = {}
    for bigrams in (0, 64):
        model = tiny.load(tiny.static(tmp_path / str(bigrams), bigrams=bigrams))
        tokens = model.tokenize(pa.array(["not very good bad film", "bad not very good film"]))
        seen[bigrams] = np.ptp(model.forward(tokens, np.arange(2)), axis=0).max()
    assert seen[0] < 1e-6 < seen[64]


def test_int8_is_what_auto_would_be(static):
    assert tiny.load(static, precision="int8").precision in ("fp32", "bf16")
