"""BERT classifiers read without transformers, whose import takes longer than a small corpus.

Only what is certain to be the same is read here: a checkpoint whose configuration, weights and
tokenizer hold nothing but what is known. `read` says None to any other, and transformers reads it.
The modules bear transformers' names, so that `packed` computes on either.
"""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from safetensors.torch import load_file
from torch import nn

from tango_beam.config import Compute, TierConfig
from tango_beam.models import packed
from tango_beam.models.checkpoints import readable_length
from tango_beam.models.packed import PackedTransformer
from tango_beam.models.tokens import CONFIG_FILE, TextTokenizer, read_backend

_NAME = "BertForSequenceClassification"
_CONFIG = {
    "_name_or_path",
    "add_cross_attention",
    "architectures",
    "attention_probs_dropout_prob",
    "bos_token_id",
    "classifier_dropout",
    "dtype",
    "eos_token_id",
    "gradient_checkpointing",
    "hidden_act",
    "hidden_dropout_prob",
    "hidden_size",
    "id2label",
    "initializer_range",
    "intermediate_size",
    "is_decoder",
    "label2id",
    "layer_norm_eps",
    "max_position_embeddings",
    "model_type",
    "num_attention_heads",
    "num_hidden_layers",
    "pad_token_id",
    "position_embedding_type",
    "problem_type",
    "tie_word_embeddings",
    "transformers_version",
    "type_vocab_size",
    "use_cache",
    "vocab_size",
}
_SPECIAL = ("cls_token", "mask_token", "pad_token", "sep_token", "unk_token")
_TOKENIZER = {
    *_SPECIAL,
    "backend",
    "max_length",
    "model_input_names",
    "model_max_length",
    "pad_to_multiple_of",
    "pad_token_type_id",
    "padding_side",
    "split_special_tokens",
    "stride",
    "tokenizer_class",
    "truncation_side",
    "truncation_strategy",
}


def load(tier: TierConfig, compute: Compute) -> PackedTransformer | None:
    """Loads a checkpoint as `transformer.load` and `to_answer` do, or None where it may differ.

    Args:
      tier: its source is a folder of this machine, or a hub id.
      compute: device and precision, both settled.
    """
    config, tokenizer = _config(tier.source), load_tokenizer(tier)
    if config is None or tokenizer is None or compute.device != "cpu":
        return None
    with torch.device("meta"):
        network = BertForSequenceClassification(config)
    if not packed.fits(network, int8=compute.precision == "int8"):
        return None
    weights = load_file(Path(tier.source) / "model.safetensors")
    shapes = {name: weight.shape for name, weight in network.state_dict().items()}
    if {name: weight.shape for name, weight in weights.items()} != shapes:
        return None
    dtype = torch.bfloat16 if compute.precision == "bf16" else torch.float32
    cast = {name: weight.to(dtype) for name, weight in weights.items()}
    network.load_state_dict(cast, assign=True)
    labels = tuple(config.id2label[str(index)] for index in range(config.num_labels))
    stated = _read(Path(tier.source) / CONFIG_FILE) or {}
    segments = "token_type_ids" in stated.get("model_input_names", ())
    return PackedTransformer(
        labels, tokenizer, network.eval(), tier, compute.precision, segments=segments
    )


def load_tokenizer(tier: TierConfig) -> TextTokenizer | None:
    """The tokenizer that `load` gives the model, or None where transformers' may differ."""
    folder = Path(tier.source)
    config, stated = _config(tier.source), _read(folder / CONFIG_FILE)
    known = (folder / "tokenizer.json").is_file()
    if config is None or stated is None or not known or {*stated} - _TOKENIZER:
        return None
    backend = read_backend(folder)
    added = {token.content for token in backend.get_added_tokens_decoder().values()}
    if stated.get("tokenizer_class") != "TokenizersBackend" or "pad_token" not in stated:
        return None
    if not {stated[name] for name in _SPECIAL if name in stated} <= added:
        return None
    if "model_max_length" not in stated:
        return None
    limit = readable_length(config, SimpleNamespace(model_max_length=stated["model_max_length"]))
    assert limit is not None
    pad_id = backend.token_to_id(stated["pad_token"]) or 0
    return TextTokenizer(backend, min(tier.max_length or limit, limit), pad_id)


def _config(source: str) -> SimpleNamespace | None:
    stated = _read(Path(source) / "config.json")
    if stated is None or {*stated} - _CONFIG or stated.get("architectures") != [_NAME]:
        return None
    labels = stated.get("id2label")
    if not isinstance(labels, dict) or [*labels] != [str(index) for index in range(len(labels))]:
        return None
    plain = stated.get("problem_type") in (None, "single_label_classification")
    plain &= all(type(name) is str for name in labels.values())
    plain &= len({*labels.values()}) == len(labels)
    if not plain or len(labels) < 2 or stated.get("model_type") != "bert":
        return None
    return SimpleNamespace(**stated, num_labels=len(labels))


def _read(path: Path) -> dict[str, Any] | None:
    return json.loads(path.read_text()) if path.is_file() else None


class BertForSequenceClassification(nn.Module):
    """The network, to be packed; it has no forward of its own."""

    def __init__(self, config: SimpleNamespace) -> None:
        super().__init__()
        self.config = config
        layers = nn.ModuleList(_layer(config) for _ in range(config.num_hidden_layers))
        self.bert = nn.ModuleDict(
            {
                "embeddings": _Embeddings(config),
                "encoder": nn.ModuleDict({"layer": layers}),
                "pooler": _Pooler(config.hidden_size),
            }
        )
        self.classifier = nn.Linear(config.hidden_size, config.num_labels)

    @property
    def base_model(self) -> nn.Module:
        """Everything but the head, as transformers calls it."""
        return self.bert


def _layer(config: SimpleNamespace) -> nn.Module:
    wide, inner, eps = config.hidden_size, config.intermediate_size, config.layer_norm_eps
    projections = {name: nn.Linear(wide, wide) for name in ("query", "key", "value")}
    widen = {"dense": nn.Linear(wide, inner), "intermediate_act_fn": nn.Identity()}
    return nn.ModuleDict(
        {
            "attention": nn.ModuleDict(
                {"self": nn.ModuleDict(projections), "output": _added(wide, wide, eps)}
            ),
            "intermediate": nn.ModuleDict(widen),
            "output": _added(inner, wide, eps),
        }
    )


def _added(inputs: int, wide: int, eps: float) -> nn.Module:
    """A product whose outputs are added to a layer's inputs and normed."""
    return nn.ModuleDict({"dense": nn.Linear(inputs, wide), "LayerNorm": nn.LayerNorm(wide, eps)})


class _Embeddings(nn.Module):
    def __init__(self, config: SimpleNamespace) -> None:
        super().__init__()
        wide = config.hidden_size
        self.word_embeddings = _empty(config.vocab_size, wide)
        self.position_embeddings = _empty(config.max_position_embeddings, wide)
        self.token_type_embeddings = _empty(config.type_vocab_size, wide)
        self.LayerNorm = nn.LayerNorm(wide, config.layer_norm_eps)

    def forward(
        self, input_ids: torch.Tensor, position_ids: torch.Tensor, token_type_ids: torch.Tensor
    ) -> torch.Tensor:
        """States of tokens, shape [rows, tokens, hidden size]; added up as transformers does."""
        states = self.word_embeddings(input_ids) + self.token_type_embeddings(token_type_ids)
        return self.LayerNorm(states + self.position_embeddings(position_ids))


def _empty(rows: int, wide: int) -> nn.Embedding:
    # A fresh embedding draws its weights; on the meta device that imports torch's compiler.
    return nn.Embedding.from_pretrained(torch.empty(rows, wide))


class _Pooler(nn.Module):
    def __init__(self, wide: int) -> None:
        super().__init__()
        self.dense = nn.Linear(wide, wide)

    def forward(self, states: torch.Tensor) -> torch.Tensor:
        """Of the first token, shape [rows, hidden size]."""
        return torch.tanh(self.dense(states[:, 0]))
