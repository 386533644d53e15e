"""An evaluation from options to a report: rows read, tiers scored and timed, curves drawn up."""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from tango_beam import job
from tango_beam.config import CascadeConfig
from tango_beam.errors import RefusedError
from tango_beam.evaluation import answers, costs, curves, findings, labelled, machine, metrics
from tango_beam.evaluation.answers import Answered
from tango_beam.evaluation.costs import Costs
from tango_beam.evaluation.labelled import Columns, LabelledTexts
from tango_beam.evaluation.metrics import Metric
from tango_beam.options import Options as JobOptions
from tango_beam.tier import Compute

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Options:
    """What `pipelines.evaluate` can be told; the names are those of the command line."""

    input: tuple[str, ...]
    output: str
    cascade: str = "sst2"
    first_tier: str | None = None
    second_tier: str | None = None
    threshold: float | None = None
    text_column: str = "text"
    text_pair_column: str | None = None
    label_column: str = "label"
    input_format: str = "auto"
    metric: str = "accuracy"
    positive: str | None = None
    max_length: int | None = None
    device: str = "auto"
    precision: str = "auto"
    repeats: int = 3
    splits: int = 20
    cost_rows: int = 5000
    single_rows: int = 200
    seed: int = 0
    overwrite: bool = False

    def __post_init__(self) -> None:
        for name in ("repeats", "splits", "cost_rows", "single_rows"):
            if getattr(self, name) < 1:
                raise RefusedError(f"--{name}: expected at least 1, found {getattr(self, name)}")
        if self.seed < 0:
            raise RefusedError(f"--seed: expected at least 0, found {self.seed}")
        if self.threshold is not None and not 0 <= self.threshold <= 1:
            raise RefusedError(f"--threshold: expected 0 to 1, found {self.threshold}")

    @property
    def columns(self) -> Columns:
        """The columns that are read."""
        return Columns(self.text_column, self.label_column, self.text_pair_column)

    @property
    def own_threshold(self) -> bool:
        """Whether there is a threshold to report beside the curve: the cascade's, or one given."""
        return self.threshold is not None or self.first_tier is None


@dataclass(frozen=True)
class Prepared:
    """Options that were checked, with what they name.

    Attributes:
      options: with device and precision settled.
      cascade: two tiers or more.
      texts: the labelled rows.
      metric: what the curves are of.
    """

    options: Options
    cascade: CascadeConfig
    texts: LabelledTexts
    metric: Metric


def prepare(options: Options) -> Prepared:
    """Checks everything that can be checked before a tier is loaded, and reads the rows.

    Raises:
      RefusedError: says what was expected and what was found.
    """
    cascade = _cascade(options)
    if len(cascade.tiers) < 2:
        raise RefusedError(f"cascade {cascade.name}: expected two tiers or more, found one")
    if cascade.pair and options.text_pair_column is None:
        raise RefusedError(
            f"cascade {cascade.name}: expected two texts a row, found no --text_pair_column"
        )
    metric = _metric(options, cascade)
    compute = job.settle(options.device, options.precision)
    texts = labelled.read(
        options.input, options.columns, cascade.labels, input_format=options.input_format
    )
    if len(texts) < 2:
        raise RefusedError(
            f"--input {' '.join(options.input)}: expected at least 2 rows, one to choose a "
            "threshold on and one to score, found 1"
        )
    return Prepared(
        replace(options, device=compute.device, precision=compute.precision), cascade, texts, metric
    )


def _cascade(options: Options) -> CascadeConfig:
    """The cascade that is named. All thresholds are tried, so two tiers do without one."""
    threshold = 1.0 if not options.own_threshold else options.threshold
    return job.resolve_cascade(
        JobOptions(
            input=options.input,
            output=options.output,
            cascade=options.cascade,
            first_tier=options.first_tier,
            second_tier=options.second_tier,
            threshold=threshold,
            max_length=options.max_length,
            precision=options.precision,
        )
    )


def _metric(options: Options, cascade: CascadeConfig) -> Metric:
    labels = cascade.labels
    if options.positive is not None and options.positive not in labels:
        raise RefusedError(
            f"--positive: expected one of {', '.join(labels)}, found {options.positive}"
        )
    if options.metric == "f1" and options.positive is None and len(labels) > 2:
        raise RefusedError(
            f"--metric f1: expected --positive to name one of {len(labels)} labels, found none; "
            "macro_f1 is over all of them"
        )
    try:
        return Metric(options.metric, positive_of(options, labels))
    except ValueError as error:
        raise RefusedError(f"--metric: {error}") from error


def positive_of(options: Options, labels: tuple[str, ...]) -> int | None:
    """The label that F1 is of: the one named, or of two the second (`positive`, `paraphrase`, 1).

    None where there are more and none is named.
    """
    if options.positive is not None:
        return labels.index(options.positive)
    return 1 if len(labels) == 2 else None


def run(prepared: Prepared, command: str) -> dict[str, Any]:
    """Scores and times the tiers and draws up the report, as JSON holds it.

    Args:
      prepared: what to evaluate.
      command: the command line, for the report.
    """
    options, cascade = prepared.options, prepared.cascade
    # Read before the work begins, so that the load is what others put on the machine.
    facts = machine.facts(options.device, options.precision)
    answered = answers.answer(cascade, prepared.texts, Compute(options.device, options.precision))
    measured = _measure(prepared, answered)
    logger.info("drawing up the report")
    return {
        "command": command,
        "cascade": findings.describe_cascade(cascade, answered, options.precision),
        "input": findings.describe_input(options.input, options.columns, cascade, prepared.texts),
        "metric": {
            "name": prepared.metric.name,
            "shown": metrics.NAMES[prepared.metric.name],
            "positive": findings.label_or_none(cascade, positive_of(options, cascade.labels)),
        },
        "seed": options.seed,
        "repeats": options.repeats,
        "machine": facts,
        **findings.all_findings(
            answered,
            prepared.metric,
            measured,
            positive=positive_of(options, cascade.labels),
            own_threshold=cascade.threshold if options.own_threshold else None,
            splits=options.splits,
            seed=options.seed,
        ),
    }


def _measure(prepared: Prepared, answered: Answered) -> dict[str, Costs]:
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
