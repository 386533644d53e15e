"""How many tokens of a text each layer of an encoder keeps, and what the fewer of them cost.

A checkpoint trained with LengthDrop answers at many such settings. Those that are worth having lie
beside its weights, from the dearest to the cheapest.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from tango_beam.arrays import Float64, Int64
from tango_beam.models import encoder_layers

FILE = "kept_tokens.json"
# A share of a text is a product of floats: 0.3 of ten tokens are three, not four.
_ROUNDING = 1e-9


@dataclass(frozen=True)
class Point:
    """A setting, what it costs and what it is worth.

    Attributes:
      kept_tokens: share of a text's tokens that is left behind each layer but the last.
      operations: that it takes, as a share of those at full length.
      distance: of its outputs from those at full length: root of the mean squared difference of
        logits; of spans, 1 - F1.
      scores: by name, on rows that nobody trained on.
    """

    kept_tokens: tuple[float, ...]
    operations: float
    distance: float
    scores: dict[str, float]


def front(points: Sequence[Point]) -> list[Point]:
    """Points to which nothing cheaper is as near, from the dearest to the cheapest."""
    kept, nearest = list[Point](), np.inf
    for point in sorted(points, key=lambda point: (point.operations, point.distance)):
        if point.distance < nearest:
            kept, nearest = [point, *kept], point.distance
    return kept


def save(points: Sequence[Point], folder: Path) -> None:
    """Writes settings into a checkpoint's folder."""
    stated = {"points": [asdict(point) for point in points]}
    (folder / FILE).write_text(json.dumps(stated, indent=2) + "\n")


def load(folder: Path) -> list[Point]:
    """The settings that lie beside a checkpoint; none where it was not trained for any."""
    path = folder / FILE
    if not path.is_file():
        return []
    points = json.loads(path.read_text())["points"]
    return [Point(**{**one, "kept_tokens": tuple(one["kept_tokens"])}) for one in points]


def refuse_misfits(kept: Sequence[float], layers: int) -> None:
    """Raises ValueError unless `kept` has a share for each layer but the last, none growing."""
    falling = all(one >= next_one for one, next_one in pairwise(kept))
    if len(kept) != layers - 1 or not falling:
        raise ValueError(
            f"expected kept_tokens of {layers - 1} shares, none above the one before, found "
            f"{[*kept]}"
        )


def lengths_after(lengths: Sequence[int], share: float) -> list[int]:
    """Tokens that texts of these lengths keep; the first one always."""
    return [max(1, int(np.ceil(share * length - _ROUNDING))) for length in lengths]


@dataclass(frozen=True)
class ShorterOperations:
    """Counts operations of rows whose tokens grow fewer from layer to layer (see `flops`).

    Attributes:
      kept: share of tokens behind each layer but the last.
      width: hidden size.
      wide: of the feed-forward network.
      head: weights that a row meets once behind the last layer, or a token where `reads_all`.
      reads_all: the last layer answers for every token, and not for the first one alone.
    """

    kept: tuple[float, ...]
    width: int
    wide: int
    head: int
    reads_all: bool

    @classmethod
    def of(cls, network: Any, kept: Sequence[float]) -> ShorterOperations:
        """Reads a network that `encoder_layers.has_known_body` knows."""
        config = network.config
        last = encoder_layers.parts(encoder_layers.layers(network)[-1])
        inside = {*encoder_layers.layers(network).modules()}
        head = sum(
            part.in_features * part.out_features
            for part in network.modules()
            if hasattr(part, "in_features") and part not in inside
        )
        wide = int(last.widen.out_features)
        return cls((*kept,), config.hidden_size, wide, head, encoder_layers.reads_all(network))

    def __call__(self, lengths: Int64) -> Float64:
        """Operations of rows of these lengths (tokens), float64, shape [rows]."""
        before = lengths.astype(np.float64)
        whole, total = before, np.zeros(len(lengths))
        for share in self.kept:
            after = np.maximum(1.0, np.ceil(share * whole - _ROUNDING))
            total += self._layer(before, before, after)
            before = after
        if self.reads_all:
            return total + self._layer(before, before, before) + 2.0 * self.head * whole
        one = np.minimum(1.0, whole)
        return total + self._layer(before, one, one) + 2.0 * self.head

    def _layer(self, tokens: Float64, asking: Float64, kept: Float64) -> Float64:
        square = float(self.width**2)
        projected = 2.0 * square * (2.0 * tokens + asking)
        fed = 2.0 * (square + 2.0 * self.width * self.wide) * kept
        return projected + fed + 4.0 * self.width * tokens * asking
