"""The last tier left at its exits, beside the cascade: what DeeBERT makes of the same network.

TangoBERT, section 5.2.4, takes DeeBERT (Xin et al., 2020) as its baseline. A last tier whose
checkpoint holds exits (`distill --student exits`) is such a baseline: one threshold for all of
them, from which on a row leaves. It is timed at a few thresholds, the whole tier in turn with them,
and straight lines in the layers that a row goes through on average lie in between.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt

from tango_beam import routing
from tango_beam.answers.task import LABELS
from tango_beam.arrays import Float64, Int64
from tango_beam.config import CascadeConfig, Compute
from tango_beam.evaluation import costs, curves
from tango_beam.evaluation.answers import Answered
from tango_beam.evaluation.costs import Stage
from tango_beam.evaluation.metrics import Metric
from tango_beam.evaluation.options import EvaluateOptions
from tango_beam.evaluation.report import BySize, EarlyExit, ExitAt
from tango_beam.io.labelled import LabelledTexts
from tango_beam.models.early_exit import KIND, ExitingTransformer
from tango_beam.models.exits import FILE
from tango_beam.models.logits import in_order
from tango_beam.resolve import load_tier

logger = logging.getLogger(__name__)

# Thresholds of the curve, and shares of the layers near which the tier is timed.
STEPS = 200
LEVELS = (0.0, 0.25, 0.5, 0.75, 1.0)
_WHOLE = -1


def measure(
    options: EvaluateOptions,
    cascade: CascadeConfig,
    texts: LabelledTexts,
    metric: Metric,
    answered: Answered,
    compute: Compute,
) -> EarlyExit | None:
    """Scores and times the last tier's exits; None where it has none.

    Args:
      options: say how many rows are timed, and how often.
      cascade: whose last tier it is.
      texts: the rows.
      metric: what the curve is of.
      answered: the rows, answered by all tiers.
      compute: device and precision, both settled.
    """
    last = cascade.tiers[-1]
    if cascade.task.kind != LABELS or not (Path(last.source) / FILE).is_file():
        return None
    model = load_tier(replace(last, exit_thresholds=(1.0,)), compute)
    assert isinstance(model, ExitingTransformer)
    logger.info("scoring %s rows at every exit of the last tier", f"{len(texts):,}")
    given = model.everywhere(texts.texts, texts.pairs)
    outputs = [in_order(part, model, cascade.labels) for part in given.swapaxes(0, 1)]
    thresholds, answers, layers = curve(
        [one.argmax(axis=1) for one in outputs],
        [routing.confidence(routing.softmax(one), KIND) for one in outputs[:-1]],
    )
    scores = np.array([metric(one, answered.scored.targets) for one in answers])
    # The cascade's own last tier may be left early, too.
    alone = load_tier(replace(last, exit_thresholds=()), compute)
    whole = replace(answered.stages[-1], model=alone)
    speedups = _speedups(options, whole, model, texts, thresholds, layers)
    reference = metric(outputs[-1].argmax(axis=1), answered.scored.targets)
    return EarlyExit(
        layers_of=model.exits + 1,
        thresholds=thresholds.tolist(),
        layers=layers.tolist(),
        scores=scores.tolist(),
        speedups={size: found.tolist() for size, found in speedups.items()},
        speedup_at=tuple(
            _at(share, thresholds, layers, scores, speedups, reference) for share in (0.99, 0.98)
        ),
    )


def curve(
    answers: list[Int64], confidences: list[npt.NDArray[np.float32]]
) -> tuple[Float64, list[Int64], Float64]:
    """What rows are answered at falling thresholds, and the layers that they go through.

    Args:
      answers: of every exit and of the whole, shape [rows] each.
      confidences: of every exit, float32, shape [rows] each.

    Returns:
      Thresholds, float64, shape [steps], from 1, at which no row leaves; the answers at each, shape
      [rows]; and mean layers, float64, shape [steps].
    """
    every = np.concatenate(confidences)
    found = np.quantile(every, np.linspace(1, 0, STEPS), method="lower")
    thresholds = np.concatenate([[1.0], np.unique(np.minimum(found, routing.BELOW_ONE))[::-1]])
    said, layers = [], []
    for threshold in thresholds:
        each = [float(threshold)] * len(confidences)
        chosen, exit_ = routing.cascade_answers(answers, confidences, each)
        said.append(chosen)
        layers.append(float(exit_.mean()))
    return thresholds, said, np.array(layers)


def _speedups(
    options: EvaluateOptions,
    whole: Stage,
    model: ExitingTransformer,
    texts: LabelledTexts,
    thresholds: Float64,
    layers: Float64,
) -> dict[str, Float64]:
    """Times as fast as the whole tier at every threshold, by batch size, shape [steps] each."""
    depth = model.exits + 1
    wanted = 1 + (depth - 1) * np.array(LEVELS)
    places = np.unique([int(np.abs(layers - want).argmin()) for want in wanted])
    stages = {
        int(place): replace(whole, model=model.at((float(thresholds[place]),))) for place in places
    }
    stages[_WHOLE] = whole
    mixed = curves.random_order(len(texts), options.seed + 1)
    several, single = np.sort(mixed[: options.cost_rows]), np.sort(mixed[: options.single_rows])
    work: dict[str, Callable[[Stage], float]] = {
        "own_batch": partial(costs.seconds_in_batches, texts=texts, rows=several),
        "batch_1": partial(costs.seconds_alone, texts=texts, rows=single),
    }
    found = {}
    for size, seconds in work.items():
        taken = _in_turn(stages, seconds, options.repeats)
        order = sorted(places, key=lambda place: layers[place])
        known = [taken[_WHOLE] / taken[place] for place in order]
        # Seconds, and not their inverse, are linear in the layers.
        inverse = np.interp(layers, layers[order], 1 / np.array(known))
        found[size] = 1 / inverse
    return found


def _in_turn(
    stages: Mapping[int, Stage], seconds: Callable[[Stage], float], repeats: int
) -> dict[int, float]:
    """Median seconds of each stage, all of them in turn."""
    taken: dict[int, list[float]] = {place: [] for place in stages}
    for repeat in range(repeats + 1):
        logger.info("timing the last tier's exits, %s of %s", repeat, repeats)
        for place, stage in stages.items():
            spent = seconds(stage)
            if repeat:  # the first time warms up
                taken[place].append(spent)
    return {place: float(np.median(each)) for place, each in taken.items()}


def _at(
    share: float,
    thresholds: Float64,
    layers: Float64,
    scores: Float64,
    speedups: Mapping[str, Float64],
    reference: float,
) -> ExitAt:
    """The fewest layers that keep a share of the whole tier's score; none where none does."""
    step = curves.cheapest(scores, -layers, reference, share)
    if step is None:
        return ExitAt(share, None, None, None, {})
    kept: BySize = {size: float(found[step]) for size, found in speedups.items()}
    return ExitAt(share, float(thresholds[step]), float(layers[step]), float(scores[step]), kept)
