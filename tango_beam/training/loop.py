"""The training loop: order of batches, learning rate, steps, progress."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import torch

from tango_beam.arrays import Int64
from tango_beam.training.options import TrainingOptions
from tango_beam.training.resume import State

logger = logging.getLogger(__name__)


def train(
    network: torch.nn.Module,
    epochs: list[list[Int64]],
    options: TrainingOptions,
    loss: Callable[[Int64], torch.Tensor],
    *,
    per_row: bool = False,
    after_step: Callable[[int], None] = lambda step: None,
    rank: Callable[[], dict[str, float]] = dict,
    kept: Sequence[torch.Tensor] = (),
) -> list[dict[str, float]]:
    """Trains a network, on the processor, in place.

    Args:
      network: to be trained.
      epochs: row numbers of every batch of every epoch (see `epoch_batches`).
      options: learning rate, warm-up, weight decay.
      loss: of a batch's rows.
      per_row: the epoch's loss is the mean over rows, and not over batches.
      after_step: called with the number of steps before.
      rank: called after every epoch, the network in evaluation mode; returns scores to log.
      kept: tensors that `after_step` changes in place, and that belong to the training's state.

    Returns:
      One dict an epoch: its mean loss and what `rank` said.

    Raises:
      RefusedError: `--resume`, and the state on disk is of a training with other options.
    """
    steps = sum(map(len, epochs))
    optimizer = _optimizer(network, options.learning_rate, options.weight_decay)
    state = State(options, network, optimizer, kept, steps)
    for epoch, batches in [*enumerate(epochs, start=1)][len(state.history) :]:
        network.train()
        for rows in _logged(batches, len(state.losses), f"epoch {epoch} of {len(epochs)}"):
            rate = options.learning_rate * _linear_decay(state.step, steps, options.warm_up)
            for group in optimizer.param_groups:
                group["lr"] = rate
            state.losses.append(_step(network, optimizer, loss(rows)))
            after_step(state.step)
            state.step += 1
            state.save()
        network.eval()
        mean = np.average(state.losses, weights=[*map(len, batches)] if per_row else None)
        scores = {"epoch": epoch, "loss": float(mean), **rank()}
        logger.info("%s", {name: round(value, 4) for name, value in scores.items()})
        state.history.append(scores)
        state.losses = []
    return state.history


def _step(network: torch.nn.Module, optimizer: torch.optim.Optimizer, loss: torch.Tensor) -> float:
    loss.backward()
    torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    return float(loss.detach())


def epoch_batches(
    lengths: Int64,
    batch_size: int,
    rng: np.random.Generator,
    *,
    exact: bool = False,
) -> list[Int64]:
    """Row numbers of one epoch's batches: like lengths together, otherwise in random order.

    Args:
      lengths: tokens in each row.
      batch_size: rows in a batch, at most.
      rng: draws the order.
      exact: batches of one exact length, so that nothing is padded.
    """
    order = rng.permutation(len(lengths))
    order = order[np.argsort(lengths[order], kind="stable")]
    groups = np.split(order, np.flatnonzero(np.diff(lengths[order])) + 1) if exact else [order]
    batches = [g[i : i + batch_size] for g in groups for i in range(0, len(g), batch_size)]
    return [batches[index] for index in rng.permutation(len(batches))]


def _linear_decay(step: int, steps: int, warm_up: float) -> float:
    """Share of the peak learning rate: up over the first `warm_up` of steps, then down to 0."""
    rising = max(1, int(steps * warm_up))
    return min((step + 1) / rising, max(0.0, (steps - step) / max(1, steps - rising)))


def _optimizer(model: torch.nn.Module, rate: float, weight_decay: float) -> torch.optim.AdamW:
    """Fused AdamW; biases and normalisation weights are not decayed."""
    decayed = [p for p in model.parameters() if p.requires_grad and p.ndim > 1]
    plain = [p for p in model.parameters() if p.requires_grad and p.ndim <= 1]
    groups = [
        {"params": decayed, "weight_decay": weight_decay},
        {"params": plain, "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=rate, fused=True)


def _logged(batches: list, done: int, what: str, every_seconds: float = 20.0) -> Iterator:
    """Passes on the batches that are not done yet, and logs now and then how far it is."""
    start = last = time.monotonic()
    for number, batch in enumerate(batches[done:], start=1):
        yield batch
        now = time.monotonic()
        if now - last > every_seconds:
            last, left = now, len(batches) - done - number
            part, seconds = 1 - left / len(batches), (now - start) * left / number
            logger.info("%s: %.0f %%, about %.0f s left", what, 100 * part, seconds)
