"""The DoFn around `scoring.score`: scores a batch, sends each row down its branch."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import apache_beam as beam
import pyarrow as pa
from apache_beam.metrics import Metrics

from tango_beam import machine, progress, rebatching, scoring
from tango_beam.branches import TierRole
from tango_beam.config import Compute, TierConfig
from tango_beam.models import loading, thread_pool

SIMPLE = "simple"
COMPLEX = "complex"
FAILED = "failed"
AUDITED = "audited"


class ScoreTier(beam.DoFn):
    """Record batches in; simple rows out, the others on tagged outputs."""

    def __init__(
        self,
        tier: TierConfig,
        role: TierRole,
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
        thread_pool.limit(self._compute.workers)
        machine.keep_memory()
        self._model = loading.load(self._tier, self._compute)
        if self._following is not None:
            self._role = replace(self._role, next_vocabulary=loading.vocabulary(self._following))
        self._load_time.update(int(1000 * (time.perf_counter() - started)))
        width = {"fp32": 4, "bf16": 2, "int8": 1}[self._model.precision]
        self._model_size.update(self._model.parameters * width)

    def process(self, element: pa.RecordBatch, window: Any = beam.DoFn.WindowParam) -> Iterator:
        started = time.perf_counter()
        routed = scoring.score(self._model, element, self._role)
        self._latency.update(int(1e6 * (time.perf_counter() - started)))
        self._request_size.update(element.num_rows)
        self._inferences.inc(element.num_rows)
        self._failed.inc(routed.failed.num_rows)
        progress.board.answered(self._role.number, routed.simple.num_rows, routed.failed.num_rows)
        yield from rebatching.in_time(routed.simple, window)
        for tag, rows in ((COMPLEX, routed.complex), (FAILED, routed.failed)):
            for part in rebatching.in_time(rows, window):
                yield beam.pvalue.TaggedOutput(tag, part)
        if routed.audited is not None:
            progress.board.answered(1, routed.audited.num_rows)
            for part in rebatching.in_time(routed.audited, window):
                yield beam.pvalue.TaggedOutput(AUDITED, part)
        machine.bound_memory()
