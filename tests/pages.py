"""Pages of the documentation: the commands they show, run as a reader runs them, and what comes."""

import os
import re
import runpy
import shlex
import subprocess
import sys
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

ROOT = Path(__file__).parent.parent
COMMANDS = ("python", "python3", "mkdir", "cp", "cat", "export", "pip", "tango-beam")
# What stands on this machine already, or would begin the tests anew.
ELSEWHERE = re.compile(
    r"python3 -m venv|\. \S+/activate|pip install|python -m (pytest|llama_cpp\.server)"
)
_HEREDOC = re.compile(r"<<'(\w+)'$")
# A fingerprint, or a number: what differs from run to run.
_VARYING = re.compile(r"\b[0-9a-f]{16}\b|\d[\d.,]*")


@dataclass(frozen=True)
class Block:
    """An indented block of a page.

    Attributes:
      lines: without the indentation.
      line: of the page where it begins.
    """

    lines: tuple[str, ...]
    line: int

    @property
    def is_commands(self):
        return self.lines[0].split()[0] in COMMANDS

    @property
    def commands(self):
        """Each whole: with the lines that it goes on in, and what it reads from them."""
        found, lines = [], [line for line in self.lines if not line.startswith("#")]
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
        return [command for command in found if not ELSEWHERE.match(command)]


def blocks(text):
    """The indented blocks of a page, or of a part of one, in their order."""
    found, now = [], []
    for number, line in enumerate([*text.splitlines(), ""], start=1):
        if line.startswith("    "):
            now.append(line[4:])
        elif now:
            found.append(Block(tuple(now), number - len(now)))
            now = []
    return found


def run(command, change, environment):
    """Runs a command in the working directory; returns its exit code.

    Commands of this package run in this process, which has imported what they need; others run in a
    shell.

    Args:
      command: as the page shows it.
      change: a function of the words of a command of this package: those to run.
      environment: a `pytest.MonkeyPatch`, for what is exported.
    """
    words = [] if "\n" in command else shlex.split(command, comments=True)
    if words[:1] == ["export"]:
        environment.setenv(*words[1].split("=", 1))
        return 0
    if words[:2] == ["python", "-m"] and words[2].startswith("pipelines."):
        return import_module(words[2]).main(change(words[2:])[1:])
    if words[:2] == ["python", "-m"]:
        environment.setattr(sys, "argv", words[2:])
        runpy.run_module(words[2], run_name="__main__", alter_sys=True)
        return 0
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    shell = ["bash", "-euc", command]
    return subprocess.run(shell, env=os.environ | {"PATH": path}, check=False).returncode


def shows(output, block):
    """Whether an output has the lines that a page shows; figures may differ, `...` is anything."""
    words = " ".join(block.lines).split()
    pattern = r"\s+".join(".*?" if word == "..." else _any_figure(word) for word in words)
    return re.search(pattern, output, re.DOTALL) is not None


def _any_figure(word):
    return r"[\w.,]+".join(re.escape(part) for part in _VARYING.split(word))
