"""The training loop: what a batch holds, and what is logged of an epoch."""

from types import SimpleNamespace

import hypothesis.strategies as st
import numpy as np
import pytest
import torch
from hypothesis import given

from tango_beam.training import loop


@given(st.lists(st.integers(0, 5), max_size=40), st.integers(1, 7), st.booleans())
def test_an_epochs_batches_hold_every_row_once(lengths, size, exact):
    lengths = np.array(lengths, np.int64)
    batches = loop.epoch_batches(lengths, size, np.random.default_rng(0), exact=exact)
    assert sorted(row for batch in batches for row in batch.tolist()) == [*range(len(lengths))]
    assert all(1 <= len(batch) <= size for batch in batches)
    if exact:
        assert all(len(set(lengths[batch])) == 1 for batch in batches)


@pytest.mark.parametrize(("per_row", "mean"), [(False, 2.0), (True, 1.5)])
def test_the_loss_is_the_mean_over_batches_or_rows(per_row, mean):
    network, steps = torch.nn.Linear(1, 1), []
    before = network.weight.detach().clone()

    def loss(rows):
        weight = network.weight.sum()
        return weight - weight.detach() + (1.0 if len(rows) == 3 else 3.0)

    history = loop.train(
        network,
        [[np.arange(3), np.arange(1)], [np.arange(1)]],
        SimpleNamespace(learning_rate=0.1, weight_decay=0.0, warm_up=0.0),
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
