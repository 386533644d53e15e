"""LengthDrop: an encoder that learns to answer with fewer and fewer tokens, and what that is worth.

Kim and Cho (2021), Guskin et al. (2021). Every step takes the network at full length, at the
shortest, and at lengths drawn between (the sandwich rule); what it says at full length is what the
shorter ones learn. Afterwards settings are tried, half of them drawn, half of them bred of the best
so far, and those that are worth having are written beside the weights: nothing cheaper is as near
to the full length.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch.nn import functional

from tango_beam.answers.task import LABELS
from tango_beam.arrays import Float32, Int64
from tango_beam.config import TierConfig
from tango_beam.io.labelled import LabelledTexts
from tango_beam.models import dynamic_length, kept_tokens
from tango_beam.models.kept_tokens import Point
from tango_beam.models.loading import resolve_precision
from tango_beam.models.logits import logits_of_tokens
from tango_beam.models.protocol import Model
from tango_beam.models.tokens import Tokens
from tango_beam.models.transformer import Transformer, twin
from tango_beam.training import objectives
from tango_beam.training.finetune_options import FinetuneOptions
from tango_beam.training.objectives import PROBLEM_TYPES
from tango_beam.training.shortening_network import ShorteningNetwork

logger = logging.getLogger(__name__)

# Lengths between the full and the shortest one that a step takes, as Kim and Cho do.
_BETWEEN = 2
# Of the settings that are tried, so many are drawn; of a bred one's layers, so many are drawn anew.
_DRAWN, _CHANGED = 0.5, 0.3
# Tokens of held-out rows that all settings are tried on; the best are scored on all rows.
_TRIED_TOKENS = 100_000
_LOG_EVERY_SECONDS = 20.0


def shortest(layers: int, drop: float) -> tuple[float, ...]:
    """Shares that are kept where each of some layers drops as much as it may."""
    return tuple(float(share) for share in np.cumprod(np.full(layers, 1 - drop)))


def drawn(layers: int, drop: float) -> tuple[float, ...]:
    """Shares that are kept where each of some layers drops 0 to `drop` of what there is."""
    return tuple(torch.cumprod(1 - drop * torch.rand(layers, dtype=torch.float64), 0).tolist())


def bred(parents: Sequence[Point], drop: float) -> tuple[float, ...]:
    """Shares of which each layer drops as in one of two parents, or as in none.

    Crossing and mutation, as in the search of Kim and Cho (2021, section 3.3).

    Args:
      parents: settings, of which two are drawn.
      drop: the largest share of tokens that a layer drops.
    """
    pair = torch.randint(len(parents), (2,)).tolist()
    one, other = (_dropping(parents[place].kept_tokens) for place in pair)
    ratios = torch.where(torch.rand(len(one)) < 0.5, one, other)
    anew = 1 - drop * torch.rand(len(one), dtype=torch.float64)
    ratios = torch.where(torch.rand(len(one)) < _CHANGED, anew, ratios).clamp(1 - drop, 1)
    return tuple(torch.cumprod(ratios, 0).tolist())


def _dropping(kept: Sequence[float]) -> torch.Tensor:
    """What each layer keeps of the tokens that the one before it kept."""
    shares = torch.tensor(kept, dtype=torch.float64)
    return shares / torch.cat([shares.new_ones(1), shares[:-1]])


def sandwich(
    network: ShorteningNetwork,
    answer: Callable[[], torch.Tensor],
    loss: Callable[[torch.Tensor], torch.Tensor],
    alike: Callable[[torch.Tensor, torch.Tensor], torch.Tensor],
    drop: float,
) -> torch.Tensor:
    """The mean loss of some rows at full length, at the shortest, and at lengths between.

    Args:
      network: in training.
      answer: calls it on the rows.
      loss: of what it says at full length.
      alike: how far what it says at another length is from what it says at full length.
      drop: the largest share of tokens that a layer drops.
    """
    whole = answer()
    total, goal = loss(whole), whole.detach()
    between = [drawn(network.droppers, drop) for _ in range(_BETWEEN)]
    for kept in (shortest(network.droppers, drop), *between):
        with network.keeping(kept):
            total = total + alike(answer(), goal)
    return total / (2 + len(between))


def alike_of(problem_type: str) -> Callable[[torch.Tensor, torch.Tensor], torch.Tensor]:
    """How far logits are from a goal: soft cross entropy of labels, else squared error."""
    if problem_type != PROBLEM_TYPES[LABELS]:
        return functional.mse_loss
    return lambda logits, goal: functional.cross_entropy(logits, goal.softmax(dim=-1))


@dataclass(frozen=True)
class Held:
    """Held-out rows that settings are scored on.

    Attributes:
      tokens: of the rows.
      scores: of outputs for all of them, by name.
      distance: of outputs for some of them from those at full length; and which rows they are.
    """

    tokens: Tokens
    scores: Callable[[Float32], dict[str, float]]
    distance: Callable[[Float32, Float32, Int64], float]


def held_rows(model: Transformer, data: LabelledTexts) -> Held:
    """Held-out rows of a classifier; settings are compared by the root of the squared error."""
    return Held(
        model.tokenize(data.texts, *([] if data.pairs is None else [data.pairs])),
        lambda outputs: objectives.scores_of(data.kind, outputs, data.targets),
        lambda outputs, whole, rows: float(np.sqrt(np.square(outputs - whole).mean())),
    )


def write_settings(model: Transformer, held: Held, options: FinetuneOptions) -> dict[str, float]:
    """Scores settings and writes those that are worth having into a checkpoint's folder.

    Args:
      model: trained with LengthDrop.
      held: rows that it was not trained on.
      options: say how many settings, and where the checkpoint lies.

    Returns:
      For its card: the cheapest setting that keeps 99 % of the first score.
    """
    points = settings(model, held, options)
    kept_tokens.save(points, Path(options.output))
    name, whole = next(iter(points[0].scores.items()))
    enough = [point for point in points if point.scores[name] >= 0.99 * whole]
    least = min(enough, key=lambda point: point.operations)
    return {f"share of operations that keeps 99 % of {name}, held-out": least.operations}


def settings(model: Transformer, held: Held, options: FinetuneOptions) -> list[Point]:
    """Tries settings, and keeps those to which nothing cheaper is as near; full length first.

    Args:
      model: trained with LengthDrop.
      held: rows that it was not trained on.
      options: how many settings are tried, the largest share that a layer drops, the seed.
    """
    torch.manual_seed(options.seed)
    layers = int(model.network.config.num_hidden_layers) - 1
    drop, full = options.length_drop, (1.0,) * layers
    # Tokens are dropped on a processor, wherever the model was trained.
    copied = twin(model, resolve_precision(options.precision, "cpu"), "cpu")
    answering = dynamic_length.to_answer(copied, TierConfig(options.output, kept_tokens=full))
    rows = _some_rows(held.tokens, options.seed)
    some = held.tokens.take(rows)
    whole, tried, logged = logits_of_tokens(answering, some), list[Point](), time.monotonic()
    for number in range(options.length_settings):
        kept = shortest(layers, drop)
        if number >= _DRAWN * options.length_settings:
            kept = bred([Point(full, 1.0, 0.0, {}), *kept_tokens.front(tried)], drop)
        elif number:
            kept = drawn(layers, drop)
        shorter = answering.at(kept)
        away = held.distance(logits_of_tokens(shorter, some), whole, rows)
        tried.append(Point(kept, _cost(shorter, answering, held.tokens), away, {}))
        if time.monotonic() - logged > _LOG_EVERY_SECONDS:
            logged = time.monotonic()
            logger.info("lengths: %d of %d settings tried", number + 1, options.length_settings)
    whole, every = logits_of_tokens(answering, held.tokens), np.arange(held.tokens.rows)
    points = [Point(full, 1.0, 0.0, held.scores(whole))]
    for point in kept_tokens.front(tried):
        outputs = logits_of_tokens(answering.at(point.kept_tokens), held.tokens)
        away = held.distance(outputs, whole, every)
        points.append(replace(point, distance=away, scores=held.scores(outputs)))
    return points


def _some_rows(tokens: Tokens, seed: int) -> Int64:
    """Rows of `_TRIED_TOKENS` in all, or every row, int64, ascending."""
    order = np.random.default_rng(seed).permutation(tokens.rows)
    taken = np.cumsum(tokens.by_row(tokens.lengths)[order])
    return np.sort(order[: int(np.searchsorted(taken, _TRIED_TOKENS)) + 1])


def _cost(shorter: Model, whole: Model, tokens: Tokens) -> float:
    operations = (model.operations(tokens.lengths).sum() for model in (shorter, whole))
    some, all_of_them = (float(one) for one in operations)
    return some / all_of_them
