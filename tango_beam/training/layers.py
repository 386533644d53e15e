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
    parent, name, layers = stacks[0]
    kept = np.linspace(0, depth - 1, count).round().astype(int)
    setattr(parent, name, nn.ModuleList(layers[place] for place in kept))
    network.config.num_hidden_layers = count
