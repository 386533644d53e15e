"""Do two sentences say the same? Pairs: duplicates of questions, paraphrases, matching records.

    pip install -e '.[evaluate]'
    python -m examples.pair_matching --labelled mrpc/train.parquet --encoder all-MiniLM-L6-v2 \
        --output pairs

Every command reads pairs with `--text_pair_column`. Pairs are harder than single texts, for either
tier, since it must compare; look before you trust:

1. The labelled file is parted: rows to learn from, and a corpus.
2. `finetune` makes the second tier of an encoder. `distill` makes the first tier, a BiLSTM that
   reads both sentences, of its answers. Words swapped or cut would change what a pair means, so no
   pairs are made up; unlabelled pairs of your own (`--unlabeled`) help the student most.
3. `calibrate --agreement 0.9` signs on the corpus, without its labels. Exit code 5 says that the
   goal cannot be met; the table shows what can.
4. `classify` answers the corpus.

What to read: first, whether more answers are right than there are rows of the most frequent label.
A second tier that has learnt little is easy to agree with; the promise is then kept, and worth
nothing. The plot puts the rows in ten bins by the first tier's confidence: left of the
threshold, the cascade's bars must stand above the first tier's, or the second one earns nothing.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa

from examples import steps
from pipelines import calibrate, classify, distill, finetune

PAIR = ["--text_column", "text", "--text_pair_column", "text_pair"]


def main(arguments: Sequence[str]) -> None:
    """Parts the file, trains, calibrates, classifies, reports."""
    options = _options(arguments)
    output = Path(options.output)
    train, corpus = parts(options, output)
    held_out = str(options.train_rows // 5)
    learn = ["--train", str(train), *PAIR, "--held_out", held_out]
    length = ["--max_length", str(options.max_length)]
    steps.run(
        finetune,
        *("--encoder", options.encoder, *learn, *length, "--epochs", str(options.epochs)),
        *("--learning_rate", str(options.learning_rate), "--output", str(output / "second_tier")),
    )
    steps.run(
        distill,
        *("--teacher", str(output / "second_tier"), *learn, *length, "--pooling", "max"),
        *("--unlabeled", str(corpus), "--epochs", str(options.student_epochs)),
        *("--cascade", str(output), "--output", str(output / "first_tier")),
    )
    signed, answers = str(output / "signed"), output / "answers"
    steps.run(
        calibrate,
        *("--input", str(corpus), *PAIR, "--cascade", str(output), "--output", signed),
        *("--agreement", str(options.agreement), "--sample_rows", str(options.sample_rows)),
    )
    given = ["--input", str(corpus), *PAIR, "--cascade", signed]
    steps.run(classify, *given, "--output", str(answers))
    report(steps.read(f"{answers}/part-*.parquet"), output / "pairs.svg")


def parts(options: argparse.Namespace, output: Path) -> tuple[Path, Path]:
    """Writes rows to learn from, and the corpus: the others."""
    table = steps.read(options.labelled).select(["text", "text_pair", "label"])
    order = np.random.default_rng(0).permutation(len(table))[: options.rows]
    shuffled = table.take(pa.array(order))
    return (
        steps.write(shuffled.slice(0, options.train_rows), output / "data" / "train.parquet"),
        steps.write(shuffled.slice(options.train_rows), output / "data" / "corpus.parquet"),
    )


def report(answers: pa.Table, path: Path) -> None:
    """How often the first tier, and the cascade, are right, by the first tier's confidence."""
    columns = ("first_tier_confidence", "label", "first_tier_prediction", "prediction", "tier")
    sure, label, first, last, tier = (answers[name].to_numpy() for name in columns)
    print(f"\nescalated     {np.mean(tier > 1):.1%} of {len(tier):,} pairs")
    print(f"right         {np.mean(last == label):.1%}, the first tier alone ", end="")
    print(f"{np.mean(first == label):.1%}; {np.mean(label == _most(label)):.1%} are {_most(label)}")
    bins = np.array_split(np.argsort(sure, kind="stable"), 10)
    figure, axes = steps.figure(
        "a tenth of the pairs each, by the first tier's confidence", "% right"
    )
    for shift, answer, color, name in (
        (-0.2, first, steps.FIRST, "first tier"),
        (0.2, last, steps.SECOND, "cascade"),
    ):
        right = [100 * np.mean(answer[rows] == label[rows]) for rows in bins]
        axes.bar(np.arange(10) + shift, right, 0.4, color=color, label=name)
    axes.set_xticks(range(10), [f"{sure[rows].min():.2f}" for rows in bins])
    axes.axvline(np.mean(tier > 1) * 10 - 0.5, color="black", lw=1, label="threshold")
    axes.legend(frameon=False, ncols=3, loc="lower right", framealpha=1)
    steps.save(figure, path)


def _most(labels: np.ndarray) -> str:
    """The most frequent label."""
    names, counts = np.unique(labels.astype(str), return_counts=True)
    return str(names[counts.argmax()])


def _options(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="examples.pair_matching",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--labelled", required=True, help="columns text, text_pair and label")
    parser.add_argument("--encoder", required=True, help="path or hub id")
    parser.add_argument("--rows", type=int, help="so many at most (default: all)")
    parser.add_argument("--train_rows", type=int, default=2500, help="to learn from")
    parser.add_argument("--agreement", type=float, default=0.9)
    parser.add_argument("--sample_rows", type=int, default=800, help="of the corpus, to sign with")
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--student_epochs", type=int, default=10)
    parser.add_argument("--learning_rate", type=float, default=1e-4)
    parser.add_argument("--max_length", type=int, default=128)
    parser.add_argument("--output", required=True)
    return parser.parse_args(arguments)


if __name__ == "__main__":
    main(sys.argv[1:])
