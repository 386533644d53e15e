"""A packed network in training has the outputs and the gradients of transformers' own."""

import numpy as np
import pyarrow as pa
import pytest
import torch
from transformers import AutoModelForQuestionAnswering, AutoModelForSequenceClassification

from tango_beam.config import Compute, TierConfig
from tango_beam.models import attention, transformer
from tango_beam.models.span_transformer import SpanTransformer
from tango_beam.models.transformer import Transformer
from tango_beam.training import layers, networks, packed_network
from tests import tiny
from tests.models.families import PACKED, checkpoint

pytestmark = pytest.mark.usefixtures("one_thread")

HEADS = {
    "ForSequenceClassification": (Transformer, AutoModelForSequenceClassification),
    "ForQuestionAnswering": (SpanTransformer, AutoModelForQuestionAnswering),
}


def load(folder, family, head, dropout=0.0):
    """A model that drops out so much, but nothing of its attention."""
    checkpoint(folder, family, head=head)
    model = transformer.load_as(*HEADS[head], TierConfig(str(folder)), Compute("cpu", "fp32"))
    config = model.network.config
    for name in {"hidden_dropout_prob", "dropout"} & {*vars(config)}:
        setattr(config, name, dropout)
    for name, part in model.network.named_modules():
        if isinstance(part, torch.nn.Dropout):
            within = any(name.endswith(f"{word}.dropout") for word in ("self", "attn", "attention"))
            part.p = 0.0 if within else dropout
    return model


def rows(model, head, count=23):
    rng = np.random.default_rng(0)
    texts = [" ".join(rng.choice(tiny.WORDS, rng.integers(0, 40))) for _ in range(count)]
    pairs = None
    if head == "ForQuestionAnswering":
        texts, pairs = [text[:9] for text in texts], pa.array([text + " a b" for text in texts])
    return model.tokenize(pa.array(texts), pairs)


def outputs(network, tokens, picked, head):
    if head == "ForQuestionAnswering":
        found = network.edges(tokens, picked)
        return found[torch.from_numpy(tokens.inside(picked))]
    return network.logits(tokens, picked)


def gradients(model, network, tokens, picked, head):
    model.network.train().zero_grad()
    found = outputs(network, tokens, picked, head)
    weights = torch.linspace(-1, 1, found.numel()).view(found.shape)
    (found.sigmoid() * weights).sum().backward()
    named = model.network.named_parameters()
    return found.detach(), {name: p.grad for name, p in named if p.grad is not None}


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("family", [*PACKED, "Electra"])
def test_gradients_are_those_of_transformers(tmp_path, family, head):
    model = load(tmp_path, family, head)
    tokens = rows(model, head)
    picked = np.random.default_rng(1).permutation(len(tokens))[:17]
    network, plain = networks.of(model, "fp32"), networks.Padded(model, bf16=False)
    assert isinstance(network, networks.Padded) == (family == "Electra")
    found, expected = (gradients(model, way, tokens, picked, head) for way in (network, plain))
    assert torch.allclose(found[0], expected[0], atol=1e-4)
    assert found[1].keys() == expected[1].keys()
    for name, gradient in expected[1].items():
        error = (found[1][name] - gradient).abs().max()
        # A key's bias moves all scores of a query alike: its gradient is nothing but rounding.
        assert error <= 1e-4 * (gradient.abs().max() + 0.1), name


@pytest.mark.parametrize("family", [*PACKED, "Electra"])
def test_frozen_layers_have_no_gradient_and_the_others_the_same(tmp_path, family):
    head = "ForSequenceClassification"
    model = load(tmp_path, family, head)
    tokens, network = rows(model, head), networks.of(model, "fp32")
    picked = np.arange(len(tokens))
    logits, whole = gradients(model, network, tokens, picked, head)
    layers.freeze(model.network, 1)
    model.network.zero_grad(set_to_none=True)
    same, left = gradients(model, network, tokens, picked, head)
    assert torch.equal(logits, same)
    frozen = ("embeddings", "layer.0.", "relative_attention_bias")
    assert left.keys() == {name for name in whole if not any(part in name for part in frozen)}
    assert any("layer.1." in name for name in left)
    assert all(torch.equal(gradient, whole[name]) for name, gradient in left.items())


def test_more_layers_than_there_are_cannot_be_frozen(tmp_path):
    model = load(tmp_path, "Bert", "ForSequenceClassification")
    depth = layers.depth(model.network)
    with pytest.raises(ValueError, match=f"encoder of {depth + 1} layers or more, found {depth}"):
        layers.freeze(model.network, depth + 1)


@pytest.mark.parametrize("family", PACKED)
def test_micro_batches_hold_every_row_and_add_up(tmp_path, family, monkeypatch):
    monkeypatch.setattr(networks, "_HELD", 64)
    head = "ForSequenceClassification"
    model = load(tmp_path, family, head)
    tokens, network = rows(model, head), networks.of(model, "fp32")
    picked = np.arange(len(tokens))
    parts = network.cut(tokens, picked)
    assert len(parts) > 3
    assert sorted(np.concatenate(parts).tolist()) == picked.tolist()
    whole = network.logits(tokens, picked)
    for part in parts:
        assert torch.allclose(
            network.logits(tokens, part), whole[torch.from_numpy(part)], atol=1e-5
        )


@pytest.mark.parametrize("family", ["Bert", "DistilBert", "MPNet"])
def test_dropout_keeps_the_mean_and_follows_torchs_seed(tmp_path, family):
    head = "ForSequenceClassification"
    model = load(tmp_path, family, head, dropout=0.1)
    tokens, network = rows(model, head, 3), networks.of(model, "fp32")
    picked = np.arange(3)

    def drawn(seed):
        torch.manual_seed(seed)
        return network.logits(tokens, picked).detach()

    model.network.train()
    assert torch.equal(drawn(0), drawn(0))
    assert not torch.equal(drawn(0), drawn(1))
    spread = torch.stack([drawn(seed) for seed in range(600)])
    plain = torch.stack([outputs_of_transformers(model, tokens, seed) for seed in range(600)])
    error = (spread.std(0) ** 2 + plain.std(0) ** 2).div(600).sqrt()
    assert ((spread.mean(0) - plain.mean(0)).abs() < 5 * error).all()
    assert torch.allclose(spread.std(0), plain.std(0), rtol=0.25)
    model.network.eval()
    assert torch.equal(drawn(0), drawn(1))


def outputs_of_transformers(model, tokens, seed):
    torch.manual_seed(seed)
    model.network.train()
    return model.logits(tokens, np.arange(len(tokens))).detach()


def test_bf16_has_fp32_weights_and_gradients_close_by(tmp_path):
    head = "ForSequenceClassification"
    model = load(tmp_path, "Bert", head)
    tokens = rows(model, head)
    picked = np.arange(len(tokens))
    found, exact = (
        gradients(model, networks.of(model, precision), tokens, picked, head)[1]
        for precision in ("bf16", "fp32")
    )
    for name, gradient in exact.items():
        assert found[name].dtype == torch.float32
        if gradient.norm() > 1e-3:
            assert (found[name] - gradient).norm() < 0.1 * gradient.norm(), name


@pytest.mark.parametrize("biased", [True, False])
@pytest.mark.parametrize("asked", [slice(0, 1), slice(None)])
@pytest.mark.parametrize(("count", "length"), [(3, 8), (2, 130), (1, 513)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_attention_has_the_gradients_of_the_equations(dtype, count, length, asked, biased):
    torch.manual_seed(0)
    parts = [torch.randn(count * 4, length, 16, dtype=torch.float64) for _ in range(3)]
    parts[0] = parts[0][:, asked]
    bias = torch.randn(4, length, length, dtype=torch.float64)
    given = [part.to(dtype).requires_grad_() for part in parts]
    added = attention.with_padding(attention.with_padding(bias.to(dtype)).mT).mT
    found = packed_network.attended(given, added if biased else None, count)
    query, key, value = exact = [part.detach().double().requires_grad_() for part in given]
    scores = (query @ key.mT / 4).unflatten(0, (count, 4))
    scores = scores + bias.to(dtype).double()[:, asked] if biased else scores
    mixed = scores.softmax(dim=-1) @ value.unflatten(0, (count, 4))
    expected = mixed.transpose(1, 2).flatten(0, 1).flatten(1)
    weights = torch.randn_like(expected)
    (found * weights).sum().backward()
    (expected * weights).sum().backward()
    close = 1e-5 if dtype == torch.float32 else 0.02
    assert (found - expected).norm() < close * expected.norm()
    for one, goal in zip(given, exact, strict=True):
        assert (one.grad - goal.grad).norm() < 2 * close * goal.grad.norm()
