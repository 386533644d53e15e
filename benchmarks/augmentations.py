"""Kinds of augmented texts side by side: what share of rows a student of each escalates.

    python -m benchmarks.augmentations --data DATA --work WORK --small MINILM --cascade sst2

Students of one second tier learn from SST-2's phrases and as many augmented ones of each kind: none,
words swapped and cut, texts of a causal language model (`--generator`), words replaced by a masked
one and GloVe (`--masked_lm`, `--vectors`). The escalation for 99 % agreement with the second tier is
read off SST-2's held-out sentences and dev rows, which no student was trained on. The language models
are small ones, made by `benchmarks.small_language_models`.
"""

import argparse
from pathlib import Path

import numpy as np

from benchmarks import common, steps, unseen_texts
from benchmarks.statistics.unseen_sentences import answered
from tango_beam.cascade_directory import load_cascade
from tango_beam.config import CascadeConfig, TierConfig
from tango_beam.guarantees.thresholds import threshold_for_agreement

AGREEMENT = 0.99
KINDS = {
    "none": "--augmented 0",
    "words": "--augmented {rows} --augment mask,ngram,join",
    "generated": "--augmented {rows} --generator {work}/models/generator",
    "replaced": "--augmented {rows} --masked_lm {work}/models/masked_lm --vectors {vectors}",
}
_STUDENT = (
    "--teacher {teacher} --train {data}/sst2/train.parquet --held_out 1500 --teacher_logits {work}/logits "
    "--embedding_size 64 --hidden_size 96 --pooling max"
)


def students(seeds: int) -> steps.Steps:
    """A training for every kind and seed, by its folder."""
    return {
        f"{kind}_{seed}": ("distill", f"{_STUDENT} {given} --seed {seed}")
        for seed in range(seeds)
        for kind, given in KINDS.items()
    }


def escalated(student: str, last: TierConfig, config: CascadeConfig, texts: list[str]) -> float:
    """What share of texts goes to the last tier for the agreement."""
    first = TierConfig(student, threshold=0.5, max_length=last.max_length)
    confidences, said, right = answered(
        CascadeConfig((first, last), config.labels, "student"), texts
    )
    threshold = threshold_for_agreement(confidences, said == right, AGREEMENT)
    return float((confidences < threshold).mean())


def main() -> None:
    parser = argparse.ArgumentParser(description="Kinds of augmented texts, a student of each.")
    parser.add_argument("--data", required=True, help="folder with sst2 and glove")
    parser.add_argument("--work", required=True, help="folder for all that is made")
    parser.add_argument(
        "--small", required=True, help="pretrained, of which language models are made"
    )
    parser.add_argument("--cascade", default="sst2", help="whose second tier teaches")
    parser.add_argument("--rows", type=int, default=20_000, help="augmented texts of each kind")
    parser.add_argument("--seeds", type=int, default=2)
    ours = parser.parse_args()
    config = load_cascade(ours.cascade)
    last = config.tiers[-1]
    (vectors,) = Path(ours.data, "glove").glob("*.parquet")
    steps.call(
        "benchmarks.small_language_models",
        f"--encoder {ours.small} --train {ours.data}/sst2/train.parquet --output {ours.work}/models".split(),
    )
    places = vars(ours) | {"teacher": last.source, "vectors": vectors}
    trained = students(ours.seeds)
    steps.run(trained, ours.work, lambda pattern: pattern.format(**places))
    common.quiet()
    texts = unseen_texts.dev_and_held_out(ours.data)
    for kind in KINDS:
        folders = [f"{ours.work}/{folder}" for folder in trained if folder.startswith(f"{kind}_")]
        shares = [escalated(folder, last, config, texts) for folder in folders]
        shown = ", ".join(f"{share:.3f}" for share in shares)
        print(f"{kind}: {np.mean(shares):.3f} of {len(texts):,} escalated for 99 % ({shown})")


if __name__ == "__main__":
    main()
