"""Finds how each tier is fastest on this machine: `python -m pipelines.tune --input ...`."""

from __future__ import annotations

import argparse
import functools
import sys
from collections.abc import Sequence
from pathlib import Path

from tango_beam import command_line
from tango_beam.command_line import DONE, Parser

DESCRIPTION = """\
Measures each tier of a cascade on a sample of your own corpus, over batch size, precision (fp32,
bf16, and int8 for transformers), backend (torch, and ONNX Runtime with the extra `onnx`), threads
and worker processes, and writes a cascade directory with the fastest way that still answers as fp32
does: the exact lower bound of its agreement is at least --min_agreement.

  python -m pipelines.tune --input 'corpus/*.parquet' --output tuned
  python -m pipelines.calibrate --input 'corpus/*.parquet' --cascade tuned --output mine
  python -m pipelines.classify --input 'corpus/*.parquet' --cascade mine --output out

Tune before you calibrate: another precision gives other scores, so a certificate made before is
void. The choice is this machine's; tune where the job will run, and leave the machine alone
meanwhile.
"""
EPILOG = f"""\
DIR gets cascade.json and the weights (linked or copied), _tune.json with every figure, and
throughput.png where matplotlib is installed (the extra `evaluate`).

exit codes:
  {DONE}  tuned
  1  failed midway
  2  refused before any work
"""


def parser() -> Parser:
    """The command line."""
    from tango_beam.tuning.study import Settings

    result = Parser(prog="pipelines.tune", description=DESCRIPTION, epilog=EPILOG)
    command_line.add_reading_arguments(result.add_argument_group("reading"))
    group = result.add_argument_group("cascade")
    group.add_argument("--cascade", default="sst2", metavar="DIR-or-name")
    group.add_argument("--max_length", type=int, metavar="TOKENS", help="read no more of a text")
    group.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    add = functools.partial(command_line.add_option, result.add_argument_group("how"), Settings)
    add("sample_rows", "compared with fp32")
    add("timed_seconds", "of work that is timed at each batch size, about")
    add("rounds", "of timing, precisions in turns; medians count")
    add("min_agreement", "with fp32's answers, by its lower bound")
    add("delta", "level of that bound")
    add("seed", "of the sample")
    result.add_argument(
        "--no_processes", dest="processes", action="store_false", default=argparse.SUPPRESS,
        help="do not try worker processes, of which each loads the models",
    )  # fmt: skip
    result.add_argument("--output", required=True, metavar="DIR", help="the new cascade directory")
    result.add_argument("--verbose", action="store_true")
    return result


def main(arguments: Sequence[str]) -> int:
    """Tunes and reports; returns the exit code."""
    ours = parser().parse_args(arguments)
    command_line.quiet(ours.verbose)
    command_line.talk("tango_beam.tuning")
    from tango_beam.report import show
    from tango_beam.tuning import study, summary

    outcome = study.run(study.Settings(**command_line.stated(ours, study.Settings)))
    for table in summary.tables(outcome, ours.output):
        show(table)
    summary.plot(outcome, Path(ours.output))
    return DONE


if __name__ == "__main__":
    command_line.run_main(lambda: main(sys.argv[1:]))
