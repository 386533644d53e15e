"""What training makes small, by kind of answer, and how right a model's raw outputs are."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
import torch
from torch.nn import functional

from tango_beam import answer_metrics
from tango_beam.answers.task import LABELS, MULTI_LABEL, SCORE
from tango_beam.arrays import Float32

T = TypeVar("T")
R = TypeVar("R")
Loss = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]

# transformers' names: its pipelines choose softmax, sigmoid or nothing by them.
PROBLEM_TYPES = {
    LABELS: "single_label_classification",
    MULTI_LABEL: "multi_label_classification",
    SCORE: "regression",
}


def loss_of(kind: str, targets: npt.NDArray, rare_weight: float, smoothing: float) -> Loss:
    """The loss of logits against targets, as `LabelledTexts.targets` has them.

    Args:
      kind: cross entropy for `labels`, sigmoid cross entropy for `multi_label`, squared error for
        `score`.
      targets: of all training rows: say how rare each label is.
      rare_weight: of `multi_label`, see `weights_of`.
      smoothing: of `labels`.
    """
    if kind == LABELS:
        return lambda logits, goal: functional.cross_entropy(
            logits, goal, label_smoothing=smoothing
        )
    if kind == SCORE:
        return functional.mse_loss
    weights = torch.from_numpy(weights_of(targets, rare_weight))
    return lambda logits, goal: functional.binary_cross_entropy_with_logits(
        logits, goal, pos_weight=weights.to(logits.device)
    )


def weights_of(targets: Float32, most: float) -> Float32:
    """What a row that bears a label weighs against one that does not, float32, shape [labels].

    The square root of the number of rows without the label over that of rows with it, 1 to `most`:
    the number itself would have a label of one row in a hundred given wherever its probability
    reaches 1 %.

    Args:
      targets: 0 or 1, shape [rows, labels].
      most: the cap; 1 for no weights.
    """
    with_it = targets.sum(axis=0)
    ratio = (len(targets) - with_it) / np.maximum(with_it, 1)
    return np.clip(np.sqrt(ratio), 1, most).astype(np.float32)


@dataclass(frozen=True)
class Scale:
    """Standardises what a network is to learn, so that its steps fit scores of any size.

    Attributes:
      mean: of the goal.
      spread: its standard deviation.
    """

    mean: float
    spread: float

    @classmethod
    def of(cls, goal: Float32, head: torch.nn.Linear) -> Scale:
        """The scale of scores; a head without a bias can move none."""
        mean = 0.0 if head.bias is None else float(goal.mean())
        return cls(mean, float(np.sqrt(np.square(goal - mean).mean())) or 1.0)

    def standardised(self, goal: Float32) -> Float32:
        """The goal with mean 0 and standard deviation 1."""
        return ((goal - self.mean) / self.spread).astype(np.float32)

    @torch.no_grad()
    def to_scores(self, head: torch.nn.Linear) -> None:
        """Rewrites a head that gives standardised scores: it then gives scores."""
        head.weight.mul_(self.spread)
        if head.bias is not None:
            head.bias.mul_(self.spread).add_(self.mean)

    @torch.no_grad()
    def to_standardised(self, head: torch.nn.Linear) -> None:
        """Rewrites a head that gives scores: it then gives standardised ones."""
        head.weight.div_(self.spread)
        if head.bias is not None:
            head.bias.sub_(self.mean).div_(self.spread)


def train_on_scores(
    network: torch.nn.Module,
    scores: Float32,
    rank: Callable[[], T],
    train: Callable[[Float32, Callable[[], T]], R],
) -> R:
    """Trains a network that gives scores to give standardised ones, and puts its head back.

    Args:
      network: its last linear layer gives the score.
      scores: to learn, float32, shape [rows, 1].
      rank: looks at the network while it is trained; it then gives scores.
      train: given standardised scores and what ranks.
    """
    _, head = head_of(network, 1)
    scale = Scale.of(scores, head)

    def rank_scores() -> T:
        kept = copy.deepcopy(head.state_dict())
        scale.to_scores(head)
        try:
            return rank()
        finally:
            head.load_state_dict(kept)

    scale.to_standardised(head)
    result = train(scale.standardised(scores), rank_scores)
    scale.to_scores(head)
    return result


def head_of(network: torch.nn.Module, outputs: int) -> tuple[str, torch.nn.Linear]:
    """Name and layer of a network's last linear layer, which gives its outputs.

    Raises:
      ValueError: it has none.
    """
    layers = [
        (name, layer)
        for name, layer in network.named_modules()
        if isinstance(layer, torch.nn.Linear) and layer.out_features == outputs
    ]
    if not layers:
        raise ValueError(f"expected a linear layer that gives {outputs} outputs, found none")
    return layers[-1]


def decisions(kind: str, outputs: Float32) -> Any:
    """What raw outputs say: a label's index, a set (bool, shape [rows, labels]), a score."""
    if kind == SCORE:
        return outputs[:, 0]
    return outputs >= 0 if kind == MULTI_LABEL else outputs.argmax(axis=1)


def scores_of(kind: str, outputs: Float32, targets: npt.NDArray) -> dict[str, float]:
    """How right raw outputs are, by the names of the scores of their kind.

    Args:
      kind: of answer.
      outputs: float32, shape [rows, outputs].
      targets: as `LabelledTexts.targets` has them.
    """
    found = decisions(kind, outputs)
    if kind == SCORE:
        return answer_metrics.of_scores(found, targets[:, 0])
    if kind == MULTI_LABEL:
        return answer_metrics.of_sets(found, targets > 0)
    return {"accuracy": float((found == targets).mean())}
