"""Accuracy, agreement and escalation of a cascade on SST-2; bf16 beside fp32.

python -m benchmarks.statistics.accuracy_on_sst2 --data DATA --work WORK
"""

import numpy as np

from benchmarks import common, unseen_texts
from tango_beam.cascade_directory import load_cascade
from tango_beam.config import CascadeConfig, Compute
from tango_beam.guarantees.tier_answers import TierAnswers
from tango_beam.io.labelled import LabelledTexts
from tango_beam.models.logits import logits_of
from tango_beam.resolve import load_tiers


def report(name: str, data: LabelledTexts, config: CascadeConfig) -> None:
    """Prints the figures of a set of labelled texts."""
    logits = {
        precision: [
            logits_of(model, data.texts, labels=data.labels)
            for model in load_tiers(config, Compute(precision=precision))
        ]
        for precision in ("bf16", "fp32")
    }
    print(f"{name} ({len(data):,} rows)")
    for number, (half, full) in enumerate(zip(logits["bf16"], logits["fp32"], strict=True), 1):
        answers = half.argmax(axis=1)
        print(
            f"  tier {number}: accuracy {float((answers == data.targets).mean()):.4f}, predictions "
            f"in bf16 that are those of fp32: {float((answers == full.argmax(axis=1)).mean()):.4f}"
        )
    first, second = logits["bf16"]
    confidences = config.decoder(config.tiers[0]).confidences(first)
    both = first.argmax(axis=1), second.argmax(axis=1)
    tiers = TierAnswers((confidences,), both, data.targets)
    answers, tier = tiers.cascaded((config.threshold,))
    accuracy = float((answers == data.targets).mean())
    print(f"  agreement of cascade and second tier: {float(np.mean(answers == tiers.last)):.4f}")
    print(f"  escalation rate: {float((tier > 1).mean()):.4f}")
    print(f"  accuracy of the cascade: {accuracy:.4f}")
    share = accuracy / float((tiers.last == data.targets).mean())
    print(f"  accuracy of the cascade over the second tier's: {share:.4f}")


def main() -> None:
    parser = common.arguments("Accuracy, agreement and escalation of a cascade; bf16 beside fp32.")
    ours = parser.parse_args()
    common.quiet()
    config = load_cascade(ours.cascade)
    print(f"threshold {config.threshold:.4f}")
    report("held-out sentences", unseen_texts.labelled_held_out(ours.data), config)
    report("dev", unseen_texts.labelled_dev(ours.data), config)


if __name__ == "__main__":
    main()
