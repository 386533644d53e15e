"""Any Hugging Face question-answering checkpoint: the span of a context that answers a question."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from transformers import AutoModelForQuestionAnswering

from tango_beam.answers import span
from tango_beam.arrays import Float32, Int64
from tango_beam.config import Compute, TierConfig
from tango_beam.models import packed, products, spans, transformer
from tango_beam.models.packed import PackedTransformer
from tango_beam.models.tokens import TextTokenizer, Tokens
from tango_beam.models.transformer import Transformer
from tango_beam.models.windows import WINDOW_TOKENS, Windows, WindowTokenizer


class _Reader(ABC):
    """What padded and packed models share: questions and contexts in, spans out."""

    tokenizer: TextTokenizer
    windows: WindowTokenizer

    @property
    def width(self) -> int:
        """Numbers that are known of a window."""
        return spans.WIDTH

    @property
    def outputs(self) -> int:
        """Numbers that are known of a row."""
        return span.WIDTH

    @property
    def vocabulary(self) -> str:
        """Of windows, which do not travel to the next tier: it cuts its own."""
        return f"windows {self.windows.fingerprint}"

    def tokenize(self, texts: pa.Array, pairs: pa.Array | None = None) -> Windows:
        """Windows of questions and their contexts, string columns without nulls."""
        if pairs is None:
            raise ValueError("expected a context beside each question, found --text_column alone")
        return self.windows(texts, pairs)

    @abstractmethod
    def sides(self, tokens: Tokens, rows: Int64) -> Iterator[tuple[Int64, Float32, Float32]]:
        """Start and end logits of some of the rows at a time, shape [rows, tokens], and which."""

    def forward(self, tokens: Tokens, rows: Int64) -> Float32:
        """What `spans.of_windows` knows of one micro-batch, float32, shape [windows, width]."""
        found = np.empty((len(rows), spans.WIDTH), np.float32)
        for part, starts, ends in self.sides(tokens, rows):
            found[part] = _known(tokens, rows[part], starts, ends)
        return found

    def gathered(self, found: Float32, tokens: Tokens) -> Float32:
        """The best span of each row, float32, shape [rows, span.WIDTH]."""
        assert isinstance(tokens, Windows)
        return spans.of_rows(found, tokens)


def _known(tokens: Tokens, rows: Int64, starts: Float32, ends: Float32) -> Float32:
    assert isinstance(tokens, Windows)
    within = tokens.first[rows], tokens.stop[rows], tokens.fresh[rows]
    return spans.of_windows(starts, ends, *within, spans.ANSWER_TOKENS)


class SpanTransformer(_Reader, Transformer):
    """A question-answering transformer as transformers computes it; it can be trained.

    Args:
      network: a model of transformers.
      tokenizer: a fast tokenizer of transformers.
      tier: what the cascade says of it: max_length, stride, batch_tokens, threads.
      compute: device and precision, both settled.
    """

    def __init__(
        self,
        network: Any,
        tokenizer: Any,
        tier: TierConfig | None = None,
        compute: Compute = Compute("cpu", "fp32"),  # noqa: B008 - frozen
    ) -> None:
        tier = tier or TierConfig("")
        tier = replace(tier, max_length=tier.max_length or WINDOW_TOKENS)
        super().__init__(network, tokenizer, tier, compute)
        self.labels, self.pads_left = (), False
        self.windows = WindowTokenizer(self.tokenizer, tier.stride)

    @torch.inference_mode()
    def sides(self, tokens: Tokens, rows: Int64) -> Iterator[tuple[Int64, Float32, Float32]]:
        """Start and end logits of rows that may be padded together, and which they are."""
        for part in self.alike.parts(tokens, rows):
            starts, ends = self.edges(tokens, rows[part]).float().cpu().unbind(-1)
            yield part, starts.numpy(), ends.numpy()

    def _at_once(self, tokens: Tokens, rows: Int64) -> Float32:
        starts, ends = self.edges(tokens, rows).float().cpu().unbind(-1)
        return _known(tokens, rows, starts.numpy(), ends.numpy())

    def edges(self, tokens: Tokens, rows: Int64) -> torch.Tensor:
        """Start and end logits, shape [windows, tokens, 2]; with gradients in training."""
        return self._together(tokens, rows)

    def _answer(self, inputs: dict[str, torch.Tensor]) -> torch.Tensor:
        found = self.network(**inputs)
        return torch.stack([found.start_logits, found.end_logits], dim=-1)

    def trial(self) -> Tokens:
        """A short window, one that is longer, and one as long as it is tried."""
        longest = self.tokenizer.max_length
        contexts = ["a", "a " * 23, "a " * (longest - 16)]
        return self.windows(pa.array(["a"] * 3), pa.array(contexts))


class PackedSpanTransformer(_Reader, PackedTransformer):
    """A question-answering transformer on a processor that answers without padding.

    Args:
      model: gives up its weights; its network `packed.fits`.
    """

    def __init__(self, model: SpanTransformer) -> None:
        tier = TierConfig("", batch_tokens=model.batch_tokens, threads=model.threads)
        super().__init__(
            (),
            model.tokenizer,
            model.network,
            tier,
            model.precision,
            segments=model.segments,
        )
        self.windows = model.windows

    def sides(self, tokens: Tokens, rows: Int64) -> Iterator[tuple[Int64, Float32, Float32]]:
        """Start and end logits of rows of one length at a time, and which they are."""
        yield from self.encoder.edges(tokens, rows, self.tokenizer.pad_id)


def load(tier: TierConfig, compute: Compute) -> SpanTransformer:
    """Loads a checkpoint (see `transformer.load_as`)."""
    return transformer.load_as(SpanTransformer, AutoModelForQuestionAnswering, tier, compute)


def to_answer(model: SpanTransformer) -> SpanTransformer | PackedSpanTransformer:
    """The fastest model with the same answers; it takes over the weights, and is not to be trained.

    On a processor it answers without padding, where it can, and in int8 if it was asked for.
    """
    int8 = model.precision == "int8"
    if model.device == "cpu" and packed.fits(model.network, int8=int8):
        return PackedSpanTransformer(model)
    if int8:
        model.adopt(products.quantized(model.network))
    return model
