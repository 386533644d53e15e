"""Chooses a cascade's threshold and signs for it: `python -m pipelines.calibrate --input ...`."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from tango_beam import command_line
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
  a budget: at most a fifth of the rows escalated; says what agreement that gives
    python -m pipelines.calibrate --input corpus/ --max_escalation 0.2 --output mine

  python -m pipelines.classify --input 'corpus/*.parquet' --output out --cascade mine
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
    result = Parser(prog="pipelines.calibrate", description=DESCRIPTION, epilog=EPILOG)
    reading = result.add_argument_group("reading")
    command_line.add_reading_arguments(reading)
    reading.add_argument("--schema", metavar="FILE", help="of JSONL, as for classify")
    reading.add_argument("--label_column", metavar="NAME", help="the right label's name")
    goals = result.add_argument_group("goals (one; default: --agreement 0.99)")
    goals.add_argument("--agreement", type=float, metavar="SHARE")
    goals.add_argument("--accuracy_retained", type=float, metavar="SHARE")
    goals.add_argument("--max_escalation", type=float, metavar="SHARE")
    goals.add_argument(
        "--min_speedup", type=float, metavar="TIMES", help="over the last tier alone"
    )
    goals.add_argument(
        "--class_agreement", type=float, metavar="SHARE", help="alone, or beside --agreement"
    )
    goals.add_argument("--delta", type=float, default=0.05, metavar="SHARE")
    ways = result.add_argument_group("how")
    ways.add_argument(
        "--sample_rows", type=int, metavar="N",
        help="to test with (default: 100 / (1 - goal), at most a tenth of an unlabelled corpus)",
    )  # fmt: skip
    ways.add_argument("--seed", type=int, help="default: a hash of corpus and cascade")
    ways.add_argument("--temperature", choices=("fit", "keep"), default="fit")
    ways.add_argument("--confidence", choices=("max_softmax", "margin", "entropy"))
    command_line.add_tier_arguments(result.add_argument_group("cascade"))
    result.add_argument("--output", required=True, metavar="DIR", help="the new cascade directory")
    result.add_argument("--overwrite", action="store_true", help="replace an earlier calibration")
    result.add_argument("--verbose", action="store_true")
    return result


def main(arguments: Sequence[str]) -> int:
    """Calibrates and reports; returns the exit code."""
    ours = parser().parse_args(arguments)
    command_line.quiet(ours.verbose)
    command_line.talk("tango_beam.calibration")
    command_line.talk("tango_beam.models.bulk")
    from tango_beam.calibration import study, summary
    from tango_beam.calibration.goals import Goals
    from tango_beam.report import show

    wanted = ("agreement", "accuracy_retained", "class_agreement", "max_escalation", "min_speedup")
    if all(getattr(ours, name) is None for name in wanted):
        ours.agreement = 0.99
    goals = Goals(**command_line.stated(ours, Goals))
    settings = study.Settings(**command_line.stated(ours, study.Settings), goals=goals)
    outcome = study.run(settings)
    for table in summary.tables(outcome, ours.output):
        show(table)
    return DONE if outcome.met else NOT_SIGNED


if __name__ == "__main__":
    command_line.run_main(lambda: main(sys.argv[1:]))
