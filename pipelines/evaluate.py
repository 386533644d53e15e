"""Evaluates a cascade on labelled rows: `python -m pipelines.evaluate --input ... --output DIR`."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from tango_beam import command_line
from tango_beam.command_line import DONE, FAILED, REFUSED, Parser
from tango_beam.evaluation.options import EvaluateOptions

DESCRIPTION = """\
Says how good a cascade is on labelled rows and how fast on this machine: its score against its
speedup at every threshold, beside random and oracle routing; the largest speedup that keeps 99 %
and 98 % of the last tier's score; which errors escalation corrects and which it introduces.

  python -m pipelines.evaluate --input labelled.parquet --output evaluation
  python -m pipelines.evaluate --cascade mine --input test.jsonl --output evaluation \\
      --text_column question --text_pair_column sentence --metric mcc
  python -m pipelines.evaluate --first_tier models/small --second_tier models/large \\
      --input 'test/*.parquet' --output evaluation --metric f1 --positive paraphrase
  python -m pipelines.evaluate --cascade reader --input squad.parquet --output evaluation \\
      --text_column question --text_pair_column context --label_column answers
  python -m pipelines.evaluate --cascade topics --input posts.jsonl --output evaluation \\
      --label_column topics --choose_cuts

Every row is scored by every tier, and the tiers are timed several times: it takes about ten times
as long as the last tier alone. Times are those of this machine, as busy as it is now.
"""
EPILOG = f"""\
output:
  report.html    open it in a browser; it needs no network
  report.json    the same numbers, and every threshold
  figures/       the figures as .svg and .png

exit codes:
  {DONE}    complete
  {FAILED}    failed midway
  {REFUSED}    refused before any work: an option, the input or the output is not as it must be
  130  stopped by Ctrl-C (SIGINT)
"""


def parser() -> Parser:
    """The command line."""
    return command_line.parser_of(EvaluateOptions, "pipelines.evaluate", DESCRIPTION, EPILOG)


def main(arguments: Sequence[str]) -> int:
    """Evaluates and writes the report; returns the exit code."""
    ours = parser().parse_args(arguments)
    options = command_line.options_of(EvaluateOptions, ours)
    command_line.quiet(ours.verbose)
    command_line.talk("tango_beam.evaluation")
    # torch takes seconds to import; a misspelt option need not wait for it.
    from tango_beam import terminal
    from tango_beam.evaluation import evaluate, report_directory, tables

    folder = report_directory.check(options.output, overwrite=options.overwrite)
    prepared = evaluate.prepare(options)
    report = evaluate.run(prepared, command_line.as_given("pipelines.evaluate", arguments))
    written = report_directory.write(report, folder)
    for table in tables.terminal_tables(report):
        terminal.show(table)
        print()
    if report.cuts:
        print(f"to use the cuts: {report.cuts.option}")
    for path in written:
        print(path)
    return DONE


if __name__ == "__main__":
    command_line.run_main(lambda: main(sys.argv[1:]))
