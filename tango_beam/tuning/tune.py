"""Tunes a cascade on a corpus: sample, measure every tier, choose, write."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from tango_beam import machine
from tango_beam.cascade_directory import fetched, link_checkpoints, save_cascade
from tango_beam.config import CascadeConfig, Compute, TierConfig
from tango_beam.errors import RefusedError
from tango_beam.guarantees import bounds
from tango_beam.io import inputs, sample
from tango_beam.io.labelled import one_array
from tango_beam.local_output import check_local_output
from tango_beam.models import kept_tokens, loading, thread_pool
from tango_beam.models.dynamic_length import ShorteningSpanTransformer, ShorteningTransformer
from tango_beam.models.logits import in_order
from tango_beam.models.protocol import Model
from tango_beam.resolve import load_tier, refuse_asked, resolve_cascade, settle
from tango_beam.tuning import candidates
from tango_beam.tuning import processes as worker_processes
from tango_beam.tuning.candidates import Models, TunedTier
from tango_beam.tuning.options import TuneOptions

logger = logging.getLogger(__name__)

RESULT = "_tune.json"


@dataclass(frozen=True)
class Workers:
    """Processes that share a machine's cores, and how fast a cascade is in them.

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
    """What tuning gave.

    Attributes:
      cascade: as it was written; without a certificate, since scores may differ.
      tiers: what was measured of each.
      rows: in the sample.
      escalated: share of the sample that the first tier escalates at its threshold.
      rates: rows a second expected of the cascade, and of the last tier alone at its best.
      void: the cascade had a certificate.
      workers: one process on all cores, and one on each; none where there is one core, or a GPU.
    """

    cascade: CascadeConfig
    tiers: list[TunedTier]
    rows: int
    escalated: float
    rates: tuple[float, float]
    void: bool
    workers: tuple[Workers, ...] = ()

    @property
    def pays(self) -> bool:
        """Whether the cascade is faster than its last tier alone."""
        return self.rates[0] > self.rates[1]


def run(options: TuneOptions) -> Outcome:
    """Tunes a cascade and writes its directory.

    Raises:
      RefusedError: before any scoring, saying what was expected and what was found.
    """
    folder = check_local_output(options.output)
    pair = options.text_pair_column is not None
    cascade = fetched(resolve_cascade(options, pair=pair))
    refuse_asked(cascade, "tune")
    device = settle(options).device
    texts = _texts(options)
    tiers = []
    for number, tier in enumerate(cascade.tiers, start=1):
        logger.info("tier %d: %s", number, tier.source)
        tiers.append(tune_one(cascade, tier, texts, options, device))
    outcome = _outcome(cascade, tiers, texts)
    if options.processes and device == "cpu":
        outcome = replace(outcome, workers=_workers(outcome, texts, options.rounds))
    folder.mkdir(parents=True, exist_ok=True)
    save_cascade(link_checkpoints(outcome.cascade, folder), folder)
    result = json.dumps(describe(outcome, options, device), indent=2)
    (folder / RESULT).write_text(result + "\n")
    return outcome


def tune_one(
    cascade: CascadeConfig,
    tier: TierConfig,
    texts: Sequence[pa.Array],
    options: TuneOptions,
    device: str,
    *,
    onnx: bool = True,
) -> TunedTier:
    """Measures one tier with all settings, and picks the fastest that answers as fp32 does.

    Args:
      cascade: that the tier stands in.
      tier: its settings are passed over.
      texts: the sample, one column or two for pairs.
      options: how to time, and how often the answers must agree.
      device: `cpu` or `cuda`.
      onnx: tries ONNX Runtime, too, where it is installed.
    """
    models, decoder = _load(tier, device, onnx=onnx), cascade.decoder(tier)
    shorter = _shorter(tier, device)
    tuned = candidates.tune_tier(models, texts, options, tier.batch_rows, decoder, shorter)
    logits = in_order(tuned.logits, models["torch", "fp32"], cascade.labels)
    return replace(tuned, logits=logits)


def with_settings(tier: TierConfig, tuned: TunedTier) -> TierConfig:
    """The tier as tuning would have it computed."""
    kept = ("precision", "batch_tokens", "backend", "threads", "kept_tokens")
    return replace(tier, **{name: getattr(tuned.best, name) for name in kept})


def _texts(options: TuneOptions) -> list[pa.Array]:
    """The sample, one column or two for pairs."""
    columns = options.text_columns
    corpus = inputs.inspect(
        options.input, columns, input_format=options.input_format, columns=[], unknown_keys="drop"
    )
    rows = sample.draw(corpus, columns, options.sample_rows, 1.0, options.seed).rows
    if not rows.num_rows:
        raise RefusedError(f"--input {' '.join(options.input)}: expected texts, found none")
    fewest = bounds.fewest_rows(options.min_agreement, options.delta)
    if rows.num_rows < fewest:
        raise RefusedError(
            f"expected at least {fewest} rows to compare precisions on, found {rows.num_rows}: "
            f"without a single difference, fewer do not show that {options.min_agreement:.2%} "
            f"agree at delta {options.delta}; lower --min_agreement"
        )
    return [one_array(rows[name]) for name in columns]


def _load(tier: TierConfig, device: str, *, onnx: bool) -> Models:
    """The tier by every backend and precision that its family and this machine allow."""
    names = [("torch", "fp32"), ("torch", "bf16")]
    if device == "cpu" and not loading.is_own(tier.source):
        names += [("torch", "int8"), *([("onnx", "fp32"), ("onnx", "int8")] if onnx else [])]
    loaded: Models = {}
    for backend, precision in names:
        own = replace(_plain(tier), backend=backend)
        try:
            loaded[backend, precision] = load_tier(own, Compute(device, precision))
        except RefusedError as error:
            # A tier must load in torch; one that cannot be exported is tuned without onnx.
            if backend == "torch":
                raise
            logger.info("without %s: %s", candidates.kind(backend, precision), error)
    return loaded


def _plain(tier: TierConfig) -> TierConfig:
    """The tier without what tuning chooses."""
    return replace(
        tier, precision=None, batch_tokens=None, backend=None, threads=None, kept_tokens=()
    )


def _shorter(tier: TierConfig, device: str) -> candidates.Shorter:
    """The tier with fewer tokens: the settings beside its weights, the cheapest first."""
    points = kept_tokens.load(Path(tier.source)) if device == "cpu" else []
    points = sorted((one for one in points if one.operations < 1), key=lambda one: one.operations)

    def models(precision: str) -> Iterator[tuple[tuple[float, ...], Model]]:
        if not points:
            return
        own = replace(_plain(tier), kept_tokens=points[0].kept_tokens)
        model = load_tier(own, Compute(device, precision))
        assert isinstance(model, ShorteningTransformer | ShorteningSpanTransformer)
        for point in points:
            yield point.kept_tokens, model.at(point.kept_tokens)

    return models


def _outcome(
    before: CascadeConfig, measured: list[TunedTier], texts: Sequence[pa.Array]
) -> Outcome:
    """The cascade with the chosen settings, and how fast it is expected to be."""
    tiers = [with_settings(*each) for each in zip(before.tiers, measured, strict=True)]
    answered_by = np.ones(len(measured[0].logits), np.int64)
    if len(tiers) > 1:
        thresholds = [tier.threshold for tier in tiers if tier.threshold is not None]
        outputs = [tuned.logits for tuned in measured]
        answers = before.answers(outputs, contexts=texts[-1])
        _, answered_by = answers.cascaded(thresholds, tiers[0].label_threshold)
    cost = 0.0
    for number, (tier, tuned) in enumerate(zip(tiers, measured, strict=True), start=1):
        # A tier that shares the vocabulary of the one before takes over its tokens.
        shares = number > 1 and _same_vocabulary(tiers[number - 2], tier)
        seconds = tuned.seconds + (0.0 if shares else tuned.seconds_tokenizing)
        cost += float((answered_by >= number).mean()) * seconds
    return Outcome(
        cascade=replace(before, tiers=tuple(tiers), certificate=None),
        tiers=measured,
        rows=len(texts[0]),
        escalated=float((answered_by > 1).mean()),
        rates=(1 / cost, 1 / (measured[-1].seconds + measured[-1].seconds_tokenizing)),
        void=before.certificate is not None,
    )


def _same_vocabulary(one: TierConfig, other: TierConfig) -> bool:
    return loading.vocabulary(one) == loading.vocabulary(other)


def _workers(outcome: Outcome, texts: Sequence[pa.Array], rounds: int) -> tuple[Workers, ...]:
    """One process with a thread on each core beside a process on each core."""
    cores = thread_pool.workers()
    if cores < 2:
        return ()
    timed = []
    for processes, each in ((1, cores), (cores, 1)):
        logger.info("worker processes: %d of %d cores", processes, each)
        seconds, reached = 0.0, 1.0
        for tier, tuned in zip(outcome.cascade.tiers, outcome.tiers, strict=True):
            some = pa.array(np.arange(tuned.timed_rows) % len(texts[0]))
            rate = worker_processes.rate(
                replace(tier, threads=min(tier.threads or 1, each)),
                [column.take(some) for column in texts],
                processes=processes,
                cores=each,
                rounds=rounds,
            )
            seconds += reached / rate
            reached = outcome.escalated
        timed.append(Workers(processes, each, 1 / seconds))
    return tuple(timed)


def describe(outcome: Outcome, options: TuneOptions, device: str) -> dict[str, Any]:
    """Everything that was measured, as JSON holds it."""
    corpus = hashlib.sha256(json.dumps(sorted(options.input)).encode()).hexdigest()[:16]
    settings = {**asdict(options), "input": list(options.input)}
    del settings["precision"]  # the user did not choose it
    return {
        "settings": settings,
        "corpus": corpus,
        "machine": machine.facts(device, "by tier").to_json(),
        "rows": outcome.rows,
        "tiers": [
            {
                "chosen": asdict(tuned.best),
                "agreements": {name: asdict(one) for name, one in tuned.agreements.items()},
                "measured": [asdict(timing) for timing in tuned.timings],
                "timed_rows": tuned.timed_rows,
                "seconds_tokenizing": tuned.seconds_tokenizing,
                "useful_share": tuned.useful_share,
            }
            for tuned in outcome.tiers
        ],
        "escalated": outcome.escalated,
        "rows_a_second": {"cascade": outcome.rates[0], "last_tier_alone": outcome.rates[1]},
        "pays": outcome.pays,
        "workers": [asdict(workers) for workers in outcome.workers],
    }
