"""Chooses a cascade's threshold and signs for it: `python -m pipelines.calibrate --input ...`."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from tango_beam import command_line
from tango_beam.calibration.options import CalibrateOptions, goals_apart
from tango_beam.command_line import DONE, NOT_SIGNED, Parser

DESCRIPTION = """\
Chooses the threshold of a cascade on your own corpus, and signs for what it costs in quality: a
cascade directory with threshold, temperature and certificate comes out. The promise holds with
probability 1 - delta over the draw of the sample.

  no labels: the cascade answers as the second tier does on 99 % of this corpus
    python -m pipelines.calibrate --input 'corpus/*.parquet' --agreement 0.99 --output mine
  besides, on 95 % within every class, so that no rare class is lost whole
    python -m pipelines.calibrate --input corpus/ --agreement 0.99 --class_agreement 0.95 \\
        --output mine
  labels: the cascade keeps 99 % of the second tier's accuracy
    python -m pipelines.calibrate --input labelled.parquet --label_column label \\
        --accuracy_retained 0.99 --output mine
  a filter: of the rows that the second tier calls spam, 95 % are found, and of those found 90 % are
    python -m pipelines.calibrate --input corpus/ --recall spam=0.95 --precision spam=0.9 \\
        --output mine
  a budget: at most a fifth of the rows escalated; says what agreement that gives
    python -m pipelines.calibrate --input corpus/ --max_escalation 0.2 --output mine

  python -m pipelines.classify --input 'corpus/*.parquet' --output out --cascade mine
  python -m pipelines.classify --input 'corpus/*.parquet' --output out --cascade mine --keep spam
"""
EPILOG = f"""\
Trying seeds or goals until one passes breaks the promise: every attempt stays on record.

exit codes:
  {DONE}  signed
  1  failed midway
  2  refused before any work
  {NOT_SIGNED}  the goal cannot be met on this corpus; the table says what can
"""


def parser() -> Parser:
    """The command line."""
    return command_line.parser_of(CalibrateOptions, "pipelines.calibrate", DESCRIPTION, EPILOG)


def main(arguments: Sequence[str]) -> int:
    """Calibrates and reports; returns the exit code."""
    ours = parser().parse_args(goals_apart(arguments))
    options = command_line.options_of(CalibrateOptions, ours)
    command_line.quiet(ours.verbose)
    command_line.talk("tango_beam.calibration")
    command_line.talk("tango_beam.models.logits")
    from tango_beam import terminal
    from tango_beam.calibration import calibrate, tables

    outcome = calibrate.run(options)
    for table in tables.tables(outcome, options.output):
        terminal.show(table)
    return DONE if outcome.met else NOT_SIGNED


if __name__ == "__main__":
    command_line.run_main(lambda: main(sys.argv[1:]))
