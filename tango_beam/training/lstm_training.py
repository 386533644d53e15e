"""A BiLSTM in training on every core: a batch in parts, one core each.

The operations of an LSTM's step are so small that on several threads they wait for each other
longer than they compute. So a batch's rows are cut in parts, and each core goes through some of
them, forwards and back. How a batch is cut, what is dropped out, and in which order gradients are
added does not hang on the number of cores: nor does what is learnt.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch.nn import functional

from tango_beam.models import thread_pool
from tango_beam.models.bilstm import BiLSTMNetwork
from tango_beam.training.dropout import Dropout

# Rows of a part. A core is nearly as fast on a few rows as on many.
_ROWS = 16

_Loss = Callable[[int, torch.Tensor], torch.Tensor]


def mean_loss(network: BiLSTMNetwork, ids: torch.Tensor, aim: torch.Tensor) -> torch.Tensor:
    """Mean squared error of a batch's logits.

    Args:
      network: drops out where it is in training.
      ids: of rows of one length, int64, shape [rows, tokens].
      aim: the logits that they should have, float32, shape [rows, labels].
    """
    cuts = np.array_split(np.arange(len(ids)), -(-len(ids) // _ROWS))
    parts = [slice(int(cut[0]), int(cut[-1]) + 1) for cut in cuts]
    embedded = Dropout(active=network.training)(network.embedding(ids), network.dropout.p)
    dropouts = [Dropout(active=network.training) for _ in parts]

    def loss(number: int, states: torch.Tensor) -> torch.Tensor:
        found = _logits(network, states, dropouts[number])
        squares = functional.mse_loss(found, aim[parts[number]], reduction="sum")
        return squares / aim.numel()

    weights = [*network.lstm.parameters(), *network.feed_forward.parameters()]
    total: torch.Tensor = _SideBySide.apply(loss, parts, embedded, *weights)
    return total


def _logits(network: BiLSTMNetwork, states: torch.Tensor, dropout: Dropout) -> torch.Tensor:
    """As the network's own forward pass, but for where its dropout is drawn from."""
    lstm, share = network.lstm, network.dropout.p
    zeros = states.new_zeros(2, len(states), lstm.hidden_size)
    directions = iter(lstm.all_weights)  # of the first layer forwards, of it backwards, and so on
    for layer in range(lstm.num_layers):
        weights: list[torch.Tensor] = [*next(directions), *next(directions)]
        if layer:
            states = dropout(states, share)
        start = (zeros, zeros)
        # input, state, weights, has_biases, num_layers, dropout, train, bidirectional, batch_first
        states, hidden, _ = torch.lstm(states, start, weights, True, 1, 0.0, True, True, True)
    return network.answer(states, hidden, lambda read: dropout(read, share))


class _SideBySide(torch.autograd.Function):
    """The sum of the parts' losses; their gradients are found with it, and handed out later."""

    @staticmethod
    def forward(
        ctx: Any, loss: _Loss, parts: list[slice], states: torch.Tensor, *weights: torch.Tensor
    ) -> torch.Tensor:
        losses = torch.empty(len(parts))
        gradients: list[tuple[torch.Tensor, ...]] = [()] * len(parts)

        def go_through(number: int) -> None:
            with torch.enable_grad():
                own = states[parts[number]].detach().requires_grad_()
                found = loss(number, own)
                gradients[number] = torch.autograd.grad(found, [own, *weights])
            losses[number] = found.detach()

        thread_pool.each("cpu", range(len(parts)), go_through)
        of_states, *of_weights = zip(*gradients, strict=True)
        ctx.save_for_backward(torch.cat(of_states), *map(_sum, of_weights))
        return losses.sum()

    @staticmethod
    def backward(ctx: Any, *upstream: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        return None, None, *(gradient * upstream[0] for gradient in ctx.saved_tensors)


def _sum(gradients: tuple[torch.Tensor, ...]) -> torch.Tensor:
    return torch.stack(gradients).sum(dim=0)
