"""Builds a certified cascade out of a slow model: `python -m pipelines.build --input ...`."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from tango_beam import command_line
from tango_beam.building.options import BuildOptions
from tango_beam.calibration.options import goals_apart
from tango_beam.command_line import DONE, Parser

DESCRIPTION = """\
Builds a cascade that answers as your good, slow model does, at a fraction of its cost: it asks that
model about some rows of your corpus, trains small students on its answers, finds the cheapest chain
of them in front of it, and signs a promise on rows that nobody has looked at. No labels are needed.

  python -m pipelines.build --input 'corpus/*.parquet' --second_tier my/checkpoint \\
      --agreement 0.99 --output mine
  python -m pipelines.classify --input 'corpus/*.parquet' --cascade mine --output out

  python -m pipelines.build --input 'corpus/*.parquet' --output mine --agreement 0.95 \\
      --second_tier openai:http://localhost:8000/v1 --model qwen3 --prompt prompt.txt \\
      --labels spam,ham

The second tier gives one of several labels, several labels, a score, or a span of a context:

  python -m pipelines.build --input 'questions/*.parquet' --output mine --agreement 0.9 \\
      --second_tier my/reader --text_column question --text_pair_column context

A build that was killed goes on when it is started again, and asks about no row twice.
"""
EPILOG = f"""\
DIR gets cascade.json with its certificate, the weights, report.json, and report.html: what is
promised, what each tier does, what a larger corpus will take. Where no cascade pays, the page says
why, and DIR holds the second tier alone, with its fastest settings.

exit codes:
  {DONE}  built; also where no cascade pays
  1  failed midway; started again, it goes on
  2  refused before any work
"""


def parser() -> Parser:
    """The command line."""
    return command_line.parser_of(BuildOptions, "pipelines.build", DESCRIPTION, EPILOG)


def main(arguments: Sequence[str]) -> int:
    """Builds and reports; returns the exit code."""
    ours = parser().parse_args(goals_apart(arguments))
    options = command_line.options_of(BuildOptions, ours)
    command_line.quiet(ours.verbose)
    for name in ("building", "training", "models.logits"):
        command_line.talk(f"tango_beam.{name}", but=["tango_beam.training.loop"])
    from tango_beam import terminal
    from tango_beam.building import build, report, tables

    begun = build.begin(options)
    made = build.run(begun)
    built = report.write(begun, made, command_line.as_given("pipelines.build", arguments))
    for table in tables.tables(built, options.output):
        terminal.show(table)
    return DONE


if __name__ == "__main__":
    command_line.run_main(lambda: main(sys.argv[1:]))
