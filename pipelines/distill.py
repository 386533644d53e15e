"""Distils a second tier into a BiLSTM: `python -m pipelines.distill --teacher ... --train ...`."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import asdict, fields

from tango_beam import command_line
from tango_beam.command_line import DONE, Parser

DESCRIPTION = """\
Distils a teacher into a first tier (TangoBERT, section 4.2): the teacher's logits over labelled
texts, over unlabelled texts of the domain, and over augmented texts.

The student reads the teacher's own word pieces (a text is then tokenized once for both tiers), or
words (the paper's). With --cascade, teacher and student become a cascade directory, its threshold
read off the held-out sentences.

  python -m pipelines.distill --teacher second_tier --train sst2/train.parquet --held_out 1500 \\
      --unlabeled imdb/train.parquet --output first_tier
"""


def parser() -> Parser:
    """The command line."""
    result = Parser(prog="pipelines.distill", description=DESCRIPTION)
    result.add_argument("--teacher", required=True, metavar="DIR", help="a second tier")
    result.add_argument(
        "--unlabeled", action="append", default=[], metavar="PARQUET",
        help="texts of the domain, cut into sentences; may be given more than once",
    )  # fmt: skip
    command_line.add_data_arguments(result)
    result.add_argument(
        "--augment", default="mask,ngram,join", metavar="KINDS", help="kinds of augmented texts"
    )
    result.add_argument("--augmented", type=int, default=90_000, metavar="N", help="how many")
    result.add_argument("--student", choices=("pieces", "words"), default="pieces")
    result.add_argument("--vectors", metavar="PARQUET", help="words: GloVe, columns word, vector")
    result.add_argument("--vocabulary_size", type=int, default=10_000, help="words")
    result.add_argument("--embedding_size", type=int, default=50)
    result.add_argument("--hidden_size", type=int, default=64)
    result.add_argument("--feed_forward_size", type=int, default=200)
    result.add_argument("--max_length", type=int, default=256, help="tokens read of a text")
    result.add_argument("--dropout", type=float, default=0.1)
    result.add_argument("--epochs", type=int, default=4)
    result.add_argument("--learning_rate", type=float, default=2e-3)
    result.add_argument("--batch_size", type=int, default=128)
    result.add_argument("--seed", type=int, default=0)
    result.add_argument("--store", choices=("bf16", "fp32"), default="fp32", help="weights on disk")
    result.add_argument(
        "--cascade", metavar="NAME", help="write cascade.json over teacher and student, beside both"
    )
    result.add_argument(
        "--agreement", type=float, default=0.99,
        help="with --cascade: share of held-out sentences on which cascade and teacher agree",
    )  # fmt: skip
    result.add_argument("--verbose", action="store_true")
    return result


def main(arguments: Sequence[str]) -> int:
    """Labels, trains, scores and saves; returns the exit code."""
    ours = parser().parse_args(arguments)
    command_line.quiet(ours.verbose)
    command_line.talk("tango_beam.training")
    from tango_beam.training import distill, recipe

    settings = recipe.Recipe(
        **{field.name: getattr(ours, field.name) for field in fields(recipe.Recipe)}
    )
    training = distill.DistillConfig(
        epochs=ours.epochs,
        learning_rate=ours.learning_rate,
        batch_size=ours.batch_size,
        seed=ours.seed,
    )
    line = command_line.as_given("pipelines.distill", arguments)
    scores = recipe.run(settings, training, line, {**asdict(settings), **asdict(training)})
    for name, value in scores.items():
        print(f"{name}: {value:.4f}")
    print(f"saved: {ours.output}")
    return DONE


if __name__ == "__main__":
    command_line.run_main(lambda: main(sys.argv[1:]))
