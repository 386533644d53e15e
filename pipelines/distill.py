"""Distils a second tier into a BiLSTM: `python -m pipelines.distill --teacher ... --train ...`."""

from __future__ import annotations

import functools
import sys
from collections.abc import Sequence

from tango_beam import command_line
from tango_beam.command_line import DONE, Parser, stated
from tango_beam.models.bilstm_config import BiLSTMConfig
from tango_beam.training.settings import DistillConfig, Recipe

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
    """The command line; defaults are those of the dataclasses."""
    result = Parser(prog="pipelines.distill", description=DESCRIPTION)
    recipe = functools.partial(command_line.add_option, result, Recipe)
    shape = functools.partial(command_line.add_option, result, BiLSTMConfig)
    training = functools.partial(command_line.add_option, result, DistillConfig)
    recipe("teacher", "a second tier", metavar="DIR")
    command_line.add_data_options(result, Recipe)
    recipe(
        "unlabeled",
        "texts of the domain, cut into sentences; may be given more than once",
        metavar="PARQUET",
    )
    recipe("augment", "kinds of augmented texts", metavar="KINDS")
    recipe("augmented", "how many augmented texts")
    recipe("student", "reads the teacher's word pieces, or words")
    recipe("vectors", "words: GloVe, columns word and vector", metavar="PARQUET")
    shape("vocabulary_size", "words: the most frequent ones, padding and unknown among them")
    shape("embedding_size", "width of a word's or piece's embedding")
    shape("hidden_size", "units of one direction of one of the two LSTM layers")
    shape("feed_forward_size", "units between the LSTM and the labels")
    shape("max_length", "tokens read of a text")
    shape("dropout", "between layers, in training")
    training("epochs", "passes over all texts")
    training("learning_rate", "peak of AdamW's, down linearly to 0")
    training("batch_size", "texts a step")
    training("seed", "order of texts, augmentation, dropout, first weights")
    recipe("cascade", "write cascade.json over teacher and student, beside both")
    recipe(
        "agreement",
        "with --cascade: share of held-out sentences on which cascade and teacher agree",
        metavar="0..1",
    )
    result.add_argument("--verbose", action="store_true", help="let the libraries talk")
    return result


def main(arguments: Sequence[str]) -> int:
    """Labels, trains, scores and saves; returns the exit code."""
    ours = parser().parse_args(arguments)
    recipe = Recipe(**stated(ours, Recipe))
    training = DistillConfig(**stated(ours, DistillConfig))
    shape = BiLSTMConfig(labels=(), **stated(ours, BiLSTMConfig))
    command_line.quiet(ours.verbose)
    command_line.talk("tango_beam.training")
    # torch takes seconds to import; a misspelt option need not wait for it.
    from tango_beam.training.recipe import run

    line = command_line.as_given("pipelines.distill", arguments)
    for name, value in run(recipe, shape, training, line).items():
        print(f"{name}: {value:.4f}")
    print(f"saved: {recipe.output}")
    return DONE


if __name__ == "__main__":
    command_line.run_main(lambda: main(sys.argv[1:]))
