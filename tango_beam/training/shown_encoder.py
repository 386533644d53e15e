"""An encoder that shows what a student of its own kind learns from: states, scores, relations.

transformers gives attentions behind the softmax, and only where it does not fuse them; TinyBERT's
students learn the scores before it. So the layers of `models/encoder_layers.py` are computed here
once more, on the network's own weights, for texts of one length: nothing is padded or masked.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Any

import torch

from tango_beam.arrays import Int64
from tango_beam.models import encoder_layers
from tango_beam.models.attention import biases
from tango_beam.models.encoder_layers import Parts
from tango_beam.models.packed_rows import RowPacker
from tango_beam.models.tokens import Tokens
from tango_beam.training.packed_network import normed, product


@dataclass
class Shown:
    """What an encoder shows of a batch of texts of one length.

    Attributes:
      embeddings: what the first layer is given, shape [rows, tokens, hidden size].
      states: by layer, what it gives, shape [rows, tokens, hidden size].
      scores: by layer, of attention before the softmax, shape [rows, heads, tokens, tokens].
      asked: by layer, queries, keys and values, shape [rows, tokens, hidden size] each.
    """

    embeddings: torch.Tensor
    states: dict[int, torch.Tensor] = field(default_factory=dict)
    scores: dict[int, torch.Tensor] = field(default_factory=dict)
    asked: dict[int, tuple[torch.Tensor, ...]] = field(default_factory=dict)


class ShownEncoder:
    """Calls the body of a network of transformers; nothing is dropped out.

    Args:
      network: one that `encoder_layers.is_known_body` knows, neither packed nor shortened.
      pad_id: of the tokenizer.
      segments: the network is told first from second texts.
      dtype: of products and of what lies between them.
    """

    def __init__(self, network: Any, pad_id: int, *, segments: bool, dtype: torch.dtype) -> None:
        self._network, self._pad_id, self._dtype = network, pad_id, dtype
        self._pack = RowPacker(network, segments=segments)
        self._layers = [encoder_layers.parts(layer) for layer in encoder_layers.layers(network)]
        self.heads = int(network.config.num_attention_heads)
        self.hidden_size = int(network.config.hidden_size)

    @property
    def depth(self) -> int:
        """How many layers it has."""
        return len(self._layers)

    def __call__(self, tokens: Tokens, rows: Int64, wanted: Collection[int]) -> Shown:
        """Reads some rows of one length; shows the layers `wanted`, counted from 0."""
        packed = self._pack(tokens, rows, self._pad_id)
        (length,) = packed.lengths
        given = packed.given_on(self._network.device)
        embeddings = self._network.base_model.embeddings.eval()(**given)[0]
        states = embeddings.to(self._dtype).unflatten(0, (len(rows), length))
        shown = Shown(states)
        distances = encoder_layers.distance_bias(self._network)
        bias = None if distances is None else biases(distances.to(self._dtype), [length])[0]
        for number in range(max(wanted, default=-1) + 1):
            states = self._through(number, states, bias, shown, show=number in wanted)
        return shown

    def _through(
        self, number: int, states: torch.Tensor, bias: torch.Tensor | None, shown: Shown, show: bool
    ) -> torch.Tensor:
        layer: Parts = self._layers[number]
        asked = product(states, [layer.query, layer.key, layer.value]).chunk(3, dim=-1)
        query, key, value = (part.unflatten(-1, (self.heads, -1)).transpose(1, 2) for part in asked)
        scores = query @ key.transpose(2, 3) * query.shape[-1] ** -0.5
        if bias is not None:
            scores = scores + bias
        mixed = (scores.softmax(dim=-1) @ value).transpose(1, 2).flatten(2)
        merged = normed(product(mixed, [layer.merge]) + states, layer.merge_norm)
        wide = layer.activation(product(merged, [layer.widen]))
        found = normed(product(wide, [layer.narrow]) + merged, layer.narrow_norm)
        if show:
            shown.states[number], shown.scores[number] = found, scores
            shown.asked[number] = asked
        return found
