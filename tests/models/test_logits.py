"""All rows at once: the same logits as one at a time, in order, with columns as asked for."""

import numpy as np
import pyarrow as pa
import pytest

from tango_beam.models import thread_pool
from tango_beam.models.logits import logits_of, logits_of_tokens
from tests import tiny


@pytest.fixture(params=["bert", "lstm"])
def model(request):
    return tiny.load(request.getfixturevalue(request.param))


@pytest.fixture
def texts(rng):
    return [tiny.sentence(rng, 30) for _ in range(50)]


def test_windows_and_micro_batches_do_not_move_a_score(model, texts):
    tokens = model.tokenize(pa.array(texts))
    alone = tiny.one_at_a_time(model, tokens)
    for found in (
        logits_of(model, texts),
        logits_of(model, pa.array(texts), window=7),
        logits_of_tokens(model, tokens),
    ):
        assert found.dtype == np.float32
        np.testing.assert_allclose(found, alone, atol=2e-5)


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_micro_batches_side_by_side_are_scored_as_one_by_one(model, texts, threads, monkeypatch):
    monkeypatch.setattr(model, "batch_tokens", 40)
    tokens = model.tokenize(pa.array(texts))
    thread_pool.limit(threads)
    try:
        assert len(model.plan(tokens.lengths)) > threads
        found = logits_of_tokens(model, tokens)
    finally:
        thread_pool.limit(None)
    np.testing.assert_allclose(found, tiny.one_at_a_time(model, tokens), atol=2e-5)


def test_columns_stand_in_the_order_of_the_labels_that_are_given(model, texts):
    backward = logits_of(model, texts, labels=tiny.LABELS[::-1])
    np.testing.assert_array_equal(backward, logits_of(model, texts)[:, ::-1])
    with pytest.raises(ValueError, match=r"labels \['a', 'b'\], found \['negative', 'positive'\]"):
        logits_of(model, texts, labels=("a", "b"))


def test_the_second_texts_are_read(model, texts):
    pairs = texts[::-1]
    expected = logits_of_tokens(model, model.tokenize(pa.array(texts), pa.array(pairs)))
    np.testing.assert_allclose(logits_of(model, texts, pairs, window=20), expected, atol=2e-5)


def test_no_text_gives_no_row(model):
    assert logits_of(model, []).shape == (0, 2)
