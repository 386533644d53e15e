"""Sentiment cascades side by side on sentences that none of their tiers was trained on.

    python -m benchmarks.unseen_texts --data DATA --output KEPT
    python -m benchmarks.statistics.unseen_sentences --data DATA --kept KEPT \\
        --cascade ours --cascade theirs

How many of the kept sentences of IMDB reviews each escalates for 99 % agreement with its own second
tier; how right it is on SST-2's held-out sentences and dev rows together, at every hundredth of
escalation as well. A cascade must have been made of what `benchmarks.unseen_texts` left to train on.
"""

import argparse
from math import sqrt
from pathlib import Path

import numpy as np

from benchmarks import common, unseen_texts
from tango_beam.arrays import Float32, Int64
from tango_beam.cascade_directory import load_cascade
from tango_beam.config import CascadeConfig, Compute
from tango_beam.guarantees.thresholds import threshold_for_agreement
from tango_beam.models.logits import logits_of
from tango_beam.resolve import load_tiers

AGREEMENTS = (0.99, 0.98)
SHARES = (0.0, 0.05, 0.0725, 0.1, 0.145, 0.2, 0.3, 1.0)


def answered(config: CascadeConfig, texts: list[str]) -> tuple[Float32, Int64, Int64]:
    """The first tier's confidences, and both tiers' answers: indices into the config's labels."""
    models = load_tiers(config, Compute())
    first, second = (logits_of(model, texts, labels=config.labels) for model in models)
    confidences = config.decoder(config.tiers[0]).confidences(first)
    return confidences, first.argmax(axis=1), second.argmax(axis=1)


def report_agreement(texts: list[str], config: CascadeConfig) -> None:
    """Prints what share of unlabelled texts is escalated for some agreements."""
    confidences, first, second = answered(config, texts)
    same = first == second
    print(f"  {len(texts):,} kept sentences: tiers agree on {same.mean():.4f}")
    for goal in AGREEMENTS:
        share = float((confidences < threshold_for_agreement(confidences, same, goal)).mean())
        print(f"    escalated for {goal:.0%} agreement: {share:.4f}")


def report_accuracy(data: str, config: CascadeConfig) -> None:
    """Prints how right tiers and cascade are on SST-2's unseen rows."""
    parts = [unseen_texts.labelled_held_out(data), unseen_texts.labelled_dev(data)]
    texts = [text for part in parts for text in part.texts.to_pylist()]
    right = np.concatenate([np.array(part.labels)[part.targets] for part in parts])
    confidences, first, second = answered(config, texts)
    truth = np.array([config.labels.index(label) for label in right])
    order = np.argsort(confidences, kind="stable")
    for share in SHARES:
        chosen = first.copy()
        escalated = order[: round(share * len(order))]
        chosen[escalated] = second[escalated]
        hits = chosen == truth
        by_part = np.split(hits, [len(parts[0])])
        print(
            f"  accuracy with {share:.2%} escalated: {_share(hits)}; held-out sentences "
            f"{_share(by_part[0])}, dev {_share(by_part[1])}"
        )


def _share(hits: np.ndarray) -> str:
    rate = float(hits.mean())
    return f"{rate:.4f} +- {1.96 * sqrt(rate * (1 - rate) / len(hits)):.4f}"


def main() -> None:
    parser = argparse.ArgumentParser(description="Cascades side by side on unseen sentences.")
    parser.add_argument("--data", required=True, help="folder with sst2/train and dev.parquet")
    parser.add_argument("--kept", required=True, help="folder that benchmarks.unseen_texts wrote")
    parser.add_argument("--cascade", action="append", required=True, help="may be repeated")
    ours = parser.parse_args()
    common.quiet()
    kept = unseen_texts.kept_sentences(ours.kept)
    for cascade in ours.cascade:
        size = sum(path.stat().st_size for path in Path(cascade).rglob("*") if path.is_file())
        print(f"{cascade}{f' ({size / 1e6:.1f} MB)' if size else ''}")
        config = load_cascade(cascade)
        report_agreement(kept, config)
        report_accuracy(ours.data, config)


if __name__ == "__main__":
    main()
