"""The training loop: order of batches, learning rate, steps, progress."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator

import numpy as np
import torch

from tango_beam.arrays import Int64
from tango_beam.training.options import TrainingOptions

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
) -> list[dict[str, float]]:
    """Trains a network in place.

    Args:
      network: on the processor.
      epochs: row numbers of every batch of every epoch (see `epoch_batches`).
      options: learning rate, warm-up, weight decay.
      loss: of a batch's rows.
      per_row: the epoch's loss is the mean over rows, for batches of unlike sizes; otherwise it is
        the mean over batches.
      after_step: called with the number of steps before.
      rank: called after every epoch, the network in evaluation mode; returns scores to log.

    Returns:
      One dict an epoch: its mean loss and what `rank` said.
    """
    steps, step, history = sum(map(len, epochs)), 0, []
    optimizer = _optimizer(network, options.learning_rate, options.weight_decay)
    for epoch, batches in enumerate(epochs, start=1):
        network.train()
        losses, total = [], 0.0
        for rows in _logged(batches, f"epoch {epoch} of {len(epochs)}"):
            for group in optimizer.param_groups:
                group["lr"] = options.learning_rate * _linear_decay(step, steps, options.warm_up)
            value = loss(rows)
            value.backward()
            torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
            after_step(step)
            losses.append(float(value.detach()))
            total += losses[-1] * len(rows)
            step += 1
        network.eval()
        mean = total / max(1, sum(map(len, batches))) if per_row else float(np.mean(losses))
        scores = {"epoch": epoch, "loss": mean, **rank()}
        logger.info("%s", {name: round(value, 4) for name, value in scores.items()})
        history.append(scores)
    return history


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


def _logged(batches: list, what: str, every_seconds: float = 20.0) -> Iterator:
    """Passes batches on and logs now and then how far it is."""
    start = last = time.monotonic()
    for number, batch in enumerate(batches):
        yield batch
        now = time.monotonic()
        if now - last > every_seconds:
            last, done = now, (number + 1) / len(batches)
            left = (now - start) * (1 - done) / done
            logger.info("%s: %.0f %%, about %.0f s left", what, 100 * done, left)
