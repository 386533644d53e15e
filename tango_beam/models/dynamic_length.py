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

import numpy as np
import torch

from tango_beam.arrays import Int64
from tango_beam.config import Compute, TierConfig
from tango_beam.models import encoder_layers, kept_tokens, span_transformer, transformer
from tango_beam.models.attention import laid_out, weights_in_parts
from tango_beam.models.kept_tokens import ShorterOperations
from tango_beam.models.packed import Layer, PackedEncoder, PackedTransformer, fits
from tango_beam.models.packed_rows import PackedRows, filled_up
from tango_beam.models.span_transformer import PackedSpanTransformer, SpanTransformer
from tango_beam.models.tokens import Tokens
from tango_beam.models.transformer import Transformer

# States behind a layer are filled up to a multiple of so many, and fed on so many at a time.
MULTIPLE, _FED = 64, 256


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
        projected = layer.project(states, states, self._heads)
        mixed = states.new_empty(sum(packed.sizes), states.shape[1])
        worth = torch.empty(sum(packed.counts), max(packed.lengths))
        row = at = 0
        for count, length, size in zip(packed.counts, packed.lengths, packed.sizes, strict=True):
            group = [part[at : at + size].unflatten(0, (count, -1)) for part in projected]
            texts, tokens = slice(row, row + count), slice(at, at + size)
            worth[texts, :length] = attended(group, mixed[tokens])
            row, at = row + count, at + size
        left = most_received(worth, packed, lengths)
        filled = filled_up(left, MULTIPLE)
        shorter = PackedRows(packed.order, lengths, packed.counts, {})
        # In bf16 several times as fast as indexing.
        mixed, asking = (whole.index_select(0, filled) for whole in (mixed, states))
        return Shorter(self._fed_in_parts(layer, mixed, asking), shorter, left)

    def _fed_in_parts(
        self, layer: Layer, mixed: torch.Tensor, asking: torch.Tensor
    ) -> torch.Tensor:
        """The rest of a layer, in parts of few sizes, each of which is a shape of its own."""
        pieces = zip(mixed.split(_FED), asking.split(_FED), strict=True)
        return torch.cat([self.fed(layer, *piece) for piece in pieces])


def attended(projected: Sequence[torch.Tensor], gathered: torch.Tensor) -> torch.Tensor:
    """Attention of texts of one length.

    Args:
      projected: queries, keys and values, shape [rows, tokens, heads, width of a head].
      gathered: to be filled with what the tokens gather, shape [rows x tokens, hidden size].

    Returns:
      What attention each token receives from its text, in all heads, float32, shape [rows, tokens].
    """
    rows, tokens, heads, width = projected[0].shape
    # Padded however short it is: of the lengths behind a layer, hardly two are one.
    query, key, value = laid_out(projected, above=0)
    mixed, of_heads = torch.empty_like(value), value.new_empty(rows * heads, tokens)
    for part, weights in weights_in_parts(query, key, heads, tokens):
        of_heads[part] = received(weights, tokens)
        torch.bmm(weights, value[part], out=mixed[part])
    found = mixed.unflatten(0, (rows, heads))[:, :, :tokens].transpose(1, 2)
    gathered.view(rows, tokens, heads, width).copy_(found)
    return of_all_heads(of_heads, rows)


def received(weights: torch.Tensor, tokens: int) -> torch.Tensor:
    """What attention each token receives in each head.

    Args:
      weights: of attention, shape [rows x heads, queries, keys], padding behind the tokens of both.
      tokens: of a text.

    Returns:
      Of the same type, shape [rows x heads, tokens].
    """
    return weights[:, :tokens, :tokens].sum(dim=1)


def of_all_heads(of_heads: torch.Tensor, rows: int) -> torch.Tensor:
    """Sums up `received` of some rows, float32, shape [rows, tokens]."""
    return of_heads.unflatten(0, (rows, -1)).sum(dim=1, dtype=torch.float32)


def most_received(worth: torch.Tensor, packed: PackedRows, lengths: Sequence[int]) -> torch.Tensor:
    """Places of the tokens that receive most attention in their texts, and of first ones.

    Args:
      worth: attention that they receive, float32, shape [rows, tokens of the longest], rows as they
        are packed; what stands behind a text's tokens counts for nothing. Overwritten.
      packed: where the texts lie.
      lengths: tokens that stay of each text of a group.

    Returns:
      Ascending, int64, shape [tokens that stay].
    """
    before, after = (np.repeat(each, packed.counts) for each in (packed.lengths, lengths))
    start, at = np.cumsum(before) - before, np.arange(worth.shape[1])
    # All shapes are known before anything is computed: of each row's order, the first places.
    given = at >= before[:, None], np.flatnonzero(at < after[:, None]), np.repeat(start, after)
    behind, first, begin = (torch.from_numpy(each).to(worth.device) for each in given)
    worth.masked_fill_(behind, -torch.inf)[:, 0] = torch.inf
    order = worth.argsort(dim=1, descending=True, stable=True)
    return (order.view(-1)[first] + begin).sort().values


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
