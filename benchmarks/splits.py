"""Promises on real text: `python -m benchmarks.splits --data ... --work ...`.

SST-2 dev is cut in two random halves again and again. One half calibrates, through the code that
`pipelines.calibrate` uses; the promise is counted against all rows, and the other half describes.
"""

import numpy as np
import pyarrow as pa

from benchmarks import common
from tango_beam import models
from tango_beam.calibration import offers, scored, signing
from tango_beam.calibration.goals import FIT_PART
from tango_beam.config import load_cascade
from tango_beam.training import corpora

AGREEMENT, RETAINED = 0.95, 0.98


def retained(judged, thresholds):
    right = judged.cascaded(thresholds)[0] == judged.truth
    return float(right.mean() / (judged.last == judged.truth).mean())


def main() -> None:
    parser = common.arguments("Promises on SST-2 dev, calibrated on one half of it at a time.")
    parser.add_argument("--splits", type=int, default=100)
    parser.add_argument("--delta", type=float, default=0.05)
    ours = parser.parse_args()
    common.quiet()
    cascade = load_cascade(ours.cascade)
    dev = corpora.read_labelled(f"{ours.data}/sst2/dev.parquet")
    tiers = [
        models.load(t.source, max_length=t.max_length, tokenizer=t.tokenizer) for t in cascade.tiers
    ]
    assert dev.labels == tuple(sorted(cascade.labels)) == cascade.labels
    rows = scored.score_all(tiers, pa.array(dev.texts), None, cascade.labels, dev.targets)
    whole = rows.judged(cascade)
    found = {"agreement": [], "accuracy retained": []}
    for seed in range(ours.splits):
        order = np.random.default_rng(seed).permutation(len(rows))
        half, other = order[: len(order) // 2], order[len(order) // 2 :]
        sample = whole.take(half)
        cut = round(len(half) * FIT_PART)
        fit, test = sample.take(np.arange(cut)), sample.take(np.arange(cut, len(half)))
        signed = {
            "agreement": signing.agreement(sample, AGREEMENT, ours.delta, len(rows)),
            "accuracy retained": signing.accuracy_retained(fit, test, RETAINED, ours.delta, seed),
        }
        for name, one in signed.items():
            score = agreed if name == "agreement" else retained
            goal = AGREEMENT if name == "agreement" else RETAINED
            speed = offers.speed(rows, cascade, one.thresholds)
            found[name].append(
                (score(whole, one.thresholds) < goal, score(whole.take(other), one.thresholds),
                 speed["escalated"], speed["speedup"], one.met)
            )  # fmt: skip
    for name, goal in (("agreement", AGREEMENT), ("accuracy retained", RETAINED)):
        broken, described, escalated, speedup, met = (
            np.array(v, float) for v in zip(*found[name], strict=True)
        )
        print(
            f"{name} {goal}, delta {ours.delta}: broken in {int(broken.sum())} of {ours.splits}; signed "
            f"in {int(met.sum())}; the other half {described.mean():.4f} ({described.min():.4f} to "
            f"{described.max():.4f}); escalated {escalated.mean():.3f} ({escalated.min():.3f} to "
            f"{escalated.max():.3f}); speedup {np.median(speedup):.2f} (median)"
        )


def agreed(judged, thresholds):
    return float(1 - judged.disagrees(thresholds).mean())


if __name__ == "__main__":
    main()
