"""An encoder in training without padding: texts laid end to end, with gradients.

The layers of `models/encoder_layers.py`, computed on the network's own weights: every product runs
over all tokens of a micro-batch, attention for texts of one length at a time, and the last layer of
a classifier for first tokens alone. In bf16 products and what lies between them are bf16; weights,
their gradients and the loss are fp32. Attention drops nothing out: on long texts that took a
quarter of a step.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch.nn import functional

from tango_beam.arrays import Int64
from tango_beam.models import encoder_layers
from tango_beam.models.attention import biases, with_padding
from tango_beam.models.encoder_layers import Parts
from tango_beam.models.packed_rows import PackedRows, RowPacker
from tango_beam.models.tokens import Tokens
from tango_beam.training.dropout import Dropout

# Tokens in a text up to which attention is plain products, which are faster to go back through
# than torch's fused kernel. Those of longer ones would fill the memory.
_SHORT = 512


class PackedNetwork:
    """Calls a network of transformers on packed texts; drops out where the network is in training.

    Args:
      network: one that `encoder_layers.has_known_body` knows.
      pad_id: of the tokenizer.
      segments: the network is told first from second texts.
      dtype: of products and of what lies between them.
    """

    def __init__(self, network: Any, pad_id: int, *, segments: bool, dtype: torch.dtype) -> None:
        self._network, self._pad_id, self._dtype = network, pad_id, dtype
        self._pack = RowPacker(network, segments=segments)
        self._heads = int(network.config.num_attention_heads)
        self._layers = [encoder_layers.parts(layer) for layer in encoder_layers.layers(network)]
        self._merged, self._narrowed = encoder_layers.dropout(network.config)

    def logits(self, tokens: Tokens, rows: Int64) -> torch.Tensor:
        """Logits of some rows, float32, shape [rows, labels]."""
        packed, states = self._states(tokens, rows)
        found = encoder_layers.answer(self._network, states.float())
        return found[torch.from_numpy(np.argsort(packed.order))]

    def edges(self, tokens: Tokens, rows: Int64) -> torch.Tensor:
        """Start and end logits of some windows, float32, shape [windows, longest, 2]."""
        packed, states = self._states(tokens, rows)
        found = self._network.qa_outputs(states.float())
        inside = torch.from_numpy(tokens.inside(rows[packed.order]))
        edges = found.new_zeros(*inside.shape, 2)
        edges[inside] = found
        return edges[torch.from_numpy(np.argsort(packed.order))]

    def _states(self, tokens: Tokens, rows: Int64) -> tuple[PackedRows, torch.Tensor]:
        """How the rows are packed, and the last states: of all tokens, or of first ones."""
        around, states = self._begin(tokens, rows)
        for layer in self._layers[:-1]:
            states = self._through(layer, states, around)
        packed = around.packed
        first = None if encoder_layers.reads_all(self._network) else packed.first
        return packed, self._through(self._layers[-1], states, around, first)

    def _begin(self, tokens: Tokens, rows: Int64) -> tuple[Passed, torch.Tensor]:
        """What all layers share, and the states before the first one."""
        packed = self._pack(tokens, rows, self._pad_id)
        dropout = Dropout(active=self._network.training)
        embeddings = self._network.base_model.embeddings.eval()  # its own dropout is torch's
        found = embeddings(**packed.given_on(self._network.device))[0]
        states = dropout(found.to(self._dtype), self._narrowed)
        return Passed(packed, self._added(packed), dropout), states

    def _added(self, packed: PackedRows) -> Sequence[torch.Tensor | None]:
        """What MPNet adds to the scores of each group."""
        distances = encoder_layers.distance_bias(self._network)
        if distances is None:
            return [None] * len(packed.lengths)
        both_ways = biases(distances.to(self._dtype), packed.lengths)
        return [with_padding(with_padding(one).mT).mT for one in both_ways]

    def _through(
        self,
        layer: Parts,
        states: torch.Tensor,
        around: Passed,
        first: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """States behind a layer: of all tokens, or of those at the places `first`."""
        packed = around.packed
        asking = states[: sum(packed.sizes)] if first is None else states[first]
        query, both = [layer.query], [layer.key, layer.value]
        if first is None:
            triples = self._apart(states, query + both, packed.sizes, packed.counts)
        else:
            asked = self._apart(asking, query, packed.counts, packed.counts)
            seen = self._apart(states, both, packed.sizes, packed.counts)
            triples = [[*one, *two] for one, two in zip(asked, seen, strict=True)]
        groups = zip(triples, around.added, packed.counts, strict=True)
        return self._fed(layer, torch.cat([attended(*group) for group in groups]), asking, around)

    def _fed(
        self, layer: Parts, attended: torch.Tensor, asking: torch.Tensor, around: Passed
    ) -> torch.Tensor:
        """The rest of a layer, for the tokens that asked."""
        mixed = product(attended, [layer.merge])
        states = normed(around.dropout(mixed, self._merged) + asking, layer.merge_norm)
        narrow = product(layer.activation(product(states, [layer.widen])), [layer.narrow])
        return normed(around.dropout(narrow, self._narrowed) + states, layer.narrow_norm)

    def _apart(
        self,
        states: torch.Tensor,
        layers: list[torch.nn.Linear],
        sizes: list[int],
        counts: list[int],
    ) -> list[list[torch.Tensor]]:
        """Queries, keys or values of each group, shapes [rows x heads, tokens, width of a head]."""
        wide = len(layers), self._heads, -1
        return [
            [*part.view(rows, size // rows, *wide).permute(2, 0, 3, 1, 4).flatten(1, 2)]
            for part, rows, size in zip(
                product(states, layers)[: sum(sizes)].split(sizes), counts, sizes, strict=True
            )
        ]


def attended(triple: list[torch.Tensor], bias: torch.Tensor | None, rows: int) -> torch.Tensor:
    """What the tokens of a group's texts gather by attention, shape [asking tokens, hidden size].

    Args:
      triple: queries, keys and values, shape [rows x heads, tokens, width of a head].
      bias: added to the scores, shape [heads, tokens, tokens], padded both ways as keys are.
      rows: texts in the group.
    """
    query, key, value = triple
    queries, keys = query.shape[1], key.shape[1]
    if keys > _SHORT:
        query, key, value = (part.unflatten(0, (rows, -1)) for part in triple)
        seen = bias if bias is None else bias[:, :queries, :keys]
        mixed = functional.scaled_dot_product_attention(query, key, value, attn_mask=seen)
    else:
        query, key, value = (with_padding(part) for part in triple)
        scores = scaled_products(query, key, keys)
        if bias is not None:
            seen = bias[:, : query.shape[1]]
            scores = (scores.unflatten(0, (rows, -1)) + seen).flatten(0, 1)
        mixed = torch.bmm(scores.softmax(dim=-1), value)[:, :queries].unflatten(0, (rows, -1))
    return mixed.transpose(1, 2).flatten(0, 1).flatten(1)


def scaled_products(query: torch.Tensor, key: torch.Tensor, keys: int) -> torch.Tensor:
    """Scores of attention, -inf of keys from `keys` on, which are padding.

    Args:
      query: shape [rows x heads, queries, width].
      key: shape [rows x heads, keys and padding, width].
      keys: of each text.

    Returns:
      Shape [rows x heads, queries, keys and padding].
    """
    unseen = query.new_zeros(key.shape[1])
    unseen[keys:] = -torch.inf
    return torch.baddbmm(unseen, query, key.transpose(1, 2), alpha=query.shape[-1] ** -0.5)


def product(states: torch.Tensor, layers: Sequence[torch.nn.Linear]) -> torch.Tensor:
    """One product for some linear layers side by side, in the states' precision."""
    weights, biases = zip(
        *((layer.weight.to(states.dtype), layer.bias.to(states.dtype)) for layer in layers),
        strict=True,
    )
    if len(weights) == 1:
        return functional.linear(states, weights[0], biases[0])
    return functional.linear(states, torch.cat(weights), torch.cat(biases))


def normed(states: torch.Tensor, norm: Any) -> torch.Tensor:
    """Layer normalisation in the states' precision."""
    weight, bias = norm.weight.to(states.dtype), norm.bias.to(states.dtype)
    return functional.layer_norm(states, norm.normalized_shape, weight, bias, norm.eps)


class Passed(NamedTuple):
    """What all layers share in one pass.

    Attributes:
      packed: where the tokens lie.
      added: to the scores of each group.
      dropout: of this pass.
    """

    packed: PackedRows
    added: Sequence[torch.Tensor | None]
    dropout: Dropout
