"""Shows how a run stands, ended or under way: `python -m pipelines.show OUT`."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from tango_beam import command_line
from tango_beam.command_line import DONE, Parser

DESCRIPTION = """\
Shows what became of a run of pipelines.classify: rows by fate, how sure the first tier is, what is
escalated, seconds and cost by tier, the certificate and the audit, dead letters, the input. Of a
run that is under way, or was cut short, it shows what is stored so far; nothing is disturbed.

  python -m pipelines.show out
  python -m pipelines.show s3://bucket/out --json
"""
EPILOG = """\
exit codes:
  0  shown
  1  OUT cannot be read
  2  OUT holds no run
"""


def parser() -> Parser:
    """The command line."""
    made = Parser(prog="pipelines.show", description=DESCRIPTION, epilog=EPILOG)
    made.add_argument("output", metavar="OUT", help="what --output of pipelines.classify named")
    made.add_argument(
        "--json",
        action="store_true",
        help="the same as one JSON object: state, input_done, checkpoints, and manifest in the "
        "form of _manifest.json",
    )
    command_line.add_talk(made)
    return made


def main(arguments: Sequence[str]) -> int:
    """Shows a run; returns the exit code."""
    ours = parser().parse_args(arguments)
    command_line.quiet(ours.verbose)
    from tango_beam.run.standing import look
    from tango_beam.run.store import Store

    standing = look(Store(ours.output))
    if ours.json:
        import orjson

        print(orjson.dumps(standing.to_json(), option=orjson.OPT_INDENT_2).decode())
        return DONE
    from tango_beam import terminal
    from tango_beam.job import tables

    for table in tables.tables(standing, ours.output):
        terminal.show(table)
        print()
    return DONE


if __name__ == "__main__":
    command_line.run_main(lambda: main(sys.argv[1:]))
