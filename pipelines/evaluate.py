"""Evaluates a cascade on labelled rows: `python -m pipelines.evaluate --input ... --output DIR`."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Sequence

from tango_beam import command_line
from tango_beam.command_line import DONE, FAILED, REFUSED, Parser

DESCRIPTION = """\
Says how good a cascade is on labelled rows and how fast on this machine: its score against its
speedup at every threshold, beside random and oracle routing; the largest speedup that keeps 99 %
and 98 % of the last tier's score; which errors escalation corrects and which it introduces.

  python -m pipelines.evaluate --input labelled.parquet --output evaluation
  python -m pipelines.evaluate --cascade mine --input test.jsonl --output evaluation \\
      --text_column question --text_pair_column sentence --metric mcc
  python -m pipelines.evaluate --first_tier models/small --second_tier models/large \\
      --input 'test/*.parquet' --output evaluation --metric f1 --positive paraphrase

Every row is scored by every tier, and the tiers are timed several times over: reckon with about
ten times what the last tier takes on the rows. Times are of this machine, as busy as it is now.
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
    result = Parser(prog="pipelines.evaluate", description=DESCRIPTION, epilog=EPILOG)
    reading = result.add_argument_group("reading")
    command_line.add_reading_arguments(reading)
    reading.add_argument(
        "--label_column", default="label", metavar="NAME",
        help="the right label, as the cascade names it (default: label)",
    )  # fmt: skip
    tiers = result.add_argument_group("cascade")
    command_line.add_tier_arguments(tiers)
    command_line.add_pair_arguments(
        tiers, "marked on the curve, which is over all thresholds (default: the cascade's own)"
    )
    measuring = result.add_argument_group("measuring")
    measuring.add_argument(
        "--metric", choices=("accuracy", "f1", "macro_f1", "mcc"), default="accuracy",
        help="what the curves are of; mcc is Matthews correlation (default: accuracy)",
    )  # fmt: skip
    measuring.add_argument(
        "--positive", metavar="LABEL", help="label that f1 is of (default: the second of two)"
    )
    measuring.add_argument(
        "--repeats", type=int, default=3, metavar="N",
        help="each cost is timed so often; the median counts (default: 3)",
    )  # fmt: skip
    measuring.add_argument(
        "--splits", type=int, default=20, metavar="N",
        help="random halves on which a threshold is chosen, to be scored on the other half "
        "(default: 20)",
    )  # fmt: skip
    measuring.add_argument(
        "--cost_rows", type=int, default=5000, metavar="N",
        help="time the tiers on so many rows, drawn at random, where there are more "
        "(default: 5000)",
    )  # fmt: skip
    measuring.add_argument(
        "--single_rows", type=int, default=200, metavar="N",
        help="the same for batch size 1 (default: 200)",
    )  # fmt: skip
    measuring.add_argument(
        "--seed", type=int, default=0, metavar="N", help="of halves, samples and random routing"
    )
    writing = result.add_argument_group("writing")
    writing.add_argument("--output", required=True, metavar="DIR", help="empty, or not there yet")
    writing.add_argument("--overwrite", action="store_true", help="replace an earlier report")
    result.add_argument("--verbose", action="store_true", help="let the models talk")
    return result


def main(arguments: Sequence[str]) -> int:
    """Evaluates and writes the report; returns the exit code."""
    ours = parser().parse_args(arguments)
    command_line.quiet(ours.verbose)
    command_line.talk("tango_beam.evaluation")
    # Beam and torch take seconds to import; a misspelt option need not wait for them.
    from tango_beam import report
    from tango_beam.evaluation import publish, study, summary

    stated = {field.name: getattr(ours, field.name) for field in dataclasses.fields(study.Options)}
    stated["input"] = tuple(ours.input)
    output = publish.Output(ours.output)
    output.check(overwrite=ours.overwrite)
    prepared = study.prepare(study.Options(**stated))
    found = study.run(prepared, command_line.as_given("pipelines.evaluate", arguments))
    written = output.write(found)
    for table in summary.terminal_tables(found):
        report.show(table)
        print()
    for path in written:
        print(path)
    return DONE


if __name__ == "__main__":
    command_line.run_main(lambda: main(sys.argv[1:]))
