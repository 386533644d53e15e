"""Checkpoints of this package's own families: config.json, weights, and maybe a tokenizer."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from types import SimpleNamespace
from typing import Any, TypeVar

import torch
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer

from tango_beam.config import TierConfig
from tango_beam.models.tokens import TextTokenizer, read_backend

C = TypeVar("C")


def save(
    folder: Path,
    model_type: str,
    config: Any,
    network: torch.nn.Module,
    dtype: torch.dtype,
    tokenizer: TextTokenizer | None,
) -> None:
    """Writes config.json, model.safetensors and (if given) the tokenizer into a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    stated = {"model_type": model_type, **asdict(config)}
    (folder / "config.json").write_text(json.dumps(stated, indent=2) + "\n")
    weights = {name: w.to(dtype).contiguous() for name, w in network.state_dict().items()}
    save_file(weights, folder / "model.safetensors")
    if tokenizer is not None:
        tokenizer.save(folder)


def read_config(folder: Path, shape: type[C]) -> C:
    """The config of a folder, as its family has it."""
    fields = json.loads((folder / "config.json").read_text())
    fields.pop("model_type")
    return shape(**{**fields, "labels": tuple(fields["labels"])})


def load_weights(folder: Path, network: torch.nn.Module) -> None:
    """Fills a network with a folder's weights, in float32.

    Raises:
      ValueError: weights that do not fit the config; both are shown.
      FileNotFoundError: a file is missing; its path is in the message.
    """
    weights = load_file(folder / "model.safetensors")
    try:
        network.load_state_dict({name: tensor.float() for name, tensor in weights.items()})
    except RuntimeError as error:
        raise ValueError(f"{folder}: weights do not fit config.json: {error}") from error


def read_tokenizer(tier: TierConfig) -> Tokenizer:
    """The tokenizer of a tier: its own, or that of its teacher."""
    return read_backend(Path(tier.tokenizer or tier.source))


def text_tokenizer(backend: Tokenizer, config: Any, max_length: int | None) -> TextTokenizer:
    """A tokenizer for a config's texts; a larger `max_length` than the config's is passed over."""
    limit = min(max_length or config.max_length, config.max_length)
    return TextTokenizer(backend, limit, config.pad_id)


def load_tokenizer(tier: TierConfig) -> TextTokenizer:
    """The tokenizer that a tier's model is given; no weights are read.

    Raises:
      FileNotFoundError: a file is missing; its path is in the message.
    """
    config = read_config(Path(tier.source), SimpleNamespace)
    return text_tokenizer(read_tokenizer(tier), config, tier.max_length)
