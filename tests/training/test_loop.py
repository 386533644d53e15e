"""The training loop: what a batch holds, and what is logged of an epoch."""

import hypothesis.strategies as st
import numpy as np
import pytest
import torch
from hypothesis import given

from tango_beam.errors import RefusedError
from tango_beam.training import loop, resume
from tango_beam.training.options import FinetuneOptions


def options(folder, **changes):
    given = {"learning_rate": 0.1, "weight_decay": 0.0, "warm_up": 0.0, **changes}
    return FinetuneOptions(train="x", encoder="x", output=str(folder / "out"), **given)


@given(st.lists(st.integers(0, 5), max_size=40), st.integers(1, 7), st.booleans())
def test_an_epochs_batches_hold_every_row_once(lengths, size, exact):
    lengths = np.array(lengths, np.int64)
    batches = loop.epoch_batches(lengths, size, np.random.default_rng(0), exact=exact)
    assert sorted(row for batch in batches for row in batch.tolist()) == [*range(len(lengths))]
    assert all(1 <= len(batch) <= size for batch in batches)
    if exact:
        assert all(len(set(lengths[batch])) == 1 for batch in batches)


@pytest.mark.parametrize(("per_row", "mean"), [(False, 2.0), (True, 1.5)])
def test_the_loss_is_the_mean_over_batches_or_rows(tmp_path, per_row, mean):
    network, steps = torch.nn.Linear(1, 1), []
    before = network.weight.detach().clone()

    def loss(rows):
        weight = network.weight.sum()
        return weight - weight.detach() + (1.0 if len(rows) == 3 else 3.0)

    history = loop.train(
        network,
        [[np.arange(3), np.arange(1)], [np.arange(1)]],
        options(tmp_path),
        loss,
        per_row=per_row,
        after_step=steps.append,
        rank=lambda: {"steps": len(steps), "training": network.training},
    )
    assert history == [
        {"epoch": 1, "loss": mean, "steps": 2, "training": False},
        {"epoch": 2, "loss": 3.0, "steps": 3, "training": False},
    ]
    assert steps == [0, 1, 2]
    assert not torch.equal(network.weight, before)


def trained(folder, stop=None, **changes):
    """Two epochs of three batches with dropout; stops with an error ahead of step `stop`."""
    torch.manual_seed(0)
    network = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.Dropout(0.5))
    network.append(torch.nn.Linear(8, 1))
    rows, mean, seen = torch.randn(6, 4), torch.zeros(1), []

    def loss(batch):
        if len(seen) == stop:
            raise KeyboardInterrupt
        seen.append(batch)
        return network(rows[batch]).square().mean()

    history = loop.train(
        network,
        [[np.array([0, 1]), np.array([2]), np.array([3, 4, 5])]] * 2,
        options(folder, **changes),
        loss,
        after_step=lambda step: mean.add_(step + 1),
        kept=[mean],
    )
    return history, mean, network.state_dict(), len(seen)


@pytest.mark.parametrize("stop", [1, 3, 4, 5])
def test_a_training_that_was_killed_ends_as_if_it_had_not_been(tmp_path, monkeypatch, stop):
    whole = trained(tmp_path / "whole")
    monkeypatch.setattr(resume, "EVERY_SECONDS", 0.0)
    with pytest.raises(KeyboardInterrupt):
        trained(tmp_path, stop)
    history, mean, weights, steps = trained(tmp_path, resume=True)
    assert (history, mean) == (whole[0], whole[1])
    assert steps == 6 - stop
    for name, value in whole[2].items():
        assert torch.equal(weights[name], value), name
    with pytest.raises(RefusedError, match=r"--resume: expected the options that .* begun with"):
        trained(tmp_path, resume=True, warm_up=0.5)
