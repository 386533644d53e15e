"""Compares two runs over one corpus: `python -m pipelines.compare A B`."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from tango_beam import command_line
from tango_beam.command_line import DONE, FAILED, REFUSED, Parser
from tango_beam.comparing.options import CompareOptions

DESCRIPTION = """\
Says what differs between two runs of pipelines.classify over one corpus (a new cascade, another
threshold): rows whose answer changed, from which answer to which and from which tier to which, with
the escalation, confidence and seconds of both.

  python -m pipelines.compare out/monday out/tuesday
  python -m pipelines.compare out/old s3://bucket/new --key id --examples 20
  python -m pipelines.compare out/old out/new --key id --output changed.parquet

Rows are matched by source file and position (classify --source_columns), or by --key. What is held
in memory is a bucket of rows; the columns that are compared lie in the folder for temporary files
(TMPDIR) meanwhile, the texts too unless --examples is 0.
"""
EPILOG = f"""\
exit codes:
  {DONE}    compared, whether anything differs or not
  {FAILED}    failed midway
  {REFUSED}    refused: an option, or an output that is not as it must be
  130  stopped by Ctrl-C (SIGINT)
"""


def parser() -> Parser:
    """The command line."""
    return command_line.parser_of(CompareOptions, "pipelines.compare", DESCRIPTION, EPILOG)


def main(arguments: Sequence[str]) -> int:
    """Compares and reports; returns the exit code."""
    ours = parser().parse_args(arguments)
    options = command_line.options_of(CompareOptions, ours)
    command_line.quiet(ours.verbose)
    # pyarrow and rich take a while to import; a misspelt option need not wait for them.
    import json

    from tango_beam import terminal
    from tango_beam.comparing import compare, tables

    report = compare.compare(options)
    if options.json:
        print(json.dumps(report.to_json(), indent=2, ensure_ascii=False))
        return DONE
    terminal.show(tables.side_by_side(report))
    print()
    terminal.show(tables.changes(report, options.pairs))
    if options.output is not None:
        print(f"{report.changed:,} changed rows written to {options.output}")
    return DONE


if __name__ == "__main__":
    command_line.run_main(lambda: main(sys.argv[1:]))
