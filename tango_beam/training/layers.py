"""Which layers of an encoder there are, and which of them are trained."""

from __future__ import annotations

from typing import Any

import numpy as np
from torch import nn


def keep_layers(network: Any, count: int) -> None:
    """Keeps evenly spaced layers of an encoder of transformers, the first and the last among them.

    Args:
      network: a model of transformers.
      count: layers to keep.

    Raises:
      ValueError: it has fewer layers, or none that is known as such.
    """
    parent, name, layers = _stack(network, count)
    depth = len(layers)
    kept = np.linspace(0, depth - 1, count).round().astype(int)
    setattr(parent, name, nn.ModuleList(layers[place] for place in kept))
    network.config.num_hidden_layers = count


def freeze(network: Any, count: int) -> None:
    """Keeps an encoder's first layers, and all that comes before them, from being trained.

    What all layers share (MPNet's relative positions) stays as it is too: a gradient for it would
    go back through every layer, and those that are frozen save theirs.

    Args:
      network: a model of transformers, with a head that is trained.
      count: layers to freeze; 0 freezes nothing.

    Raises:
      ValueError: it has fewer layers, or none that is known as such.
    """
    if not count:
        return
    later = [*_stack(network, count)[2][count:], getattr(network.base_model, "pooler", None)]
    trained = {id(weight) for part in later if part is not None for weight in part.parameters()}
    for weight in network.base_model.parameters():
        weight.requires_grad_(id(weight) in trained)


def depth(network: Any) -> int:
    """How many layers an encoder of transformers has, of which some may be kept.

    Raises:
      ValueError: none that is known as such.
    """
    return len(_stack(network, 1)[2])


def _stack(network: Any, count: int) -> tuple[nn.Module, str, nn.ModuleList]:
    """The layers, and where they are."""
    depth = network.config.num_hidden_layers
    stacks = [
        (parent, name, module)
        for parent in network.modules()
        for name, module in parent.named_children()
        if isinstance(module, nn.ModuleList) and len(module) == depth
    ]
    if len(stacks) != 1 or not 1 <= count <= depth:
        raise ValueError(
            f"expected an encoder of {count} layers or more, found {depth} in {len(stacks)} stacks"
        )
    return stacks[0]
