"""A model in training: the fastest forward pass with gradients that suits network and device."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import torch

from tango_beam import batching
from tango_beam.arrays import Int64
from tango_beam.models import encoder_layers
from tango_beam.models.dynamic_length import refuse_relative_positions
from tango_beam.models.loading import resolve_precision
from tango_beam.models.span_transformer import SpanTransformer
from tango_beam.models.tokens import Tokens
from tango_beam.models.transformer import Transformer
from tango_beam.training.packed_network import PackedNetwork
from tango_beam.training.shortening_network import ShorteningNetwork

# Tokens whose activations are held at once; a longer batch is cut, and its gradients are added up.
_HELD, _HELD_ON_GPU = 4096, 16_384


class Trainable(Protocol):
    """What is trained."""

    def logits(self, tokens: Tokens, rows: Int64) -> torch.Tensor:
        """Logits of some rows, float32, shape [rows, labels]."""

    def edges(self, tokens: Tokens, rows: Int64) -> torch.Tensor:
        """Start and end logits of some windows, float32, shape [windows, longest, 2]."""

    def cut(self, tokens: Tokens, rows: Int64) -> Sequence[Int64]:
        """Cuts a batch into micro-batches whose activations fit into memory."""


def of(model: Transformer, precision: str) -> Trainable:
    """A model to be trained in a precision: `fp32`, `bf16`, or `auto` for bf16 where it is native.

    Weights, their gradients and the loss are fp32 in either.
    """
    dtype = _dtype(precision, model.device)
    if model.device == "cpu" and encoder_layers.has_known_body(model.network):
        pad_id = model.tokenizer.pad_id
        return _Packed(model.network, pad_id, segments=model.segments, dtype=dtype)
    return Padded(model, bf16=dtype == torch.bfloat16)


def shortening(model: Transformer, precision: str) -> Shortening:
    """A model to be trained that can drop tokens (see `of`).

    Raises:
      ValueError: an encoder with relative positions, or that is not known.
    """
    if not encoder_layers.has_known_body(model.network):
        raise ValueError(
            "expected an encoder like BERT, RoBERTa or DistilBERT to drop tokens, found "
            f"{type(model.network).__name__}"
        )
    refuse_relative_positions(model.network)
    return Shortening(
        model.network,
        model.tokenizer.pad_id,
        segments=model.segments,
        dtype=_dtype(precision, model.device),
    )


def _dtype(precision: str, device: str) -> torch.dtype:
    return torch.bfloat16 if resolve_precision(precision, device) == "bf16" else torch.float32


class _Packed(PackedNetwork):
    def cut(self, tokens: Tokens, rows: Int64) -> Sequence[Int64]:
        held = _held(self._network.device.type)
        return [rows[part] for part in batching.plan_packed(tokens.lengths[rows], held)]


class Shortening(ShorteningNetwork, _Packed):
    """A packed network that can drop tokens."""


class Padded:
    """As transformers computes it, with torch's autocast."""

    def __init__(self, model: Transformer, *, bf16: bool) -> None:
        self._model, self._bf16 = model, bf16

    def logits(self, tokens: Tokens, rows: Int64) -> torch.Tensor:
        with self._cast():
            return self._model.logits(tokens, rows).float()

    def edges(self, tokens: Tokens, rows: Int64) -> torch.Tensor:
        assert isinstance(self._model, SpanTransformer)
        with self._cast():
            return self._model.edges(tokens, rows).float()

    def _cast(self) -> torch.autocast:
        return torch.autocast(self._model.device, torch.bfloat16, enabled=self._bf16)

    def cut(self, tokens: Tokens, rows: Int64) -> Sequence[Int64]:
        lengths, held = tokens.lengths[rows], _held(self._model.device)
        return [rows[part] for part in batching.plan_batches(lengths, held, stretch=1e9)]


def _held(device: str) -> int:
    return _HELD if device == "cpu" else _HELD_ON_GPU
