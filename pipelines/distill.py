"""Distils a second tier into a first: `python -m pipelines.distill --teacher ... --train ...`."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from tango_beam import command_line, logs
from tango_beam.command_line import DONE, Parser
from tango_beam.training.distill_options import DistillOptions

DESCRIPTION = """\
Distils a teacher into a first tier (TangoBERT, section 4.2): the teacher's logits over labelled
texts, over unlabelled texts of the domain, and over augmented texts. A teacher that gives several
labels, or a score, is learnt in the same way. One that answers with spans of a context gives some
of its layers to its student (--layers), which learns where it sees answers begin and end.

The student reads the teacher's own word pieces (a text is then tokenized once for both tiers), or
words (the paper's). It is a BiLSTM, or with --student static a small network on means of
embeddings, for long texts and very many. With --cascade, teacher and student become a cascade
directory, its threshold read off the held-out rows.

  python -m pipelines.distill --teacher second_tier --train sst2/train.parquet --held_out 1500 \\
      --unlabeled imdb/train.parquet --output first_tier
"""


def parser() -> Parser:
    """The command line."""
    return command_line.parser_of(DistillOptions, "pipelines.distill", DESCRIPTION)


def main(arguments: Sequence[str]) -> int:
    """Labels, trains, scores and saves; returns the exit code."""
    ours = parser().parse_args(arguments)
    options = command_line.options_of(DistillOptions, ours)
    command_line.quiet(ours.verbose)
    command_line.talk("tango_beam.training")
    # torch takes seconds to import; a misspelt option need not wait for it.
    from tango_beam.training.distill import run

    scores = run(options, command_line.as_given("pipelines.distill", arguments))
    for name, value in scores.items():
        print(f"{name}: {value:.4f}")
    print(f"saved: {options.output}")
    logs.say("saved", {"output": options.output, **scores}, only_json=True)
    return DONE


if __name__ == "__main__":
    command_line.run_main(lambda: main(sys.argv[1:]))
