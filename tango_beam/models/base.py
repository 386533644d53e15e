"""The protocol that every model family fulfils, and what crosses it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from tango_beam import routing
from tango_beam.models.tokens import TextTokenizer, Tokens


@dataclass(frozen=True)
class Answers:
    """What a model says of some rows.

    Attributes:
      predictions: string, shape [rows].
      confidences: float32, shape [rows], 0 to 1; NaN where the model gave no finite scores.
      scores: what `--scores` adds, one entry a row; for classifiers a struct of every label's
        probability.
      margins: float32, shape [rows]: how far the best answer is ahead of the next, 0 to 1.
    """

    predictions: pa.Array
    confidences: npt.NDArray[np.float32]
    margins: npt.NDArray[np.float32]
    scores: pa.StructArray

    def __len__(self) -> int:
        return len(self.confidences)


class Model(Protocol):
    """A loaded model: texts in, answers and confidences out.

    A family is one file that fulfils this protocol and one line in `tango_beam.models.load`.
    """

    temperature: float
    confidence: str
    batch_tokens: int | None
    threads: int

    @property
    def network(self) -> Any:
        """The torch module behind it."""

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

    def tokenize(self, texts: pa.Array, pairs: pa.Array | None = None) -> Tokens:
        """Tokenizes string columns without nulls, one text or two a row."""

    def plan(self, lengths: npt.NDArray[np.int64]) -> list[npt.NDArray[np.int64]]:
        """Cuts rows of these lengths into micro-batches that suit the model."""

    def forward(self, tokens: Tokens, rows: npt.NDArray[np.int64]) -> npt.NDArray[np.float32]:
        """Raw outputs (logits) for one micro-batch, float32, shape [rows, ...]."""

    def padded(self, lengths: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """Tokens that rows of these lengths take in one micro-batch, padding counted."""

    def decode(self, outputs: npt.NDArray[np.float32]) -> Answers:
        """Turns raw outputs into answers."""


class Classifier:
    """What the families share that answer with one of a set of labels.

    Attributes:
      labels: the labels' names, in the order of the outputs.
      tokenizer: makes the tokens.
      network: a torch module.
      temperature: divides the logits before the softmax (Guo et al., 2017).
      confidence: kind of confidence, see `routing.confidence`.
      batch_tokens: padded tokens in a micro-batch; None for what suits the family.
      threads: for torch to score one micro-batch with, on a processor.
    """

    labels: tuple[str, ...]
    tokenizer: TextTokenizer
    network: Any
    temperature: float = 1.0
    confidence: str = "max_softmax"
    batch_tokens: int | None = None
    threads: int = 1

    @property
    def vocabulary(self) -> str:
        """Fingerprint of the tokenizer."""
        return self.tokenizer.fingerprint

    @property
    def parameters(self) -> int:
        """How many parameters the network has."""
        return sum(parameter.numel() for parameter in self.network.parameters())

    def tokenize(self, texts: pa.Array, pairs: pa.Array | None = None) -> Tokens:
        """Tokenizes string columns without nulls, one text or two a row."""
        return self.tokenizer(texts, pairs)

    def padded(self, lengths: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """Tokens that rows of these lengths take in one micro-batch: as many as the longest."""
        return np.full_like(lengths, lengths.max(initial=0))

    def decode(self, outputs: npt.NDArray[np.float32]) -> Answers:
        """Best label and confidence in it (TangoBERT, section 3)."""
        probabilities = routing.softmax(outputs, self.temperature)
        best = probabilities.argmax(axis=1)
        return Answers(
            predictions=pa.array(self.labels).take(pa.array(best)),
            confidences=routing.confidence(probabilities, self.confidence),
            margins=routing.margin(probabilities),
            scores=pa.StructArray.from_arrays(
                [pa.array(column) for column in probabilities.T.copy()], list(self.labels)
            ),
        )


def describe(model: Model) -> str:
    """One line on a loaded model, for logs and reports."""
    kind = type(model).__name__
    return f"{kind}, {model.parameters:,} parameters, {model.precision}, {model.device}"
