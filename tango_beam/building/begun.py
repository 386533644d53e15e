"""A build's output directory: begun, gone on with, or gone on with for another goal."""

from __future__ import annotations

import json
import logging
import shutil
from dataclasses import asdict
from pathlib import Path

from tango_beam.building.options import BuildOptions
from tango_beam.calibration import attempts
from tango_beam.calibration.goals import Goals
from tango_beam.errors import RefusedError
from tango_beam.guarantees import bounds
from tango_beam.guarantees.certificate import Attempt
from tango_beam.io.paths import absolute
from tango_beam.local_output import check_local_output

logger = logging.getLogger(__name__)

# Where steps leave what they made.
WORK = "_build"

# What may change while a build goes on: with another goal, a chain is chosen and signed anew.
GOALS = ("agreement", "max_escalation", "recall", "precision_of", "delta")
_FREE = (
    "minutes",
    "overwrite",
    "requests",
    "tokens_a_minute",
    "answers_cache",
    "patience",
    "output",
)


def open_output(options: BuildOptions, folder: Path) -> None:
    """Begins a build in an empty directory, or goes on with the one that is there."""
    stated = {name: value for name, value in asdict(options).items() if name not in _FREE}
    stated = _from_anywhere(json.loads(json.dumps(stated)))
    path = folder / WORK / "options.json"
    before = read(path)
    if before is None or options.overwrite:
        check_local_output(
            options.output,
            kind="build",
            overwrite=options.overwrite or None,
            foreign=lambda names: [] if WORK in names else names,
        )
        if folder.is_dir():
            for entry in folder.iterdir():
                shutil.rmtree(entry) if entry.is_dir() else entry.unlink()
        path.parent.mkdir(parents=True, exist_ok=True)
        write(path, stated)
        return
    before = _from_anywhere(before)
    differs = [name for name in stated if stated[name] != before.get(name)]
    other = [name for name in differs if name not in GOALS]
    if other:
        name = other[0]
        raise RefusedError(
            f"--{name}: expected {before.get(name)}, with which the build in {folder} was begun, "
            f"found {stated[name]}; --overwrite begins anew"
        )
    if differs:
        _check_goals(options, before, read(folder / WORK / "parts.json"))
        write(path, stated)
        logger.info("another goal: what was labelled and trained is kept")
    logger.info("goes on with the build in %s", folder)


def _from_anywhere(stated: dict) -> dict:
    """Options of which local paths mean the same in every working directory."""
    found = dict(stated)
    if found.get("input"):
        found["input"] = [absolute(one) for one in found["input"]]
    for name in ("schema", "prompt", "second_tier", "encoder"):
        # What is no path here may be a hub's id.
        if found.get(name) and Path(found[name]).exists():
            found[name] = absolute(found[name])
    return found


def _check_goals(options: BuildOptions, before: dict, known: dict | None) -> None:
    """Raises RefusedError where the rows of a build that was begun cannot sign for other goals."""
    goals = options.goals
    if known is None:
        return
    fewest = bounds.fewest_rows(goals.strictest, goals.share) if goals.strictest else 0
    if known["sign"] < fewest:
        raise RefusedError(
            f"--output {options.output}: expected {fewest:,} rows to sign for this goal, found a "
            f"build with {known['sign']:,}; --overwrite begins anew"
        )
    if goals.has_budget != (before["max_escalation"] is not None):
        raise RefusedError(
            f"--output {options.output}: expected a goal of the kind with which the build was "
            "begun, found a budget where there was none, or none where there was one; --overwrite "
            "begins anew"
        )


def of_other_goals(folder: Path, goals: Goals) -> tuple[Attempt, ...]:
    """What was tried on the same rows for other goals; the same once more is no other attempt.

    Args:
      folder: the output directory.
      goals: that are tried now.
    """
    return tuple(one for one in attempts.on_record(folder) if not _is_about(one, goals))


def _is_about(attempt: Attempt, goals: Goals) -> bool:
    tried = {one.goal: one.value for one in attempt.goals}
    if attempt.delta != goals.delta:
        return False
    if goals.has_budget:
        return tried.get("escalation") == goals.max_escalation
    stated = {name: getattr(goals, name) for name in ("agreement", "recall", "precision")}
    labels = {one.label for one in attempt.goals} - {None}
    return tried == {name: value for name, value in stated.items() if value is not None} and (
        labels == {goals.label} - {None}
    )


def read(path: Path) -> dict | None:
    """What a step left; None where it did not."""
    return json.loads(path.read_text()) if path.is_file() else None


def write(path: Path, value: dict) -> None:
    """Leaves what a step made, whole or not at all."""
    partial = path.with_suffix(".partial")
    partial.write_text(json.dumps(value, indent=2) + "\n")
    partial.rename(path)
