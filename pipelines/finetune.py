"""Fine-tunes an encoder into a second tier: `python -m pipelines.finetune --encoder ...`."""

from __future__ import annotations

import functools
import sys
from collections.abc import Sequence

from tango_beam import command_line
from tango_beam.command_line import DONE, Parser, stated
from tango_beam.training.settings import FinetuneConfig, SecondTier

PATH = "PATH-or-hub-id"

DESCRIPTION = """\
Fine-tunes a Hugging Face encoder on labelled texts (Parquet) into a second tier.

Whole sentences are set aside first, with every training row that lies inside one of them; choose
seed and epochs on those. --dev is scored once, at the end, to report.

  python -m pipelines.finetune --encoder all-MiniLM-L6-v2 --train sst2/train.parquet \\
      --held_out 1500 --dev sst2/dev.parquet --output second_tier
"""


def parser() -> Parser:
    """The command line; defaults are those of the dataclasses."""
    result = Parser(prog="pipelines.finetune", description=DESCRIPTION)
    tier = functools.partial(command_line.add_option, result, SecondTier)
    training = functools.partial(command_line.add_option, result, FinetuneConfig)
    tier("encoder", "any that transformers reads; gets a head for the labels", metavar=PATH)
    command_line.add_data_options(result, SecondTier)
    training("epochs", "passes over the training rows")
    training("learning_rate", "peak of AdamW's, after a warm-up, down linearly to 0")
    training("batch_size", "texts a step")
    training("max_length", "tokens read of a text")
    training("seed", "order of texts, dropout, the head's first weights")
    training("smoothing", "label smoothing")
    training(
        "average",
        "keep a running mean of the weights with this decay (0.999, say); 0: the last weights",
    )
    training("precision", "of the forward pass; the weights that are trained stay fp32")
    tier("drop_unused", "leave out pieces named [unusedN]")
    tier(
        "teacher",
        "learn the mean logits of these classifiers instead of the labels (self-training); may be "
        "given more than once",
        metavar=PATH,
    )
    tier(
        "unlabeled",
        "with --teacher: texts of the domain, cut into sentences; may be given more than once",
        metavar="PARQUET",
    )
    tier("unlabeled_rows", "sentences of each of those files, drawn at random (default: all)")
    tier("about", "a sentence for the model card", metavar="TEXT")
    result.add_argument("--verbose", action="store_true", help="let the libraries talk")
    return result


def main(arguments: Sequence[str]) -> int:
    """Trains, scores and saves; returns the exit code."""
    ours = parser().parse_args(arguments)
    tier = SecondTier(**stated(ours, SecondTier))
    training = FinetuneConfig(**stated(ours, FinetuneConfig))
    command_line.quiet(ours.verbose)
    command_line.talk("tango_beam.training")
    # torch takes seconds to import; a misspelt option need not wait for it.
    from tango_beam.training.second_tier import run

    line = command_line.as_given("pipelines.finetune", arguments)
    for name, value in run(tier, training, line).items():
        print(f"{name}: {value:.4f}")
    print(f"saved: {tier.output}")
    return DONE


if __name__ == "__main__":
    command_line.run_main(lambda: main(sys.argv[1:]))
