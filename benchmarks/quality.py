"""The embedded cascade on SST-2: `python -m benchmarks.quality --data ... --work ...`."""

import numpy as np

from benchmarks import common, untrained
from tango_beam import models
from tango_beam.config import load_cascade
from tango_beam.models.bulk import logits_of
from tango_beam.training import corpora, holdout
from tango_beam.training.recipe import cascade_scores


def load(tier, precision):
    return models.load(
        tier.source, precision=precision, max_length=tier.max_length, tokenizer=tier.tokenizer
    )


def main() -> None:
    parser = common.arguments("Accuracy, agreement and escalation of a cascade; bf16 beside fp32.")
    ours = parser.parse_args()
    common.quiet()
    config = load_cascade(ours.cascade)
    train = corpora.read_labelled(f"{ours.data}/sst2/train.parquet")
    split = holdout.hold_out(train.texts, untrained.HELD_OUT, untrained.HELD_OUT_SEED)
    sets = {
        "held-out sentences": train.take(split.held_out),
        "dev": corpora.read_labelled(f"{ours.data}/sst2/dev.parquet"),
    }
    print(f"threshold {config.threshold:.4f}")
    for name, data in sets.items():
        logits = {
            (number, precision): logits_of(load(tier, precision), data.texts)
            for number, tier in enumerate(config.tiers, start=1)
            for precision in ("bf16", "fp32")
        }
        print(f"{name} ({len(data.texts):,} rows)")
        for number in (1, 2):
            half, full = (logits[number, p].argmax(axis=1) for p in ("bf16", "fp32"))
            right = float((half == data.targets).mean())
            print(
                f"  tier {number}: accuracy {right:.4f}, predictions in bf16 that are those of fp32: "
                f"{float(np.mean(half == full)):.4f}"
            )
        first = load(config.tiers[0], "bf16")
        found = cascade_scores(first, data, logits[2, "bf16"], config.threshold, name)
        for what, value in found.items():
            print(f"  {what}: {value:.4f}")
        share = found[f"accuracy of the cascade, {name}"] / float(
            (logits[2, "bf16"].argmax(axis=1) == data.targets).mean()
        )
        print(f"  accuracy of the cascade over the second tier's: {share:.4f}")


if __name__ == "__main__":
    main()
