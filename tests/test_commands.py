"""The commands as people start them: help at once, the console script, and which warnings show."""

import subprocess
import sys

import pytest

from pipelines.__main__ import COMMANDS
from tests.test_layers import HEAVY

HELP = f"""
import sys
from pipelines.__main__ import main
try:
    main(sys.argv[1:])
finally:
    heavy = {HEAVY!r} & set(sys.modules)
    assert not heavy, heavy
"""


def python(*arguments):
    return subprocess.run(
        [sys.executable, *arguments], capture_output=True, text=True, timeout=120, check=False
    )


@pytest.mark.parametrize("command", COMMANDS)
def test_help_waits_for_no_library_and_says_nothing_on_standard_error(command):
    done = python("-c", HELP, command, "--help")
    assert done.returncode == 0 and done.stderr == ""
    assert done.stdout.startswith(f"usage: pipelines.{command} ")
    assert "--verbose" in done.stdout and "--log_format {text,json}" in done.stdout
    assert python("-m", f"pipelines.{command}", "--help").stdout == done.stdout


def test_the_console_script_has_the_commands_as_verbs():
    done = python("-m", "pipelines", "--help")
    assert done.returncode == 0
    assert [line.split()[0] for line in done.stdout.splitlines() if line[:2] == "  "] == [*COMMANDS]
    refused = python("-m", "pipelines", "clasify")
    assert refused.returncode == 2
    assert "expected a command of build, " in refused.stderr


WARNING = """
import logging
from tango_beam import command_line
command_line.quiet({verbose})
logging.getLogger("tango_beam.run.lease").warning("the lease could not be renewed")
logging.getLogger("tango_beam.models.loading").info("loaded")
logging.getLogger("apache_beam.runners").warning("of a library")
"""


def test_our_own_warnings_are_shown_and_those_of_libraries_are_not():
    assert python("-c", WARNING.format(verbose=False)).stderr == "the lease could not be renewed\n"
    shown = python("-c", WARNING.format(verbose=True)).stderr
    assert "renewed" in shown and "loaded" in shown and "of a library" in shown
