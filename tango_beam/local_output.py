"""Checks a local output directory before any work: whether it may be written, and replaced."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection
from pathlib import Path

from tango_beam.errors import RefusedError


def check_local_output(
    output: str,
    *,
    kind: str = "run",
    overwrite: bool | None = None,
    kept: Collection[str] = (),
    foreign: Callable[[list[str]], list[str]] = lambda names: names,
) -> Path:
    """Refuses what could not be written at the end; returns the directory.

    Args:
      output: what `--output` names.
      kind: what the command writes there, for messages.
      overwrite: whether an earlier one may be replaced; None for a command that never does.
      kept: names of what may be there in any case.
      foreign: of the names in the directory, those that an earlier one did not write.

    Raises:
      RefusedError: a URL, a file, a directory that cannot be written, or one that holds files which
        may not be replaced.
    """
    if "://" in output:
        raise RefusedError(
            f"--output {output}: expected a local directory, found a URL; copy it there afterwards"
        )
    folder = Path(output)
    nearest = next(path for path in (folder, *folder.resolve().parents) if path.exists())
    if not nearest.is_dir() or not os.access(nearest, os.W_OK):
        found = f"{nearest}, which cannot be written" if nearest.is_dir() else f"the file {nearest}"
        raise RefusedError(f"--output {output}: expected a directory to write in, found {found}")
    names = sorted(path.name for path in folder.iterdir()) if folder.exists() else []
    if {*names} - {*kept} and not overwrite:
        hint = "" if overwrite is None else f"; --overwrite replaces an earlier {kind}"
        raise RefusedError(
            f"--output {output}: expected an empty directory, or none yet, found "
            f"{', '.join(names[:5])}{hint}"
        )
    others = foreign(names) if overwrite else []
    if others:
        raise RefusedError(
            f"--output {output}: --overwrite replaces an earlier {kind} and nothing else, found "
            f"{', '.join(others[:5])}"
        )
    return folder
