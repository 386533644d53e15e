"""The training loop: what a batch holds, and what is logged of an epoch."""

import logging
import re

import hypothesis.strategies as st
import numpy as np
import pytest
import torch
from hypothesis import given

from tango_beam.errors import RefusedError
from tango_beam.training import loop, progress, resume
from tango_beam.training.finetune_options import FinetuneOptions


def options(folder, **changes):
    given = {"learning_rate": 0.1, "weight_decay": 0.0, "warm_up": 0.0, **changes}
    return FinetuneOptions(train="x", encoder="x", output=str(folder / "out"), **given)


@given(
    st.lists(st.integers(0, 5), max_size=40), st.integers(1, 7), st.integers(0, 9), st.booleans()
)
def test_an_epochs_batches_hold_every_row_once(lengths, size, tokens, exact):
    lengths = np.array(lengths, np.int64)
    size = {"rows": size, "tokens": tokens}
    batches = loop.epoch_batches(lengths, np.random.default_rng(0), **size, exact=exact)
    assert sorted(row for batch in batches for row in batch.tolist()) == [*range(len(lengths))]
    for batch in batches:
        # One row fewer would have been too few.
        fewer = lengths[batch[:-1]]
        assert len(fewer) < size["rows"] or fewer.sum() < tokens
    last = 6 if exact else 1
    full = [len(batch) >= size["rows"] and lengths[batch].sum() >= tokens for batch in batches]
    assert full.count(False) <= last
    if exact:
        assert all(len(set(lengths[batch])) == 1 for batch in batches)


def test_a_step_of_short_texts_has_more_of_them_unless_steps_are_few(tmp_path):
    def rows_a_step(count, length, **changes):
        lengths = np.full(count, length)
        tokens = loop.tokens_a_step(options(tmp_path, **changes), lengths)
        size = {"rows": 32, "tokens": tokens}
        return len(loop.epoch_batches(lengths, np.random.default_rng(0), **size)[0])

    assert rows_a_step(100_000, 16) == 128
    assert rows_a_step(100_000, 100) == 32
    assert rows_a_step(4096, 16) == 64
    assert rows_a_step(300, 16) == 32
    assert rows_a_step(100_000, 16, batch_tokens=0) == 32


@pytest.mark.parametrize(
    ("rows", "stated", "expected"),
    [(32, None, 7e-5), (128, None, 2.8e-4), (8, None, 7e-5), (128, 1e-4, 1e-4)],
)
def test_the_usual_learning_rate_grows_with_the_rows_of_a_step(tmp_path, rows, stated, expected):
    batches = [[np.arange(rows)] * 3]
    found = loop._peak_rate(options(tmp_path, learning_rate=stated), batches)
    assert found == pytest.approx(expected)


def test_micro_batches_train_as_their_batch_does(tmp_path):
    def trained(name, cut):
        torch.manual_seed(0)
        network, rows = torch.nn.Linear(4, 1), torch.randn(7, 4)
        history = loop.train(
            network,
            [[np.arange(7), np.arange(3)]],
            options(tmp_path / name),
            lambda batch: network(rows[batch]).square().mean(),
            cut=cut,
        )
        return history[0]["loss"], network.weight.detach()

    whole, cut = (
        trained("whole", lambda rows: [rows]),
        trained("cut", lambda rows: [rows[2:], rows[:2]]),
    )
    assert whole[0] == pytest.approx(cut[0], rel=1e-6)
    assert torch.allclose(whole[1], cut[1], atol=1e-6)


def test_the_log_says_how_fast_it_goes(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(progress, "EVERY_SECONDS", 0.0)
    monkeypatch.setattr(progress, "_best_product", lambda: 1e12)
    network = torch.nn.Linear(1, 1)
    caplog.set_level(logging.INFO, "tango_beam")
    loop.train(
        network,
        [[np.arange(3), np.arange(1)]],
        options(tmp_path),
        lambda rows: network.weight.sum(),
        operations=np.array([1e9, 1e9, 1e9]),
    )
    found = [re.search(r"50 %.*; ([\d.]+) useful TFLOP/s, ([\d.]+) of", m) for m in caplog.messages]
    rates = [match for match in found if match]
    assert len(rates) == 1
    assert float(rates[0][1]) > 0


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
