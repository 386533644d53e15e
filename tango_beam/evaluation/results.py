"""The numbers of a report, each computed once, from the tiers' answers and costs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from tango_beam import answer_metrics
from tango_beam.answers.task import MULTI_LABEL, SCORE, SPAN
from tango_beam.arrays import Bool, Float64
from tango_beam.config import CascadeConfig
from tango_beam.evaluation import corrections, curves, heldout, metrics, report
from tango_beam.evaluation.answers import Answered
from tango_beam.evaluation.costs import Costs
from tango_beam.evaluation.curves import Curve, Scored
from tango_beam.evaluation.metrics import Metric
from tango_beam.evaluation.options import EvaluateOptions
from tango_beam.evaluation.report import (
    AtThreshold,
    BySize,
    ChosenCuts,
    HeldOut,
    Report,
    Score,
    SpeedupAt,
)
from tango_beam.io.labelled import LabelledTexts
from tango_beam.machine import Facts
from tango_beam.models.protocol import describe

# The shares of the last tier's score that the paper's Table 2 asks for.
SHARES = (0.99, 0.98)
ROUTINGS = ("cascade", "oracle", "random")


def make_report(
    options: EvaluateOptions,
    cascade: CascadeConfig,
    texts: LabelledTexts,
    metric: Metric,
    answered: Answered,
    costs: Mapping[str, Costs],
    cuts: ChosenCuts | None,
    *,
    command: str,
    machine: Facts,
) -> Report:
    """The report.

    Args:
      options: as given.
      cascade: that was evaluated.
      texts: the labelled rows.
      metric: what the curves are of.
      answered: the rows, answered by all tiers.
      costs: by batch size.
      cuts: those that were chosen; None where none were to be.
      command: the command line.
      machine: on which the tiers were timed.
    """
    scored = answered.scored
    curve = curves.cascade_curve(scored, metric)
    seed = options.seed
    threshold = cascade.threshold if options.has_own_threshold else None
    beside_baselines, gains = _beside_baselines(scored, curve, metric, costs, seed)
    return Report(
        command=command,
        cascade=_cascade(cascade, answered, machine.precision),
        input=_rows(options, cascade, texts, scored),
        metric=_metric(metric, cascade.labels),
        seed=seed,
        repeats=options.repeats,
        machine=machine,
        scores=tuple(_scores(answered, costs, metric, cascade.labels, threshold)),
        speedup_at=tuple(
            _speedup_at(scored, curve, metric, costs, share, splits=options.splits, seed=seed)
            for share in SHARES
        ),
        reference=scored.reference(metric),
        curve=beside_baselines,
        against_random=gains,
        corrections=_corrections(scored, metric.kind),
        costs={size: _costs(cost) for size, cost in costs.items()},
        cuts=cuts,
    )


def _cascade(cascade: CascadeConfig, answered: Answered, precision: str) -> report.Cascade:
    """Name, labels, fingerprint, and what each tier is."""
    tiers = [
        report.Tier(
            source=tier.source,
            model=describe(stage.model),
            parameters=stage.model.parameters,
            threshold=tier.threshold,
            temperature=tier.temperature,
            confidence=tier.confidence,
            batch_rows=tier.batch_rows,
            takes_tokens=stage.takes_tokens,
            mean_tokens=float(stage.tokens.lengths.sum() / stage.tokens.rows),
        )
        for tier, stage in zip(cascade.tiers, answered.stages, strict=True)
    ]
    fingerprint = cascade.scoring_fingerprint(precision)
    task = cascade.task
    return report.Cascade(
        cascade.name, task.kind, cascade.labels, task.cuts, fingerprint, tuple(tiers)
    )


def _metric(metric: Metric, labels: tuple[str, ...]) -> report.MetricName:
    positive = None if metric.positive is None else labels[metric.positive]
    return report.MetricName(metric.name, metrics.NAMES[metric.name], positive)


def _rows(
    options: EvaluateOptions, cascade: CascadeConfig, texts: LabelledTexts, scored: Scored
) -> report.Rows:
    """What was read, and how many rows bear each label."""
    named = ("text_column", "text_pair_column", "label_column")
    columns = {f"--{name}": getattr(options, name) for name in named if getattr(options, name)}
    kind, targets = cascade.task.kind, scored.targets
    names: Sequence[str] = cascade.labels
    if kind == MULTI_LABEL:
        counts = targets.sum(axis=0)
    elif kind == SCORE:
        names = [f"bucket {number}" for number in range(len(cascade.task.cuts) + 1)]
        counts = np.bincount(targets[:, 1].astype(np.int64), minlength=len(names))
    elif kind == SPAN:
        names = ("with an answer", "without")
        given = sum(any(answers) for answers in texts.targets)
        counts = np.array([given, len(texts) - given])
    else:
        counts = np.bincount(targets, minlength=len(names))
    labels = dict(zip(names, counts.tolist(), strict=True))
    return report.Rows(options.input, columns, len(texts), labels)


def _beside_baselines(
    scored: Scored, curve: Curve, metric: Metric, costs: Mapping[str, Costs], seed: int
) -> tuple[report.Curves, report.AgainstRandom]:
    """The cascade's curve, and oracle and random routing with as many rows escalated."""
    oracle = curves.oracle_scores(scored, metric, curve.escalated)
    band = curves.random_band(scored, metric, curve.escalated, seed=seed)
    shares = curve.escalated / len(scored)
    drawn = report.Curves(
        thresholds=curve.thresholds.tolist(),
        escalated=curve.escalated.tolist(),
        cascade=curve.scores.tolist(),
        oracle=oracle.tolist(),
        random=band.expected.tolist(),
        random_low=band.low.tolist(),
        random_high=band.high.tolist(),
        speedups={
            size: {name: cost.curves[name].speedups(shares).tolist() for name in ROUTINGS}
            for size, cost in costs.items()
        },
    )
    gains = report.AgainstRandom(
        cascade=_mean_gain(shares, curve.scores - band.expected),
        oracle=_mean_gain(shares, oracle - band.expected),
        thresholds_above=_share_above(curve.scores, band.expected),
    )
    return drawn, gains


def _scores(
    answered: Answered,
    costs: Mapping[str, Costs],
    metric: Metric,
    labels: tuple[str, ...],
    threshold: float | None,
) -> list[Score]:
    """Every metric of each tier alone, and of the cascade at its own threshold."""
    scored, last = answered.scored, len(answered.tiers)

    def score(what: str, answers: npt.NDArray, escalated: float | None, speedup: BySize) -> Score:
        found = metrics.every(metric, answers, scored.targets)
        by_label = _by_label(labels, answers, scored.targets) if metric.kind == MULTI_LABEL else {}
        return Score(what, found, by_label, escalated, speedup)

    scores = []
    for number, answers in enumerate(answered.tiers, start=1):
        alone: BySize = dict.fromkeys(costs, 1.0 if number == last else None)
        alone = _speedups(costs, 0.0) if number == 1 else alone
        scores.append(score(f"tier {number} alone", answers, None, alone))
    if threshold is not None:
        answers, escalated = scored.routed(threshold)
        what, speedups = f"cascade, threshold {threshold:.4f}", _speedups(costs, escalated)
        scores.append(score(what, answers, escalated, speedups))
    return scores


def _by_label(labels: tuple[str, ...], answers: Bool, targets: Bool) -> dict[str, float]:
    scores = answer_metrics.f1_by_label(answers, targets)
    return dict(zip(labels, scores.tolist(), strict=True))


def chosen_cuts(
    labels: tuple[str, ...],
    cuts: tuple[Sequence[float], Sequence[float]],
    answers: tuple[Bool, Bool],
    targets: Bool,
    *,
    rows: int,
) -> ChosenCuts:
    """What chosen cuts change for the last tier.

    Args:
      labels: the cascade's.
      cuts: before and after.
      answers: with each, shape [rows, labels], of rows that did not choose them.
      targets: which labels these rows bear, shape [rows, labels].
      rows: on how many others they were chosen.
    """
    metric = Metric(MULTI_LABEL, "micro_f1", len(labels))
    f1s = (answer_metrics.f1_by_label(one, targets).tolist() for one in answers)
    before, after = (metrics.every(metric, one, targets) for one in answers)
    option = f"--cuts {','.join(f'{cut:g}' for cut in cuts[1])}"
    each = map(report.ChosenCut, *cuts, *f1s)
    return ChosenCuts(rows, dict(zip(labels, each, strict=True)), before, after, option)


def _speedups(costs: Mapping[str, Costs], share: float) -> BySize:
    """The cascade's speedup at a share of escalated rows, by batch size."""
    at = np.array([share])
    return {size: float(cost.curves["cascade"].speedups(at)[0]) for size, cost in costs.items()}


def _speedup_at(
    scored: Scored,
    curve: Curve,
    metric: Metric,
    costs: Mapping[str, Costs],
    share: float,
    *,
    splits: int,
    seed: int,
) -> SpeedupAt:
    """Speedup@99 and its like: read off the rows themselves, and with a held-out threshold."""
    reference = scored.reference(metric)
    # Whatever the batch size, fewer escalated rows are faster.
    step = curves.cheapest(curve.scores, -curve.escalated.astype(float), reference, share)
    halves = heldout.score_splits(scored, metric, share, splits=splits, seed=seed)
    by_split = {size: c.curves["cascade"].speedups(halves.escalated) for size, c in costs.items()}
    held_out = HeldOut(
        threshold=float(np.median(halves.thresholds)),
        escalated=float(np.median(halves.escalated)),
        score=float(np.median(halves.scores)),
        kept=_finite_median(halves.kept),
        speedup={size: float(np.median(values)) for size, values in by_split.items()},
        splits=splits,
        reached=halves.reached,
        speedup_low={size: float(values.min()) for size, values in by_split.items()},
        speedup_high={size: float(values.max()) for size, values in by_split.items()},
    )
    same = None if step is None else _at_step(scored, curve, costs, step, reference)
    return SpeedupAt(share, same, held_out)


def _at_step(
    scored: Scored, curve: Curve, costs: Mapping[str, Costs], step: int, reference: float
) -> AtThreshold:
    escalated = float(curve.escalated[step] / len(scored))
    return AtThreshold(
        threshold=float(curve.thresholds[step]),
        escalated=escalated,
        score=float(curve.scores[step]),
        kept=float(curve.scores[step] / reference),
        speedup=_speedups(costs, escalated),
    )


def _finite_median(values: Float64) -> float | None:
    finite = values[np.isfinite(values)]
    return float(np.median(finite)) if len(finite) else None


def _mean_gain(shares: Float64, gains: Float64) -> float:
    """Mean of a gain over all shares of escalated rows, by trapezoids."""
    return float((np.diff(shares) * (gains[1:] + gains[:-1]) / 2).sum())


def _share_above(scores: Float64, random: Float64) -> float | None:
    """Share of the thresholds that score above random routing.

    The first and the last threshold are left out, because all routings are the same there.
    """
    inner = scores[1:-1] > random[1:-1] + 1e-12
    return float(inner.mean()) if len(inner) else None


def _corrections(scored: Scored, kind: str) -> report.ByConfidence:
    tenths = corrections.by_quantile(scored, kind)
    counts = zip(corrections.KINDS, tenths.counts.tolist(), strict=True)
    return report.ByConfidence(tenths.edges.tolist(), tenths.rows.tolist(), **dict(counts))


def _costs(cost: Costs) -> report.SizeCosts:
    """Seconds a row; of the rows timed, also one entry a repeat."""
    curve = cost.curves["cascade"]
    return report.SizeCosts(
        rows_timed=cost.rows,
        first=report.Seconds(curve.first, cost.first.tolist()),
        alone=report.Seconds(curve.alone, cost.alone.tolist()),
        later={name: _thinned(curve.shares, curve.later) for name, curve in cost.curves.items()},
    )


def _thinned(shares: Float64, later: Float64, most: int = 101) -> report.Later:
    """A cost curve at no more than `most` of its points, both ends among them."""
    kept = curves.evenly(len(shares), most)
    return report.Later(shares[kept].tolist(), later[kept].tolist())
