"""Share of promises that are broken on real text, SST-2 dev.

    python -m benchmarks.statistics.promises_on_sst2 --data DATA --work WORK

SST-2 dev is cut in two random halves again and again. One half calibrates, through the code that
`pipelines.calibrate` uses; the promise is counted against all rows, and the other half describes.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from benchmarks import common, unseen_texts
from tango_beam.arrays import Int64
from tango_beam.calibration import score_sample
from tango_beam.calibration.certify import speed
from tango_beam.calibration.goals import FIT_PART
from tango_beam.cascade_directory import load_cascade
from tango_beam.config import CascadeConfig, Compute
from tango_beam.guarantees import guarantees, means
from tango_beam.guarantees.certificate import Guarantee
from tango_beam.guarantees.tier_answers import TierAnswers
from tango_beam.resolve import load_tiers

GOALS = {"agreement": 0.95, "accuracy retained": 0.98}


class Promise(NamedTuple):
    """What one half signed for, and what came of it."""

    broken: bool
    on_the_other_half: float
    escalated: float
    speedup: float
    met: bool


def retained(answers: TierAnswers, thresholds: tuple[float, ...]) -> float:
    """Accuracy of the cascade over that of its last tier."""
    right = answers.cascaded(thresholds)[0] == answers.truth
    return float(right.mean() / (answers.last == answers.truth).mean())


def agreed(answers: TierAnswers, thresholds: tuple[float, ...]) -> float:
    """Share of rows on which the cascade answers as its last tier does."""
    return float(1 - answers.disagrees(thresholds).mean())


KEPT: dict[str, Callable[..., float]] = {"agreement": agreed, "accuracy retained": retained}


def sign(sample: TierAnswers, rows: int, delta: float, seed: int) -> dict[str, Guarantee]:
    """What a half signs for, for each goal."""
    cut = round(len(sample) * FIT_PART)
    fit = sample.take(np.arange(cut))
    test = sample.take(np.arange(cut, len(sample)))
    agreement, accuracy = GOALS.values()
    return {
        "agreement": guarantees.agreement(sample, agreement, delta, rows),
        "accuracy retained": means.accuracy_retained(fit, test, accuracy, delta, seed),
    }


def split(
    rows: score_sample.TierLogits,
    cascade: CascadeConfig,
    half: Int64,
    other: Int64,
    ours,
    seed: int,
) -> dict[str, Promise]:
    """Calibrates on one half, and counts on all rows and on the other half."""
    whole = rows.answers(cascade)
    promises = {}
    for name, one in sign(whole.take(half), len(rows), ours.delta, seed).items():
        kept = KEPT[name]
        cost = speed(rows, cascade, one.thresholds)
        promises[name] = Promise(
            broken=kept(whole, one.thresholds) < GOALS[name],
            on_the_other_half=kept(whole.take(other), one.thresholds),
            escalated=cost.escalated,
            speedup=cost.speedup,
            met=one.met,
        )
    return promises


def main() -> None:
    parser = common.arguments("Promises on SST-2 dev, calibrated on one half of it at a time.")
    parser.add_argument("--splits", type=int, default=100)
    parser.add_argument("--delta", type=float, default=0.05)
    ours = parser.parse_args()
    common.quiet()
    cascade = load_cascade(ours.cascade)
    dev = unseen_texts.labelled_dev(ours.data)
    assert dev.labels == tuple(sorted(cascade.labels)) == cascade.labels
    models = load_tiers(cascade, Compute())
    rows = score_sample.score_all(models, [dev.texts], cascade.labels, dev.targets)
    splits = []
    for seed in range(ours.splits):
        order = np.random.default_rng(seed).permutation(len(rows))
        half, other = order[: len(order) // 2], order[len(order) // 2 :]
        splits.append(split(rows, cascade, half, other, ours, seed))
    for name, goal in GOALS.items():
        columns = zip(*(promises[name] for promises in splits), strict=True)
        broken, described, escalated, speedup, met = (np.array(v, float) for v in columns)
        print(
            f"{name} {goal}, delta {ours.delta}: broken in {int(broken.sum())} of {ours.splits}; "
            f"signed in {int(met.sum())}; the other half {described.mean():.4f} "
            f"({described.min():.4f} to {described.max():.4f}); escalated {escalated.mean():.3f} "
            f"({escalated.min():.3f} to {escalated.max():.3f}); speedup {np.median(speedup):.2f} "
            "(median)"
        )


if __name__ == "__main__":
    main()
