"""A calibration from beginning to end: draw, score, fit, sign, write the cascade directory."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from tango_beam import job, models
from tango_beam.calibration import certificate, offers, scored, signing, store
from tango_beam.calibration.goals import (
    BUDGET_FIRST_TIER_ROWS,
    FIT_PART,
    PART_OF_CORPUS,
    Goals,
)
from tango_beam.calibration.judged import IntArray, Judged
from tango_beam.calibration.scored import Scored
from tango_beam.calibration.signing import Signed
from tango_beam.config import CascadeConfig
from tango_beam.errors import RefusedError
from tango_beam.io import inputs, sample
from tango_beam.io.commit import versions
from tango_beam.options import Options as JobOptions

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Settings:
    """What `pipelines.calibrate` can be told; the names are those of the command line.

    Attributes:
      sample_rows: rows of the test; by default 100 / (1 - goal), at most a tenth of the corpus.
      seed: by default a hash of corpus and cascade.
      temperature: `fit`, or `keep` for the cascade's own.
      confidence: kind for every tier but the last; None for the cascade's own.
    """

    input: tuple[str, ...]
    output: str
    goals: Goals
    cascade: str = "sst2"
    text_column: str = "text"
    text_pair_column: str | None = None
    label_column: str | None = None
    input_format: str = "auto"
    schema: str | None = None
    sample_rows: int | None = None
    seed: int | None = None
    temperature: str = "fit"
    confidence: str | None = None
    max_length: int | None = None
    device: str = "auto"
    precision: str = "auto"
    overwrite: bool = False

    def __post_init__(self) -> None:
        if "://" in self.output:
            raise RefusedError(
                f"--output {self.output}: expected a local directory, found a URL; copy it there"
            )
        if self.sample_rows is not None and self.sample_rows < 1:
            raise RefusedError(f"--sample_rows: expected at least 1, found {self.sample_rows}")
        if self.goals.accuracy_retained is not None and self.label_column is None:
            raise RefusedError("--accuracy_retained: expected --label_column with it, found none")

    @property
    def text_columns(self) -> tuple[str, ...]:
        """One column, or two for pairs."""
        pair = (self.text_pair_column,) if self.text_pair_column else ()
        return (self.text_column, *pair)


@dataclass(frozen=True)
class Outcome:
    """What came of it.

    Attributes:
      cascade: as it was written, with its certificate.
      signed: the promises.
      met: whether all of them hold with some row accepted.
      offers: what the same rows could sign for, for people to choose from.
    """

    cascade: CascadeConfig
    signed: list[Signed]
    met: bool
    offers: list[dict[str, Any]] = field(default_factory=list)


def run(settings: Settings) -> Outcome:
    """Calibrates a cascade on a corpus and writes its directory.

    Raises:
      RefusedError: before any scoring, saying what was expected and what was found.
    """
    cascade = _cascade(settings)
    output = Path(settings.output)
    earlier = store.open_output(cascade, output, settings.overwrite)
    found = _inspect(settings)
    compute = job.settle(settings.device, settings.precision)
    seed = _seed(settings, cascade, found, compute.precision)
    rows = _draw(settings, cascade, found, seed)
    drawn = _score(settings, cascade, job.load_tiers(cascade, compute), rows)
    fit, test = _split(settings, cascade, drawn.all_tiers)
    fitted = cascade
    if settings.temperature == "fit":
        fitted = scored.with_temperatures(cascade, fit if len(fit) else test)
    size = rows.corpus if settings.label_column is None else None
    signed = _sign(settings.goals, fitted, fit, test, drawn, size, seed)
    thresholds = _safest(signed)
    met = all(one.met for one in signed)
    fitted = _with_thresholds(fitted, thresholds)
    judged = test.judged(fitted)
    made = {
        "made": datetime.now(UTC).isoformat(timespec="seconds"),
        "signed": [asdict(one) for one in signed],
        "delta": settings.goals.delta,
        "thresholds": list(thresholds),
        "seed": seed,
        "sample": {"drawn": rows.drawn, "tested": len(test), "fitted": len(fit)},
        "corpus": certificate.describe_corpus(found.files, settings.text_columns, rows.corpus),
        "speed": offers.speed(test, fitted, thresholds),
        **_classes(judged, cascade.labels, thresholds, settings.goals.delta),
        "calibration": scored.calibration_errors(cascade, fitted, test),
        "versions": versions(),
    }
    certified = replace(fitted, certificate={**made, "attempts": [*earlier, _attempt(made, met)]})
    store.write(certified, output, met, compute.precision)
    offered = offers.agreements(judged, settings.goals.delta, size)
    return Outcome(certified, signed, met, offered if len(cascade.tiers) == 2 else [])


def _classes(
    judged: Judged, labels: tuple[str, ...], thresholds: tuple[float, ...], delta: float
) -> dict[str, Any]:
    """Agreement by class, and the classes of which nothing is known."""
    found = signing.by_class(judged, labels, thresholds, delta)
    seen = {entry["label"] for entry in found}
    return {
        "by_class": found,
        "unseen_classes": [label for label in labels if label not in seen],
    }


def _cascade(settings: Settings) -> CascadeConfig:
    cascade = job.resolve_cascade(
        JobOptions(
            input=settings.input,
            output=settings.output,
            cascade=settings.cascade,
            max_length=settings.max_length,
            precision=settings.precision,
        )
    ).brought()
    if len(cascade.tiers) < 2:
        raise RefusedError(f"cascade {cascade.name}: expected two tiers or more, found one")
    if len(cascade.tiers) > 2 and (settings.goals.class_agreement or settings.goals.has_budget):
        raise RefusedError(
            f"cascade {cascade.name}: expected --agreement or --accuracy_retained for "
            f"{len(cascade.tiers)} tiers, found another goal"
        )
    if cascade.pair and settings.text_pair_column is None:
        raise RefusedError(
            f"cascade {cascade.name}: expected two texts a row, found no --text_pair_column"
        )
    if settings.confidence is not None:
        before = (replace(tier, confidence=settings.confidence) for tier in cascade.tiers[:-1])
        cascade = replace(cascade, tiers=(*before, cascade.tiers[-1]))
    return cascade


def _inspect(settings: Settings) -> inputs.Inputs:
    found = inputs.inspect(
        settings.input,
        settings.text_columns,
        input_format=settings.input_format,
        schema=inputs.read_schema(settings.schema) if settings.schema else None,
    )
    label = settings.label_column
    if label is not None and label not in found.schema.names:
        raise RefusedError(
            f"--label_column {label}: no such column in {found.files[0].file.path}; found "
            f"{', '.join(found.schema.names)}"
        )
    return found


def _seed(settings: Settings, cascade: CascadeConfig, found: inputs.Inputs, precision: str) -> int:
    """A hash of corpus and cascade, so that nobody tries seeds without meaning to."""
    if settings.seed is not None:
        return settings.seed
    corpus = certificate.describe_corpus(found.files, settings.text_columns)
    text = json.dumps([cascade.scoring_fingerprint(precision), corpus], sort_keys=True)
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:6], "big")


def _needs_fit(settings: Settings, cascade: CascadeConfig) -> bool:
    """Whether rows are wanted that take no part in the test.

    With two labels a temperature cannot change the order of confidences, so it costs no rows.
    """
    reorders = settings.temperature == "fit" and len(cascade.labels) > 2
    return reorders or len(cascade.tiers) > 2 or settings.goals.accuracy_retained is not None


def _draw(
    settings: Settings, cascade: CascadeConfig, found: inputs.Inputs, seed: int
) -> sample.Sample:
    wanted = settings.sample_rows or settings.goals.test_rows()
    if _needs_fit(settings, cascade):
        wanted = round(wanted / (1 - FIT_PART))
    if settings.goals.has_budget:
        wanted += BUDGET_FIRST_TIER_ROWS
    # Labelled rows are a sample already; and who names a number means it.
    whole = settings.label_column is not None or settings.sample_rows is not None
    part = 1.0 if whole else PART_OF_CORPUS
    columns = [*settings.text_columns]
    if settings.label_column and settings.label_column not in columns:
        columns.append(settings.label_column)
    rows = sample.draw(found, columns, settings.text_columns, wanted, part, seed)
    fewest = settings.goals.fewest_rows()
    tested = rows.rows.num_rows * (1 - FIT_PART if _needs_fit(settings, cascade) else 1)
    if tested < fewest or not rows.rows.num_rows:
        raise RefusedError(
            f"expected at least {max(1, fewest)} rows to test with, found {int(tested)}: without a "
            f"single error, fewer cannot sign for {settings.goals.strictest} at delta "
            f"{settings.goals.delta}. The corpus has {rows.corpus:,} rows, of which "
            f"{'all' if whole else 'a tenth'} may be drawn (--sample_rows takes more)"
        )
    return rows


@dataclass(frozen=True)
class _Drawn:
    """The sample as scored: rows for all tiers, and under a budget more for the first alone."""

    all_tiers: Scored
    first_tier: np.ndarray | None


def _score(
    settings: Settings,
    cascade: CascadeConfig,
    tiers: Sequence[models.Model],
    rows: sample.Sample,
) -> _Drawn:
    table = rows.rows.combine_chunks()
    texts = _texts(table, settings.text_column)
    pairs = _texts(table, settings.text_pair_column) if settings.text_pair_column else None
    truth = _truth(table, settings.label_column, cascade.labels)
    judged = table.num_rows
    if settings.goals.has_budget:
        wanted = settings.sample_rows or settings.goals.test_rows()
        judged = min(wanted, table.num_rows // 2)
    head = slice(0, judged)
    every = scored.score_all(
        tiers, texts[head], None if pairs is None else pairs[head], cascade.labels,
        None if truth is None else truth[head],
    )  # fmt: skip
    # Rows on which a tier has no finite scores are dead in a run, and count for nothing here.
    every = every.take(every.finite())
    if not settings.goals.has_budget:
        return _Drawn(every, None)
    tail = slice(judged, table.num_rows)
    rest = None if pairs is None else pairs[tail]
    logger.info("tier 1 scores %s rows", f"{table.num_rows - judged:,}")
    logits, _ = scored.score(tiers[0], texts[tail], rest, cascade.labels)
    return _Drawn(every, logits[np.isfinite(logits).all(axis=1)])


def _texts(table: pa.Table, name: str) -> pa.Array:
    column = table[name].cast(pa.string())
    return pa.concat_arrays(column.chunks) if column.num_chunks != 1 else column.chunk(0)


def _truth(table: pa.Table, name: str | None, labels: tuple[str, ...]) -> IntArray | None:
    if name is None:
        return None
    index = {label: number for number, label in enumerate(labels)}
    values = [None if value is None else str(value) for value in table[name].to_pylist()]
    strange = sorted({str(value) for value in values if value not in index})
    if strange:
        raise RefusedError(
            f"--label_column {name}: expected the labels {list(labels)}, found {strange[:5]}"
        )
    return np.array([index[value] for value in values if value is not None], np.int64)


def _split(settings: Settings, cascade: CascadeConfig, rows: Scored) -> tuple[Scored, Scored]:
    """Rows that only fit, and rows that only test; they lie in random order."""
    count = round(len(rows) * FIT_PART) if _needs_fit(settings, cascade) else 0
    return rows.take(slice(0, count)), rows.take(slice(count, len(rows)))


def _sign(
    goals: Goals,
    cascade: CascadeConfig,
    fit: Scored,
    test: Scored,
    drawn: _Drawn,
    size: int | None,
    seed: int,
) -> list[Signed]:
    judged = test.judged(cascade)
    if goals.accuracy_retained is not None:
        rho = goals.accuracy_retained
        return [signing.accuracy_retained(fit.judged(cascade), judged, rho, goals.delta, seed)]
    if goals.has_budget:
        return _within_budget(goals, cascade, test, drawn, size)
    if len(cascade.tiers) > 2:
        assert goals.agreement is not None
        fitted = fit.judged(cascade)
        return [signing.path_agreement(fitted, judged, goals.agreement, goals.delta, size)]
    share = goals.delta / (2 if goals.agreement and goals.class_agreement else 1)
    signed = []
    if goals.agreement is not None:
        signed.append(signing.agreement(judged, goals.agreement, share, size))
    if goals.class_agreement is not None:
        labels = cascade.labels
        signed += signing.class_agreement(judged, labels, goals.class_agreement, share)
    return signing.at_one_threshold(signed, judged, labels=cascade.labels, corpus=size)


def _within_budget(
    goals: Goals, cascade: CascadeConfig, test: Scored, drawn: _Drawn, size: int | None
) -> list[Signed]:
    """Escalation within the budget on one sample, agreement at that threshold on another."""
    budget = goals.max_escalation
    if budget is None:
        first, last = test.seconds[0], test.seconds[-1]
        assert goals.min_speedup is not None
        budget = 1 / goals.min_speedup - first / last
        if not 0 < budget < 1:
            raise RefusedError(
                f"--min_speedup {goals.min_speedup}: expected less than {last / first:.1f}, which "
                "is how many times as fast the first tier is alone, on this machine"
            )
    first_tier = cascade.tiers[0]
    assert drawn.first_tier is not None
    confidences = scored.confidences_of(
        drawn.first_tier, first_tier.temperature, first_tier.confidence
    )
    within = signing.escalation(confidences, budget, goals.delta / 2, size)
    judged = test.judged(cascade)
    agreed = signing.prove_agreement(judged, within.thresholds, goals.delta / 2)
    return [within, agreed]


def _safest(signed: Sequence[Signed]) -> tuple[float, ...]:
    """Of two tiers, every promise that holds at a threshold holds at a higher one."""
    return max(one.thresholds for one in signed)


def _with_thresholds(cascade: CascadeConfig, thresholds: Sequence[float]) -> CascadeConfig:
    tiers = [
        replace(tier, threshold=threshold)
        for tier, threshold in zip(cascade.tiers[:-1], thresholds, strict=True)
    ]
    return replace(cascade, tiers=(*tiers, cascade.tiers[-1]))


def _attempt(made: dict[str, Any], met: bool) -> dict[str, Any]:
    """What stays on record of an attempt, also of one that signed nothing."""
    goals = [{name: one[name] for name in ("goal", "value", "label")} for one in made["signed"]]
    kept = {name: made[name] for name in ("made", "delta", "seed", "sample", "thresholds")}
    return {**kept, "goals": goals, "met": met}
