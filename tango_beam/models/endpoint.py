"""An OpenAI-compatible endpoint as a tier: texts out over HTTP, probabilities of labels back."""

from __future__ import annotations

import os
from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from tango_beam.arrays import Float32, Int64
from tango_beam.config import Compute
from tango_beam.endpoints.answers_cache import AnswersCache
from tango_beam.endpoints.client import EndpointClient, Reply
from tango_beam.endpoints.settings import Endpoint
from tango_beam.models.texts import RowsFailedError, TextModel, Texts, log_probabilities
from tango_beam.progress import board

KEYS = ("TANGO_BEAM_API_KEY", "OPENAI_API_KEY")
_AHEAD = 1 + 1e-6


class EndpointModel(TextModel):
    """A tier that asks an endpoint; see `models.protocol.Model`.

    Args:
      endpoint: what is asked.
      client: asks it; shared by all threads of the process.
    """

    def __init__(self, endpoint: Endpoint, client: EndpointClient) -> None:
        super().__init__(endpoint.labels, endpoint.fingerprint)
        self._endpoint, self._client = endpoint, client

    def tokenize(self, texts: pa.Array, pairs: pa.Array | None = None) -> Texts:
        """The texts, with a place for what each row will have taken.

        Raises:
          ValueError: one text a row for a prompt of two.
        """
        if self._endpoint.pair and pairs is None:
            raise ValueError(f"{self._endpoint.name}: expected two texts a row, found one")
        return Texts(texts, pairs, np.zeros((len(texts), 3), np.int64))

    def forward(self, tokens: Texts, rows: Int64) -> Float32:
        """Log probabilities of the labels, float32, shape [rows, labels].

        Raises:
          RowsFailedError: rows without an answer, with the reason.
          EndpointError: the endpoint is down, or refuses every row.
        """
        chosen = tokens.take(rows)
        columns = [chosen.texts, *([] if chosen.pairs is None else [chosen.pairs])]
        asked = zip(*(column.to_pylist() for column in columns), strict=True)
        replies = self._client.ask([*asked])
        # What was known before, or is shared with an equal row, costs nothing now.
        taken = np.array(
            [(r.calls, r.tokens_in, r.tokens_out) if not r.cached else (0, 0, 0) for r in replies],
            np.int64,
        )
        if tokens.taken is not None and len(rows):
            tokens.taken[rows] += taken
            board.asked(*taken.sum(axis=0).tolist())
        return self._outputs(replies)

    def _outputs(self, replies: Sequence[Reply]) -> Float32:
        outputs = np.full((len(replies), self.width), np.nan, np.float32)
        errors = {}
        for place, reply in enumerate(replies):
            if reply.probabilities is None:
                errors[place] = reply.error or "expected an answer, found none"
            else:
                outputs[place] = reply.probabilities
                if reply.label is not None:
                    # What was said is the answer, also where spellings of another label add up.
                    said = self.labels.index(reply.label)
                    outputs[place, said] = max(outputs[place, said], outputs[place].max() * _AHEAD)
        outputs = log_probabilities(outputs)
        if errors:
            raise RowsFailedError(outputs, errors)
        return outputs


def load(endpoint: Endpoint, compute: Compute) -> EndpointModel:
    """The tier of an endpoint; its key comes from `TANGO_BEAM_API_KEY` or `OPENAI_API_KEY`.

    Raises:
      RefusedError: a cache of answers that cannot be opened, or httpx is missing.
    """
    cache = AnswersCache(compute.answers_cache) if compute.answers_cache else None
    key = next(filter(None, map(os.environ.get, KEYS)), None)
    return EndpointModel(endpoint, EndpointClient(endpoint, compute.limits, cache, key))
