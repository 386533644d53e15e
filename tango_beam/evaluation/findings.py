"""What an evaluation found, as JSON holds it: the report's numbers, each computed once."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from tango_beam import routing
from tango_beam.config import CascadeConfig
from tango_beam.evaluation import corrections, curves, heldout, metrics
from tango_beam.evaluation.answers import Answered
from tango_beam.evaluation.costs import Costs
from tango_beam.evaluation.curves import Curve, Scored
from tango_beam.evaluation.labelled import Columns, LabelledTexts
from tango_beam.evaluation.metrics import Metric
from tango_beam.models import describe

FloatArray = npt.NDArray[np.float64]

# The shares of the last tier's score that the paper's Table 2 asks for.
SHARES = (0.99, 0.98)
ROUTINGS = ("cascade", "oracle", "random")


def describe_cascade(cascade: CascadeConfig, answered: Answered, precision: str) -> dict[str, Any]:
    """Name, labels, fingerprint, and what each tier is."""
    tiers = []
    for tier, stage in zip(cascade.tiers, answered.stages, strict=True):
        tiers.append(
            {
                "source": tier.source,
                "model": describe(stage.model),
                "parameters": stage.model.parameters,
                "threshold": tier.threshold,
                "temperature": tier.temperature,
                "confidence": tier.confidence,
                "batch_rows": tier.batch_rows,
                "takes_tokens": stage.takes_tokens,
                "mean_tokens": float(stage.tokens.lengths.mean()),
            }
        )
    return {
        "name": cascade.name,
        "labels": list(cascade.labels),
        "scoring_fingerprint": cascade.scoring_fingerprint(precision),
        "tiers": tiers,
    }


def describe_input(
    patterns: tuple[str, ...], columns: Columns, cascade: CascadeConfig, texts: LabelledTexts
) -> dict[str, Any]:
    """What was read, and how many rows bear each label."""
    counts = np.bincount(texts.targets, minlength=len(cascade.labels)).tolist()
    return {
        "files": list(patterns),
        "columns": columns.options(),
        "rows": len(texts),
        "labels": dict(zip(cascade.labels, counts, strict=True)),
    }


def label_or_none(cascade: CascadeConfig, index: int | None) -> str | None:
    """A label's name."""
    return None if index is None else cascade.labels[index]


def all_findings(
    answered: Answered,
    metric: Metric,
    costs: Mapping[str, Costs],
    *,
    positive: int | None,
    own_threshold: float | None,
    splits: int,
    seed: int,
) -> dict[str, Any]:
    """The report's numbers.

    Args:
      answered: the rows.
      metric: what the curves are of.
      costs: by batch size.
      positive: the label that F1 is of; None leaves F1 of one label out.
      own_threshold: the cascade's, to be reported beside the curve; None without.
      splits: random halves.
      seed: of halves and draws.
    """
    scored = answered.scored
    curve = curves.cascade_curve(scored, metric)
    return {
        "scores": _scores(answered, costs, positive, own_threshold),
        "speedup_at": [
            _speedup_at(scored, curve, metric, costs, share, splits=splits, seed=seed)
            for share in SHARES
        ],
        "reference": scored.reference(metric),
        **_beside_baselines(scored, curve, metric, costs, seed),
        "corrections": _corrections(scored),
        "costs": {size: _costs(cost) for size, cost in costs.items()},
    }


def _beside_baselines(
    scored: Scored, curve: Curve, metric: Metric, costs: Mapping[str, Costs], seed: int
) -> dict[str, Any]:
    """The cascade's curve, and oracle and random routing with as many rows escalated."""
    oracle = curves.oracle_scores(scored, metric, curve.escalated)
    band = curves.random_band(scored, metric, curve.escalated, seed=seed)
    shares = curve.escalated / len(scored)
    return {
        "curve": {
            "thresholds": curve.thresholds.tolist(),
            "escalated": curve.escalated.tolist(),
            "cascade": curve.scores.tolist(),
            "oracle": oracle.tolist(),
            "random": band.expected.tolist(),
            "random_low": band.low.tolist(),
            "random_high": band.high.tolist(),
            "speedups": {
                size: {name: cost.curves[name].speedups(shares).tolist() for name in ROUTINGS}
                for size, cost in costs.items()
            },
        },
        "against_random": {
            "cascade": _mean_gain(shares, curve.scores - band.expected),
            "oracle": _mean_gain(shares, oracle - band.expected),
            "thresholds_above": _share_above(curve.scores, band.expected),
        },
    }


def _scores(
    answered: Answered, costs: Mapping[str, Costs], positive: int | None, threshold: float | None
) -> list[dict[str, Any]]:
    """Every metric of each tier alone, and of the cascade at its own threshold."""
    scored = answered.scored
    everything = []
    for number, tier in enumerate(answered.tiers):
        alone: dict[str, float | None] = dict.fromkeys(costs)
        if number == 0:
            alone = _speedups(costs, 0.0)
        elif number == len(answered.tiers) - 1:
            alone = dict.fromkeys(costs, 1.0)
        everything.append(
            {
                "what": f"tier {number + 1} alone",
                **_every_metric(scored, tier.answers, positive),
                "escalated": None,
                "speedup": alone,
            }
        )
    if threshold is not None:
        onwards = routing.is_complex(scored.confidences, threshold)
        everything.append(
            {
                "what": f"cascade, threshold {threshold:.4f}",
                **_every_metric(scored, np.where(onwards, scored.later, scored.first), positive),
                "escalated": float(onwards.mean()),
                "speedup": _speedups(costs, float(onwards.mean())),
            }
        )
    return everything


def _every_metric(
    scored: Scored, answers: npt.NDArray[np.int64], positive: int | None
) -> dict[str, float | None]:
    tallies = metrics.tally(scored.targets, answers, scored.labels)
    return {
        "accuracy": float(metrics.accuracy(tallies)),
        "f1": None if positive is None else float(metrics.f1(tallies, positive)),
        "macro_f1": float(metrics.macro_f1(tallies)),
        "mcc": float(metrics.mcc(tallies)),
    }


def _speedups(costs: Mapping[str, Costs], share: float) -> dict[str, float | None]:
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
) -> dict[str, Any]:
    """Speedup@99 and its like: read off the rows themselves, and with a held-out threshold."""
    reference = scored.reference(metric)
    # Whatever the batch size, fewer escalated rows are faster.
    step = curves.cheapest(curve.scores, -curve.escalated.astype(float), reference, share)
    found = heldout.score_splits(scored, metric, share, splits=splits, seed=seed)
    by_split = {size: c.curves["cascade"].speedups(found.escalated) for size, c in costs.items()}
    return {
        "share": share,
        "same_rows": None if step is None else _at_step(scored, curve, costs, step, reference),
        "held_out": {
            "splits": splits,
            "threshold": float(np.median(found.thresholds)),
            "escalated": float(np.median(found.escalated)),
            "score": float(np.median(found.scores)),
            "kept": _finite_median(found.kept),
            "reached": found.reached,
            "speedup": {size: float(np.median(values)) for size, values in by_split.items()},
            "speedup_low": {size: float(values.min()) for size, values in by_split.items()},
            "speedup_high": {size: float(values.max()) for size, values in by_split.items()},
        },
    }


def _at_step(
    scored: Scored, curve: Curve, costs: Mapping[str, Costs], step: int, reference: float
) -> dict[str, Any]:
    escalated = curve.escalated[step] / len(scored)
    return {
        "threshold": float(curve.thresholds[step]),
        "escalated": float(escalated),
        "score": float(curve.scores[step]),
        "kept": float(curve.scores[step] / reference),
        "speedup": _speedups(costs, float(escalated)),
    }


def _finite_median(values: FloatArray) -> float | None:
    finite = values[np.isfinite(values)]
    return float(np.median(finite)) if len(finite) else None


def _mean_gain(shares: FloatArray, gains: FloatArray) -> float:
    """Mean of a gain over all shares of escalated rows, by trapezoids."""
    return float((np.diff(shares) * (gains[1:] + gains[:-1]) / 2).sum())


def _share_above(scores: FloatArray, random: FloatArray) -> float | None:
    """Share of the thresholds, but the two ends that all routings share, that beat random."""
    inner = scores[1:-1] > random[1:-1] + 1e-12
    return float(inner.mean()) if len(inner) else None


def _corrections(scored: Scored) -> dict[str, Any]:
    found = corrections.by_quantile(scored)
    counts = {kind: row.tolist() for kind, row in zip(corrections.KINDS, found.counts, strict=True)}
    return {"edges": found.edges.tolist(), "rows": found.rows.tolist(), **counts}


def _costs(cost: Costs) -> dict[str, Any]:
    """Seconds a row; of the rows timed, also one entry a repeat."""
    return {
        "rows_timed": cost.rows,
        "first": {"seconds_per_row": cost.curves["cascade"].first, "repeats": cost.first.tolist()},
        "alone": {"seconds_per_row": cost.curves["cascade"].alone, "repeats": cost.alone.tolist()},
        "later": {name: _thinned(curve.shares, curve.later) for name, curve in cost.curves.items()},
    }


def _thinned(shares: FloatArray, later: FloatArray, most: int = 101) -> dict[str, list[float]]:
    """A cost curve at no more than so many of its points, both ends among them."""
    kept = np.unique(np.linspace(0, len(shares) - 1, min(most, len(shares))).astype(int))
    return {"shares": shares[kept].tolist(), "seconds": later[kept].tolist()}
