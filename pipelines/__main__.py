"""The console script `tango-beam`: the entry points as verbs, `tango-beam classify --input ...`."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence

from tango_beam import command_line
from tango_beam.command_line import DONE
from tango_beam.errors import RefusedError

COMMANDS = {
    "build": "build a certified cascade out of a slow model and a corpus",
    "classify": "classify a corpus with a cascade",
    "show": "show how a run of classify stands, ended or under way",
    "compare": "say what differs between two runs over one corpus",
    "tune": "find how each tier is fastest on this machine",
    "calibrate": "choose the threshold on a corpus, and sign for what it costs in quality",
    "evaluate": "say how good and how fast a cascade is on labelled rows",
    "finetune": "fine-tune an encoder into a second tier",
    "distill": "distil a second tier into a first tier",
}


def main(arguments: Sequence[str]) -> int:
    """Runs the command that is named first; returns its exit code."""
    if not arguments or arguments[0] in ("-h", "--help"):
        print("usage: tango-beam COMMAND [options]; COMMAND --help lists the options; --version\n")
        for name, about in COMMANDS.items():
            print(f"  {name:<10}  {about}")
        return DONE
    if arguments[0] == "--version":
        print(command_line.version())
        return DONE
    if arguments[0] not in COMMANDS:
        near = command_line.nearest(arguments[0], [*COMMANDS])
        raise RefusedError(
            f"expected a command of {', '.join(COMMANDS)}, found {arguments[0]!r}{near}"
        )
    return importlib.import_module(f"pipelines.{arguments[0]}").main(arguments[1:])


def run() -> None:
    """The console script."""
    command_line.run_main(lambda: main(sys.argv[1:]))


if __name__ == "__main__":
    run()
