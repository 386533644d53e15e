"""A calibration from beginning to end: draw, score, fit, sign, write the cascade directory."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial

import numpy as np
import pyarrow as pa

from tango_beam import machine
from tango_beam.arrays import Float32
from tango_beam.calibration import attempts, exits, filtering, kinds, score_sample
from tango_beam.calibration.goals import BUDGET_FIRST_TIER_ROWS, FIT_PART, PART_OF_CORPUS, Goals
from tango_beam.calibration.offers import Offer, offers
from tango_beam.calibration.options import CalibrateOptions
from tango_beam.calibration.score_sample import TierLogits
from tango_beam.cascade_directory import fetched
from tango_beam.config import CascadeConfig, Compute
from tango_beam.errors import RefusedError
from tango_beam.guarantees import bounds, filters, guarantees, means
from tango_beam.guarantees.certificate import (
    Certificate,
    ClassAgreement,
    Guarantee,
    SampleRows,
    Speed,
)
from tango_beam.io import inputs, sample
from tango_beam.io.jsonl_schema import read_schema
from tango_beam.io.labelled import one_array
from tango_beam.io.planned import Input, describe_corpus
from tango_beam.models.protocol import Model
from tango_beam.resolve import load_tiers, resolve_cascade, settle

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Outcome:
    """What a calibration gave.

    Attributes:
      certificate: with the guarantees, whether they are met or not.
      offers: what the same rows could sign for, for people to choose from; of two tiers that are no
        filter only.
    """

    certificate: Certificate
    offers: tuple[Offer, ...]

    @property
    def met(self) -> bool:
        """Whether all guarantees hold with some row accepted, so that the cascade was written."""
        return self.certificate.attempts[-1].met


@dataclass(frozen=True)
class _Sample:
    """The scored sample.

    Attributes:
      fit: rows that only fit; often none.
      test: rows that only test.
      first_tier: under a budget, the first tier's logits for further rows.
      corpus: rows that the sample was drawn from; None for labelled rows, which are themselves a
        sample of what the guarantees are about.
      seed: with which it was drawn.
    """

    fit: TierLogits
    test: TierLogits
    first_tier: Float32 | None
    corpus: int | None
    seed: int


def run(options: CalibrateOptions) -> Outcome:
    """Calibrates a cascade on a corpus and writes its directory.

    Raises:
      RefusedError: before any scoring, saying what was expected and what was found.
    """
    cascade = _cascade(options)
    options = kinds.with_a_goal(options, cascade)
    goals, real = options.goals, len(cascade.tiers)
    earlier = attempts.open_output(cascade, options.output, options.overwrite)
    corpus = _inspect(options)
    compute = settle(options.device, options.precision)
    seed = _seed(options, cascade, corpus, compute.precision)
    cascade, models = _models(options, cascade, compute)
    drawn, scored = _sample(options, cascade, models, corpus, seed)
    before = cascade
    if options.temperature == "fit":
        fit = scored.fit if len(scored.fit) else scored.test
        cascade = kinds.fitted(cascade, fit)
    each = _guarantees(goals, cascade, scored)
    # With two tiers, a guarantee that holds at a threshold holds at every higher one.
    thresholds, of_label = max(one.thresholds for one in each), each[0].label_threshold
    cascade = _with_thresholds(cascade, thresholds, of_label)
    classes = kinds.by_class(cascade, scored.test, thresholds, goals.delta, of_label)
    costs = speed(scored.test, cascade, thresholds, of_label)
    errors = score_sample.calibration_errors(before, cascade, scored.test)
    answers = scored.test.answers(cascade)
    cascade = exits.joined(cascade, real) if options.exits else cascade
    certificate = Certificate(
        made=datetime.now(UTC).isoformat(timespec="seconds"),
        signed=tuple(each),
        delta=goals.delta,
        thresholds=thresholds[: real - 1],
        seed=seed,
        sample=SampleRows(drawn.drawn, len(scored.test), len(scored.fit)),
        corpus=describe_corpus(corpus.files, options.text_columns, drawn.corpus),
        speed=costs,
        by_class=classes,
        calibration=errors,
        versions=machine.versions(),
        unseen_classes=_unseen(cascade, classes),
        scoring=cascade.scoring(compute.precision),
        scoring_fingerprint=cascade.scoring_fingerprint(compute.precision),
        filter=goals.label,
        label_threshold=of_label,
        exit_thresholds=cascade.tiers[-1].exit_thresholds,
    )
    certificate = replace(certificate, attempts=(*earlier, certificate.attempt()))
    attempts.write(cascade, certificate, options.output)
    return Outcome(certificate, offers(answers, goals.delta, scored.corpus))


def _cascade(options: CalibrateOptions) -> CascadeConfig:
    pair = options.text_pair_column is not None
    cascade = fetched(resolve_cascade(options, pair=pair, least_tiers=2))
    goals = options.goals
    kinds.refuse_goals(cascade, goals)
    if goals.label is not None:
        known = cascade.task.calls(cascade.labels)
        if goals.label not in known:
            raise RefusedError(
                f"--recall, --precision: expected one of {', '.join(known) or 'nothing'} that "
                f"cascade {cascade.name} calls a row, found {goals.label}"
            )
    shared = (replace(tier, label_threshold=None) for tier in cascade.tiers)
    cascade = replace(cascade, filter=goals.label, tiers=tuple(shared))
    if options.confidence is None:
        return cascade
    before = (replace(tier, confidence=options.confidence) for tier in cascade.tiers[:-1])
    return replace(cascade, tiers=(*before, cascade.tiers[-1]))


def _models(
    options: CalibrateOptions, cascade: CascadeConfig, compute: Compute
) -> tuple[CascadeConfig, list[Model]]:
    """The models of all tiers; with `--exits`, each exit is a tier of the cascade's, too."""
    if not options.exits:
        return cascade, load_tiers(cascade, compute)
    cascade, models = exits.load(cascade, compute)
    kinds.refuse_goals(cascade, options.goals)
    return cascade, models


def _unseen(cascade: CascadeConfig, classes: Sequence[ClassAgreement]) -> tuple[str, ...]:
    seen = {one.label for one in classes}
    return tuple(name for name in kinds.classes(cascade) if name not in seen)


def _inspect(options: CalibrateOptions) -> Input:
    return inputs.inspect(
        options.input,
        options.text_columns,
        input_format=options.input_format,
        columns=[] if options.label_column is None else [options.label_column],
        schema=read_schema(options.schema) if options.schema else None,
        unknown_keys="drop",
        columns_option="--label_column",
    )


def _seed(options: CalibrateOptions, cascade: CascadeConfig, corpus: Input, precision: str) -> int:
    """`--seed`, or a hash of corpus and cascade: the same ones then draw the same sample."""
    if options.seed is not None:
        return options.seed
    described = describe_corpus(corpus.files, options.text_columns).to_json()
    text = json.dumps([cascade.scoring_fingerprint(precision), described], sort_keys=True)
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:6], "big")


def _fit_part(options: CalibrateOptions, cascade: CascadeConfig) -> float:
    """Share of the sample that only fits, and takes no part in the test.

    What cannot change the order of confidences costs no rows.
    """
    reorders = options.temperature == "fit" and kinds.reorders(cascade)
    goals = options.goals
    means = (goals.accuracy_retained, goals.f1_agreement, goals.f1_retained)
    needed = reorders or len(cascade.tiers) > 2 or any(value is not None for value in means)
    return FIT_PART if needed else 0.0


def _tested_by_all(options: CalibrateOptions) -> int:
    """Rows that all tiers are to be tested on."""
    return options.sample_rows or options.goals.test_rows()


def _draw(
    options: CalibrateOptions, cascade: CascadeConfig, corpus: Input, seed: int
) -> sample.Sample:
    goals, fit_part = options.goals, _fit_part(options, cascade)
    wanted = round(_tested_by_all(options) / (1 - fit_part))
    if goals.has_budget:
        wanted += BUDGET_FIRST_TIER_ROWS
    # Labelled rows are a sample already; and who names a number means it.
    whole = options.label_column is not None or options.sample_rows is not None
    part = 1.0 if whole else PART_OF_CORPUS
    columns = [*options.text_columns]
    if options.label_column and options.label_column not in columns:
        columns.append(options.label_column)
    drawn = sample.draw(corpus, columns, wanted, part, seed)
    _refuse_too_few(drawn, int(drawn.rows.num_rows * (1 - fit_part)), goals, whole)
    return drawn


def _refuse_too_few(drawn: sample.Sample, tested: int, goals: Goals, whole: bool) -> None:
    fewest = bounds.fewest_rows(goals.strictest, goals.delta) if goals.strictest else 1
    if tested < fewest:
        raise RefusedError(
            f"expected at least {fewest} rows to test with, found {tested}: without a "
            f"single error, fewer cannot sign for {goals.strictest} at delta "
            f"{goals.delta}. The corpus has {drawn.corpus:,} rows, of which "
            f"{'all' if whole else 'a tenth'} may be drawn (--sample_rows takes more)"
        )


def _sample(
    options: CalibrateOptions,
    cascade: CascadeConfig,
    models: Sequence[Model],
    corpus: Input,
    seed: int,
) -> tuple[sample.Sample, _Sample]:
    """The rows that are drawn, and what all tiers say of them."""
    if options.goals.label is not None:
        return _of_filter(options, cascade, models, corpus, seed)
    drawn = _draw(options, cascade, corpus, seed)
    return drawn, _score(options, cascade, models, drawn, seed)


def _of_filter(
    options: CalibrateOptions,
    cascade: CascadeConfig,
    models: Sequence[Model],
    corpus: Input,
    seed: int,
) -> tuple[sample.Sample, _Sample]:
    """Rows that test a filter: as many as the label's share in a first draw asks for."""
    goals, whole = options.goals, options.sample_rows is not None
    part, columns = 1.0 if whole else PART_OF_CORPUS, options.text_columns
    assert goals.label is not None

    def scored(table: pa.Table) -> TierLogits:
        texts = [one_array(table[name]) for name in columns]
        return score_sample.score_all(models, texts, cascade.labels).answered(cascade)

    first = sample.draw(corpus, columns, filtering.FIRST_DRAW_ROWS, part, seed)
    fit = scored(first.rows)
    needed = [*filtering.needs(goals, fit.answers(cascade))]
    fewest = max(need.fewest for need in needed)
    usual = max(filtering.TIMES_THE_FEWEST * fewest, goals.test_rows())
    # A draw of its own: the first one's size tells nothing of the rows that test.
    drawn = sample.draw(corpus, columns, options.sample_rows or usual, part, seed + 1)
    filtering.refuse_too_few(drawn.rows.num_rows, needed, goals.label, drawn.corpus, whole)
    _refuse_too_few(drawn, drawn.rows.num_rows, goals, whole)
    both = replace(drawn, drawn=first.drawn + drawn.drawn)
    return both, _Sample(fit, scored(drawn.rows), None, drawn.corpus, seed)


def _score(
    options: CalibrateOptions,
    cascade: CascadeConfig,
    models: Sequence[Model],
    drawn: sample.Sample,
    seed: int,
) -> _Sample:
    table, labels = drawn.rows, cascade.labels
    texts = [one_array(table[name]) for name in options.text_columns]
    count = table.num_rows
    if options.goals.has_budget:
        count = min(_tested_by_all(options), count // 2)
    truth = kinds.truth_of(cascade, table, options.label_column)
    everyone = [column[:count] for column in texts]
    right = None if truth is None else truth[:count]
    last = exits.score if options.exits else None
    scored = score_sample.score_all(models, everyone, labels, right, last).answered(cascade)
    first_tier = None
    if options.goals.has_budget:
        logger.info("tier 1 scores %s rows", f"{table.num_rows - count:,}")
        logits, _ = score_sample.score(models[0], [column[count:] for column in texts], labels)
        first_tier = logits[np.isfinite(logits).all(axis=1)]
    # Rows lie in random order.
    fit = round(len(scored) * _fit_part(options, cascade))
    corpus = drawn.corpus if options.label_column is None else None
    fit_rows, test_rows = scored.take(slice(0, fit)), scored.take(slice(fit, len(scored)))
    return _Sample(fit_rows, test_rows, first_tier, corpus, seed)


def _guarantees(goals: Goals, cascade: CascadeConfig, rows: _Sample) -> list[Guarantee]:
    """What the sample can sign for: each with the thresholds that it takes."""
    if goals.has_budget:
        return _within_budget(goals, cascade, rows)
    test = rows.test.answers(cascade)
    if goals.f1_agreement is not None or goals.f1_retained is not None:
        return [kinds.mean_f1(cascade, rows.fit, rows.test, goals, rows.seed)]
    if goals.accuracy_retained is not None:
        fit, rho = rows.fit.answers(cascade), goals.accuracy_retained
        return [means.accuracy_retained(fit, test, rho, goals.delta, rows.seed)]
    if len(cascade.tiers) > 2:
        return kinds.on_a_path(cascade, rows.fit, rows.test, goals, rows.corpus)
    labels, columns = kinds.classes(cascade), kinds.columns(cascade, rows.test)
    share, corpus, each = goals.share, rows.corpus, []
    if goals.agreement is not None:
        each.append(guarantees.agreement(test, goals.agreement, share, corpus))
    if goals.class_agreement is not None and columns:
        each += guarantees.label_agreement(columns, labels, goals.class_agreement, share, corpus)
    elif goals.class_agreement is not None:
        each += guarantees.class_agreement(test, labels, goals.class_agreement, share)
    move = partial(
        guarantees.at_one_threshold, each, test, labels=labels, corpus=corpus, columns=columns
    )
    if goals.label is None:
        return move()
    promises = filtering.promises(goals)
    at = filters.sides(test, promises)
    at = at.at_least(max((one.thresholds[0] for one in each), default=0.0))
    signed = filters.sign(test, promises, at, goals.label)
    return [*move(at=at), *signed]


def _within_budget(goals: Goals, cascade: CascadeConfig, rows: _Sample) -> list[Guarantee]:
    """Escalation within the budget on one sample, agreement at that threshold on another."""
    budget = goals.max_escalation
    if budget is None:
        first, last = rows.test.seconds
        assert goals.min_speedup is not None
        budget = 1 / goals.min_speedup - first / last
        if not 0 < budget < 1:
            raise RefusedError(
                f"--min_speedup {goals.min_speedup}: expected less than {last / first:.1f}, which "
                "is how many times as fast the first tier is alone, on this machine"
            )
    assert rows.first_tier is not None
    confidences = cascade.decoder(cascade.tiers[0]).confidences(rows.first_tier)
    within = guarantees.escalation(confidences, budget, goals.delta / 2, rows.corpus)
    test = rows.test.answers(cascade)
    return [within, guarantees.prove_agreement(test, within.thresholds, goals.delta / 2)]


def _with_thresholds(
    cascade: CascadeConfig, thresholds: Sequence[float], label_threshold: float | None
) -> CascadeConfig:
    tiers = [
        replace(tier, threshold=threshold)
        for tier, threshold in zip(cascade.tiers[:-1], thresholds, strict=True)
    ]
    first = replace(tiers[0], label_threshold=label_threshold)
    return replace(cascade, tiers=(first, *tiers[1:], cascade.tiers[-1]))


def speed(
    rows: TierLogits,
    cascade: CascadeConfig,
    thresholds: Sequence[float],
    label_threshold: float | None = None,
) -> Speed:
    """Seconds a row in each tier, and how many times as fast as the last tier alone the cascade is.

    Costs are those of this machine, batched and sorted by length, tokenization included; escalated
    rows are taken to cost what rows of the sample cost on average.
    """
    tier = rows.answers(cascade).cascaded(thresholds, label_threshold)[1]
    reached = tuple(float((tier >= number).mean()) for number in range(1, len(rows.seconds) + 1))
    times = rows.alone / float(np.dot(reached, rows.seconds))
    return Speed(rows.seconds, reached[1], reached, times, times > 1)
