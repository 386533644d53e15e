"""Evaluates a cascade: reads labelled rows, scores and times the tiers, draws up the report."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from tango_beam import machine
from tango_beam.config import CascadeConfig, Compute
from tango_beam.errors import RefusedError
from tango_beam.evaluation import answers, costs, curves, results
from tango_beam.evaluation.answers import Answered
from tango_beam.evaluation.costs import Costs
from tango_beam.evaluation.metrics import Metric
from tango_beam.evaluation.options import EvaluateOptions
from tango_beam.evaluation.report import Report
from tango_beam.io.labelled import LabelledTexts, read_labelled
from tango_beam.resolve import load_tiers, resolve_cascade, settle

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
    if cascade.filter is not None:
        raise RefusedError(
            f"cascade {cascade.name}: expected one that answers with all its labels, found a "
            f"filter on {cascade.filter}; evaluate the cascade that it was calibrated from"
        )
    metric = _metric(options, cascade.labels)
    compute = settle(options.device, options.precision)
    texts = read_labelled(
        options.input,
        options.text_columns,
        options.label_column,
        cascade.labels,
        input_format=options.input_format,
    )
    if len(texts) < 2:
        raise RefusedError(
            f"--input {' '.join(options.input)}: expected at least 2 rows, one to choose a "
            "threshold on and one to score, found 1"
        )
    return Prepared(options, compute, cascade, texts, metric)


def _metric(options: EvaluateOptions, labels: tuple[str, ...]) -> Metric:
    """The metric, with the label that F1 is of: the one named, or of two labels the second."""
    if options.positive is not None and options.positive not in labels:
        raise RefusedError(
            f"--positive: expected one of {', '.join(labels)}, found {options.positive}"
        )
    if options.positive is not None:
        return Metric(options.metric, labels.index(options.positive))
    if options.metric == "f1" and len(labels) > 2:
        raise RefusedError(
            f"--metric f1: expected --positive to name one of {len(labels)} labels, found none; "
            "macro_f1 is over all of them"
        )
    return Metric(options.metric, 1 if len(labels) == 2 else None)


def run(prepared: Prepared, command: str) -> Report:
    """Scores and times the tiers, and draws up the report.

    Args:
      prepared: what to evaluate.
      command: the command line, for the report.

    Raises:
      RefusedError: a tier that does not load; JobError: one whose scores are not finite.
    """
    cascade, compute, texts = prepared.cascade, prepared.compute, prepared.texts
    # Read before the work begins, so that the load is what others put on the machine.
    facts = machine.facts(compute.device, compute.precision)
    answered = answers.answer(cascade, texts, load_tiers(cascade, compute))
    measured = _measure(prepared, answered)
    logger.info("drawing up the report")
    return results.make_report(
        prepared.options,
        cascade,
        texts,
        prepared.metric,
        answered,
        measured,
        command=command,
        machine=facts,
    )


def _measure(prepared: Prepared, answered: Answered) -> Mapping[str, Costs]:
    """Both batch sizes' costs, on seeded samples where there are more rows than the options say."""
    options, scored, texts = prepared.options, answered.scored, prepared.texts
    rows = len(scored)
    orders = {
        "cascade": curves.confidence_order(scored),
        "oracle": curves.oracle_order(scored),
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
