"""Shape of a BiLSTM. Apart from `bilstm`, so that a command line can read it without torch."""

from __future__ import annotations

from dataclasses import dataclass

MODEL_TYPE = "tango_beam_bilstm"


@dataclass(frozen=True)
class BiLSTMConfig:
    """Shape of a BiLSTM classifier; the defaults are the paper's.

    Attributes:
      labels: the labels' names, in the order of the outputs.
      vocabulary_size: rows of the embedding matrix.
      embedding_size: columns of the embedding matrix.
      hidden_size: units of one direction of one LSTM layer.
      layers: stacked bidirectional layers.
      feed_forward_size: hidden units of the feed-forward network.
      max_length: the most tokens read of a text.
      pad_id: token id that fills short rows up.
      dropout: between layers, in training only.
      problem_type: what its outputs are, in transformers' words.
      pooling: what the feed-forward network reads: the `last` hidden state of each direction, or
        with `max` besides the largest that each unit ever was.
    """

    labels: tuple[str, ...]
    vocabulary_size: int = 10_000
    embedding_size: int = 50
    hidden_size: int = 64
    layers: int = 2
    feed_forward_size: int = 200
    max_length: int = 256
    pad_id: int = 0
    dropout: float = 0.1
    problem_type: str = "single_label_classification"
    pooling: str = "last"
