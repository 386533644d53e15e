"""Texts laid end to end get the scores that transformers gives them one at a time."""

import numpy as np
import pyarrow as pa
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import (
    CamembertConfig,
    CamembertForSequenceClassification,
    DistilBertConfig,
    DistilBertForSequenceClassification,
    ElectraConfig,
    ElectraForSequenceClassification,
    MPNetConfig,
    MPNetForSequenceClassification,
    RobertaConfig,
    RobertaForSequenceClassification,
    XLMRobertaConfig,
    XLMRobertaForSequenceClassification,
)

from tango_beam import batching
from tango_beam.models import attention, encoder_layers, packed, products
from tango_beam.models.packed import PackedTransformer
from tango_beam.models.tokens import Tokens
from tango_beam.models.transformer import to_answer
from tests import tiny

SMALL = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 48,
    "max_position_embeddings": 80,
    "initializer_range": 0.5,
}
DISTIL = {
    "dim": 32,
    "n_layers": 2,
    "n_heads": 4,
    "hidden_dim": 48,
    "max_position_embeddings": 80,
    "initializer_range": 0.5,
}
FAMILIES = {
    "roberta": (RobertaConfig, RobertaForSequenceClassification, SMALL | {"type_vocab_size": 1}),
    "xlm-roberta": (XLMRobertaConfig, XLMRobertaForSequenceClassification, SMALL),
    "mpnet": (MPNetConfig, MPNetForSequenceClassification, SMALL),
    "camembert": (CamembertConfig, CamembertForSequenceClassification, SMALL),
    "distilbert": (DistilBertConfig, DistilBertForSequenceClassification, DISTIL),
}


def checkpoint(folder, family, **changes):
    if family == "bert":
        return tiny.transformer(folder, **changes)
    backend = tiny.tokenizer()
    config, network, shape = FAMILIES[family]
    torch.manual_seed(0)
    made = config(
        vocab_size=backend.get_vocab_size(), num_labels=2, pad_token_id=0, **{**shape, **changes}
    )
    network(made).save_pretrained(folder)
    tiny.fast(backend).save_pretrained(folder)
    return folder


def pair(folder, precision="fp32"):
    """The model as the job loads it, packed, and as it is trained."""
    return (
        tiny.load(folder, precision=precision),
        tiny.to_train(folder, precision=precision),
    )


def texts(rng, count=60):
    return pa.array(["", "good", *(tiny.sentence(rng, 40) for _ in range(count))])


@pytest.mark.parametrize("family", ["bert", *FAMILIES])
def test_scores_are_those_of_transformers(family, tmp_path, rng):
    ours, theirs = pair(checkpoint(tmp_path / family, family))
    assert isinstance(ours, PackedTransformer) and not isinstance(theirs, PackedTransformer)
    tokens = ours.tokenize(texts(rng, 90))
    rows = rng.permutation(len(tokens))
    assert tokens.lengths.sum() > 1024  # in a micro-batch where first tokens are filled up
    found = ours.forward(tokens, rows)
    alone = [theirs.forward(tokens, np.array([row])) for row in rows]
    np.testing.assert_allclose(found, np.concatenate(alone), atol=2e-5, rtol=1e-5)
    assert found.std() > 0.01


@pytest.mark.parametrize("family", ["bert", *FAMILIES])
def test_a_padded_network_answers_for_first_tokens_alone(family, tmp_path, rng):
    folder = str(checkpoint(tmp_path / family, family))
    ours, theirs = tiny.to_train(folder), tiny.to_train(folder)
    encoder_layers.shorten(ours.network)
    seen = []
    last = encoder_layers.layers(ours.network)[-1]
    last.narrow.register_forward_hook(lambda _, given, __: seen.append(given[0].shape[:2]))
    tokens = ours.tokenize(texts(rng))
    for rows in (rng.permutation(len(tokens)), np.arange(1)):
        found = ours.forward(tokens, rows)
        np.testing.assert_allclose(found, theirs.forward(tokens, rows), atol=2e-5, rtol=1e-5)
        assert seen.pop() == (len(rows), 1)
    assert ours.parameters == theirs.parameters


def test_other_networks_are_not_shortened():
    config = ElectraConfig(vocab_size=tiny.tokenizer().get_vocab_size(), **SMALL)
    network = ElectraForSequenceClassification(config)
    before = str(network)
    encoder_layers.shorten(network)
    assert str(network) == before


@pytest.mark.parametrize("activation", ["gelu_new", "relu", "gelu_pytorch_tanh"])
def test_activations_are_those_of_transformers(activation, tmp_path, rng):
    ours, theirs = pair(tiny.transformer(tmp_path / "other", hidden_act=activation))
    tokens = ours.tokenize(texts(rng))
    rows = np.arange(len(tokens))
    np.testing.assert_allclose(ours.forward(tokens, rows), theirs.forward(tokens, rows), atol=2e-5)


def test_pairs_keep_their_segments(bert, rng):
    ours, theirs = pair(bert)
    first, second = (pa.array([tiny.sentence(rng) for _ in range(30)]) for _ in range(2))
    tokens = ours.tokenize(first, second)
    rows = np.arange(len(tokens))
    np.testing.assert_allclose(ours.forward(tokens, rows), theirs.forward(tokens, rows), atol=2e-5)
    unpaired = Tokens(tokens.ids, tokens.offsets, tokens.truncated)
    assert np.abs(ours.forward(tokens, rows) - ours.forward(unpaired, rows)).max() > 1e-3


@pytest.mark.parametrize("family", ["bert", "mpnet"])
def test_bf16_is_as_close_to_fp32_as_padded_bf16_is(family, tmp_path, rng):
    folder = checkpoint(tmp_path / family, family)
    ours, theirs = pair(folder, "bf16")
    tokens = ours.tokenize(texts(rng, 200))
    rows = np.arange(len(tokens))
    full = tiny.to_train(folder).forward(tokens, rows)
    errors = [np.abs(model.forward(tokens, rows) - full).mean() for model in (ours, theirs)]
    assert errors[0] < 1.5 * errors[1]


@pytest.mark.parametrize("lengths", [[1, 2, 30], [7, 128, 129, 500], [600]])
def test_a_bias_hangs_on_the_distance_alone(lengths):
    network = MPNetForSequenceClassification(
        MPNetConfig(**SMALL | {"max_position_embeddings": 602})
    )
    found = attention.biases(encoder_layers.distance_bias(network), lengths)
    for length, bias in zip(lengths, found, strict=True):
        expected = network.mpnet.encoder.compute_position_bias(torch.empty(1, length, 1))
        assert torch.equal(bias, expected[0])


@pytest.mark.parametrize("biased", [True, False])
@pytest.mark.parametrize("asked", [slice(0, 1), slice(1, None), slice(None)])
@pytest.mark.parametrize(("rows", "length"), [(3, 8), (60, 40), (2, 130), (1, 600), (1, 1030)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_attention_is_that_of_the_equations(dtype, rows, length, asked, biased):
    torch.manual_seed(0)
    query, key, value = torch.randn(3, rows, length, 4, 16).transpose(2, 3).to(dtype)
    bias = torch.randn(4, length, length).to(dtype)[:, asked] if biased else None
    found = attention.attention(query[:, :, asked], key, value, bias).double()
    scores = query[:, :, asked].double() @ key.double().mT / 4
    expected = (scores if bias is None else scores + bias.double()).softmax(dim=-1) @ value.double()
    assert (found - expected).abs().max() < (1e-5 if dtype == torch.float32 else 0.03)


def test_without_laid_out_weights_the_scores_are_the_same(bert, rng, monkeypatch):
    monkeypatch.setattr(products, "_has_onednn", lambda dtype: False)
    plain = to_answer(tiny.to_train(bert))
    ours, _ = pair(bert)
    tokens = ours.tokenize(texts(rng))
    rows = np.arange(len(tokens))
    np.testing.assert_allclose(plain.forward(tokens, rows), ours.forward(tokens, rows), atol=2e-5)


@pytest.mark.parametrize("family", ["bert", "mpnet"])
@pytest.mark.parametrize("activation", ["gelu", "silu"])
def test_int8_answers_are_close_to_fp32(family, activation, tmp_path, rng):
    folder = checkpoint(tmp_path / family, family, hidden_act=activation)
    ours = tiny.load(folder, precision="int8")
    assert isinstance(ours, PackedTransformer) == (activation == "gelu")
    tokens = ours.tokenize(texts(rng, 200))
    rows = np.arange(len(tokens))
    full = tiny.to_train(folder).forward(tokens, rows)
    found = ours.forward(tokens, rows)
    assert 0 < np.abs(found - full).mean() < 0.2 * full.std()
    assert (found.argmax(axis=1) == full.argmax(axis=1)).mean() > 0.85


@pytest.mark.parametrize("family", ["bert", "mpnet"])
def test_int8_scores_do_not_hang_on_the_rows_beside(family, tmp_path, rng):
    ours = tiny.load(checkpoint(tmp_path / family, family), precision="int8")
    tokens = ours.tokenize(texts(rng))
    together = ours.forward(tokens, np.arange(len(tokens)))
    alone = np.concatenate([ours.forward(tokens, np.array([row])) for row in range(len(tokens))])
    np.testing.assert_allclose(together, alone, atol=2e-5)


def test_an_int8_product_is_the_layers_within_a_step(rng):
    torch.manual_seed(0)
    layer = torch.nn.Linear(64, 48)
    rows = torch.randn(30, 64) * torch.logspace(-3, 3, 30)[:, None]  # each with a size of its own
    expected = layer(rows).detach()
    found = products.Product([layer], int8=True)(rows)
    error = (found - expected).abs().amax(dim=1) / rows.abs().amax(dim=1)
    assert 0 < error.max() < 0.03


def test_int8_without_onednn_is_torchs_own(bert, rng, monkeypatch):
    monkeypatch.setattr(packed, "has_int8", lambda: False)
    plain = to_answer(tiny.to_train(bert, precision="int8"))
    assert not isinstance(plain, PackedTransformer)
    tokens = plain.tokenize(texts(rng))
    rows = np.arange(len(tokens))
    full = tiny.to_train(bert).forward(tokens, rows)
    assert 0 < np.abs(plain.forward(tokens, rows) - full).mean() < 0.2 * full.std()


def test_other_encoders_stay_padded(tmp_path, bert):
    swish = tiny.transformer(tmp_path / "swish", hidden_act="silu")
    loaded = tiny.load(swish)
    assert not isinstance(loaded, PackedTransformer)
    assert isinstance(encoder_layers.layers(loaded.network)[-1], encoder_layers.FirstTokenLayer)
    with pytest.raises(ValueError, match="expected an encoder that can be packed"):
        packed.PackedEncoder(tiny.to_train(swish).network)


def test_a_packed_model_counts_its_parameters_and_is_not_saved(bert):
    ours, theirs = pair(bert)
    assert ours.parameters == theirs.parameters > 10_000
    held = sum(parameter.numel() for parameter in ours.encoder._network.parameters())
    assert held < ours.parameters  # its weights are held once
    assert not hasattr(ours, "save")
    assert ours.padded(np.array([0, 3, 9])).tolist() == [1, 3, 9]
    assert theirs.padded(np.array([0, 3, 9])).tolist() == [9, 9, 9]


@given(st.lists(st.integers(0, 600), max_size=200), st.integers(1, 3000), st.integers(1, 5))
def test_packed_plans_hold_every_row_once_in_even_shares(lengths, budget, multiple):
    parts = batching.plan_packed(lengths, budget, multiple=multiple)
    rows = [int(row) for part in parts for row in part]
    assert sorted(rows) == list(range(len(lengths)))
    sizes = np.maximum(lengths, 1)
    assert [int(sizes[row]) for row in rows] == sorted(int(size) for size in sizes)
    longest = int(max(sizes, default=1))
    assert all(sizes[part].sum() <= max(budget, longest) + longest for part in parts)


def test_packed_plans_come_in_multiples():
    assert len(batching.plan_packed([10] * 100, 300, multiple=4)) == 4
    assert len(batching.plan_packed([10] * 100, 300, multiple=3)) == 6
    with pytest.raises(ValueError, match="at least 1, found 0, 1"):
        batching.plan_packed([1], 0)
