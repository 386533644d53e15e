"""Encoders on a processor without padding: texts laid end to end, in one long row of tokens.

Every product then runs over all tokens of a micro-batch and over no padding; attention runs for
texts of one length at a time, and needs no mask.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch

from tango_beam import batching
from tango_beam.arrays import Float32, Int64
from tango_beam.config import TierConfig
from tango_beam.models import encoder_layers, thread_pool
from tango_beam.models.attention import attention, biases
from tango_beam.models.packed_rows import PackedRows, RowPacker, filled_up
from tango_beam.models.products import ACTIVATIONS, Product, has_int8
from tango_beam.models.protocol import Classifier
from tango_beam.models.tokens import TextTokenizer, Tokens

# Among so many tokens, first ones are filled up to a multiple of so many.
_MANY, _ROWS = 1024, 16


def fits(network: Any, *, int8: bool = False) -> bool:
    """Whether a transformers model is one that `PackedEncoder` computes as it would itself.

    Args:
      network: the model.
      int8: it is to be computed in int8, which wants products that torch has on x86 only.
    """
    if int8 and not has_int8():
        return False
    known = encoder_layers.has_known_body(network)
    return known and encoder_layers.activation(network.config) in ACTIVATIONS


class Layer:
    """One layer's products and norms; the last one asks for its first tokens alone.

    Args:
      layer: of transformers; gives up its weights.
      activation: its name.
      int8: computes its products in int8.
      apart: queries are a product of their own, since not all tokens ask.
    """

    def __init__(self, layer: Any, activation: str, *, int8: bool, apart: bool) -> None:
        parts = encoder_layers.parts(layer)
        joint, asks = [parts.query, parts.key, parts.value], None
        if apart:
            asks, joint = Product([parts.query], int8=int8), joint[1:]
        self.asks: Product | None = asks
        self.joint = Product(joint, int8=int8)
        self.merge, self.merge_norm = Product([parts.merge], int8=int8), parts.merge_norm
        self.widen = Product([parts.widen], activation, int8=int8)
        self.narrow = Product([parts.narrow], int8=int8, activated=True)
        self.narrow_norm = parts.narrow_norm

    def project(
        self, states: torch.Tensor, first: torch.Tensor, heads: int
    ) -> tuple[torch.Tensor, ...]:
        """Queries, keys and values, shape [tokens, heads, width of a head]."""
        joint = self.joint(states)
        shape = heads, states.shape[1] // heads
        if self.asks is None:
            return joint.view(len(joint), 3, *shape).unbind(1)
        query = self.asks(first).view(len(first), *shape)
        return query, *joint.view(len(joint), 2, *shape).unbind(1)


class PackedEncoder:
    """A sequence classifier that computes on packed texts; takes over the network's weights.

    Args:
      network: a transformers model that `fits`; its own forward does not work any more.
      segments: the network is told first from second texts.
      int8: computes the layers' products in int8, the rest in the network's own precision.
      apart: in all layers queries are a product of their own.

    Raises:
      ValueError: a model that does not fit.
    """

    def __init__(
        self, network: Any, *, segments: bool = True, int8: bool = False, apart: bool = False
    ) -> None:
        if not fits(network, int8=int8):
            raise ValueError(f"expected an encoder that can be packed, found {type(network)}")
        self._network, self._base = network, network.base_model
        config = network.config
        self._heads = int(config.num_attention_heads)
        self._pack = RowPacker(network, segments=segments)
        distances = encoder_layers.distance_bias(network)
        self._distances = None if distances is None else distances.detach()
        name, stack = encoder_layers.activation(config), encoder_layers.layers(network)
        last = None if encoder_layers.reads_all(network) else stack[-1]
        self._layers = [
            Layer(layer, name, int8=int8, apart=apart or layer is last) for layer in stack
        ]

    @torch.inference_mode()
    def __call__(self, tokens: Tokens, rows: Int64, pad_id: int) -> Float32:
        """Logits of some rows, float32, shape [rows, labels]."""
        packed, states = self._encode(tokens, rows, pad_id)
        logits = encoder_layers.answer(self._network, states).float().numpy()
        ordered = np.empty_like(logits)
        ordered[packed.order] = logits
        return ordered

    @torch.inference_mode()
    def first_states(self, tokens: Tokens, rows: Int64, pad_id: int) -> Float32:
        """First tokens' states behind layers but the last, shape [rows, layers, hidden size]."""
        packed = self._pack(tokens, rows, pad_id)
        added, states = self._added(packed), self._base.embeddings(**packed.given)[0]
        found = []
        for layer in self._layers[:-1]:
            states = self._through(layer, states, packed, added)
            found.append(states[packed.first].float())
        ordered = torch.empty_like(stacked := torch.stack(found, dim=1))
        ordered[torch.from_numpy(packed.order)] = stacked
        return ordered.numpy()

    @torch.inference_mode()
    def edges(
        self, tokens: Tokens, rows: Int64, pad_id: int
    ) -> Iterator[tuple[Int64, Float32, Float32]]:
        """Start and end logits of rows of one length at a time, shape [rows, tokens], and which."""
        packed, states = self._encode(tokens, rows, pad_id)
        logits = self._network.qa_outputs(states).float()
        groups = np.split(packed.order, np.cumsum(packed.counts)[:-1])
        for group, part in zip(groups, logits.split(packed.sizes), strict=True):
            found = part.numpy().reshape(len(group), -1, 2)
            yield group, found[:, :, 0], found[:, :, 1]

    def _encode(self, tokens: Tokens, rows: Int64, pad_id: int) -> tuple[PackedRows, torch.Tensor]:
        """How the rows are packed, and the last states."""
        packed = self._pack(tokens, rows, pad_id)
        added = self._added(packed)
        states = self._base.embeddings(**packed.given)[0]
        for layer in self._layers:
            states = self._through(layer, states, packed, added)
        return packed, states

    def _added(self, packed: PackedRows) -> Sequence[torch.Tensor | None]:
        """What is added to the scores of each group."""
        if self._distances is None:
            return [None] * len(packed.lengths)
        return biases(self._distances, packed.lengths)

    def _through(
        self,
        layer: Layer,
        states: torch.Tensor,
        packed: PackedRows,
        added: Sequence[torch.Tensor | None],
    ) -> torch.Tensor:
        """States after a layer: of all tokens, or of the texts' first tokens after the last one."""
        if layer.asks is None:
            asking, asked = states, packed.sizes
        else:
            multiple = _ROWS if len(states) >= _MANY else 1
            asking, asked = states[filled_up(packed.first, multiple)], packed.counts
        projected = layer.project(states, asking, self._heads)
        found = self.fed(layer, self.attended(projected, packed, added, asked), asking)
        return found if layer.asks is None else found[: len(packed.first)]

    def attended(
        self,
        projected: Sequence[torch.Tensor],
        packed: PackedRows,
        added: Sequence[torch.Tensor | None],
        asked: Sequence[int],
        skipped: int = 0,
    ) -> torch.Tensor:
        """What asking tokens gather from their texts, shape [asking tokens, hidden size].

        Asking tokens of no text, behind all others, gather nothing.

        Args:
          projected: queries, keys and values, shape [tokens, heads, width of a head].
          packed: where the texts lie.
          added: to the scores of each group.
          asked: asking tokens in each group, as many in each of its texts.
          skipped: tokens of a text before its first asking one.
        """
        found = projected[0].new_empty(len(projected[0]), projected[0][0].numel())
        start = at = 0
        for rows, bias, size, asks in zip(packed.counts, added, packed.sizes, asked, strict=True):
            tokens, places = slice(start, start + size), slice(at, at + asks)
            start, at = start + size, at + asks
            if not asks:
                continue
            query, key, value = (
                part[where].unflatten(0, (rows, -1)).transpose(1, 2)
                for part, where in zip(projected, (places, tokens, tokens), strict=True)
            )
            seen = bias if bias is None else bias[:, skipped : skipped + query.shape[2]]
            mixed = attention(query, key, value, seen).transpose(1, 2)
            found[places].view(mixed.shape).copy_(mixed)
        found[at:] = 0
        return found

    def fed(self, layer: Layer, attended: torch.Tensor, asking: torch.Tensor) -> torch.Tensor:
        """The rest of a layer, for the tokens that asked."""
        states = layer.merge_norm(layer.merge(attended).add_(asking))
        found: torch.Tensor = layer.narrow_norm(layer.narrow(layer.widen(states)).add_(states))
        return found


class PackedTransformer(Classifier):
    """A transformer on a processor that answers without padding.

    Args:
      labels: the labels' names, in the order of the outputs.
      tokenizer: makes the tokens.
      network: gives up its weights; `fits` it.
      tier: what the cascade says of it: batch_tokens, threads.
      precision: `fp32`, `bf16` or `int8`.
      segments: the network is told first from second texts.
    """

    def __init__(
        self,
        labels: tuple[str, ...],
        tokenizer: TextTokenizer,
        network: Any,
        tier: TierConfig,
        precision: str,
        *,
        segments: bool = True,
    ) -> None:
        super().__init__(
            labels,
            tokenizer,
            network,
            precision=precision,
            batch_tokens=tier.batch_tokens,
            threads=tier.threads or 1,
        )
        self.encoder = self._packed(network, segments=segments, int8=precision == "int8")

    def _packed(self, network: Any, *, segments: bool, int8: bool) -> PackedEncoder:
        return PackedEncoder(network, segments=segments, int8=int8)

    def padded(self, lengths: Int64) -> Int64:
        """Tokens that rows of these lengths take in one micro-batch: their own."""
        return np.maximum(lengths, 1)

    def cut(self, lengths: Int64, budget: int, threads: int) -> list[Int64]:
        """Micro-batches of like lengths, as many as threads score side by side."""
        return batching.plan_packed(lengths, budget, multiple=thread_pool.slots(threads))

    def forward(self, tokens: Tokens, rows: Int64) -> Float32:
        """Logits for one micro-batch, float32, shape [rows, labels]."""
        return self.encoder(tokens, rows, self.tokenizer.pad_id)
