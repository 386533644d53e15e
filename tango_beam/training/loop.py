"""The training loop: order of batches, learning rate, steps."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence

import numpy as np
import torch

from tango_beam.arrays import Float64, Int64
from tango_beam.training.finetune_options import FinetuneOptions
from tango_beam.training.options import TrainingOptions
from tango_beam.training.progress import shown
from tango_beam.training.resume import State

logger = logging.getLogger(__name__)

# A step of fewer tokens leaves much of a machine idle; few steps teach little, whatever is in them.
_STEP_TOKENS, _STEPS = 2048, 64
# The usual learning rate, and the rows in a step that it is for.
_RATE, _RATE_ROWS = 7e-5, 32


def train(
    network: torch.nn.Module,
    epochs: list[list[Int64]],
    options: TrainingOptions,
    loss: Callable[[Int64], torch.Tensor],
    *,
    cut: Callable[[Int64], Sequence[Int64]] = lambda rows: [rows],
    operations: Float64 | None = None,
    per_row: bool = False,
    after_step: Callable[[int], None] = lambda step: None,
    rank: Callable[[], dict[str, float]] = dict,
    kept: Sequence[torch.Tensor] = (),
    stage: str = "",
) -> list[dict[str, float]]:
    """Trains a network in place; returns a dict an epoch: mean loss, and what `rank` said.

    Args:
      network: to be trained.
      epochs: row numbers of every batch of every epoch (see `epoch_batches`).
      options: learning rate, warm-up, weight decay.
      loss: mean over some rows.
      cut: cuts a batch into micro-batches, whose gradients are added up.
      operations: of each row in a forward pass, float64, shape [rows], for the log.
      per_row: the epoch's loss is the mean over rows, and not over batches.
      after_step: called with the number of steps before.
      rank: called after every epoch, the network in evaluation mode; returns scores to log.
      kept: tensors that `after_step` changes in place, and that belong to the training's state.
      stage: of a training in several, the last of which has no name.

    Raises:
      RefusedError: `--resume`, and the state on disk is of a training with other options.
    """
    steps, peak = sum(map(len, epochs)), _peak_rate(options, epochs)
    device = next(network.parameters()).device.type
    optimizer = _optimizer(network, peak, options.weight_decay)
    state = State(options, network, optimizer, kept, steps, stage)
    for epoch, batches in [*enumerate(epochs, start=1)][len(state.history) :]:
        network.train()
        what = f"{stage} epoch {epoch} of {len(epochs)}".lstrip()
        for rows in shown(batches, len(state.losses), what, operations, device):
            _set_rate(optimizer, peak * _linear_decay(state.step, steps, options.warm_up))
            state.losses.append(_step(network, optimizer, loss, cut(rows)))
            after_step(state.step)
            state.step += 1
            state.save()
        network.eval()
        mean = np.average(state.losses, weights=[*map(len, batches)] if per_row else None)
        state.history.append(_logged(stage, {"epoch": epoch, "loss": float(mean), **rank()}))
        state.losses = []
    return state.history


def _logged(stage: str, scores: dict[str, float]) -> dict[str, float]:
    found = {name: round(value, 4) for name, value in scores.items()}
    logger.info("%s", f"{stage} {found}".lstrip())
    return scores


def _set_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    for group in optimizer.param_groups:
        group["lr"] = rate


def last_scores(history: list[dict[str, float]]) -> dict[str, float]:
    """What `rank` said after the last epoch: the scores of the weights as they are."""
    return {name: value for name, value in history[-1].items() if name not in ("epoch", "loss")}


def _step(
    network: torch.nn.Module,
    optimizer: torch.optim.Optimizer,
    loss: Callable[[Int64], torch.Tensor],
    parts: Sequence[Int64],
) -> float:
    rows, total = sum(map(len, parts)), 0.0
    for part in parts:
        share = loss(part) * (len(part) / rows)
        share.backward()
        total += float(share.detach())
    torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    return total


def epoch_batches(
    lengths: Int64,
    rng: np.random.Generator,
    *,
    rows: int,
    tokens: int = 0,
    exact: bool = False,
) -> list[Int64]:
    """Row numbers of one epoch's batches: like lengths together, otherwise in random order.

    Args:
      lengths: tokens in each row.
      rng: draws the order.
      rows: in a batch; the last one of a group may have fewer.
      tokens: a batch of short rows has more of them, until it has so many tokens.
      exact: batches of one exact length, so that nothing is padded.
    """
    order = rng.permutation(len(lengths))
    order = order[np.argsort(lengths[order], kind="stable")]
    groups = np.split(order, np.flatnonzero(np.diff(lengths[order])) + 1) if exact else [order]
    batches = [batch for group in groups for batch in _cut(group, lengths[group], rows, tokens)]
    return [batches[index] for index in rng.permutation(len(batches))]


def tokens_a_step(options: FinetuneOptions, lengths: Int64) -> int:
    """Tokens that a step has at least, where `--batch_size` rows have fewer.

    Args:
      options: may say how many.
      lengths: tokens in each row, int64, shape [rows].
    """
    if options.batch_tokens is not None:
        return options.batch_tokens
    return min(_STEP_TOKENS, int(lengths.sum()) // _STEPS)


def _cut(group: Int64, lengths: Int64, rows: int, tokens: int) -> list[Int64]:
    reached, batches, start = np.cumsum(lengths), [], 0
    while start < len(group):
        before = int(reached[start - 1]) if start else 0
        full = int(np.searchsorted(reached, before + tokens)) + 1
        batches.append(group[start : max(start + rows, full)])
        start += len(batches[-1])
    return batches


def _peak_rate(options: TrainingOptions, epochs: list[list[Int64]]) -> float:
    """The learning rate that is stated, or the usual one for as many rows as a step has.

    In proportion, as Goyal et al. (2017) have it: MiniLM on banking77, two epochs, was right on
    46 % of held-out rows with steps of four times the rows and the same rate, and on 70 % with
    four times the rate; on 65 % with steps of 32 rows.
    """
    if options.learning_rate is not None:
        return options.learning_rate
    batches = [len(batch) for epoch in epochs for batch in epoch]
    return _RATE * max(1.0, float(np.mean(batches)) / _RATE_ROWS)


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
