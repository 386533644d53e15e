"""Encoders that transformers knows by several names, and what their layers are made of.

A classifier's head reads the first token alone, so the last layer has to answer for that one only:
all tokens give their keys and values, and the rest of the layer, five sixths of its work, runs once
a text. `PackedEncoder` computes it so; `shorten` makes a network of transformers do the same.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.nn import functional

CLASSIFIER, READER, _BARE = "ForSequenceClassification", "ForQuestionAnswering", "Model"
_DISTILBERT = "DistilBert"
_BODIES = {_DISTILBERT, "Bert", "Camembert", "MPNet", "Roberta", "XLMRoberta"}


@dataclass(frozen=True)
class Parts:
    """One layer: attention, then the feed-forward network, each added to its input and normed."""

    query: nn.Linear
    key: nn.Linear
    value: nn.Linear
    merge: nn.Linear
    merge_norm: nn.Module
    widen: nn.Linear
    activation: Callable[[torch.Tensor], torch.Tensor]
    narrow: nn.Linear
    narrow_norm: nn.Module


def is_distilbert(network: Any) -> bool:
    """Whether a known network is a DistilBERT, whose parts bear names of their own."""
    return type(network).__name__.startswith(_DISTILBERT)


def reads_all(network: Any) -> bool:
    """Whether a network's head reads every token, to find spans."""
    return type(network).__name__.endswith(READER)


def known(network: Any) -> bool:
    """Whether a transformers model is an encoder whose head reads nothing but the first token."""
    return has_known_body(network) and not reads_all(network)


def has_known_body(network: Any) -> bool:
    """Whether a transformers model has the layers that are known here, and a known head."""
    return not type(network).__name__.endswith(_BARE) and is_known_body(network)


def is_known_body(network: Any) -> bool:
    """Whether a transformers model has the layers that are known here, and no other head."""
    kind, config = type(network).__name__, network.config
    body = kind.removesuffix(CLASSIFIER).removesuffix(READER).removesuffix(_BARE)
    if kind == body or body not in _BODIES:
        return False
    if is_distilbert(network):
        return True
    return getattr(config, "position_embedding_type", "absolute") in (
        "absolute",
        None,
    ) and not getattr(config, "is_decoder", False)


def activation(config: Any) -> str:
    """Name of the activation in a known network's layers."""
    return config.activation if config.model_type == "distilbert" else config.hidden_act


def layers(network: Any) -> nn.ModuleList:
    """The layers of a known network, first to last."""
    base = network.base_model
    stack = base.transformer if is_distilbert(network) else base.encoder
    return stack.layer


def parts(layer: Any) -> Parts:
    """What a layer of a known network is made of."""
    if hasattr(layer, "ffn"):
        inner, feed = layer.attention, layer.ffn
        return Parts(
            inner.q_lin,
            inner.k_lin,
            inner.v_lin,
            inner.out_lin,
            layer.sa_layer_norm,
            feed.lin1,
            feed.activation,
            feed.lin2,
            layer.output_layer_norm,
        )
    widen, narrow = layer.intermediate, layer.output
    if hasattr(layer.attention, "attn"):
        inner = layer.attention.attn
        return Parts(
            inner.q,
            inner.k,
            inner.v,
            inner.o,
            layer.attention.LayerNorm,
            widen.dense,
            widen.intermediate_act_fn,
            narrow.dense,
            narrow.LayerNorm,
        )
    inner, merge = layer.attention.self, layer.attention.output
    return Parts(
        inner.query,
        inner.key,
        inner.value,
        merge.dense,
        merge.LayerNorm,
        widen.dense,
        widen.intermediate_act_fn,
        narrow.dense,
        narrow.LayerNorm,
    )


def distance_bias(network: Any) -> torch.Tensor | None:
    """What MPNet adds to a score for the distance from its query to its key; None in the others.

    Shape [heads, distances], of the network's own type: from the farthest key before a query to the
    farthest behind it. One for all layers, since they share it.
    """
    if not type(network).__name__.startswith("MPNet"):
        return None
    encoder = network.base_model.encoder
    most = network.config.max_position_embeddings - 1
    buckets = encoder.relative_position_bucket(torch.arange(-most, most + 1))
    return encoder.relative_attention_bias.weight[buckets].T.contiguous()


def dropout(config: Any) -> tuple[float, float]:
    """Shares that a known network drops out of what attention and the wide layer add."""
    if config.model_type == "distilbert":
        return 0.0, config.dropout
    return config.hidden_dropout_prob, config.hidden_dropout_prob


def answer(network: Any, first: torch.Tensor) -> torch.Tensor:
    """Logits from the states of the texts' first tokens, as a known classifier's own head does.

    Args:
      network: drops out where it is in training.
      first: shape [rows, hidden size].
    """
    if is_distilbert(network):
        wide = functional.relu(network.pre_classifier(first))
        return network.classifier(_dropped(network, wide))
    if type(network).__name__ == "BertForSequenceClassification":
        pooled = network.base_model.pooler(first[:, None])
        return network.classifier(_dropped(network, pooled))
    return network.classifier(first[:, None])


def _dropped(network: Any, states: torch.Tensor) -> torch.Tensor:
    return network.dropout(states) if network.training else states


def shorten(network: Any) -> None:
    """Lets the last layer of a known network answer for the first token alone; not to be trained.

    Logits stay what they were but for rounding. A network that is not `known` is left as it is.
    """
    if known(network):
        stack = layers(network)
        stack[-1] = FirstTokenLayer(parts(stack[-1]), network.config.num_attention_heads)


class FirstTokenLayer(nn.Module):
    """A layer that reads all tokens of a padded micro-batch and answers for the first of each row.

    Args:
      parts: of the layer that it stands for.
      heads: of attention.
    """

    def __init__(self, parts: Parts, heads: int) -> None:
        super().__init__()
        self._heads, self._activation = heads, parts.activation
        self.query, self.key, self.value = parts.query, parts.key, parts.value
        self.merge, self.merge_norm = parts.merge, parts.merge_norm
        self.widen, self.narrow, self.narrow_norm = parts.widen, parts.narrow, parts.narrow_norm

    def forward(
        self,
        states: torch.Tensor,
        mask: torch.Tensor | None = None,
        bias: torch.Tensor | None = None,
        *_: Any,
        **__: Any,
    ) -> torch.Tensor | tuple[torch.Tensor]:
        """States of the first tokens, shape [rows, 1, hidden size], of those of all tokens.

        MPNet's layers are given a bias for each score, and answer with a tuple.
        """
        first = states[:, :1]
        query, key, value = (
            layer(given).unflatten(-1, (self._heads, -1)).transpose(1, 2)
            for layer, given in ((self.query, first), (self.key, states), (self.value, states))
        )
        seen = None if mask is None else mask[:, :, :1]
        if bias is not None:
            seen = bias[:, :, :1] if seen is None else bias[:, :, :1] + seen
        mixed = functional.scaled_dot_product_attention(query, key, value, attn_mask=seen)
        merged = self.merge_norm(self.merge(mixed.transpose(1, 2).flatten(2)) + first)
        found = self.narrow_norm(self.narrow(self._activation(self.widen(merged))) + merged)
        return found if bias is None else (found,)
