"""The benchmarks' own arithmetic: texts of given lengths, useful FLOP, micro-batches, ratios."""

import numpy as np
import pytest
import torch
import transformers
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from tango_beam.models import encoder_layers, flops
from tests import benchmark_arithmetic

SENTENCES = ["a dull film", "not very good , but bright", "great"]


def test_composed_texts_have_exactly_the_words_asked_for():
    lengths = [1, 2, 7, 40, 3]
    made = benchmark_arithmetic.composed(SENTENCES, lengths, seed=3)
    assert [benchmark_arithmetic.words(text) for text in made] == lengths
    assert set(" ".join(made).split()) <= set(" ".join(SENTENCES).split())


def test_words_are_parted_at_punctuation_and_tags():
    assert benchmark_arithmetic.words("Great!<br />It's so-so.") == 13


def test_a_spread_sample_has_the_lengths_of_the_whole():
    lengths = np.random.default_rng(0).integers(3, 300, 5000)
    rows = benchmark_arithmetic.spread(lengths, 500)
    assert len(set(rows)) == 500
    assert np.array_equal(rows, np.sort(rows))
    for share in (0.1, 0.5, 0.9):
        whole, sample = np.quantile(lengths, share), np.quantile(lengths[rows], share)
        assert sample == pytest.approx(whole, abs=3)


def test_a_spread_sample_of_all_rows_is_all_rows():
    assert benchmark_arithmetic.spread([5, 1, 3], 3).tolist() == [0, 1, 2]


@pytest.mark.parametrize("family", ["Bert", "MPNet"])
@torch.inference_mode()
def test_useful_flop_is_what_torch_counts_without_padding(family):
    config = getattr(transformers, f"{family}Config")(
        vocab_size=50,
        hidden_size=32,
        num_hidden_layers=3,
        num_attention_heads=4,
        intermediate_size=48,
        max_position_embeddings=64,
        num_labels=3,
        attn_implementation="eager",
    )
    model = getattr(transformers, f"{family}ForSequenceClassification")(config).eval()
    operations = flops.Operations.of(model)
    encoder_layers.shorten(model)
    counted = 0
    for length in (5, 17):
        # The counter knows attention's plain products, not the fused kernel of processors.
        with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
            model(torch.ones(1, length, dtype=torch.int64))
        counted += counter.get_total_flops()
    assert operations(np.array([5, 17])).sum() == pytest.approx(counted)


def test_careful_parts_hold_every_row_once_within_budget():
    lengths = np.random.default_rng(1).integers(3, 200, 700)
    parts = benchmark_arithmetic.cut(lengths, 1024)
    assert sorted(np.concatenate(parts)) == list(range(700))
    assert all(len(part) * lengths[part].max() <= 1024 for part in parts)


def test_a_row_longer_than_the_budget_goes_alone():
    assert [part.tolist() for part in benchmark_arithmetic.cut(np.array([900, 10]), 64)] == [
        [1],
        [0],
    ]


def test_evenly_takes_parts_of_all_lengths():
    lengths = np.arange(1, 401)
    parts = benchmark_arithmetic.cut(lengths, 512)
    some = benchmark_arithmetic.evenly(parts, lengths, int(lengths.sum()) // 10)
    assert len(some) == pytest.approx(len(parts) / 10, abs=1)
    assert lengths[some[0]].max() < 150
    assert lengths[some[-1]].max() > 350
    assert benchmark_arithmetic.evenly(parts, lengths, 10**9) == parts


def record(number, contender, rate, **more):
    return {"round": number, "contender": contender, "rate": rate, **more}


def test_ratio_is_the_median_over_rounds_that_have_both():
    records = [
        record(1, "f", 30.0, condition="10%"),
        record(1, "b", 10.0),
        record(2, "f", 80.0, condition="10%"),
        record(2, "b", 20.0),
        record(3, "f", 99.0, condition="10%"),
        record(4, "f", 10.0, condition="20%"),
        record(4, "b", 10.0),
    ]
    assert benchmark_arithmetic.ratio(records, "10%", "b") == 3.5
    assert benchmark_arithmetic.ratio(records, "20%", "b") == 1.0
    assert benchmark_arithmetic.ratio(records, "10%", "c") is None
