"""The commands as people start them: help at once, the console script, and which warnings show."""

import argparse
import contextlib
import importlib.metadata
import subprocess
import sys

import pytest

from pipelines.__main__ import COMMANDS, main
from tango_beam import command_line
from tango_beam.errors import RefusedError
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
    assert refused.stderr.endswith("found 'clasify'; did you mean classify?\n")
    assert "expected a command of build, " in refused.stderr


@pytest.mark.parametrize("command", [(), *((command,) for command in COMMANDS)])
def test_every_command_says_its_version(command, capsys):
    told = f"tango-beam {importlib.metadata.version('tango-beam')}\n"
    with contextlib.suppress(SystemExit):
        assert main([*command, "--version"]) == 0
    assert capsys.readouterr().out == told


@pytest.mark.parametrize("command", ["classify", "calibrate", "build"])
def test_a_glob_without_quotes_is_told_as_one(command, tmp_path):
    paths = [tmp_path / f"news-{number}.parquet" for number in range(3)]
    for path in paths:
        path.touch()
    options = ["--output", str(tmp_path / "out")]
    options += ["--second_tier", "x"] if command == "build" else []
    quoted = rf"3 files behind it, .* quotes \('{tmp_path}/\*.parquet'\)"
    with pytest.raises(RefusedError, match=quoted):
        main([command, "--input", *map(str, paths), *options])
    with pytest.raises(RefusedError, match=r"option --outptu; did you mean --output\?"):
        main([command, "--input", str(paths[0]), *options, "--outptu"])


def test_a_file_that_is_an_options_value_is_no_glob_without_quotes(tmp_path):
    ours = argparse.Namespace(input=[str(tmp_path / "a.parquet")])
    (tmp_path / "job.jar").touch()
    command_line.refuse_unquoted(ours, ["--flink_job_server_jar", str(tmp_path / "job.jar")])
    with pytest.raises(RefusedError, match="2 files behind it"):
        command_line.refuse_unquoted(ours, [str(tmp_path / "job.jar"), "--streaming"])


STOPPED = """
from tango_beam import command_line
from tango_beam.errors import Interrupted
def main():
    raise Interrupted(15)
command_line.run_main(main)
"""


def test_a_run_that_was_stopped_names_the_way_on():
    done = python("-c", STOPPED)
    assert done.returncode == 143
    assert done.stderr.splitlines()[-1].endswith("--resume goes on with it")


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
