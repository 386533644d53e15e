"""Any Hugging Face sequence-classification checkpoint, from a folder or a hub id."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from transformers import AutoConfig, AutoModelForSequenceClassification, AutoTokenizer
from transformers.utils import logging as transformers_logging

from tango_beam import batching
from tango_beam.models import encoders, packed, parallel
from tango_beam.models.base import Classifier
from tango_beam.models.tokens import TextTokenizer, Tokens

# Tokenizers that state no limit state this or more (transformers' VERY_LARGE_INTEGER is 1e30).
_UNLIMITED = 1_000_000


class Transformer(Classifier):
    """A sequence-classification transformer with its tokenizer, ready to answer."""

    def __init__(
        self,
        network: Any,
        tokenizer: Any,
        *,
        device: str = "cpu",
        precision: str = "fp32",
        max_length: int | None = None,
    ) -> None:
        config = network.config
        self.backend = tokenizer
        self.labels = tuple(config.id2label[index] for index in range(config.num_labels))
        self.tokenizer = _text_tokenizer(config, tokenizer, max_length)
        self.segments = "token_type_ids" in tokenizer.model_input_names
        self.device, self.precision = device, precision
        self.network = network.to(device).eval()
        self._parameters = super().parameters
        self._packed: packed.PackedEncoder | None = None

    @property
    def parameters(self) -> int:
        """How many parameters the network has."""
        return self._parameters

    def pack(self) -> None:
        """Makes the model ready to answer, and no more to train or save.

        On a processor it answers without padding, where it can, and in int8 if it was asked for.
        """
        int8 = self.precision == "int8"
        if self.device == "cpu" and packed.fits(self.network, int8=int8):
            self._packed = packed.PackedEncoder(self.network, int8=int8)
            return
        encoders.shorten(self.network)
        if int8:
            self.network = packed.quantized(self.network)

    def padded(self, lengths: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """Tokens that rows of these lengths take in one micro-batch."""
        return np.maximum(lengths, 1) if self._packed else super().padded(lengths)

    def plan(self, lengths: npt.NDArray[np.int64]) -> list[npt.NDArray[np.int64]]:
        usual = 1 << 16 if self.device == "cuda" else 1 << 12
        # What int8 adds to a product is passes over its inputs and outputs, which then fit a cache.
        usual = 1 << 10 if self.precision == "int8" else usual
        budget = self.batch_tokens or usual
        if self._packed:
            return batching.plan_packed(lengths, budget, multiple=parallel.slots(self.threads))
        return batching.plan_batches(lengths, budget, stretch=1.15, min_rows=32)

    @torch.inference_mode()
    def forward(self, tokens: Tokens, rows: npt.NDArray[np.int64]) -> npt.NDArray[np.float32]:
        if self._packed:
            return self._packed(tokens, rows, self.tokenizer.pad_id)
        inputs = padded_inputs(tokens, rows, self.tokenizer.pad_id, self.segments)
        if inputs["attention_mask"].all():
            del inputs["attention_mask"]
        tensors = {name: torch.from_numpy(array).to(self.device) for name, array in inputs.items()}
        return self.network(**tensors).logits.float().cpu().numpy()

    def save(self, folder: Path, dtype: torch.dtype = torch.float32) -> None:
        """Writes the checkpoint as `transformers` does: config, safetensors, tokenizer.

        Raises:
          ValueError: a model that was packed.
        """
        if self._packed:
            raise ValueError("expected a model that was loaded to be trained, found a packed one")
        kept = self.network.dtype
        self.network.to(dtype).save_pretrained(folder)
        self.network.to(kept)
        self.backend.save_pretrained(folder)


def padded_inputs(
    tokens: Tokens, rows: npt.NDArray[np.int64], pad_id: int, segments: bool
) -> dict[str, npt.NDArray[np.int64]]:
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


def readable_length(config: Any, tokenizer: Any) -> int:
    """The most tokens that both the tokenizer and the model's position embeddings allow."""
    limits = [getattr(config, "max_position_embeddings", None), tokenizer.model_max_length]
    if config.model_type in ("roberta", "xlm-roberta", "camembert") and limits[0]:
        limits[0] -= 2  # positions start behind the padding index
    known = [int(limit) for limit in limits if limit and limit < _UNLIMITED]
    return min(known, default=512)


def load_transformer(
    source: str,
    *,
    device: str = "cpu",
    precision: str = "fp32",
    max_length: int | None = None,
    revision: str | None = None,
) -> Transformer:
    """Loads a checkpoint from a folder or a hub id, safetensors only, no remote code.

    Args:
      source: folder, or hub id.
      device: `cpu` or `cuda`.
      precision: `fp32` or `bf16`, in which the weights are kept and computed; with `int8` the
        linear layers are, and the rest is fp32.
      max_length: reads fewer tokens than the checkpoint allows; never more.
      revision: commit of a hub id; the newest by default.

    Raises:
      ValueError: a checkpoint for regression or many labels at once, or one whose head's weights
        are missing (it was never fine-tuned), or no tokenizer.
      OSError: no such folder or id, or no safetensors file there.
    """
    at = {"revision": revision} if revision else {}
    config = AutoConfig.from_pretrained(source, trust_remote_code=False, **at)
    refuse_other_tasks(source, config)
    tokenizer = read_tokenizer(source, **at)
    dtype = torch.bfloat16 if precision == "bf16" else torch.float32
    with _no_progress_bar():
        model, report = AutoModelForSequenceClassification.from_pretrained(
            source,
            config=config,
            dtype=dtype,
            use_safetensors=True,
            trust_remote_code=False,
            output_loading_info=True,
            **at,
        )
    if report["missing_keys"]:
        missing = ", ".join(sorted(report["missing_keys"])[:6])
        raise ValueError(
            f"{source}: expected a fine-tuned classifier, found no weights for {missing}"
        )
    return Transformer(model, tokenizer, device=device, precision=precision, max_length=max_length)


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


def load_tokenizer(
    source: str, *, max_length: int | None = None, revision: str | None = None
) -> TextTokenizer:
    """The tokenizer that `load_transformer` gives the model; no weights are read.

    Args:
      source: as in `load_transformer`.
      max_length: as in `load_transformer`.
      revision: as in `load_transformer`.

    Raises:
      ValueError: no tokenizer that fits; OSError: no such folder or id.
    """
    at = {"revision": revision} if revision else {}
    config = AutoConfig.from_pretrained(source, trust_remote_code=False, **at)
    return _text_tokenizer(config, read_tokenizer(source, **at), max_length)


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


def refuse_other_tasks(source: str, config: Any) -> None:
    """Raises ValueError for a checkpoint that does not answer with one of two or more labels."""
    kind = config.problem_type
    if kind in ("regression", "multi_label_classification"):
        raise ValueError(f"{source}: expected a single-label classifier, found problem_type {kind}")
    if config.num_labels < 2:
        raise ValueError(
            f"{source}: expected a classifier of two or more labels, found "
            f"{config.num_labels} (a regression head)"
        )
