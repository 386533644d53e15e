"""Messages go to the team whose topic they are of, and a rare topic gets a promise.

    pip install -e '.[evaluate]'
    python -m examples.topic_routing --labelled agnews/train_10k.parquet --label Sports \
        --keep_rows 600 --encoder all-MiniLM-L6-v2 --output topics

A cascade that agrees with its second tier on 99 % of all rows may still lose much of a rare topic:
where one row in fifteen is of it, the other 1 % is a seventh of the topic. So the topic gets a goal
of its own: of the rows that the second tier calls so, `--recall` are found. What the script does:

1. Parts the labelled file in two: rows to learn from, and a corpus, whose labels are looked at by
   nobody before the end. `--keep_rows` thins the topic out first, to try what rarity does.
2. `finetune` makes the second tier of an encoder. `distill --student static` makes the first tier,
   of the second one's answers to the same rows and to the corpus' texts: topics are
   told by words more than by their order, and a static student costs next to nothing.
3. `calibrate --recall LABEL=0.95` signs. It takes ln(1 / delta) / ((1 - recall) x share of the
   label) rows at least: the rarer, the more. Fewer are refused, with the number it takes.
4. `classify --keep LABEL` answers every row of the corpus and writes those of the topic.

What to read: the promise speaks of what the second tier calls so. Whether that is the truth is the
second tier's quality, which the last figures and the plot show beside it.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from examples import steps
from pipelines import calibrate, classify, distill, finetune


def main(arguments: Sequence[str]) -> None:
    """Parts the file, trains, calibrates, classifies, reports."""
    options = _options(arguments)
    output = Path(options.output)
    train, corpus = parts(options, output)
    held_out = str(len(steps.read(str(train))) // 5)
    steps.run(
        finetune,
        *("--encoder", options.encoder, "--train", str(train), "--held_out", held_out),
        *("--epochs", str(options.epochs), "--learning_rate", str(options.learning_rate)),
        *("--max_length", str(options.max_length), "--output", str(output / "second_tier")),
    )
    steps.run(
        distill,
        *("--student", "static", "--teacher", str(output / "second_tier")),
        *("--train", str(train), "--held_out", held_out, "--unlabeled", str(corpus)),
        *("--augmented", str(options.augmented), "--max_length", str(options.max_length)),
        *("--epochs", "10", "--cascade", str(output), "--output", str(output / "first_tier")),
    )
    signed, answers = str(output / "signed"), output / "answers"
    steps.run(
        calibrate,
        *("--input", str(corpus), "--cascade", str(output), "--output", signed),
        *("--recall", f"{options.label}={options.recall}"),
        *("--sample_rows", str(options.sample_rows)),
    )
    given = ["--input", str(corpus), "--cascade", signed, "--output", str(answers)]
    steps.run(classify, *given, "--keep", options.label)
    report(options.label, steps.read(str(corpus)), steps.read(f"{answers}/part-*.parquet"), output)


def parts(options: argparse.Namespace, output: Path) -> tuple[Path, Path]:
    """Writes rows to learn from, and the corpus: the others."""
    table = steps.read(options.labelled).select(["text", "label"])
    rng = np.random.default_rng(0)
    is_rare = pc.equal(table["label"], options.label).to_numpy(zero_copy_only=False)
    rare = rng.permutation(np.flatnonzero(is_rare))[: options.keep_rows]
    others = rng.permutation(np.flatnonzero(~is_rare))
    if options.rows is not None:
        others = others[: max(0, options.rows - len(rare))]
    shuffled = table.take(pa.array(rng.permutation([*rare, *others])))
    return (
        steps.write(shuffled.slice(0, options.train_rows), output / "data" / "train.parquet"),
        steps.write(shuffled.slice(options.train_rows), output / "data" / "corpus.parquet"),
    )


def report(label: str, corpus: pa.Table, kept: pa.Table, output: Path) -> None:
    """Which rows of each topic were kept, by the labels that nobody has looked at so far."""
    there, found = (
        {row["values"]: row["counts"] for row in pc.value_counts(table["label"]).to_pylist()}
        for table in (corpus, kept)
    )
    print(f"\nkept          {len(kept):,} of {len(corpus):,} rows")
    print(f"recall        {found.get(label, 0) / there[label]:.1%} of {there[label]:,} right rows")
    print(f"precision     {found.get(label, 0) / max(1, len(kept)):.1%}")
    topics = sorted(there, key=lambda topic: (topic != label, topic))
    figure, axes = steps.figure(f"rows kept as {label}, of the rows of each topic (%)", "")
    shares = [100 * found.get(topic, 0) / there[topic] for topic in topics]
    colors = [steps.SECOND, *[steps.FIRST] * (len(topics) - 1)]
    bars = axes.barh([f"{topic} ({there[topic]:,})" for topic in topics], shares, color=colors)
    axes.bar_label(bars, fmt="%.1f", padding=3)
    axes.invert_yaxis()
    steps.save(figure, output / "topics.svg")


def _options(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="examples.topic_routing",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--labelled", required=True, help="Parquet with columns text and label")
    parser.add_argument("--label", required=True, help="the rare topic")
    parser.add_argument("--recall", type=float, default=0.95)
    parser.add_argument("--encoder", required=True, help="path or hub id")
    parser.add_argument("--rows", type=int, help="so many, with all of the topic (default: all)")
    parser.add_argument("--keep_rows", type=int, help="of the topic (default: all)")
    parser.add_argument("--train_rows", type=int, default=2000, help="to learn from")
    parser.add_argument("--sample_rows", type=int, default=3000, help="of the corpus, to sign with")
    parser.add_argument("--augmented", type=int, default=10_000, help="texts for the student")
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--learning_rate", type=float, default=1e-4)
    parser.add_argument("--max_length", type=int, default=128)
    parser.add_argument("--output", required=True)
    return parser.parse_args(arguments)


if __name__ == "__main__":
    main(sys.argv[1:])
