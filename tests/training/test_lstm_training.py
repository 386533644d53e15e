"""A BiLSTM in training on every core learns what it would learn on one, by its own forward pass."""

import pytest
import torch
from torch.nn import functional

from tango_beam.models import thread_pool
from tango_beam.models.bilstm import BiLSTMNetwork
from tango_beam.models.bilstm_config import BiLSTMConfig
from tango_beam.training import lstm_training

pytestmark = pytest.mark.usefixtures("one_thread")


def network(dropout=0.0, **shape):
    torch.manual_seed(0)
    given = {"vocabulary_size": 30, "embedding_size": 6, "hidden_size": 5, "feed_forward_size": 7}
    return BiLSTMNetwork(BiLSTMConfig(("a", "b", "c"), dropout=dropout, **{**given, **shape}))


def batch(rows, tokens=9):
    generator = torch.Generator().manual_seed(rows)
    ids = torch.randint(30, (rows, tokens), generator=generator)
    return ids, torch.randn(rows, 3, generator=generator)


def learnt(own, loss):
    own.zero_grad()
    loss.backward()
    return {name: weight.grad.clone() for name, weight in own.named_parameters()}


@pytest.mark.parametrize("rows", [1, 16, 17, 70])
@pytest.mark.parametrize("shape", [{}, {"pooling": "max"}, {"layers": 1}, {"layers": 3}], ids=str)
def test_gradients_are_those_of_the_networks_own_pass(rows, shape):
    own, (ids, aim) = network(**shape), batch(rows)
    expected = functional.mse_loss(own(ids), aim)
    found = lstm_training.mean_loss(own, ids, aim)
    assert found.item() == pytest.approx(expected.item(), rel=1e-5)
    gradients, same = learnt(own, found * 3), learnt(own, expected * 3)
    for name, gradient in same.items():
        assert torch.allclose(gradients[name], gradient, atol=1e-5), name


def test_nothing_hangs_on_the_number_of_cores(monkeypatch):
    own, (ids, aim) = network(dropout=0.3), batch(70)

    def on(cores):
        monkeypatch.setattr(thread_pool, "_limit", cores)
        torch.manual_seed(7)
        return learnt(own, lstm_training.mean_loss(own, ids, aim))

    one, three = on(1), on(3)
    assert all(torch.equal(gradient, three[name]) for name, gradient in one.items())
    assert any(gradient.any() for gradient in one.values())


def test_dropout_follows_the_seed_and_ends_with_training():
    own, (ids, aim) = network(dropout=0.3), batch(20)

    def drawn(seed):
        torch.manual_seed(seed)
        return lstm_training.mean_loss(own, ids, aim).item()

    assert drawn(0) == drawn(0)
    assert drawn(0) != drawn(1)
    own.eval()
    assert drawn(0) == drawn(1) == pytest.approx(functional.mse_loss(own(ids), aim).item())
