"""Finds how each tier is fastest on this machine: `python -m pipelines.tune --input ...`."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from tango_beam import command_line
from tango_beam.command_line import DONE, Parser
from tango_beam.tuning.options import TuneOptions

DESCRIPTION = """\
Measures each tier of a cascade on a sample of your own corpus, over batch size, precision (fp32,
bf16, and int8 for transformers), backend (torch, and ONNX Runtime with the extra `onnx`), threads
and worker processes, and writes a cascade directory with the fastest settings that still answer as
fp32 does: the exact lower bound of their agreement is at least --min_agreement.

  python -m pipelines.tune --input 'corpus/*.parquet' --output tuned
  python -m pipelines.calibrate --input 'corpus/*.parquet' --cascade tuned --output mine
  python -m pipelines.classify --input 'corpus/*.parquet' --cascade mine --output out

Tune before you calibrate: another precision gives other scores, so an earlier certificate becomes
void. The choice holds for this machine: tune where the job will run, with nothing else running.
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
    return command_line.parser_of(TuneOptions, "pipelines.tune", DESCRIPTION, EPILOG)


def main(arguments: Sequence[str]) -> int:
    """Tunes and reports; returns the exit code."""
    ours = parser().parse_args(arguments)
    options = command_line.options_of(TuneOptions, ours)
    command_line.quiet(ours.verbose)
    command_line.talk("tango_beam.tuning")
    from tango_beam import terminal
    from tango_beam.tuning import tables, tune

    outcome = tune.run(options)
    for table in tables.tables(outcome, options.output):
        terminal.show(table)
    tables.plot(outcome, Path(options.output))
    return DONE


if __name__ == "__main__":
    command_line.run_main(lambda: main(sys.argv[1:]))
