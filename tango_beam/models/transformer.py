"""Any Hugging Face sequence-classification checkpoint, from a folder or a hub id."""

from __future__ import annotations

import copy
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pyarrow as pa
import torch
from transformers import AutoConfig, AutoModelForSequenceClassification, AutoTokenizer
from transformers.utils import logging as transformers_logging

from tango_beam.arrays import Float32, Int64
from tango_beam.config import Compute, TierConfig
from tango_beam.models import encoder_layers, last_token, packed, products
from tango_beam.models.alike_rows import AlikeRows
from tango_beam.models.checkpoints import (
    USUAL_LENGTH,
    label_names,
    readable_length,
)
from tango_beam.models.network_state import Fresh
from tango_beam.models.packed import PackedTransformer
from tango_beam.models.protocol import Classifier
from tango_beam.models.tokens import TextTokenizer, Tokens

logger = logging.getLogger(__name__)

# A text of so many tokens at most is tried out: longer ones would take the launch minutes.
_TRIED = 1024
# Logits that differ by more are not those of a row alone; in fp32, and in bf16.
_MOVED = (1e-3, 0.3)


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
            label_names(tier.source, config.id2label),
            _text_tokenizer(network, tokenizer, tier),
            network,
            device=compute.device,
            precision=compute.precision,
            batch_tokens=tier.batch_tokens,
            threads=tier.threads or 1,
        )
        self.backend = tokenizer
        self.segments = "token_type_ids" in tokenizer.model_input_names
        self.network = network.to(compute.device).eval()
        # XLNet reads its answer off the last token.
        self.pads_left = getattr(config, "summary_type", None) == "last"
        self._masked = "attention_mask" in tokenizer.model_input_names
        self.alike = AlikeRows.of(network)
        self._fresh = Fresh(network)

    def inputs(self, tokens: Tokens, rows: Int64) -> dict[str, torch.Tensor]:
        """What the network is called with for one micro-batch, as transformers would call it."""
        arrays = padded_inputs(
            tokens, rows, self.tokenizer.pad_id, self.segments, left=self.pads_left
        )
        return {name: torch.from_numpy(array).to(self.device) for name, array in arrays.items()}

    @torch.inference_mode()
    def forward(self, tokens: Tokens, rows: Int64) -> Float32:
        """Logits for one micro-batch, float32, shape [rows, labels]."""
        return self.logits(tokens, rows).float().cpu().numpy()

    def logits(self, tokens: Tokens, rows: Int64) -> torch.Tensor:
        """Logits on the model's device, shape [rows, labels]; with gradients in training."""
        parts = list(self.alike.parts(tokens, rows))
        found = torch.cat([self._together(tokens, rows[part]) for part in parts])
        order = torch.from_numpy(np.argsort(np.concatenate(parts)))
        return found[order.to(found.device)]

    def _together(self, tokens: Tokens, rows: Int64) -> torch.Tensor:
        inputs = self.inputs(tokens, rows)
        # Without a mask attention is faster; some networks then look for padding ids instead.
        spelt = inputs["input_ids"] == self.tokenizer.pad_id
        if inputs["attention_mask"].all() and not (self._masked and spelt.any()):
            del inputs["attention_mask"]
        with self._fresh:
            return self._answer(inputs)

    def _at_once(self, tokens: Tokens, rows: Int64) -> Float32:
        return self._together(tokens, rows).float().cpu().numpy()

    def _answer(self, inputs: dict[str, torch.Tensor]) -> torch.Tensor:
        return last_token.logits(self.network, inputs)

    def adopt(self, network: Any) -> None:
        """Answers with another network of the same kind."""
        self.network, self._fresh = network, Fresh(network)

    def cut(self, lengths: Int64, budget: int, threads: int) -> list[Int64]:
        """Micro-batches of like lengths; of one length where padding would move a score."""
        return self.alike.cut(lengths, budget, stretch=1.15, min_rows=32)

    def trial(self) -> Tokens:
        """Three texts: a short one, one that is longer, and one as long as it is tried."""
        longest = min(_TRIED, self.tokenizer.max_length)
        return self.tokenizer(pa.array(["a", "a " * 23, "a " * longest]))

    @torch.inference_mode()
    def try_out(self) -> None:
        """Answers two made-up texts: the longest that it may read, and a short one beside it.

        Some networks read padding as well (convolutions, Fourier transforms, landmarks); those get
        texts of one length at a time, so that what a row shares a micro-batch with cannot move its
        score.

        Raises:
          ValueError: it cannot read as long a text as it says.
        """
        words = self.trial()
        try:
            together = self._at_once(words, np.array([0, 1]))
            self.forward(words, np.array([2]))
        except Exception as error:
            reason = (str(error) or type(error).__name__).splitlines()[0]
            raise ValueError(
                f"expected a network that reads {int(words.lengths[2])} tokens, as its "
                f"configuration says, found: {reason}; --max_length reads less of a text"
            ) from error
        alone = np.concatenate([self.forward(words, np.array([row])) for row in (0, 1)])
        moved = bool(np.abs(together - alone).max() > _MOVED[self.precision == "bf16"])
        self.alike = replace(self.alike, exact=moved or self.alike.exact)

    def save(self, folder: Path, dtype: torch.dtype = torch.float32) -> None:
        """Writes the checkpoint as `transformers` does: config, safetensors, tokenizer."""
        kept = self.network.dtype
        self.network.to(dtype).save_pretrained(folder)
        self.network.to(kept)
        self.backend.save_pretrained(folder)


def padded_inputs(
    tokens: Tokens, rows: Int64, pad_id: int, segments: bool, *, left: bool = False
) -> dict[str, Int64]:
    """What a network is called with, by name: int64, shape [rows, longest].

    Args:
      tokens: of all rows.
      rows: of the micro-batch.
      pad_id: fills rows up.
      segments: whether the network is told first from second texts.
      left: padding goes before a text, and not behind it.
    """
    ids, inside = tokens.padded(rows, pad_id, left=left), tokens.inside(rows, left=left)
    # A text without tokens is one of padding, whatever stands beside it.
    inside[~inside.any(axis=1), -1 if left else 0] = True
    inputs = {"input_ids": ids, "attention_mask": inside.astype(np.int64)}
    if segments:
        inputs["token_type_ids"] = tokens.padded_types(rows, left=left)
    return inputs


T = TypeVar("T", bound=Transformer)


def load(tier: TierConfig, compute: Compute) -> Transformer:
    """Loads a sequence classifier (see `load_as`)."""
    return load_as(Transformer, AutoModelForSequenceClassification, tier, compute)


def load_as(family: type[T], head: Any, tier: TierConfig, compute: Compute) -> T:
    """Loads a checkpoint from a folder or a hub id, safetensors only, no remote code.

    Args:
      family: what it becomes.
      head: transformers' class of models with that head.
      tier: its source is a folder of this machine or a hub id, with the revision of a hub id; a
        larger max_length than the checkpoint's is passed over.
      compute: device and precision, both settled. Weights are kept and computed in bf16 or fp32;
        with int8 the linear layers are quantized later, and the rest is fp32.

    Raises:
      ValueError: a checkpoint whose head's weights are missing (it was never fine-tuned), or no
        tokenizer.
      OSError: no such folder or id, or no safetensors file there.
    """
    at = _revision(tier)
    config = AutoConfig.from_pretrained(tier.source, trust_remote_code=False, **at)
    tokenizer = read_tokenizer(tier.source, **at)
    with no_progress_bar():
        network, report = head.from_pretrained(
            tier.source,
            config=config,
            dtype=torch.bfloat16 if compute.precision == "bf16" else torch.float32,
            use_safetensors=True,
            trust_remote_code=False,
            output_loading_info=True,
            ignore_mismatched_sizes=True,  # reported, and refused below
            **at,
        )
    for name, found, expected in sorted(report["mismatched_keys"]):
        raise ValueError(
            f"{tier.source}: expected {name} of shape {[*expected]}, as config.json says (its "
            f"id2label names {config.num_labels} labels), found {[*found]} among the weights"
        )
    if report["missing_keys"]:
        missing = ", ".join(sorted(report["missing_keys"])[:6])
        raise ValueError(
            f"{tier.source}: expected a fine-tuned checkpoint, found no weights for {missing}"
        )
    model = family(network, tokenizer, tier, compute)
    if not encoder_layers.known(network):
        model.try_out()
    return model


def to_answer(model: Transformer) -> Transformer | PackedTransformer:
    """The fastest model with the same answers; it takes over the weights, and is not to be trained.

    On a processor it answers without padding, where it can, and in int8 if it was asked for.
    """
    int8 = model.precision == "int8"
    if model.device == "cpu" and packed.fits(model.network, int8=int8):
        tier = TierConfig("", batch_tokens=model.batch_tokens, threads=model.threads)
        return PackedTransformer(
            model.labels,
            model.tokenizer,
            model.network,
            tier,
            model.precision,
            segments=model.segments,
        )
    encoder_layers.shorten(model.network)
    if int8:
        model.adopt(products.quantized(model.network))
    return model


def twin(model: T, precision: str, device: str | None = None) -> T:
    """A copy to hand to `to_answer` while the model itself is trained.

    Args:
      model: its weights in fp32.
      precision: of the copy, `bf16` or `fp32`.
      device: of the copy; None: the model's own.
    """
    made = copy.copy(model)
    dtype = torch.bfloat16 if precision == "bf16" else torch.float32
    made.device = device or model.device
    made.adopt(copy.deepcopy(model.network).to(made.device, dtype).eval())
    made.precision = precision
    return made


def _revision(tier: TierConfig) -> dict[str, str]:
    return {"revision": tier.revision} if tier.revision else {}


@contextmanager
def no_progress_bar() -> Iterator[None]:
    """A bar for the milliseconds that the weights take, and a table, would be noise in a pipe."""
    shown, verbosity = (
        transformers_logging.is_progress_bar_enabled(),
        transformers_logging.get_verbosity(),
    )
    transformers_logging.disable_progress_bar()
    transformers_logging.set_verbosity_error()
    try:
        yield
    finally:
        transformers_logging.set_verbosity(verbosity)
        if shown:
            transformers_logging.enable_progress_bar()


def load_tokenizer(tier: TierConfig) -> TextTokenizer:
    """The tokenizer that `load` gives the model; no weights are read.

    Raises:
      ValueError: no tokenizer that fits; OSError: no such folder or id.
    """
    at = _revision(tier)
    config = AutoConfig.from_pretrained(tier.source, trust_remote_code=False, **at)
    with torch.device("meta"):
        network = AutoModelForSequenceClassification.from_config(config)
    return _text_tokenizer(network, read_tokenizer(tier.source, **at), tier)


def _text_tokenizer(network: Any, tokenizer: Any, tier: TierConfig) -> TextTokenizer:
    limit = readable_length(network.config, tokenizer, network)
    if limit is None and tier.max_length is None:
        logger.warning(
            "%s: no limit of a text's length is known; it reads %d tokens, --max_length reads more",
            *(tier.source, USUAL_LENGTH),
        )
    length = min(filter(None, (tier.max_length, limit)), default=USUAL_LENGTH)
    # Where the network looks for padding by its id, that id pads.
    pad_id = network.config.get_text_config().pad_token_id
    if pad_id is None or not 0 <= pad_id < network.get_input_embeddings().weight.shape[0]:
        pad_id = tokenizer.pad_token_id or 0
    return TextTokenizer(tokenizer.backend_tokenizer, length, pad_id, tokenizer.truncation_side)


def _require_sentencepiece(source: str) -> None:
    try:
        from sentencepiece import sentencepiece_model_pb2  # noqa: F401
    except Exception as error:  # protobuf has exceptions of its own
        reason = str(error).splitlines()[0]
        raise ValueError(
            f"{source}: expected the package sentencepiece, which its tokenizer is made with, "
            f"found: {reason[:160]}; pip install 'tango-beam[sentencepiece]'"
        ) from error


def read_tokenizer(source: str, **at: str) -> Any:
    """A checkpoint's tokenizer, from a folder or a hub id.

    Raises:
      ValueError: no fast tokenizer, or none at all: transformers makes an empty one up, to which
        every word is unknown.
    """
    try:
        tokenizer = AutoTokenizer.from_pretrained(source, trust_remote_code=False, **at)
    except (ImportError, ValueError, TypeError) as error:
        if any(word in str(error).lower() for word in ("tiktoken", "sentencepiece")):
            # Where it cannot read the one, transformers goes on to ask for the other.
            _require_sentencepiece(source)
        reason = " ".join(str(error).split())
        raise ValueError(
            f"{source}: expected a tokenizer that transformers reads, found: {reason[:200]}"
        ) from error
    if getattr(tokenizer, "backend_tokenizer", None) is None:
        raise ValueError(f"{source}: expected a fast tokenizer, found {type(tokenizer).__name__}")
    if len(tokenizer) <= len(tokenizer.all_special_tokens):
        raise ValueError(
            f"{source}: expected a tokenizer (tokenizer.json, say), found special tokens only"
        )
    return tokenizer
