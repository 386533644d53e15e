"""An encoder on a processor that drops tokens on the way, those that the others look at least.

Goyal et al. (2020, PoWER-BERT) and Kim and Cho (2021, Length-Adaptive Transformer): behind a
layer's attention, a token is worth the attention that it received, summed over heads and asking
tokens. The least worth are dropped before the rest of the layer. The first token never is; where
every token has to answer, those that were dropped answer with the state that they had.

In a packed micro-batch a dropped token is work that is not done, whatever the other texts' lengths.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, NamedTuple, Self

import torch

from tango_beam.arrays import Int64
from tango_beam.config import Compute, TierConfig
from tango_beam.models import encoder_layers, kept_tokens, span_transformer, transformer
from tango_beam.models.attention import weights_in_parts, with_padding
from tango_beam.models.kept_tokens import ShorterOperations
from tango_beam.models.packed import Layer, PackedEncoder, PackedTransformer, fits
from tango_beam.models.packed_rows import PackedRows
from tango_beam.models.span_transformer import PackedSpanTransformer, SpanTransformer
from tango_beam.models.tokens import Tokens
from tango_beam.models.transformer import Transformer

# States behind a layer are filled up to a multiple of so many.
_MULTIPLE = 64


def refuse_relative_positions(network: Any) -> None:
    """Raises ValueError for an encoder that knows how far apart two tokens stand."""
    if encoder_layers.distance_bias(network) is not None:
        raise ValueError(
            "expected an encoder without relative positions to drop tokens (BERT, RoBERTa, "
            f"DistilBERT), found {type(network).__name__}"
        )


class Shorter(NamedTuple):
    """What is left behind a layer, and the places of its tokens before it.

    Attributes:
      states: of the tokens that are left, and some more at the end that belong to no text.
      packed: where the texts lie.
      places: of the tokens that are left, shape [tokens].
    """

    states: torch.Tensor
    packed: PackedRows
    places: torch.Tensor


class ShorteningEncoder(PackedEncoder):
    """A packed encoder that drops tokens.

    Args:
      network: as for `PackedEncoder`, one without relative positions.
      kept: share of a text's tokens left behind each layer but the last.
      segments: the network is told first from second texts.
      int8: computes the layers' products in int8, the rest in the network's own precision.

    Raises:
      ValueError: a network with relative positions (MPNet), or shares that do not fit it.
    """

    def __init__(
        self, network: Any, kept: Sequence[float], *, segments: bool = True, int8: bool = False
    ) -> None:
        refuse_relative_positions(network)
        kept_tokens.refuse_misfits(kept, len(encoder_layers.layers(network)))
        super().__init__(network, segments=segments, int8=int8)
        self._kept, self._restores = [*kept], encoder_layers.reads_all(network)

    def at(self, kept: Sequence[float]) -> ShorteningEncoder:
        """The same encoder, of the same weights, that keeps other shares of a text's tokens."""
        kept_tokens.refuse_misfits(kept, len(self._layers))
        made = copy.copy(self)
        made._kept = [*kept]
        return made

    def _encode(self, tokens: Tokens, rows: Int64, pad_id: int) -> tuple[PackedRows, torch.Tensor]:
        """How the rows are packed, and the last states: of all tokens, or of first ones."""
        whole = self._pack(tokens, rows, pad_id)
        states, packed = self._base.embeddings(**whole.given)[0], whole
        # Each token's last state, and where those lie that are still there.
        last, places = torch.empty_like(states) if self._restores else None, None
        for layer, share in zip(self._layers[:-1], self._kept, strict=True):
            lengths = kept_tokens.lengths_after(whole.lengths, share)
            if lengths == packed.lengths:
                states = self._through(layer, states, packed, self._added(packed))
                continue
            if last is not None:
                places = torch.arange(len(last)) if places is None else places
                last[places] = states[: len(places)]
            states, packed, left = self._shorter(layer, states, packed, lengths)
            places = left if places is None else places[left]
        states = self._through(self._layers[-1], states, packed, self._added(packed))
        if last is None or places is None:
            return whole, states
        last[places] = states[: len(places)]
        return whole, last

    def _shorter(
        self, layer: Layer, states: torch.Tensor, packed: PackedRows, lengths: list[int]
    ) -> Shorter:
        """Takes rows through a layer behind whose attention they have these lengths."""
        triples = layer.project(states, states, self._heads)
        mixed, places, at = [], [], 0
        for count, size, length in zip(packed.counts, packed.sizes, lengths, strict=True):
            group = [part[at : at + size].unflatten(0, (count, -1)) for part in triples]
            found, kept = most_attended(*group, length=length)
            mixed.append(found)
            places.append((kept + torch.arange(at, at + size, size // count)[:, None]).flatten())
            at += size
        left = torch.cat(places)
        asking = states[filled_up(left)]
        mixed.append(asking[len(left) :])
        shorter = PackedRows(packed.order, lengths, packed.counts, {})
        return Shorter(self.fed(layer, torch.cat(mixed), asking), shorter, left)


def most_attended(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, *, length: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Attention of texts of one length, for the tokens that it goes to most.

    Args:
      query: shape [rows, tokens, heads, width of a head].
      key: like `query`.
      value: like `query`.
      length: tokens that stay of a text.

    Returns:
      What those gathered, shape [rows x length, hidden size], and which they are, ascending, shape
      [rows, length].
    """
    rows, tokens, heads, width = query.shape
    query, key, value = (part.transpose(1, 2).flatten(0, 1) for part in (query, key, value))
    # Padded however short it is: of the lengths behind a layer, hardly two are one.
    values = with_padding(value, above=0)
    padded = values.shape[1]
    asking = (torch.arange(padded) < tokens).to(query.dtype)
    mixed, of_heads = torch.empty_like(values), query.new_empty(rows * heads, tokens)
    for part, weights in weights_in_parts(query, key, heads, above=0):
        of_heads[part] = received(weights, asking)[:, :tokens]
        torch.bmm(weights, values[part], out=mixed[part])
    kept = most_received(of_heads, rows, length)
    asked = mixed.unflatten(0, (rows, heads)).transpose(1, 2).reshape(rows * padded, heads * width)
    return asked[(kept + torch.arange(0, rows * padded, padded)[:, None]).flatten()], kept


def filled_up(places: torch.Tensor) -> torch.Tensor:
    """Places with some more behind them that belong to no text.

    Products of many numbers of tokens then share oneDNN's kernels, which it makes for each shape.
    """
    return torch.cat([places, places.new_zeros(-len(places) % _MULTIPLE)])


def received(weights: torch.Tensor, asking: torch.Tensor) -> torch.Tensor:
    """What each token receives from those that ask.

    Args:
      weights: of attention, shape [rows x heads, queries, tokens].
      asking: 1 of a query that counts, else 0; shape [queries].

    Returns:
      Of the same type, shape [rows x heads, tokens].
    """
    # As a product: a sum of bf16 would be one of a copy in float32.
    return torch.bmm(asking.repeat(len(weights), 1, 1), weights)[:, 0]


def most_received(of_heads: torch.Tensor, rows: int, length: int) -> torch.Tensor:
    """The tokens that receive most attention, and the first one: ascending, [rows, length].

    Args:
      of_heads: `received`, shape [rows x heads, tokens].
      rows: texts, all of one length.
      length: how many tokens of each.
    """
    of_all = of_heads.unflatten(0, (rows, -1)).sum(dim=1, dtype=torch.float32)
    of_all[:, 0] = torch.inf
    return of_all.topk(length).indices.sort(dim=1).values


class _Shortening:
    """What both kinds of models that drop tokens share."""

    encoder: PackedEncoder
    operations: Any
    _kept: tuple[float, ...]

    def _packed(self, network: Any, *, segments: bool, int8: bool) -> PackedEncoder:
        return ShorteningEncoder(network, self._kept, segments=segments, int8=int8)

    def at(self, kept: Sequence[float]) -> Self:
        """The same model, of the same weights, that keeps other shares of a text's tokens."""
        made = copy.copy(self)
        assert isinstance(self.encoder, ShorteningEncoder)
        made.encoder = self.encoder.at(kept)
        made.operations = replace(self.operations, kept=(*kept,))
        return made


class ShorteningTransformer(_Shortening, PackedTransformer):
    """A classifier on a processor that drops tokens.

    Args:
      model: gives up its weights; its network `packed.fits`.
      tier: what the cascade says of it: kept_tokens, batch_tokens, threads.
    """

    def __init__(self, model: Transformer, tier: TierConfig) -> None:
        self._kept = tier.kept_tokens
        operations = ShorterOperations.of(model.network, tier.kept_tokens)
        super().__init__(
            model.labels,
            model.tokenizer,
            model.network,
            tier,
            model.precision,
            segments=model.segments,
        )
        self.operations = operations


class ShorteningSpanTransformer(_Shortening, PackedSpanTransformer):
    """A reader on a processor that drops tokens, each of which may still be an answer's edge.

    Args:
      model: gives up its weights; its network `packed.fits`.
      tier: what the cascade says of it: kept_tokens.
    """

    def __init__(self, model: SpanTransformer, tier: TierConfig) -> None:
        self._kept = tier.kept_tokens
        operations = ShorterOperations.of(model.network, tier.kept_tokens)
        super().__init__(model)
        self.operations = operations


def to_answer(
    model: Transformer, tier: TierConfig
) -> ShorteningTransformer | ShorteningSpanTransformer:
    """A model that drops tokens; it takes over the weights, and is not to be trained.

    Args:
      model: on a processor.
      tier: what the cascade says of it: kept_tokens, batch_tokens, threads.

    Raises:
      ValueError: an encoder that cannot be packed on this device, or shares that do not fit it.
    """
    int8 = model.precision == "int8"
    if model.device != "cpu" or not fits(model.network, int8=int8):
        raise ValueError(
            f"{tier.source}: expected an encoder like BERT on a processor for kept_tokens, "
            f"found {type(model.network).__name__} on {model.device}"
        )
    if isinstance(model, SpanTransformer):
        return ShorteningSpanTransformer(model, tier)
    return ShorteningTransformer(model, tier)


def load(tier: TierConfig, compute: Compute, *, spans: bool) -> PackedTransformer:
    """Loads a checkpoint that drops tokens by `tier.kept_tokens`.

    Args:
      tier: what to load.
      compute: device and precision, both settled.
      spans: it answers with spans.
    """
    read = span_transformer.load if spans else transformer.load
    return to_answer(read(tier, compute), tier)
