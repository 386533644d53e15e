"""An encoder in training that drops tokens on the way (see `models/dynamic_length.py`)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch

from tango_beam.arrays import Int64
from tango_beam.models import encoder_layers, kept_tokens
from tango_beam.models.attention import with_padding
from tango_beam.models.dynamic_length import (
    MULTIPLE,
    most_received,
    of_all_heads,
    received,
)
from tango_beam.models.encoder_layers import Parts
from tango_beam.models.packed_rows import PackedRows, filled_up
from tango_beam.models.tokens import Tokens
from tango_beam.training.packed_network import PackedNetwork, Passed, scaled_products


class ShorteningNetwork(PackedNetwork):
    """Calls a network of transformers on packed texts, with all tokens or with fewer and fewer.

    Args:
      network: one that `encoder_layers.has_known_body` knows, without relative positions.
      pad_id: of the tokenizer.
      segments: the network is told first from second texts.
      dtype: of products and of what lies between them.
    """

    def __init__(self, network: Any, pad_id: int, *, segments: bool, dtype: torch.dtype) -> None:
        super().__init__(network, pad_id, segments=segments, dtype=dtype)
        self._kept: tuple[float, ...] = ()

    @property
    def droppers(self) -> int:
        """Layers that can drop tokens: all but the last."""
        return len(self._layers) - 1

    @contextmanager
    def keeping(self, kept: Sequence[float]) -> Iterator[None]:
        """Within it, texts keep these shares of their tokens behind each layer but the last."""
        kept_tokens.refuse_misfits(kept, len(self._layers))
        self._kept = (*kept,)
        try:
            yield
        finally:
            self._kept = ()

    def _states(self, tokens: Tokens, rows: Int64) -> tuple[PackedRows, torch.Tensor]:
        if not self._kept:
            return super()._states(tokens, rows)
        around, states = self._begin(tokens, rows)
        whole = around.packed
        places, last = torch.arange(len(states), device=states.device), states
        for layer, share in zip(self._layers[:-1], self._kept, strict=True):
            lengths = kept_tokens.lengths_after(whole.lengths, share)
            if lengths == around.packed.lengths:
                states = self._through(layer, states, around)
                continue
            # Those that are dropped here answer with the state that they have.
            last = last.index_copy(0, places, states[: len(places)])
            states, left = self._shorter(layer, states, around, lengths)
            shorter = PackedRows(whole.order, lengths, whole.counts, {})
            around, places = around._replace(packed=shorter), places[left]
        if not encoder_layers.reads_all(self._network):
            return whole, self._through(self._layers[-1], states, around, around.packed.first)
        states = self._through(self._layers[-1], states, around)
        return whole, last.index_copy(0, places, states[: len(places)])

    def _shorter(
        self, layer: Parts, states: torch.Tensor, around: Passed, lengths: list[int]
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """States behind a layer, filled up, and the places of the tokens that stay before it."""
        packed = around.packed
        linear = [layer.query, layer.key, layer.value]
        triples = self._apart(states, linear, packed.sizes, packed.counts)
        mixed, row = list[torch.Tensor](), 0
        worth = torch.empty(
            sum(packed.counts), max(packed.lengths), dtype=torch.float32, device=states.device
        )
        for triple, count, tokens in zip(triples, packed.counts, packed.lengths, strict=True):
            query, key, value = (with_padding(part, above=0) for part in triple)
            weights = scaled_products(query, key, tokens).softmax(-1)
            of_heads = received(weights.detach(), tokens)
            worth[row : row + count, :tokens] = of_all_heads(of_heads, count)
            found = torch.bmm(weights, value).unflatten(0, (count, -1))[:, :, :tokens]
            mixed.append(found.transpose(1, 2).flatten(2).flatten(0, 1))
            row += count
        left = most_received(worth, packed, lengths)
        filled = filled_up(left, MULTIPLE)
        return self._fed(layer, torch.cat(mixed)[filled], states[filled], around), left
