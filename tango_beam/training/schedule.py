"""What the training loops share: order of batches, learning rate, metrics, progress."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import torch

logger = logging.getLogger(__name__)


def epoch_batches(
    lengths: npt.NDArray[np.int64],
    batch_size: int,
    rng: np.random.Generator,
    *,
    exact: bool = False,
) -> list[npt.NDArray[np.int64]]:
    """Row numbers of one epoch's batches: like lengths together, otherwise in random order.

    Args:
      lengths: tokens in each row.
      batch_size: rows in a batch, at most.
      rng: draws the order.
      exact: batches of one exact length, so that nothing is padded.
    """
    order = rng.permutation(len(lengths))
    order = order[np.argsort(lengths[order], kind="stable")]
    breaks = np.arange(batch_size, len(order), batch_size)
    if exact:
        groups = np.split(order, np.flatnonzero(np.diff(lengths[order])) + 1)
        batches = [g[i : i + batch_size] for g in groups for i in range(0, len(g), batch_size)]
    else:
        batches = np.split(order, breaks)
    return [batches[index] for index in rng.permutation(len(batches))]


def linear_decay(step: int, steps: int, warm_up: float) -> float:
    """Share of the peak learning rate: up over the first `warm_up` of steps, then down to 0."""
    rising = max(1, int(steps * warm_up))
    return min((step + 1) / rising, max(0.0, (steps - step) / max(1, steps - rising)))


def optimizer(model: torch.nn.Module, rate: float, weight_decay: float) -> torch.optim.AdamW:
    """Fused AdamW; biases and normalisation weights are not decayed."""
    decayed = [p for p in model.parameters() if p.requires_grad and p.ndim > 1]
    plain = [p for p in model.parameters() if p.requires_grad and p.ndim <= 1]
    groups = [
        {"params": decayed, "weight_decay": weight_decay},
        {"params": plain, "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=rate, fused=True)


def logged(batches: list, what: str, every_seconds: float = 20.0) -> Iterator:
    """Passes batches on and logs now and then how far it is."""
    start = last = time.monotonic()
    for number, batch in enumerate(batches):
        yield batch
        now = time.monotonic()
        if now - last > every_seconds:
            last, done = now, (number + 1) / len(batches)
            left = (now - start) * (1 - done) / done
            logger.info("%s: %.0f %%, about %.0f s left", what, 100 * done, left)
