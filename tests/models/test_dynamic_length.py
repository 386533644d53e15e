"""Encoders that drop tokens: which ones, what is left, what it costs, and what is refused."""

import numpy as np
import pyarrow as pa
import pytest
import torch

from tango_beam.config import CascadeConfig, Compute, TierConfig
from tango_beam.errors import RefusedError
from tango_beam.models import encoder_layers, flops, kept_tokens, span_transformer
from tango_beam.models.dynamic_length import attended, most_received
from tango_beam.models.kept_tokens import ShorterOperations
from tango_beam.models.packed_rows import PackedRows, RowPacker
from tests import tiny
from tests.models import families

pytestmark = pytest.mark.usefixtures("one_thread")

CLASSIFIER, READER = "ForSequenceClassification", "ForQuestionAnswering"
TEXTS = [
    "a good film",
    "",
    "the plot was dull and the end was not very good",
    "sad",
    "a b c d e f g",
    "the film was a b c d e f g",
    "bad plot",
]
KEPT = (0.7, 0.5, 0.2)


@pytest.fixture(params=["Bert", "DistilBert", "Roberta"])
def family(request, monkeypatch):
    for name in ("num_hidden_layers", "n_layers"):
        monkeypatch.setitem(families.NAMES, name, 4)
    return request.param


def network_of(folder, head=CLASSIFIER):
    """transformers' own network of a checkpoint."""
    if head == CLASSIFIER:
        return tiny.to_train(folder).network
    return span_transformer.load(TierConfig(str(folder)), Compute("cpu", "fp32")).network


def tokens_of(model, head=CLASSIFIER):
    if head == READER:
        return model.tokenize(pa.array([text[:6] for text in TEXTS]), pa.array(TEXTS))
    return model.tokenize(pa.array(TEXTS))


def by_hand(network, kept, tokens, row):
    """The last states of one text's tokens, by the equations, a token and a head at a time."""
    pack = RowPacker(network, segments=True)
    heads = network.config.num_attention_heads
    states = network.base_model.embeddings(**pack(tokens, np.array([row]), 0).given)[0]
    count, alive = len(states), [*range(len(states))]
    found = dict(enumerate(states))
    for number, layer in enumerate(encoder_layers.layers(network)):
        parts = encoder_layers.parts(layer)
        query, key, value = (
            torch.stack([linear(found[at]) for at in alive]).unflatten(1, (heads, -1))
            for linear in (parts.query, parts.key, parts.value)
        )
        scores = torch.einsum("qhw,khw->hqk", query, key) / query.shape[2] ** 0.5
        weights = scores.softmax(dim=2)
        mixed = torch.einsum("hqk,khw->qhw", weights, value).flatten(1)
        received = weights.sum(dim=(0, 1)).tolist()
        many = len(alive)
        if number < len(kept):
            many = max(1, int(np.ceil(kept[number] * count - 1e-9)))
        others = sorted(range(1, len(alive)), key=lambda place: -received[place])
        stays = sorted([0, *others[: many - 1]])
        for place in stays:
            given = parts.merge_norm(parts.merge(mixed[place]) + found[alive[place]])
            wide = parts.activation(parts.widen(given))
            found[alive[place]] = parts.narrow_norm(parts.narrow(wide) + given)
        alive = [alive[place] for place in stays]
    return torch.stack([found[at] for at in range(count)]), alive


@pytest.mark.parametrize("kept", [KEPT, (1.0, 0.5, 0.5), (0.0, 0.0, 0.0)])
def test_the_tokens_that_receive_least_attention_are_dropped(tmp_path, family, kept):
    families.checkpoint(tmp_path, family)
    model = tiny.load(tmp_path, kept_tokens=kept)
    tokens = tokens_of(model)
    logits = model.forward(tokens, np.arange(len(TEXTS)))
    network = network_of(tmp_path)
    for row in range(len(TEXTS)):
        states, _ = by_hand(network, kept, tokens, row)
        expected = encoder_layers.answer(network, states[:1]).detach().numpy()[0]
        np.testing.assert_allclose(logits[row], expected, atol=2e-4)


@pytest.mark.parametrize(("rows", "tokens"), [(1, 1), (5, 7), (70, 40), (3, 130), (1, 500)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_attention_is_counted_where_it_goes(dtype, rows, tokens):
    torch.manual_seed(0)
    parts = torch.randn(3, rows, tokens, 4, 16).to(dtype)
    mixed = torch.full((rows * tokens, 64), torch.nan, dtype=dtype)
    worth = attended([*parts], mixed)
    query, key, value = parts.double().transpose(2, 3)
    weights = (query @ key.mT / 4).softmax(dim=-1)
    received = weights.sum(dim=(1, 2))
    assert (worth / received - 1).abs().max() < 4 * torch.finfo(dtype).eps
    expected = (weights @ value).transpose(1, 2).flatten(2)
    error = (mixed.view(rows, tokens, -1).double() - expected).abs().max()
    assert error < (1e-5 if dtype == torch.float32 else 0.03)


def test_the_tokens_that_receive_most_stay_with_the_first_ones():
    lengths, counts, stay = [1, 4, 9], [2, 3, 1], [1, 2, 4]
    packed = PackedRows(np.arange(6), lengths, counts, {})
    torch.manual_seed(0)
    worth = torch.rand(6, 9)
    worth[2, :4] = 0.5  # of tokens that are worth the same, the first ones
    expected, start = [], 0
    texts = zip(np.repeat(lengths, counts), np.repeat(stay, counts), worth.clone(), strict=True)
    for tokens, kept, of_text in texts:
        most = sorted(range(1, tokens), key=lambda place: -of_text[place])[: kept - 1]
        expected += [start, *sorted(start + place for place in most)]
        start += tokens
    assert most_received(worth, packed, stay).tolist() == expected


def test_dropped_tokens_answer_with_the_state_that_they_had(tmp_path, family):
    families.checkpoint(tmp_path, family, head=READER)
    model = tiny.load(tmp_path, kept_tokens=KEPT)
    tokens, network = tokens_of(model, READER), network_of(tmp_path, READER)
    seen = set()
    for rows, starts, ends in model.encoder.edges(tokens, np.arange(len(TEXTS)), 0):
        for row, *edges in zip(rows, starts, ends, strict=True):
            states, alive = by_hand(network, KEPT, tokens, row)
            expected = network.qa_outputs(states).detach().numpy()
            np.testing.assert_allclose(np.stack(edges, axis=1), expected, atol=2e-4)
            seen.add((len(states), len(alive)))
    assert any(left < before / 2 for before, left in seen)


@pytest.mark.parametrize("head", [CLASSIFIER, READER])
def test_who_keeps_all_tokens_is_the_model_itself(tmp_path, family, head):
    families.checkpoint(tmp_path, family, head=head)
    ours, own = (tiny.load(tmp_path, kept_tokens=kept) for kept in ((1.0, 1.0, 1.0), ()))
    tokens, rows = tokens_of(own, head), np.arange(len(TEXTS))
    np.testing.assert_allclose(ours.forward(tokens, rows), own.forward(tokens, rows), atol=1e-5)
    lengths = np.array([1, 2, 30, 400])
    network = network_of(tmp_path, head)
    count = flops.Operations.of(network)
    counted = ShorterOperations.of(network, (1.0, 1.0, 1.0))
    np.testing.assert_allclose(counted(lengths), count(lengths), rtol=1e-9)


def test_a_row_is_answered_alike_whatever_it_shares_a_batch_with(tmp_path, family):
    families.checkpoint(tmp_path, family)
    model = tiny.load(tmp_path, kept_tokens=KEPT)
    tokens = tokens_of(model)
    together = model.forward(tokens, np.arange(len(TEXTS)))
    np.testing.assert_allclose(tiny.one_at_a_time(model, tokens), together, atol=1e-5)


def test_fewer_tokens_are_fewer_operations(tmp_path, family):
    families.checkpoint(tmp_path, family)
    network, lengths = network_of(tmp_path), np.array([5, 100])
    counts = [ShorterOperations.of(network, kept)(lengths) for kept in ((1, 1, 1), KEPT, (0, 0, 0))]
    assert (counts[0] > counts[1]).all() and (counts[1] > counts[2]).all()
    model = tiny.load(tmp_path, kept_tokens=KEPT)
    np.testing.assert_array_equal(model.operations(lengths), counts[1])
    np.testing.assert_array_equal(model.at((0, 0, 0)).operations(lengths), counts[2])


@pytest.mark.parametrize("kept", [(0.5,), (0.5, 0.7, 0.1), (0.5,) * 4])
def test_shares_that_do_not_fit_are_refused(tmp_path, family, kept):
    families.checkpoint(tmp_path, family)
    with pytest.raises(ValueError, match="expected kept_tokens of 3 shares, none above the one"):
        tiny.load(tmp_path, kept_tokens=kept)


def test_what_cannot_drop_tokens_says_so(tmp_path):
    families.checkpoint(tmp_path / "mpnet", "MPNet")
    with pytest.raises(ValueError, match="without relative positions"):
        tiny.load(tmp_path / "mpnet", kept_tokens=(0.5,))
    families.checkpoint(tmp_path / "electra", "Electra")
    with pytest.raises(ValueError, match="expected an encoder like BERT on a processor"):
        tiny.load(tmp_path / "electra", kept_tokens=(0.5,))
    with pytest.raises(RefusedError, match="kept_tokens of 0 to 1"):
        TierConfig("x", kept_tokens=(1.5,))
    with pytest.raises(RefusedError, match="exit_thresholds or kept_tokens, found both"):
        TierConfig("x", kept_tokens=(0.5,), exit_thresholds=(0.5,))


def test_settings_of_encoders_are_refused_where_there_is_none(tmp_path):
    tiny.bilstm(tmp_path / "bilstm")
    for name in ("kept_tokens", "exit_thresholds"):
        with pytest.raises(ValueError, match=f"for {name}, found"):
            tiny.load(tmp_path / "bilstm", **{name: (0.5,)})
    tiny.reader(tmp_path / "reader")
    with pytest.raises(ValueError, match=r"for exit_thresholds, found .* on a reader of spans"):
        tiny.load(tmp_path / "reader", exit_thresholds=(0.5,))


def test_other_shares_are_another_cascade(tmp_path):
    tiny.transformer(tmp_path / "a")
    tiers = [TierConfig(str(tmp_path / "a"), kept_tokens=kept) for kept in ((), (0.5,), (0.4,))]
    prints = {CascadeConfig((tier,), tiny.LABELS).scoring_fingerprint("fp32") for tier in tiers}
    assert len(prints) == 3


def test_a_front_holds_what_nothing_cheaper_is_as_near_as(tmp_path):
    cheap, good, bad, near = (
        kept_tokens.Point((0.5,), operations, distance, {"accuracy": 0.5})
        for operations, distance in ((0.3, 1.0), (0.5, 0.2), (0.6, 0.4), (0.9, 0.1))
    )
    kept = kept_tokens.front([good, bad, near, cheap])
    assert kept == [near, good, cheap]
    kept_tokens.save(kept, tmp_path)
    assert kept_tokens.load(tmp_path) == kept
    assert kept_tokens.load(tmp_path / "nowhere") == []
