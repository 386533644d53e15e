"""A first tier without a matrix over tokens: means of embeddings, and a small network on them.

What Joulin et al., "Bag of Tricks for Efficient Text Classification" (2017), call fastText: the
mean of the embeddings of a text's pieces, and the mean of those of its bigrams, which are hashed.
Nothing is padded, and a text costs a few nanoseconds a token: far less than its tokenizer.
"""

from __future__ import annotations

from typing import Any, cast

import numpy as np
import numpy.typing as npt
import torch
from tokenizers import Tokenizer
from torch import nn
from torch.nn import functional

from tango_beam import batching
from tango_beam.arrays import Float32, Int32, Int64
from tango_beam.config import Compute, TierConfig
from tango_beam.models import flops, own_model, thread_pool
from tango_beam.models.static_config import MODEL_TYPE, StaticConfig
from tango_beam.models.tokens import Tokens

# Rows of the network's products are a multiple of this: torch sums the few rows of a small product
# up in another order, and what a row shares a micro-batch with would move its score.
_ROWS = 16
# Stands before the first token of a text.
_EDGE = np.uint32(0xFFFFFFFF)


def hashed_bigrams(ids: Int32, starts: Int64, buckets: int) -> Int32:
    """The bucket of each token and the one before it, int32, shape [tokens].

    The first token of a text stands with an edge. Both ids are mixed by two odd multipliers (of
    xxHash) and a shift, modulo 2^32; the highest bits are the bucket.

    Args:
      ids: of many texts, end to end.
      starts: where each text begins.
      buckets: a power of two, 2 or more.
    """
    mixed: npt.NDArray[np.uint32] = np.empty(len(ids), np.uint32)
    mixed[1:] = ids[:-1]
    mixed[starts[starts < len(ids)]] = _EDGE
    mixed *= np.uint32(0x9E3779B1)
    mixed += ids.view(np.uint32)
    mixed ^= mixed >> np.uint32(15)
    mixed *= np.uint32(0x85EBCA77)
    mixed >>= np.uint32(33 - buckets.bit_length())
    return mixed.view(np.int32)


def sides(ids: Int32, offsets: Int64, separator: int) -> Int64:
    """Offsets that part each row in two, before the first separator behind its first token.

    Args:
      ids: of many pairs, end to end.
      offsets: int64, shape [rows + 1].
      separator: its id.

    Returns:
      int64, shape [2 x rows + 1]; the second side of a row without a separator is empty.
    """
    marks = np.append(np.flatnonzero(ids == separator), len(ids))
    starts, ends = offsets[:-1], offsets[1:]
    inner = np.minimum(marks[np.searchsorted(marks, np.minimum(starts + 1, ends))], ends)
    return np.append(np.stack([starts, inner], axis=1).ravel(), ends[-1:] if len(ends) else 0)


class StaticNetwork(nn.Module):
    """Means of embeddings, feed-forward network; logits out."""

    def __init__(self, config: StaticConfig) -> None:
        super().__init__()
        self.config = config
        width = config.embedding_size
        self.embedding = nn.EmbeddingBag(
            config.vocabulary_size, width, mode="sum", include_last_offset=True
        )
        self.bigrams: nn.EmbeddingBag | None = None
        if config.bigrams:
            self.bigrams = nn.EmbeddingBag(
                config.bigrams, width, mode="sum", include_last_offset=True
            )
            nn.init.zeros_(self.bigrams.weight)  # of a bigram that training never saw nothing comes
        means = width * (2 if config.bigrams else 1)
        self.dropout = nn.Dropout(config.dropout)
        self.feed_forward = nn.Sequential(
            nn.Linear(means * (1 if config.separator is None else 4), config.feed_forward_size),
            nn.ReLU(),
            nn.Linear(config.feed_forward_size, len(config.labels)),
        )

    def forward(self, tokens: Tokens) -> torch.Tensor:
        """Logits, shape [rows, labels]; a row without tokens has the logits of zeros."""
        bags = tokens.offsets
        if self.config.separator is not None:
            bags = sides(tokens.ids, bags, self.config.separator)
        means = self._means(tokens.ids, bags)
        if self.config.separator is not None:
            first, second = means.unflatten(0, (-1, 2)).unbind(1)
            means = torch.cat([first, second, first * second, (first - second).abs()], dim=1)
        means = functional.pad(means, (0, 0, 0, -len(means) % _ROWS))
        return self.feed_forward(self.dropout(means))[: len(tokens)]

    def _means(self, ids: Int32, bags: Int64) -> torch.Tensor:
        device = self.embedding.weight.device
        offsets = torch.from_numpy(bags.astype(np.int32)).to(device)
        sums = [self.embedding(torch.from_numpy(ids).to(device), offsets)]
        if self.bigrams is not None:
            buckets = hashed_bigrams(ids, bags[:-1], self.config.bigrams)
            sums.append(self.bigrams(torch.from_numpy(buckets).to(device), offsets))
        counts = offsets.diff().clamp(min=1)[:, None]
        return torch.cat(sums, dim=1) / counts.to(sums[0].dtype)


class StaticModel(own_model.OwnModel):
    """A static classifier with its tokenizer, ready to answer and to be trained."""

    model_type = MODEL_TYPE

    def __init__(
        self, config: StaticConfig, network: StaticNetwork, tokenizer: Tokenizer, *given: Any
    ) -> None:
        super().__init__(config, network, tokenizer, *given)
        head = [layer for layer in network.feed_forward if isinstance(layer, nn.Linear)]
        # An addition for each column of an embedding, where a weight is two operations.
        adds = config.embedding_size // (1 if config.bigrams else 2)
        self.operations = flops.Operations(adds, sum(h.weight.numel() for h in head), 0, 0)

    @property
    def usual_tokens(self) -> int:
        """Tokens in a micro-batch, unless the tier says how many."""
        return 1 << 20 if self.device == "cuda" else 1 << 16

    def padded(self, lengths: Int64) -> Int64:
        """Tokens that rows of these lengths take in one micro-batch: their own."""
        return np.maximum(lengths, 1)

    def cut(self, lengths: Int64, budget: int, threads: int) -> list[Int64]:
        """Micro-batches of rows as they stand, as many as threads score side by side."""
        multiple = thread_pool.slots(threads)
        return batching.plan_packed(lengths, budget, multiple=multiple, by_length=False)

    @torch.inference_mode()
    def forward(self, tokens: Tokens, rows: Int64) -> Float32:
        """Logits for one micro-batch, float32, shape [rows, labels]."""
        return self.network(tokens.take(rows)).float().cpu().numpy()

    def logits(self, tokens: Tokens, rows: Int64) -> torch.Tensor:
        """Logits to train on, shape [rows, labels]."""
        return cast(torch.Tensor, self.network(tokens.take(rows)))


def load(tier: TierConfig, compute: Compute) -> StaticModel:
    """Loads what `StaticModel.save` wrote (see `own_model.load`)."""
    return own_model.load(StaticModel, StaticConfig, StaticNetwork, tier, compute)
