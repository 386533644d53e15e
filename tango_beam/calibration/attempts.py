"""The cascade directory that a calibration writes, and the attempts that stay on record in it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Collection
from dataclasses import replace
from pathlib import Path

from tango_beam.cascade_directory import link_checkpoints, save_cascade
from tango_beam.config import CascadeConfig
from tango_beam.errors import RefusedError
from tango_beam.guarantees.certificate import Attempt, Certificate
from tango_beam.local_output import check_local_output

ATTEMPTS = "_attempts.json"


def open_output(cascade: CascadeConfig, output: str, overwrite: bool) -> tuple[Attempt, ...]:
    """Checks the output directory before any work; returns the attempts on record in it.

    Raises:
      RefusedError: it holds something else, or the weights of the cascade that is calibrated.
    """
    folder = Path(output)
    for tier in cascade.tiers:
        if Path(tier.source).resolve().is_relative_to(folder.resolve()):
            raise RefusedError(
                f"--output {output}: expected another directory than the cascade's own, found "
                f"{tier.source} in it"
            )
    check_local_output(
        output,
        kind="calibration",
        overwrite=overwrite,
        kept=[ATTEMPTS],
        foreign=lambda names: [] if ATTEMPTS in names else names,
    )
    return on_record(folder)


def on_record(folder: Path) -> tuple[Attempt, ...]:
    """The attempts on record in a directory.

    Raises:
      RefusedError: what is there is no such record.
    """
    path = folder / ATTEMPTS
    stored = json.loads(path.read_text()) if path.is_file() else []
    try:
        return tuple(Attempt.from_json(entry) for entry in stored)
    except TypeError as error:
        raise RefusedError(f"{path}: expected attempts on record, found {error}") from error


def write(
    cascade: CascadeConfig, certificate: Certificate, output: str, kept: Collection[str] = ()
) -> None:
    """Writes the attempts, and, where the last of them met its goals, the cascade.

    Weights are linked or copied; cascade.json is written last. After an attempt that met no goal,
    an earlier calibration's cascade stays as it is.

    Args:
      cascade: calibrated; its tiers lie anywhere.
      certificate: what was signed for it, with all attempts.
      output: a directory that is empty, not there, or of an earlier calibration.
      kept: names in it that stay.
    """
    folder = Path(output)
    folder.mkdir(parents=True, exist_ok=True)
    attempts = [attempt.to_json() for attempt in certificate.attempts]
    (folder / ATTEMPTS).write_text(json.dumps(attempts, indent=2) + "\n")
    if not certificate.attempts[-1].met:
        return
    clear(folder, (ATTEMPTS, *kept))
    save_cascade(replace(link_checkpoints(cascade, folder), certificate=certificate), folder)


def clear(folder: Path, kept: Collection[str]) -> None:
    """Removes what an earlier run wrote into an output directory, but for some names."""
    for path in folder.iterdir():
        if path.name not in kept:
            shutil.rmtree(path) if path.is_dir() else path.unlink()
