"""Rows of a micro-batch laid end to end, those of one length side by side."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from tango_beam.arrays import Bool, Int64
from tango_beam.models.tokens import Tokens


@dataclass(frozen=True)
class PackedRows:
    """Where the tokens of a micro-batch lie, and what its embeddings are called with.

    Attributes:
      order: the rows by length, as places in the micro-batch.
      lengths: in tokens, one a group: a group holds the rows of one length.
      counts: rows in each group.
      given: to the embeddings, int64, shape [1, tokens] each.
    """

    order: Int64
    lengths: list[int]
    counts: list[int]
    given: dict[str, torch.Tensor]

    @cached_property
    def sizes(self) -> list[int]:
        """Tokens in each group."""
        pairs = zip(self.lengths, self.counts, strict=True)
        return [length * count for length, count in pairs]

    @cached_property
    def first(self) -> torch.Tensor:
        """Places of the rows' first tokens, shape [rows]."""
        lengths = np.repeat(self.lengths, self.counts)
        return torch.from_numpy(np.cumsum(lengths) - lengths)

    def given_on(self, device: torch.device) -> dict[str, torch.Tensor]:
        """What the embeddings are called with, on their device."""
        return {name: part.to(device) for name, part in self.given.items()}

    def keep(self, stays: Bool) -> tuple[PackedRows, torch.Tensor]:
        """Some of the rows, and the places of their tokens.

        Args:
          stays: which, shape [rows], in the order in which they are packed.
        """
        ends = np.cumsum(self.counts)
        counts = np.array([part.sum() for part in np.split(stays, ends[:-1])])
        left = counts > 0
        places = np.flatnonzero(np.repeat(stays, np.repeat(self.lengths, self.counts)))
        kept = PackedRows(
            self.order[stays],
            [length for length, some in zip(self.lengths, left, strict=True) if some],
            counts[left].tolist(),
            {},
        )
        return kept, torch.from_numpy(places)


def filled_up(places: torch.Tensor, multiple: int) -> torch.Tensor:
    """Places with some more behind them that belong to no text, up to a multiple of so many.

    Products of many numbers of tokens then share oneDNN's kernels, which it makes for each shape.
    """
    return torch.cat([places, places.new_zeros(-len(places) % multiple)])


class RowPacker:
    """Packs rows as a network of transformers would number their tokens.

    Args:
      network: one that `encoder_layers.has_known_body` knows.
      segments: it is told first from second texts.
    """

    def __init__(self, network: Any, *, segments: bool) -> None:
        embeddings = network.base_model.embeddings
        self._told, self._has_types = segments, hasattr(embeddings, "token_type_embeddings")
        # RoBERTa and MPNet count the tokens that are no padding, which a text may spell as well.
        self._uncounted = getattr(embeddings, "padding_idx", None)

    def __call__(self, tokens: Tokens, rows: Int64, pad_id: int) -> PackedRows:
        """Packs some rows of `tokens`; one without a token is one of padding."""
        lengths = np.maximum(tokens.lengths[rows], 1)
        order = np.argsort(lengths, kind="stable")
        distinct, starts = np.unique(lengths[order], return_index=True)
        ids, positions, types = [], [], []
        for group in np.split(rows[order], starts[1:]):
            ids.append(tokens.padded(group, pad_id))
            positions.append(self._positions(ids[-1]))
            if self._told and tokens.types is not None:
                types.append(tokens.padded_types(group))
        given = {"input_ids": _row(ids), "position_ids": _row(positions)}
        if self._has_types:
            given["token_type_ids"] = _row(types) if types else torch.zeros_like(_row(ids))
        counts = np.diff(starts, append=len(rows))
        return PackedRows(order, distinct.tolist(), counts.tolist(), given)

    def _positions(self, ids: Int64) -> Int64:
        """Positions of tokens, shape [rows, tokens]."""
        if self._uncounted is None:
            return np.broadcast_to(np.arange(ids.shape[1]), ids.shape)
        counted = ids != self._uncounted
        return np.cumsum(counted, axis=1) * counted + self._uncounted


def _row(parts: list[npt.NDArray]) -> torch.Tensor:
    return torch.from_numpy(np.concatenate([part.ravel() for part in parts]).astype(np.int64))[None]
