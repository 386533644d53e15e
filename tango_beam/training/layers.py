"""A shallower network out of a deep one: some of its layers, from the first to the last."""

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
