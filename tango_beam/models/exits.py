"""Classifiers behind the layers of an encoder, at which a row may leave it.

DeeBERT (Xin et al., 2020): each has the shape of BERT's own head, a pooler and a linear layer, and
reads the first token's state; a row leaves at the first whose entropy is low enough. How sure an
exit is, is told as everywhere: 1 - entropy / log(labels), which a threshold is compared with.
"""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import nn

FILE = "exits.safetensors"


class Exits(nn.Module):
    """One exit behind each layer but the last.

    Args:
      count: how many.
      hidden_size: of the encoder.
      labels: how many.
    """

    def __init__(self, count: int, hidden_size: int, labels: int) -> None:
        super().__init__()
        self._each = [
            nn.Sequential(
                nn.Linear(hidden_size, hidden_size), nn.Tanh(), nn.Linear(hidden_size, labels)
            )
            for _ in range(count)
        ]
        self.exits = nn.ModuleList(self._each)

    def __len__(self) -> int:
        return len(self._each)

    def logits(self, number: int, first: torch.Tensor) -> torch.Tensor:
        """What an exit says of first tokens' states, shape [rows, labels].

        Args:
          number: of the layer before it, from 0 on.
          first: shape [rows, hidden size].
        """
        found: torch.Tensor = self._each[number](first)
        return found

    def save(self, folder: Path) -> None:
        """Writes them into a checkpoint's folder."""
        weights = self.state_dict().items()
        save_file({n: w.contiguous() for n, w in weights}, folder / FILE)


def load(folder: Path, dtype: torch.dtype) -> Exits:
    """Reads the exits of a checkpoint.

    Raises:
      ValueError: it has none.
    """
    path = folder / FILE
    if not path.is_file():
        raise ValueError(
            f"{folder}: expected {FILE} for exit_thresholds, found none; "
            "distill --student exits makes them"
        )
    weights = load_file(path)
    labels, hidden = weights["exits.0.2.weight"].shape
    count = len({name.split(".")[1] for name in weights})
    exits = Exits(count, hidden, labels)
    exits.load_state_dict(weights)
    return exits.to(dtype).eval()
