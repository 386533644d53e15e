"""Tunes a cascade on a corpus: sample, measure every tier, choose, write."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from tango_beam import job, models
from tango_beam.calibration import store
from tango_beam.config import CascadeConfig, TierConfig, save_cascade
from tango_beam.errors import RefusedError
from tango_beam.evaluation import machine
from tango_beam.io import inputs, sample
from tango_beam.models import parallel
from tango_beam.models.base import Model
from tango_beam.models.bilstm_config import MODEL_TYPE
from tango_beam.options import Options as JobOptions
from tango_beam.routing import is_complex
from tango_beam.tier import Compute
from tango_beam.tuning import processes as worker_processes
from tango_beam.tuning import ways
from tango_beam.tuning.ways import Chosen

logger = logging.getLogger(__name__)

RESULT = "_tune.json"


@dataclass(frozen=True)
class Settings:
    """What `pipelines.tune` can be told; the names are those of the command line."""

    input: tuple[str, ...]
    output: str
    cascade: str = "sst2"
    text_column: str = "text"
    text_pair_column: str | None = None
    input_format: str = "auto"
    sample_rows: int = 2000
    timed_seconds: float = 1.0
    rounds: int = 3
    min_agreement: float = 0.995
    delta: float = 0.05
    seed: int = 0
    max_length: int | None = None
    device: str = "auto"
    processes: bool = True

    def __post_init__(self) -> None:
        for name in ("sample_rows", "rounds"):
            if getattr(self, name) < 1:
                raise RefusedError(f"--{name}: expected at least 1, found {getattr(self, name)}")
        if not self.timed_seconds > 0:
            raise RefusedError(f"--timed_seconds: expected more than 0, found {self.timed_seconds}")
        for name in ("min_agreement", "delta"):
            if not 0 < getattr(self, name) < 1:
                raise RefusedError(f"--{name}: expected 0 to 1, found {getattr(self, name)}")
        if Path(self.output).exists() and (
            not Path(self.output).is_dir() or any(Path(self.output).iterdir())
        ):
            raise RefusedError(f"--output {self.output}: expected an empty directory, found more")

    @property
    def text_columns(self) -> tuple[str, ...]:
        """One column, or two for pairs."""
        pair = (self.text_pair_column,) if self.text_pair_column else ()
        return (self.text_column, *pair)


@dataclass(frozen=True)
class Workers:
    """Processes that share a machine's cores, and what a cascade does in them.

    Attributes:
      processes: how many.
      cores: on which each scores.
      rate: rows a second expected of the cascade in all of them, tokenization included.
    """

    processes: int
    cores: int
    rate: float


@dataclass(frozen=True)
class Outcome:
    """What came of it.

    Attributes:
      cascade: as it was written; without a certificate, since scores may differ.
      tiers: what was measured of each.
      rows: in the sample.
      escalated: share of the sample that the first tier sends on at its threshold.
      rates: rows a second expected of the cascade, and of the last tier alone at its best.
      void: the cascade had a certificate.
      workers: one process on all cores, and one on each; none where there is one core, or a GPU.
    """

    cascade: CascadeConfig
    tiers: list[Chosen]
    rows: int
    escalated: float
    rates: tuple[float, float]
    void: bool
    workers: tuple[Workers, ...] = ()

    @property
    def pays(self) -> bool:
        """Whether the cascade is faster than its last tier alone."""
        return self.rates[0] > self.rates[1]


def run(settings: Settings) -> Outcome:
    """Tunes a cascade and writes its directory.

    Raises:
      RefusedError: before any scoring, saying what was expected and what was found.
    """
    cascade = job.resolve_cascade(
        JobOptions(
            input=settings.input,
            output=settings.output,
            cascade=settings.cascade,
            max_length=settings.max_length,
        )
    ).brought()
    if cascade.pair and settings.text_pair_column is None:
        raise RefusedError(
            f"cascade {cascade.name}: expected two texts a row, found no --text_pair_column"
        )
    device = job.settle(settings.device, "auto").device
    texts, pairs = _texts(settings)
    tiers = []
    for number, tier in enumerate(cascade.tiers, start=1):
        logger.info("tier %d: %s", number, tier.source)
        tiers.append(_tune(tier, device, texts, pairs, settings))
    tuned = _tuned(cascade, tiers)
    outcome = _outcome(cascade, tuned, tiers, device, len(texts))
    if settings.processes and device == "cpu":
        outcome = replace(outcome, workers=_workers(outcome, texts, pairs, settings))
    folder = Path(settings.output)
    folder.mkdir(parents=True, exist_ok=True)
    save_cascade(store.bring(tuned, folder), folder)
    result = json.dumps(describe(outcome, settings, device), indent=2)
    (folder / RESULT).write_text(result + "\n")
    return outcome


def _texts(settings: Settings) -> tuple[pa.Array, pa.Array | None]:
    found = inputs.inspect(
        settings.input, settings.text_columns, input_format=settings.input_format
    )
    columns = settings.text_columns
    rows = sample.draw(found, columns, columns, settings.sample_rows, 1.0, settings.seed).rows
    if not rows.num_rows:
        raise RefusedError(f"--input {' '.join(settings.input)}: expected texts, found none")
    fewest = int(np.ceil(np.log(settings.delta) / np.log(settings.min_agreement)))
    if rows.num_rows < fewest:
        raise RefusedError(
            f"expected at least {fewest} rows to compare precisions on, found {rows.num_rows}: "
            f"without a single difference, fewer do not show that {settings.min_agreement:.2%} "
            f"agree at delta {settings.delta}; lower --min_agreement"
        )
    texts = [rows[name].combine_chunks().cast(pa.string()) for name in columns]
    return texts[0], texts[1] if len(texts) > 1 else None


def _tune(
    tier: TierConfig, device: str, texts: pa.Array, pairs: pa.Array | None, settings: Settings
) -> Chosen:
    loaded = _load(tier, device)
    return ways.try_all(
        loaded,
        texts,
        pairs,
        budgets=ways.BUDGETS,
        rounds=settings.rounds,
        seconds=settings.timed_seconds,
        most_rows=tier.batch_rows,
        least=settings.min_agreement,
        delta=settings.delta,
    )


def _load(tier: TierConfig, device: str) -> dict[tuple[str, str], Model]:
    """The tier in every way that its family and this machine allow."""
    names = [("torch", "fp32"), ("torch", "bf16")]
    if device == "cpu" and models.model_type(tier.source) != MODEL_TYPE:
        names += [("torch", "int8"), ("onnx", "fp32"), ("onnx", "int8")]
    loaded: dict[tuple[str, str], Model] = {}
    for backend, precision in names:
        own = replace(tier, precision=None, batch_tokens=None, backend=backend, threads=None)
        try:
            (loaded[backend, precision],) = job.load_tiers(_alone(own), Compute(device, precision))
        except RefusedError as error:
            # What torch cannot load is no tier; what cannot be exported is one without onnx.
            if backend == "torch":
                raise
            logger.info("without %s: %s", ways.kind(backend, precision), error)
    return loaded


def _alone(tier: TierConfig) -> CascadeConfig:
    return CascadeConfig((replace(tier, threshold=None),), ())


def _tuned(cascade: CascadeConfig, tiers: list[Chosen]) -> CascadeConfig:
    changed = (
        replace(
            tier,
            precision=found.way.precision,
            batch_tokens=found.way.batch_tokens,
            backend=found.way.backend,
            threads=found.way.threads,
        )
        for tier, found in zip(cascade.tiers, tiers, strict=True)
    )
    return replace(cascade, tiers=tuple(changed), certificate=None)


def _outcome(
    before: CascadeConfig, tuned: CascadeConfig, tiers: list[Chosen], device: str, rows: int
) -> Outcome:
    reached, cost, escalated = np.ones(rows, bool), 0.0, 0.0
    for number, (tier, found) in enumerate(zip(tuned.tiers, tiers, strict=True)):
        # A tier that shares the vocabulary of the one before takes over its tokens.
        tokenizes = number == 0 or not _same_vocabulary(tuned.tiers[number - 1], tier)
        cost += float(reached.mean()) * (found.seconds + tokenizes * found.seconds_tokenizing)
        if tier.threshold is not None:
            (model,) = job.load_tiers(_alone(tier), Compute(device))
            reached = reached & is_complex(model.decode(found.outputs).confidences, tier.threshold)
            escalated = float(reached.mean()) if number == 0 else escalated
    alone = tiers[-1].seconds + tiers[-1].seconds_tokenizing
    void = before.certificate is not None
    return Outcome(tuned, tiers, rows, escalated, (1 / cost, 1 / alone), void)


def _workers(
    outcome: Outcome, texts: pa.Array, pairs: pa.Array | None, settings: Settings
) -> tuple[Workers, ...]:
    """One process with a thread on each core beside a process on each core."""
    cores = parallel.workers()
    if cores < 2:
        return ()
    found = []
    for processes, each in ((1, cores), (cores, 1)):
        logger.info("worker processes: %d of %d cores", processes, each)
        seconds, reached = 0.0, 1.0
        for tier, chosen in zip(outcome.cascade.tiers, outcome.tiers, strict=True):
            some = pa.array(np.arange(chosen.timed_rows) % len(texts))
            own = replace(tier, threads=min(tier.threads or 1, each))
            rate = worker_processes.rate(
                own,
                texts.take(some),
                None if pairs is None else pairs.take(some),
                processes=processes,
                cores=each,
                rounds=settings.rounds,
            )
            seconds += reached / rate
            reached = outcome.escalated
        found.append(Workers(processes, each, 1 / seconds))
    return tuple(found)


def _same_vocabulary(one: TierConfig, other: TierConfig) -> bool:
    names: Callable[[TierConfig], str] = lambda tier: models.vocabulary(  # noqa: E731
        tier.source, max_length=tier.max_length, tokenizer=tier.tokenizer, revision=tier.revision
    )
    return names(one) == names(other)


def describe(outcome: Outcome, settings: Settings, device: str) -> dict[str, Any]:
    """Everything that was measured, as JSON holds it."""
    corpus = hashlib.sha256(json.dumps(sorted(settings.input)).encode()).hexdigest()[:16]
    return {
        "settings": {**asdict(settings), "input": list(settings.input)},
        "corpus": corpus,
        "machine": machine.facts(device, "by tier"),
        "rows": outcome.rows,
        "tiers": [
            {
                "chosen": asdict(found.way),
                "agreements": {name: asdict(one) for name, one in found.agreements.items()},
                "measured": [asdict(way) for way in found.measured],
                "timed_rows": found.timed_rows,
                "seconds_tokenizing": found.seconds_tokenizing,
                "useful_share": found.useful_share,
            }
            for found in outcome.tiers
        ],
        "escalated": outcome.escalated,
        "rows_a_second": {"cascade": outcome.rates[0], "last_tier_alone": outcome.rates[1]},
        "pays": outcome.pays,
        "workers": [asdict(workers) for workers in outcome.workers],
    }
