"""Shape of a static model. Apart from `static`: a command line reads it without torch."""

from __future__ import annotations

from dataclasses import dataclass

MODEL_TYPE = "tango_beam_static"


@dataclass(frozen=True)
class StaticConfig:
    """Shape of a classifier over means of embeddings.

    Attributes:
      labels: the labels' names, in the order of the outputs.
      vocabulary_size: rows of the embeddings of pieces.
      embedding_size: columns of both embeddings.
      bigrams: rows of the embeddings of hashed bigrams, a power of two; 0 for none.
      feed_forward_size: hidden units of the feed-forward network.
      max_length: the most tokens read of a text.
      pad_id: of the tokenizer; nothing is padded.
      separator: id of the token that stands behind the first text of a pair; None for single texts.
      dropout: of the means, in training only.
      problem_type: what its outputs are, in transformers' words.
    """

    labels: tuple[str, ...]
    vocabulary_size: int = 30_522
    embedding_size: int = 64
    bigrams: int = 1 << 16
    feed_forward_size: int = 64
    max_length: int = 512
    pad_id: int = 0
    separator: int | None = None
    dropout: float = 0.1
    problem_type: str = "single_label_classification"
