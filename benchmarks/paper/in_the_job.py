"""A sentiment cascade as people run it: threshold from held-out sentences, timed in the job.

    python -m benchmarks.paper.in_the_job --data DATA --work WORK --cascade DIR

The threshold is the cheapest that keeps 99 % (98 %) of the second tier's accuracy on SST-2's held-out
sentences. Dev, which chose nothing, says what share of the accuracy is kept; texts of SST-2's lengths say how
many times as fast the job is as with the second tier alone, in turns, start-up apart.
"""

import json
from pathlib import Path

import numpy as np

from benchmarks import common, unseen_texts
from benchmarks.paper.published import SHARES
from tango_beam.arrays import Bool, Float32, Float64
from tango_beam.cascade_directory import load_cascade
from tango_beam.config import CascadeConfig, Compute
from tango_beam.evaluation.curves import cheapest
from tango_beam.io.labelled import LabelledTexts
from tango_beam.models.logits import logits_of
from tango_beam.resolve import load_tiers
from tango_beam.routing import is_complex

RESAMPLED = 10_000


def answered(data: LabelledTexts, config: CascadeConfig) -> tuple[Float32, Bool, Bool]:
    """The first tier's confidences, and which rows each tier answers rightly."""
    outputs = [
        logits_of(model, data.texts, data.pairs, labels=data.labels)
        for model in load_tiers(config, Compute())
    ]
    sure = config.decoder(config.tiers[0]).confidences(outputs[0])
    first, second = (each.argmax(axis=1) == data.targets for each in outputs)
    return sure, first, second


def threshold_for(share: float, sure: Float32, first: Bool, second: Bool) -> float:
    """The threshold that escalates fewest rows and keeps a share of the second tier's accuracy."""
    order = np.argsort(sure, kind="stable")
    gained = second[order].astype(int) - first[order].astype(int)
    right: Float64 = (first.sum() + np.concatenate([[0], np.cumsum(gained)])) / len(sure)
    edges = np.flatnonzero(np.concatenate([[True], np.diff(sure[order]) > 0, [True]]))
    step = cheapest(right[edges], -edges.astype(np.float64), float(second.mean()), share)
    assert step is not None
    count = int(edges[step])
    return float(sure[order][count]) if count < len(sure) else 1.0


def kept(chosen: Bool, second: Bool) -> tuple[float, float, float]:
    """Share of the second tier's accuracy that is kept, and its interval of 95 % (bootstrap)."""
    rng, count = np.random.default_rng(0), len(chosen)
    drawn = rng.integers(0, count, (RESAMPLED, count))
    shares = chosen[drawn].sum(axis=1) / second[drawn].sum(axis=1)
    low, high = np.quantile(shares, [0.025, 0.975])
    return float(chosen.sum() / second.sum()), float(low), float(high)


def speedups(ours, thresholds: list[float]) -> list[dict]:
    """Seconds of the second tier alone over the cascade's, in the job, one entry a threshold."""
    work = Path(ours.work)
    texts = unseen_texts.of("sst2", ours.data, ours.rows)
    path = common.write_parquet(work / "paper.parquet", texts)

    alone = common.last_tier_alone(ours.cascade, work / "alone")

    def seconds(cascade: str, *given: str) -> tuple[float, dict]:
        start_up, _ = common.run_job(path, work, cascade, "--limit", "1", *given)
        whole, manifest = common.run_job(path, work, cascade, *given)
        return whole - start_up, manifest["rows"]

    kinds = [(alone,), *((ours.cascade, "--threshold", repr(one)) for one in thresholds)]
    taken = [[seconds(*kind) for kind in kinds] for _ in range(ours.rounds)]
    return [
        {
            "speedup": common.middle([line[0][0] / line[place][0] for line in taken]),
            "rounds": [round(line[0][0] / line[place][0], 3) for line in taken],
            "rows a second": len(texts) / common.middle([line[place][0] for line in taken]),
            "alone": len(texts) / common.middle([line[0][0] for line in taken]),
            "escalated": taken[0][place][1]["escalated"] / len(texts),
        }
        for place in range(1, len(thresholds) + 1)
    ]


def main() -> None:
    parser = common.arguments(
        "A sentiment cascade: threshold from held-out rows, timed in the job."
    )
    parser.add_argument("--rows", type=int, default=20_000)
    parser.add_argument("--rounds", type=int, default=3)
    ours = parser.parse_args()
    common.quiet()
    config = load_cascade(ours.cascade)
    held = answered(unseen_texts.labelled_held_out(ours.data), config)
    sure, first, second = answered(unseen_texts.labelled_dev(ours.data), config)
    thresholds = [threshold_for(share, *held) for share in SHARES]
    for share, threshold, timed in zip(SHARES, thresholds, speedups(ours, thresholds), strict=True):
        escalated = is_complex(sure, threshold)
        share_kept, low, high = kept(np.where(escalated, second, first), second)
        found = {
            "goal": share,
            "threshold": threshold,
            "escalated, held-out": float(is_complex(held[0], threshold).mean()),
            "escalated, dev": float(escalated.mean()),
            "accuracy, dev": float(np.where(escalated, second, first).mean()),
            "kept, dev": share_kept,
            "interval": [low, high],
            **timed,
        }
        print(json.dumps(found), flush=True)


if __name__ == "__main__":
    main()
