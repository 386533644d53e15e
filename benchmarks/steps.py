"""The project's own commands, one after the other; what one has made already is taken as it is."""

import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

from tango_beam.training.model_card import CARD

# By the folder that it writes: a command, `distill`, say, and its options.
Steps = Mapping[str, tuple[str, str]]


def run(steps: Steps, work: str, fill: Callable[[str], str]) -> None:
    """Runs the trainings whose folders in `work` have no card yet; one that was cut short goes on.

    Args:
      steps: in their order.
      work: where their folders lie.
      fill: puts places into a pattern of options.
    """
    Path(work).mkdir(parents=True, exist_ok=True)
    for folder, (command, pattern) in steps.items():
        output = Path(work, folder)
        if not (output / CARD).is_file():
            call(f"pipelines.{command}", f"{fill(pattern)} --resume --output {output}".split())


def call(module: str, arguments: list[str]) -> None:
    """Runs one of the project's commands, as a user would."""
    print(f"python -m {module} {' '.join(arguments)}", flush=True)
    code = subprocess.run([sys.executable, "-m", module, *arguments], check=False).returncode
    if code:
        sys.exit(f"{module} ended with {code}")
