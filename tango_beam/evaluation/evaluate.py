"""Evaluates a cascade: reads labelled rows, scores and times the tiers, draws up the report."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from tango_beam import machine, routing
from tango_beam.answers.margins import USUAL_CUT
from tango_beam.answers.task import LABELS, MULTI_LABEL, SCORE, SPAN
from tango_beam.arrays import Float32
from tango_beam.config import CascadeConfig, Compute
from tango_beam.errors import RefusedError
from tango_beam.evaluation import (
    answers,
    costs,
    curves,
    cuts,
    early_exit,
    heldout,
    metrics,
    results,
)
from tango_beam.evaluation.answers import Answered
from tango_beam.evaluation.costs import Costs
from tango_beam.evaluation.metrics import Metric
from tango_beam.evaluation.options import EvaluateOptions
from tango_beam.evaluation.report import ChosenCuts, Report
from tango_beam.io.labelled import LabelledTexts, read_labelled
from tango_beam.resolve import load_tiers, refuse_asked, resolve_cascade, settle

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Prepared:
    """Options that were checked, with what they name.

    Attributes:
      options: as given.
      compute: device and precision, no longer `auto`.
      cascade: two tiers or more.
      texts: the labelled rows.
      metric: what the curves are of.
    """

    options: EvaluateOptions
    compute: Compute
    cascade: CascadeConfig
    texts: LabelledTexts
    metric: Metric


def prepare(options: EvaluateOptions) -> Prepared:
    """Checks everything that can be checked before a tier is loaded, and reads the rows.

    Raises:
      RefusedError: says what was expected and what was found.
    """
    # All thresholds are tried, so two checkpoints do without one.
    named = options if options.has_own_threshold else replace(options, threshold=1.0)
    pair = options.text_pair_column is not None
    cascade = resolve_cascade(named, pair=pair, least_tiers=2)
    refuse_asked(cascade, "evaluate")
    if cascade.filter is not None:
        raise RefusedError(
            f"cascade {cascade.name}: expected one that answers with all its labels, found a "
            f"filter on {cascade.filter}; evaluate the cascade that it was calibrated from"
        )
    metric = _metric(options, cascade)
    compute = settle(options)
    texts = read_labelled(
        options.input,
        options.text_columns,
        options.label_column,
        None if cascade.task.kind in (SCORE, SPAN) else cascade.labels,
        kind=cascade.task.kind,
        input_format=options.input_format,
    )
    least = 4 if options.choose_cuts else 2
    if len(texts) < least:
        raise RefusedError(
            f"--input {' '.join(options.input)}: expected at least {least} rows, some to choose a "
            f"threshold{' and cuts' * options.choose_cuts} on and one to score, found {len(texts)}"
        )
    return Prepared(options, compute, cascade, texts, metric)


def _metric(options: EvaluateOptions, cascade: CascadeConfig) -> Metric:
    """The metric, with the label that F1 is of: the one named, or of two labels the second."""
    kind, labels = cascade.task.kind, cascade.labels
    name = options.metric or metrics.METRICS[kind][0]
    if name not in metrics.METRICS[kind]:
        raise RefusedError(
            f"--metric: expected {' or '.join(metrics.METRICS[kind])} for {kind}, found {name}"
        )
    if options.choose_cuts and kind != MULTI_LABEL:
        raise RefusedError(f"--choose_cuts: expected it for multi_label, found {kind}")
    if kind in (SCORE, SPAN):
        if options.positive is not None:
            raise RefusedError(f"--positive: expected none for {kind}, found {options.positive}")
        return Metric(kind, name)
    if options.positive is not None and options.positive not in labels:
        raise RefusedError(
            f"--positive: expected one of {', '.join(labels)}, found {options.positive}"
        )
    positive = 1 if kind == LABELS and len(labels) == 2 else None
    if options.positive is not None:
        positive = labels.index(options.positive)
    if name == "f1" and positive is None:
        raise RefusedError(
            f"--metric f1: expected --positive to name one of {len(labels)} labels, found none; "
            "macro_f1 is over all of them"
        )
    return Metric(kind, name, len(labels), positive)


def run(prepared: Prepared, command: str) -> Report:
    """Scores and times the tiers, and draws up the report.

    Args:
      prepared: what to evaluate.
      command: the command line, for the report.

    Raises:
      RefusedError: a tier that does not load; JobError: one whose scores are not finite.
    """
    compute, chosen = prepared.compute, None
    # Read before the work begins, so that the load is what others put on the machine.
    facts = machine.facts(compute.device, compute.precision)
    models = load_tiers(prepared.cascade, compute)
    outputs = answers.outputs_of(prepared.cascade, prepared.texts, models)
    if prepared.options.choose_cuts:
        prepared, outputs, chosen = _choose_cuts(prepared, outputs)
    answered = answers.answer(prepared.cascade, prepared.texts, models, outputs)
    measured = _measure(prepared, answered)
    left = early_exit.measure(
        prepared.options,
        prepared.cascade,
        prepared.texts,
        prepared.metric,
        answered,
        compute,
    )
    logger.info("drawing up the report")
    report = results.make_report(
        prepared.options,
        prepared.cascade,
        prepared.texts,
        prepared.metric,
        answered,
        measured,
        chosen,
        command=command,
        machine=facts,
    )
    return replace(report, early_exit=left)


def _choose_cuts(
    prepared: Prepared, outputs: list[Float32]
) -> tuple[Prepared, list[Float32], ChosenCuts]:
    """The cascade with cuts chosen on a random half of the rows, and the other half.

    What a tier was fitted to at other cuts does not fit these.
    """
    cascade, texts = prepared.cascade, prepared.texts
    choosing, scoring = heldout.halves(len(texts), prepared.options.seed)
    truth, last = texts.targets.astype(bool), outputs[-1]
    before = cascade.task.every_cut(cascade.labels) or (USUAL_CUT,) * len(cascade.labels)
    found = cuts.best_cuts(routing.sigmoid(last[choosing]), truth[choosing], before)
    tiers = cascade.tiers if found == before else tuple(replace(t, fits=()) for t in cascade.tiers)
    recut = replace(cascade, task=replace(cascade.task, cuts=found), tiers=tiers)
    rest = texts.take(scoring)
    old, new = (
        answers.of_tier(each, each.tiers[-1], last[scoring], rest) for each in (cascade, recut)
    )
    chosen = results.chosen_cuts(
        cascade.labels, (before, found), (old, new), truth[scoring], rows=len(choosing)
    )
    logger.info("chose cuts on %s of %s rows", f"{len(choosing):,}", f"{len(texts):,}")
    return replace(prepared, cascade=recut, texts=rest), [one[scoring] for one in outputs], chosen


def _measure(prepared: Prepared, answered: Answered) -> Mapping[str, Costs]:
    """Both batch sizes' costs, on seeded samples where there are more rows than the options say."""
    options, scored, texts = prepared.options, answered.scored, prepared.texts
    rows = len(scored)
    orders = {
        "cascade": curves.confidence_order(scored),
        "oracle": curves.oracle_order(scored, prepared.metric),
        "random": curves.random_order(rows, options.seed),
    }
    mixed = curves.random_order(rows, options.seed + 1)
    several, single = np.sort(mixed[: options.cost_rows]), np.sort(mixed[: options.single_rows])
    stages, repeats = answered.stages, options.repeats
    return {
        "batch_1": costs.at_batch_size_1(
            stages, texts, {**orders, "random": None}, single, repeats=repeats
        ),
        "own_batch": costs.at_own_batch_sizes(stages, texts, orders, several, repeats=repeats),
    }
