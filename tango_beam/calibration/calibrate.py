"""A calibration from beginning to end: draw, score, fit, sign, write the cascade directory."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pyarrow as pa

from tango_beam.calibration import attempts, exits, filtering, kinds, score_sample
from tango_beam.calibration.certify import Outcome, ScoredSample, Signing, sign
from tango_beam.calibration.goals import (
    BUDGET_FIRST_TIER_ROWS,
    EXITS_FIT_PART,
    FIT_PART,
    PART_OF_CORPUS,
    Goals,
)
from tango_beam.calibration.options import CalibrateOptions
from tango_beam.calibration.score_sample import TierLogits
from tango_beam.cascade_directory import fetched
from tango_beam.config import CascadeConfig, Compute
from tango_beam.errors import RefusedError
from tango_beam.guarantees import bounds
from tango_beam.io import inputs, sample
from tango_beam.io.jsonl_schema import read_schema
from tango_beam.io.labelled import one_array
from tango_beam.io.planned import Input, describe_corpus
from tango_beam.models.protocol import Model
from tango_beam.resolve import load_tiers, resolve_cascade, settle

logger = logging.getLogger(__name__)


def run(options: CalibrateOptions) -> Outcome:
    """Calibrates a cascade on a corpus and writes its directory.

    Raises:
      RefusedError: before any scoring, saying what was expected and what was found.
    """
    cascade = _cascade(options)
    options = kinds.with_a_goal(options, cascade)
    real = len(cascade.tiers)
    earlier = attempts.open_output(cascade, options.output, options.overwrite)
    corpus = _inspect(options)
    compute = settle(options)
    seed = _seed(options, cascade, corpus, compute.precision)
    cascade, models = _models(options, cascade, compute)
    drawn, scored = _sample(options, cascade, models, corpus, seed)
    described = describe_corpus(corpus.files, options.text_columns, drawn.corpus)
    given = Signing(options, compute, described, drawn.drawn, earlier, real)
    return sign(given, cascade, scored)


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
    if options.exits:
        return EXITS_FIT_PART
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
) -> tuple[sample.Sample, ScoredSample]:
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
) -> tuple[sample.Sample, ScoredSample]:
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
    return both, ScoredSample(fit, scored(drawn.rows), None, drawn.corpus, seed)


def _score(
    options: CalibrateOptions,
    cascade: CascadeConfig,
    models: Sequence[Model],
    drawn: sample.Sample,
    seed: int,
) -> ScoredSample:
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
    return ScoredSample(fit_rows, test_rows, first_tier, corpus, seed)
