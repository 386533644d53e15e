"""Functions in processes of their own, forked from one that has imported what they need.

A new Python process takes seconds to import Beam and torch; a forked one takes none. It has
computed nothing yet, so that threads and signals are its own, as in one that a shell starts.
"""

import multiprocessing
import os
import resource
import signal
import sys
import tempfile
import time
from pathlib import Path

from pipelines import build as building
from pipelines import classify as command
from tango_beam import command_line
from tango_beam.io import lines

FORKS = multiprocessing.get_context("forkserver")
FORKS.set_forkserver_preload(
    [
        "pytest",
        "s3fs",
        "tango_beam.job.prepare",
        "tango_beam.job.runners",
        "tango_beam.job.summary",
        "tango_beam.job.watch",
        "tango_beam.models.bert",
        "tango_beam.models.bilstm",
        "tango_beam.models.packed",
        "tango_beam.run.output",
        "tests.forked",
    ]
)


class Forked:
    """A function that runs in a process of its own.

    Args:
      function: of a module, so that it can be sent there.
      arguments: of the function.
      environment: variables that are set before the function is called.

    Attributes:
      process: `multiprocessing`'s.
    """

    def __init__(self, function, *arguments, environment=None):
        self._said = tempfile.TemporaryDirectory()
        given = function, arguments, environment or {}, self._said.name
        self.process = FORKS.Process(target=_call, args=given, daemon=True)
        self.process.start()
        self.wait_for(Path(self._said.name, "err").exists)  # it leads a group of its own by then

    @property
    def out(self) -> str:
        return self._read("out")

    @property
    def err(self) -> str:
        return self._read("err")

    def _read(self, name):
        path = Path(self._said.name, name)
        return path.read_text() if path.exists() else ""

    def wait_for(self, condition, seconds=120):
        """Waits until a condition holds while the process is alive."""
        end = time.monotonic() + seconds
        while True:
            alive = self.process.is_alive()
            if condition():
                return
            assert alive, f"it ended before: {self.out}{self.err}"
            assert time.monotonic() < end, f"waited in vain: {self.out}{self.err}"
            time.sleep(0.01)

    def ended(self, seconds=300) -> int:
        """The exit code, once it has ended; a signal's number, negative, if that ended it."""
        self.process.join(seconds)
        if self.process.is_alive():
            self.kill()
            raise AssertionError(f"it did not end: {self.out}{self.err}")
        return self.process.exitcode

    def kill(self):
        """Ends it by SIGKILL, and all that it started; it has no chance to tidy up."""
        assert self.process.is_alive(), f"it ended before: {self.out}{self.err}"
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.join(60)


def classify(arguments, **environment) -> Forked:
    """`python -m pipelines.classify` with these arguments."""
    return Forked(_classify, list(arguments), environment=environment)


def build(arguments, **environment) -> Forked:
    """`python -m pipelines.build` with these arguments."""
    return Forked(_build, list(arguments), environment=environment)


def _classify(arguments):
    command_line.run_main(lambda: command.main(arguments))


def _build(arguments):
    command_line.run_main(lambda: building.main(arguments))


def measured(arguments, line_bytes=None):
    """Classifies, and says on standard output how much memory it took at most, in MiB.

    It stands here since a process imports the module of the function that it is sent.

    Args:
      line_bytes: how long a line of JSONL may be, where it is not the usual limit.
    """
    lines.MAX_LINE_BYTES = line_bytes or lines.MAX_LINE_BYTES
    code = command.main(arguments)
    print("peak", resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10)
    sys.exit(code)


def _call(function, arguments, environment, said):
    os.setsid()
    os.environ.update(environment)
    for number, name in enumerate(("out", "err"), start=1):
        os.dup2(os.open(Path(said, name), os.O_WRONLY | os.O_CREAT), number)
    function(*arguments)
