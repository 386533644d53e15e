"""The protocol that every model family fulfils."""

from __future__ import annotations

from typing import Any, Protocol, Self

import numpy as np
import pyarrow as pa

from tango_beam import batching
from tango_beam.arrays import Bool, Float32, Float64, Int64
from tango_beam.models import flops
from tango_beam.models.tokens import TextTokenizer, Tokens


class ModelInput(Protocol):
    """Texts as a model reads them: `Tokens` for a checkpoint.

    A tier that is given texts and not tokens (a remote endpoint, a RunInference handler) has an
    input of its own, whose lengths are those by which it cuts micro-batches.
    """

    truncated: Bool

    def __len__(self) -> int: ...

    @property
    def lengths(self) -> Int64:
        """What each row costs, int64, shape [rows]."""

    def take(self, rows: Int64) -> Self:
        """Some of the rows."""


class Model(Protocol):
    """A loaded model: texts in, raw outputs out; an `answers.Decoder` makes answers of those.

    A family is one file that fulfils this protocol; `tango_beam.models.loading` says whose it is.
    """

    @property
    def labels(self) -> tuple[str, ...]:
        """The answers that the model can give, in the order of its outputs."""

    @property
    def vocabulary(self) -> str:
        """Fingerprint of the tokenizer; models that share it share tokens."""

    @property
    def device(self) -> str:
        """`cpu` or `cuda`."""

    @property
    def precision(self) -> str:
        """`fp32`, `bf16` or `int8`."""

    @property
    def parameters(self) -> int:
        """How many parameters the model has."""

    @property
    def threads(self) -> int:
        """Threads that score one micro-batch, on a processor."""

    def tokenize(self, texts: pa.Array, pairs: pa.Array | None = None) -> Tokens:
        """Makes the model's input of string columns without nulls, one text or two a row."""

    def plan(
        self, lengths: Int64, budget: int | None = None, threads: int | None = None
    ) -> list[Int64]:
        """Cuts rows of these lengths into micro-batches that suit the model.

        Args:
          lengths: tokens in each row, int64, shape [rows].
          budget: padded tokens in a micro-batch; the model's own by default.
          threads: that score one micro-batch; the model's own by default.

        Returns:
          Arrays of row numbers, int64, from short rows to long ones.
        """

    @property
    def width(self) -> int:
        """How many numbers `forward` gives for each piece of the input: a logit a label, say."""

    @property
    def outputs(self) -> int:
        """How many numbers `gathered` gives for each row."""

    def forward(self, tokens: Tokens, rows: Int64) -> Float32:
        """Raw outputs (logits) for one micro-batch, float32, shape [pieces, width].

        A piece of the input is a row, or one of the windows of a row.
        """

    def gathered(self, found: Float32, tokens: Tokens) -> Float32:
        """What `forward` gave for all pieces, by row: float32, shape [rows, outputs]."""

    def padded(self, lengths: Int64) -> Int64:
        """Tokens that rows of these lengths take in one micro-batch, padding counted."""

    def operations(self, lengths: Int64) -> Float64:
        """Floating-point operations that rows of these lengths need, no padding counted."""


class Classifier:
    """What the families share that answer with one of a set of labels.

    Args:
      labels: the labels' names, in the order of the outputs.
      tokenizer: makes the tokens.
      network: a torch module; it is counted here, and kept by the families that call it.
      device: `cpu` or `cuda`.
      precision: `fp32`, `bf16` or `int8`.
      batch_tokens: padded tokens in a micro-batch; None for what suits the family.
      threads: for torch to score one micro-batch with, on a processor.
    """

    def __init__(
        self,
        labels: tuple[str, ...],
        tokenizer: TextTokenizer,
        network: Any,
        *,
        device: str = "cpu",
        precision: str = "fp32",
        batch_tokens: int | None = None,
        threads: int = 1,
    ) -> None:
        self.labels, self.tokenizer = labels, tokenizer
        self.device, self.precision = device, precision
        self.batch_tokens, self.threads = batch_tokens, threads
        self.parameters = sum(parameter.numel() for parameter in network.parameters())
        self.operations = flops.Operations.of(network)

    @property
    def vocabulary(self) -> str:
        """Fingerprint of the tokenizer."""
        return self.tokenizer.fingerprint

    @property
    def usual_tokens(self) -> int:
        """Padded tokens in a micro-batch, unless the tier says how many."""
        if self.precision == "int8":
            # Int8 adds passes over a product's inputs and outputs, which then fit a cache.
            return 1 << 10
        return 1 << 16 if self.device == "cuda" else 1 << 12

    def plan(
        self, lengths: Int64, budget: int | None = None, threads: int | None = None
    ) -> list[Int64]:
        """Cuts rows of these lengths into micro-batches (see `Model.plan`)."""
        budget = budget or self.batch_tokens or self.usual_tokens
        return self.cut(lengths, budget, threads or self.threads)

    def cut(self, lengths: Int64, budget: int, threads: int) -> list[Int64]:
        """Micro-batches of like lengths; a family may know better ones."""
        return batching.plan_batches(lengths, budget, stretch=1.15, min_rows=32)

    @property
    def width(self) -> int:
        """How many numbers `forward` gives for a row."""
        return len(self.labels)

    @property
    def outputs(self) -> int:
        """How many numbers `gathered` gives for a row."""
        return self.width

    def gathered(self, found: Float32, tokens: Tokens) -> Float32:
        """Outputs by row; a family whose rows take several places in a micro-batch joins them."""
        return found

    def tokenize(self, texts: pa.Array, pairs: pa.Array | None = None) -> Tokens:
        """Tokenizes string columns without nulls, one text or two a row."""
        return self.tokenizer(texts, pairs)

    def padded(self, lengths: Int64) -> Int64:
        """Tokens that rows of these lengths take in one micro-batch: as many as the longest."""
        return np.full_like(lengths, lengths.max(initial=0))


def describe(model: Model) -> str:
    """One line on a loaded model, for logs and reports."""
    # Packed or padded, it is the same model with the same scores.
    kind = type(model).__name__.removeprefix("Packed")
    return f"{kind}, {model.parameters:,} parameters, {model.precision}, {model.device}"
