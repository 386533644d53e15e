"""Which rows a network of transformers may score together.

What a row shares a micro-batch with must not move its score. The mask hides padding from attention,
but not from all that some families do: convolve neighbours, mix or pool along the text, look at
blocks of it. So rows are padded where that is known to change nothing; of other families, rows of
one length are scored together.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from transformers.modeling_layers import GenericForSequenceClassification

from tango_beam import batching
from tango_beam.arrays import Int64
from tango_beam.models.network_state import STRETCHED
from tango_beam.models.tokens import Tokens

# Families beside the decoders that share transformers' own head, which reads the last token.
# `tests/models/test_against_transformers.py` holds each of them against transformers.
_PADDED = {
    "albert",
    "bert",
    "camembert",
    "deberta",
    "deberta-v2",
    "distilbert",
    "electra",
    "gpt2",
    "longformer",
    "modernbert",
    "mpnet",
    "opt",
    "rembert",
    "roberta",
    "roformer",
    "squeezebert",
    "xlm-roberta",
}


@dataclass(frozen=True)
class AlikeRows:
    """What rows must have in common to be scored together.

    Attributes:
      exact: their length.
      end: the id of a token of which each has equally many, since the network looks for it; None
        where it does not.
    """

    exact: bool
    end: int | None = None

    @classmethod
    def of(cls, network: Any) -> AlikeRows:
        """What is known of a model of transformers."""
        config = network.config.get_text_config()
        padded = isinstance(network, GenericForSequenceClassification)
        padded |= config.model_type in _PADDED
        seeks_end = getattr(config, "is_encoder_decoder", False)
        exact = not padded or bool(_rotations(config) & STRETCHED)
        return cls(exact, config.eos_token_id if seeks_end else None)

    def cut(self, lengths: Int64, budget: int, stretch: float, min_rows: int = 1) -> list[Int64]:
        """Micro-batches of like lengths, or of one (see `batching.plan_batches`)."""
        if self.exact:
            stretch, min_rows = 1.0, 1
        return batching.plan_batches(lengths, budget, stretch=stretch, min_rows=min_rows)

    def parts(self, tokens: Tokens, rows: Int64) -> Iterator[Int64]:
        """Parts of a micro-batch that may be scored together, as places in it."""
        keys = []
        if self.exact:
            keys.append(np.maximum(tokens.lengths[rows], 1))
        if self.end is not None:
            spans = zip(tokens.offsets[rows], tokens.offsets[rows + 1], strict=True)
            keys.append(np.array([(tokens.ids[a:b] == self.end).sum() for a, b in spans]))
        if not keys or len(rows) < 2:
            yield np.arange(len(rows))
            return
        _, kinds = np.unique(np.stack(keys), axis=1, return_inverse=True)
        for kind in range(int(kinds.max()) + 1):
            yield np.flatnonzero(kinds.ravel() == kind)


def _rotations(config: Any) -> set[str]:
    """Kinds of rotary positions that a configuration names."""
    stated = getattr(config, "rope_parameters", None) or {}
    kinds = [stated, *(each for each in stated.values() if isinstance(each, dict))]
    return {str(kind["rope_type"]) for kind in kinds if "rope_type" in kind}
