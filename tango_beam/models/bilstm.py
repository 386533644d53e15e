"""The paper's first tier: a stacked bidirectional LSTM over word embeddings.

TangoBERT (Mamou et al., 2022), section 4.2: 50-dimensional embeddings, two bidirectional LSTM
layers and a feed-forward network on the last hidden state. With 10,000 words, hidden size 64 and a
feed-forward network of 128, 200 and 2 units it has 684,922 parameters.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property

import numpy as np
import torch
from torch import nn

from tango_beam import batching
from tango_beam.arrays import Float32, Int64
from tango_beam.config import Compute, TierConfig
from tango_beam.models import own_model
from tango_beam.models.bilstm_config import MODEL_TYPE, BiLSTMConfig
from tango_beam.models.tokens import Tokens

# Rows that a bf16 product with AMX takes at a time: an LSTM on whole tiles is 1.4 times as fast
# there (10,400 against 15,000 sentences a second on two cores).
ROWS_IN_A_TILE = 64


class BiLSTMNetwork(nn.Module):
    """Embedding, stacked BiLSTM, feed-forward network; logits out."""

    def __init__(self, config: BiLSTMConfig) -> None:
        super().__init__()
        self.embedding = nn.Embedding(config.vocabulary_size, config.embedding_size)
        self.lstm = nn.LSTM(
            config.embedding_size,
            config.hidden_size,
            num_layers=config.layers,
            bidirectional=True,
            batch_first=True,
            dropout=config.dropout if config.layers > 1 else 0.0,
        )
        self.dropout = nn.Dropout(config.dropout)
        self._pools = config.pooling == "max"
        read = 2 * config.hidden_size * (2 if self._pools else 1)
        self.feed_forward = nn.Sequential(
            nn.Linear(read, config.feed_forward_size),
            nn.ReLU(),
            nn.Linear(config.feed_forward_size, len(config.labels)),
        )

    def forward(self, ids: torch.Tensor, lengths: torch.Tensor | None = None) -> torch.Tensor:
        """Logits, shape [rows, labels].

        Args:
          ids: int64, shape [rows, longest].
          lengths: int64, shape [rows]; None when every row fills its width. Padding never moves a
            row's logits: each direction runs on its own over rows reversed within their length.
        """
        states = self.dropout(self.embedding(ids))
        if lengths is None:
            outputs, (hidden, _) = self.lstm(states)
        else:
            outputs, hidden = self._padded(states, lengths)
        return self.answer(outputs, hidden, self.dropout)

    def answer(
        self,
        outputs: torch.Tensor,
        hidden: torch.Tensor,
        dropout: Callable[[torch.Tensor], torch.Tensor],
    ) -> torch.Tensor:
        """Logits, shape [rows, labels], from what the last layer says.

        Args:
          outputs: of every token, shape [rows, tokens, 2 x hidden size].
          hidden: the last state of each direction comes last, shape [.., rows, hidden size].
          dropout: of what the feed-forward network reads.
        """
        read = torch.cat([hidden[-2], hidden[-1]], dim=1)
        if self._pools:
            read = torch.cat([read, outputs.amax(dim=1)], dim=1)
        return self.feed_forward(dropout(read))

    def _padded(
        self, states: torch.Tensor, lengths: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """States of the last layer, and the last one of each direction."""
        steps = torch.arange(states.shape[1], device=states.device)
        # Row of length 3 in width 5: positions 2 1 0 3 4, its own inverse.
        mirror = torch.where(steps < lengths[:, None], lengths[:, None] - 1 - steps, steps)
        last = (lengths - 1)[:, None, None].expand(-1, 1, self.lstm.hidden_size)
        ends = []
        for layer in range(self.lstm.num_layers):
            forward = self._direction(states, f"l{layer}")
            backward = self._direction(_reorder(states, mirror), f"l{layer}_reverse")
            ends = [forward.gather(1, last)[:, 0], backward.gather(1, last)[:, 0]]
            states = torch.cat([forward, _reorder(backward, mirror)], dim=2)
        if self._pools:
            padding = (steps >= lengths[:, None])[:, :, None]
            states = states.masked_fill(padding, -torch.inf)
        return states, torch.stack(ends)

    def _direction(self, states: torch.Tensor, suffix: str) -> torch.Tensor:
        names = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
        weights = [getattr(self.lstm, f"{name}_{suffix}") for name in names]
        zeros = states.new_zeros(1, states.shape[0], self.lstm.hidden_size)
        # input, state, weights, has_biases, num_layers, dropout, train, bidirectional, batch_first
        outputs = torch.lstm(states, (zeros, zeros), weights, True, 1, 0.0, False, False, True)
        return outputs[0]


def _reorder(states: torch.Tensor, order: torch.Tensor) -> torch.Tensor:
    return states.gather(1, order[:, :, None].expand(-1, -1, states.shape[2]))


class BiLSTM(own_model.OwnModel):
    """A BiLSTM classifier with its tokenizer, ready to answer and to be trained."""

    model_type = MODEL_TYPE

    @cached_property
    def _tile(self) -> int:
        tiles = self.precision == "bf16" and torch.cpu._is_amx_tile_supported()
        return ROWS_IN_A_TILE if tiles or self.device == "cuda" else 1

    @property
    def usual_tokens(self) -> int:
        """Padded tokens in a micro-batch, unless the tier says how many."""
        return 1 << 18 if self.device == "cuda" else 1 << 13

    def cut(self, lengths: Int64, budget: int, threads: int) -> list[Int64]:
        """Micro-batches of one exact length where there are rows enough.

        Both directions then run in one call. A core without AMX is as fast on eight rows as on
        eighty.
        """
        rows = 4 if self._tile == 1 else 32
        return batching.plan_batches(lengths, budget, stretch=1.0, min_rows=rows)

    @torch.inference_mode()
    def forward(self, tokens: Tokens, rows: Int64) -> Float32:
        """Logits for one micro-batch, float32, shape [rows, labels]."""
        count = len(rows)
        rows = np.pad(rows, (0, -count % self._tile), mode="edge")  # copies of the last row
        ids = torch.from_numpy(tokens.padded(rows, self.config.pad_id)).to(self.device)
        sizes = np.maximum(tokens.lengths[rows], 1)
        uneven = bool((sizes != sizes[0]).any())
        lengths = torch.from_numpy(sizes).to(self.device) if uneven else None
        return self.network(ids, lengths)[:count].float().cpu().numpy()


def load(tier: TierConfig, compute: Compute) -> BiLSTM:
    """Loads what `BiLSTM.save` wrote (see `own_model.load`)."""
    return own_model.load(BiLSTM, BiLSTMConfig, BiLSTMNetwork, tier, compute)
