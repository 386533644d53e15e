"""Any Hugging Face sequence-classification checkpoint, from a folder or a hub id."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import AutoConfig, AutoModelForSequenceClassification, AutoTokenizer
from transformers.utils import logging as transformers_logging

from tango_beam.arrays import Float32, Int64
from tango_beam.config import Compute, TierConfig
from tango_beam.models import encoder_layers, packed
from tango_beam.models.checkpoints import readable_length, refuse_other_tasks
from tango_beam.models.packed import PackedTransformer
from tango_beam.models.protocol import Classifier
from tango_beam.models.tokens import TextTokenizer, Tokens


class Transformer(Classifier):
    """A sequence-classification transformer as transformers computes it; it can be trained.

    Args:
      network: a model of transformers.
      tokenizer: a fast tokenizer of transformers.
      tier: what the cascade says of it: max_length, batch_tokens, threads.
      compute: device and precision, both settled.
    """

    def __init__(
        self,
        network: Any,
        tokenizer: Any,
        tier: TierConfig | None = None,
        compute: Compute = Compute("cpu", "fp32"),  # noqa: B008 - frozen
    ) -> None:
        tier, config = tier or TierConfig(""), network.config
        super().__init__(
            tuple(config.id2label[index] for index in range(config.num_labels)),
            _text_tokenizer(config, tokenizer, tier.max_length),
            network,
            device=compute.device,
            precision=compute.precision,
            batch_tokens=tier.batch_tokens,
            threads=tier.threads or 1,
        )
        self.backend = tokenizer
        self.segments = "token_type_ids" in tokenizer.model_input_names
        self.network = network.to(compute.device).eval()

    @torch.inference_mode()
    def forward(self, tokens: Tokens, rows: Int64) -> Float32:
        """Logits for one micro-batch, float32, shape [rows, labels]."""
        inputs = padded_inputs(tokens, rows, self.tokenizer.pad_id, self.segments)
        if inputs["attention_mask"].all():
            del inputs["attention_mask"]
        tensors = {name: torch.from_numpy(array).to(self.device) for name, array in inputs.items()}
        return self.network(**tensors).logits.float().cpu().numpy()

    def save(self, folder: Path, dtype: torch.dtype = torch.float32) -> None:
        """Writes the checkpoint as `transformers` does: config, safetensors, tokenizer."""
        kept = self.network.dtype
        self.network.to(dtype).save_pretrained(folder)
        self.network.to(kept)
        self.backend.save_pretrained(folder)


def padded_inputs(tokens: Tokens, rows: Int64, pad_id: int, segments: bool) -> dict[str, Int64]:
    """What a network is called with, by name: int64, shape [rows, longest].

    Args:
      tokens: of all rows.
      rows: of the micro-batch.
      pad_id: fills rows up.
      segments: whether the network is told first from second texts.
    """
    ids, lengths = tokens.padded(rows, pad_id), tokens.lengths[rows]
    column = np.arange(ids.shape[1])
    inputs = {"input_ids": ids, "attention_mask": (column < lengths[:, None]).astype(np.int64)}
    if segments:
        second = np.zeros_like(ids)
        if tokens.second is not None:
            second[:] = (column >= tokens.second[rows][:, None]) & (column < lengths[:, None])
        inputs["token_type_ids"] = second
    return inputs


def load(tier: TierConfig, compute: Compute) -> Transformer:
    """Loads a checkpoint from a folder or a hub id, safetensors only, no remote code.

    Args:
      tier: its source is a folder of this machine or a hub id, with the revision of a hub id; a
        larger max_length than the checkpoint's is passed over.
      compute: device and precision, both settled. Weights are kept and computed in bf16 or fp32;
        with int8 the linear layers are quantized later, and the rest is fp32.

    Raises:
      ValueError: a checkpoint for regression or many labels at once, or one whose head's weights
        are missing (it was never fine-tuned), or no tokenizer.
      OSError: no such folder or id, or no safetensors file there.
    """
    at = _revision(tier)
    config = AutoConfig.from_pretrained(tier.source, trust_remote_code=False, **at)
    refuse_other_tasks(tier.source, config)
    tokenizer = read_tokenizer(tier.source, **at)
    with _no_progress_bar():
        network, report = AutoModelForSequenceClassification.from_pretrained(
            tier.source,
            config=config,
            dtype=torch.bfloat16 if compute.precision == "bf16" else torch.float32,
            use_safetensors=True,
            trust_remote_code=False,
            output_loading_info=True,
            **at,
        )
    if report["missing_keys"]:
        missing = ", ".join(sorted(report["missing_keys"])[:6])
        raise ValueError(
            f"{tier.source}: expected a fine-tuned classifier, found no weights for {missing}"
        )
    return Transformer(network, tokenizer, tier, compute)


def to_answer(model: Transformer) -> Transformer | PackedTransformer:
    """The fastest model with the same answers; it takes over the weights, and is not to be trained.

    On a processor it answers without padding, where it can, and in int8 if it was asked for.
    """
    int8 = model.precision == "int8"
    if model.device == "cpu" and packed.fits(model.network, int8=int8):
        tier = TierConfig("", batch_tokens=model.batch_tokens, threads=model.threads)
        return PackedTransformer(
            model.labels, model.tokenizer, model.network, tier, model.precision
        )
    encoder_layers.shorten(model.network)
    if int8:
        model.network = packed.quantized(model.network)
    return model


def _revision(tier: TierConfig) -> dict[str, str]:
    return {"revision": tier.revision} if tier.revision else {}


@contextmanager
def _no_progress_bar() -> Iterator[None]:
    """A bar for the milliseconds that the weights take would be noise in a pipe."""
    shown = transformers_logging.is_progress_bar_enabled()
    transformers_logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            transformers_logging.enable_progress_bar()


def load_tokenizer(tier: TierConfig) -> TextTokenizer:
    """The tokenizer that `load` gives the model; no weights are read.

    Raises:
      ValueError: no tokenizer that fits; OSError: no such folder or id.
    """
    at = _revision(tier)
    config = AutoConfig.from_pretrained(tier.source, trust_remote_code=False, **at)
    return _text_tokenizer(config, read_tokenizer(tier.source, **at), tier.max_length)


def _text_tokenizer(config: Any, tokenizer: Any, max_length: int | None) -> TextTokenizer:
    pad_id = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else 0
    limit = readable_length(config, tokenizer)
    return TextTokenizer(tokenizer.backend_tokenizer, min(max_length or limit, limit), pad_id)


def read_tokenizer(source: str, **at: str) -> Any:
    """A checkpoint's tokenizer, from a folder or a hub id.

    Raises:
      ValueError: no fast tokenizer, or none at all: transformers makes an empty one up, to which
        every word is unknown.
    """
    tokenizer = AutoTokenizer.from_pretrained(source, trust_remote_code=False, **at)
    if getattr(tokenizer, "backend_tokenizer", None) is None:
        raise ValueError(f"{source}: expected a fast tokenizer, found {type(tokenizer).__name__}")
    if len(tokenizer) <= len(tokenizer.all_special_tokens):
        raise ValueError(
            f"{source}: expected a tokenizer (tokenizer.json, say), found special tokens only"
        )
    return tokenizer
