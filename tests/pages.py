"""Pages of the documentation: their blocks, the commands in them, and how those are run.

A block is run as it stands, unless a comment on the line before it says otherwise:

    <!-- not run: needs a cloud account -->   never; readers of the site see the reason
    <!-- slow -->                             where TANGO_BEAM_SLOW is set
    <!-- as in README.md -->                  there, where the same block stands
    <!-- drawing -->                          a picture in letters
"""

import contextlib
import json
import os
import re
import runpy
import shlex
import subprocess
import sys
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

from tango_beam import command_line
from tango_beam.calibration.options import goals_apart

ROOT = Path(__file__).parent.parent
COMMANDS = ("python", "python3", "mkdir", "cp", "cat", "export", "pip", "tango-beam")
# What stands on this machine already, or would begin the tests anew.
ELSEWHERE = re.compile(
    r"python3 -m venv|\. \S+/activate|pip install|python -m (pytest|llama_cpp\.server)"
)
LANGUAGES = ("bash", "python", "json", "text")
_HEREDOC = re.compile(r"<<'(\w+)'$")
_FENCE = re.compile(r"```(\S*)$")
_MARK = re.compile(r"<!-- (not run: .+|as in .+|slow|drawing) -->$")
# A fingerprint, or a number: what differs from run to run.
_VARYING = re.compile(r"\b[0-9a-f]{16}\b|\d[\d.,]*")


@dataclass(frozen=True)
class Block:
    """A fenced or indented block of a page.

    Attributes:
      lines: without the indentation.
      line: of the page where it begins.
      language: of the fence; of an indented block, `bash` where it begins with a command, else
        `text`.
      mark: what the comment before it says; empty without.
    """

    lines: tuple[str, ...]
    line: int
    language: str
    mark: str = ""

    @property
    def is_run(self):
        """Whether it is run, or compared with what was run."""
        slow = bool(os.environ.get("TANGO_BEAM_SLOW"))
        return self.mark == "" or (self.mark == "slow" and slow)

    @property
    def every_command(self):
        """Each whole: with the lines that it goes on in, and what it reads from them."""
        found, lines = [], [line for line in self.lines if line and not line.startswith("#")]
        while lines:
            command = lines.pop(0)
            while command.endswith("\\"):
                command = command[:-1] + lines.pop(0).lstrip()
            if here := _HEREDOC.search(command):
                end = lines.index(here[1])
                command = "\n".join([command, *lines[: end + 1], ""])
                del lines[: end + 1]
            parts = [command] if "\n" in command else command.split(" && ")
            found += [part.strip() if "\n" not in part else part for part in parts]
        return found

    @property
    def commands(self):
        """Those to run."""
        return [command for command in self.every_command if not ELSEWHERE.match(command)]


def every_page():
    """The README, the benchmarks' and the pages under docs/, by their paths from the root."""
    found = [ROOT / "README.md", ROOT / "benchmarks/README.md"]
    found += sorted((ROOT / "docs").rglob("*.md"))
    return [path.relative_to(ROOT).as_posix() for path in found]


def blocks(text):
    """The blocks of a page, or of a part of one, in their order."""
    found, lines, mark, number = [], text.splitlines(), "", 0
    while number < len(lines):
        line, begun = lines[number], number
        if fence := _FENCE.match(line):
            number = lines.index("```", number + 1)
            inside = lines[begun + 1 : number]
            found.append(Block(tuple(inside), begun + 2, fence[1], mark))
        elif line.startswith("    ") and not (begun and lines[begun - 1]):
            while number + 1 < len(lines) and lines[number + 1].startswith("    "):
                number += 1
            inside = [one[4:] for one in lines[begun : number + 1]]
            language = "bash" if inside[0].split()[0] in COMMANDS else "text"
            found.append(Block(tuple(inside), begun + 1, language, mark))
        number += 1
        said = _MARK.match(line)
        mark = said[1] if said else mark if not line else ""
    return found


def words_of(command):
    """The words of a command of this package, its verb first; none of another command."""
    words = [] if "\n" in command else shlex.split(command, comments=True)
    if words[:2] == ["python", "-m"] and words[2].startswith("pipelines."):
        return [words[2].removeprefix("pipelines."), *words[3:]]
    return words[1:] if words[:1] == ["tango-beam"] else []


def parse(words):
    """Has the parser of a verb read a command; raises RefusedError for what it does not know."""
    words, _ = _without_redirection(words)
    parser = import_module(f"pipelines.{words[0]}").parser()
    if words[0] == "classify":
        command_line.split_beam_arguments(parser, words[1:])
    else:
        parser.parse_args(goals_apart(words[1:]))


def run(command, change, environment):
    """Runs a command in the working directory; returns its exit code.

    Commands of this package run in this process, which has imported what they need; others run in a
    shell.

    Args:
      command: as the page shows it.
      change: a function of the words of a command of this package, its verb first: those to run.
      environment: a `pytest.MonkeyPatch`, for what is exported.
    """
    words = [] if "\n" in command else shlex.split(command, comments=True)
    if words[:1] == ["export"]:
        environment.setenv(*words[1].split("=", 1))
        return 0
    if own := words_of(command):
        own, log = _without_redirection(own)
        main = import_module(f"pipelines.{own[0]}").main
        with contextlib.ExitStack() as stack:
            if log:
                file = stack.enter_context(Path(log).open("w"))
                stack.enter_context(contextlib.redirect_stderr(file))
            return main(change(own)[1:])
    if words[:2] == ["python", "-m"]:
        environment.setattr(sys, "argv", words[2:])
        runpy.run_module(words[2], run_name="__main__", alter_sys=True)
        return 0
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    shell = ["bash", "-euc", command]
    return subprocess.run(shell, env=os.environ | {"PATH": path}, check=False).returncode


def _without_redirection(words):
    """The words before `2> FILE`, and FILE."""
    if "2>" not in words:
        return words, None
    place = words.index("2>")
    return words[:place], words[place + 1]


def walk(page, capfd, environment, change, before):
    """Runs all blocks of a page that are not marked, as a reader would; each does what it shows.

    Args:
      page: its path from the root.
      capfd: pytest's.
      environment: a `pytest.MonkeyPatch`.
      change: see `run`.
      before: a function of a command: the one to run.
    """
    # None: what is shown comes of a block that is not run.
    output, names, capture = "", {"__name__": "snippet"}, capfd.readouterr
    capture()
    for block in blocks((ROOT / page).read_text()):
        place, code = f"{page}:{block.line}", "\n".join(block.lines)
        if not block.is_run:
            output = output if block.language == "text" else None
            continue
        if block.language == "bash":
            assert block.commands, f"{place}: nothing of it is run, and no mark says why"
            for command in block.commands:
                done = run(before(command), change, environment)
                output = "".join(capture())
                assert done == 0, f"{place}: {command}\n{output}"
        elif block.language == "python":
            exec(compile(code, place, "exec"), names)
            output = "".join(capture())
        elif block.language == "json":
            json.loads(code)
        else:
            assert block.language == "text", f"{place}: expected {LANGUAGES}, or a mark"
            shown = output is None or shows(output, block)
            assert shown, f"{place}: {block.lines}\n{output}"


def shows(output, block):
    """Whether an output has the lines that a page shows; figures may differ, `...` is anything.

    Rows come in whichever order a runner has them, so the very lines in another order will do.
    """
    words = " ".join(block.lines).split()
    pattern = r"\s+".join(".*?" if word == "..." else _any_figure(word) for word in words)
    found = re.search(pattern, output, re.DOTALL) is not None
    return found or sorted(block.lines) == sorted(output.splitlines())


def _any_figure(word):
    return r"[\w.,]+".join(re.escape(part) for part in _VARYING.split(word))
