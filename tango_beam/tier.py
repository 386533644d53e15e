"""The DoFn around `scoring.score`: joins a batch, scores it, sends each row down its branch."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, replace

import apache_beam as beam
import pyarrow as pa
from apache_beam.metrics import Metrics

from tango_beam import batching, fetch, memory, models, progress, scoring
from tango_beam.config import TierConfig, at_hand, digest
from tango_beam.models import parallel

COMPLEX = "complex"
FAILED = "failed"
AUDITED = "audited"


@dataclass(frozen=True)
class Compute:
    """Where and how models compute.

    Attributes:
      device: `auto`, `cpu` or `cuda`.
      precision: `auto`, `fp32`, `bf16` or `int8`, for tiers that have none of their own.
      workers: micro-batches scored at once in a process; None for one on each core.
    """

    device: str = "auto"
    precision: str = "auto"
    workers: int | None = None


def load_tier(tier: TierConfig, compute: Compute) -> models.Model:
    """The tier's model, loaded once a process.

    Raises:
      ValueError: a checkpoint on a URL that is not the one with which the job was launched, or one
        that does not fit; OSError: one that is not there.
    """
    remote = fetch.is_url(tier.source)
    if remote and tier.revision and (found := digest(tier.source)) != tier.revision:
        raise ValueError(
            f"{tier.source}: expected the checkpoint that the job was launched with "
            f"({tier.revision[:16]}), found another ({found[:16]})"
        )
    return models.load(
        at_hand(tier.source) or tier.source,
        device=compute.device,
        precision=tier.precision or compute.precision,
        max_length=tier.max_length,
        temperature=tier.temperature,
        confidence=tier.confidence,
        tokenizer=at_hand(tier.tokenizer),
        revision=None if remote else tier.revision,
        batch_tokens=tier.batch_tokens,
        backend=tier.backend,
        threads=tier.threads,
    )


def vocabulary_of(tier: TierConfig) -> str:
    """The `vocabulary` of the model that `load_tier` gives; reads its tokenizer, no weights."""
    return models.vocabulary(
        at_hand(tier.source) or tier.source,
        max_length=tier.max_length,
        tokenizer=at_hand(tier.tokenizer),
        revision=None if fetch.is_url(tier.source) else tier.revision,
    )


class ScoreTier(beam.DoFn):
    """Lists of record batches in; simple rows out, the others on tagged outputs."""

    def __init__(
        self,
        tier: TierConfig,
        role: scoring.TierRole,
        compute: Compute,
        following: TierConfig | None = None,
    ) -> None:
        self._tier, self._role, self._compute, self._following = tier, role, compute, following
        # The names that Beam's own RunInference gives these, so that dashboards just work.
        space = f"tier {role.number}"
        self._inferences = Metrics.counter(space, "num_inferences")
        self._request_size = Metrics.distribution(space, "inference_request_batch_size")
        self._latency = Metrics.distribution(space, "inference_batch_latency_micro_secs")
        self._failed = Metrics.counter(space, "failed_inferences")
        self._model_size = Metrics.distribution(space, "model_byte_size")
        self._load_time = Metrics.distribution(space, "load_model_latency_milli_secs")

    def setup(self) -> None:
        started = time.perf_counter()
        parallel.limit(self._compute.workers)
        self._model = load_tier(self._tier, self._compute)
        if self._following is not None:
            self._role = replace(self._role, next_vocabulary=vocabulary_of(self._following))
        self._load_time.update(int(1000 * (time.perf_counter() - started)))
        width = {"fp32": 4, "bf16": 2, "int8": 1}[self._model.precision]
        self._model_size.update(self._model.parameters * width)

    def process(self, element: list[pa.RecordBatch]) -> Iterator:
        # BatchElements emits an empty list when one element alone reaches its maximum.
        if not element:
            return
        batch = batching.join(element)
        started = time.perf_counter()
        routed = scoring.score(self._model, batch, self._role)
        self._latency.update(int(1e6 * (time.perf_counter() - started)))
        self._request_size.update(batch.num_rows)
        self._inferences.inc(batch.num_rows)
        self._failed.inc(routed.failed.num_rows)
        progress.board.answered(self._role.number, routed.simple.num_rows, routed.failed.num_rows)
        if routed.simple.num_rows:
            yield routed.simple
        if routed.complex.num_rows:
            yield beam.pvalue.TaggedOutput(COMPLEX, routed.complex)
        if routed.failed.num_rows:
            yield beam.pvalue.TaggedOutput(FAILED, routed.failed)
        if routed.audited is not None:
            progress.board.answered(1, routed.audited.num_rows, 0)
            yield beam.pvalue.TaggedOutput(AUDITED, routed.audited)
        memory.give_back()
