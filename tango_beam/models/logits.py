"""A model's logits for all rows at once: samples, labelled sets, training targets."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence

import numpy as np
import pyarrow as pa

from tango_beam.arrays import Float32, Int64
from tango_beam.logs import figures
from tango_beam.models import thread_pool
from tango_beam.models.protocol import Model
from tango_beam.models.texts import RowsFailedError
from tango_beam.models.tokens import Tokens

logger = logging.getLogger(__name__)

_LOG_EVERY_SECONDS = 20.0


def logits_of(
    model: Model,
    texts: Sequence[str] | pa.Array,
    pairs: Sequence[str] | pa.Array | None = None,
    *,
    labels: Sequence[str] | None = None,
    window: int = 16_384,
) -> Float32:
    """A model's outputs for texts, in order; float32, shape [rows, outputs].

    Args:
      model: any tier.
      texts: without nulls.
      pairs: the second text of each row, for tasks on pairs.
      labels: order of the columns; the model's own by default.
      window: rows tokenized together and sorted by length.

    Raises:
      ValueError: labels that are not the model's.
    """
    first = _column(texts)
    second = None if pairs is None else _column(pairs)
    outputs = np.zeros((len(first), model.outputs), np.float32)
    started = looked = time.monotonic()
    for at in range(0, len(first), window):
        part = outputs[at : at + window]
        tokens = model.tokenize(
            first.slice(at, window), None if second is None else second.slice(at, window)
        )
        part[:] = logits_of_tokens(model, tokens)
        now, done = time.monotonic(), at + len(part)
        if now - looked > _LOG_EVERY_SECONDS:
            looked, left = now, (now - started) * (len(first) - done) / done
            said = figures(rows=done, share=done / len(first), seconds_left=left)
            counts = f"{done:,}", len(first), left
            logger.info("scored %s of %s texts, about %.0f s left", *counts, extra=said)
    return outputs if labels is None else in_order(outputs, model, labels)


def logits_of_tokens(model: Model, tokens: Tokens) -> Float32:
    """A model's outputs for tokenized texts, in order; float32, shape [rows, outputs].

    NaN in rows to which an endpoint or a handler has no answer.
    """
    outputs = np.zeros((len(tokens), model.width), np.float32)

    def score(rows: Int64) -> None:
        try:
            outputs[rows] = model.forward(tokens, rows)
        except RowsFailedError as known:
            outputs[rows] = known.outputs
            first = min(known.errors)
            logger.warning("%d rows have no answer: %s", len(known.errors), known.errors[first])

    each_micro_batch(model, tokens, score)
    return model.gathered(outputs, tokens)


def each_micro_batch(model: Model, tokens: Tokens, action: Callable[[Int64], object]) -> None:
    """Calls `action` with the rows of every micro-batch; on a processor side by side.

    Args:
      model: cuts the micro-batches.
      tokens: of all rows.
      action: safe to call from several threads.
    """
    thread_pool.each(model.device, model.plan(tokens.lengths), action, model.threads)


def _column(texts: Sequence[str] | pa.Array) -> pa.Array:
    return texts if isinstance(texts, pa.Array) else pa.array(texts, pa.string())


def in_order(outputs: Float32, model: Model, labels: Sequence[str]) -> Float32:
    """A model's outputs with their columns in the order of some labels.

    Raises:
      ValueError: labels that are not the model's.
    """
    # One output, or what is known of a span, has one order only.
    if len(labels) < 2:
        return outputs
    if sorted(labels) != sorted(model.labels):
        raise ValueError(f"expected the labels {sorted(labels)}, found {sorted(model.labels)}")
    return outputs[:, [model.labels.index(label) for label in labels]]
