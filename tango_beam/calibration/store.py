"""The cascade directory that a calibration writes, and the attempts that stay on record in it."""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

from tango_beam.config import CASCADE_FILE, CascadeConfig, save_cascade
from tango_beam.errors import RefusedError

ATTEMPTS = "_attempts.json"


def open_output(cascade: CascadeConfig, folder: Path, overwrite: bool) -> list[dict[str, Any]]:
    """Checks the directory before any work; returns the attempts on record in it.

    Raises:
      RefusedError: it holds something else, or the weights of the cascade that is calibrated.
    """
    inside = [
        tier.source
        for tier in cascade.tiers
        if Path(tier.source).resolve().is_relative_to(folder.resolve())
    ]
    if inside:
        raise RefusedError(
            f"--output {folder}: expected another directory than the cascade's own, found "
            f"{inside[0]} in it"
        )
    names = {path.name for path in folder.iterdir()} if folder.is_dir() else set()
    if folder.exists() and not folder.is_dir():
        raise RefusedError(f"--output {folder}: expected a directory, found a file")
    attempts = folder / ATTEMPTS
    if names - {ATTEMPTS} and not overwrite:
        raise RefusedError(
            f"--output {folder}: expected an empty directory, found {', '.join(sorted(names)[:5])};"
            " --overwrite replaces an earlier calibration"
        )
    if names - {ATTEMPTS} and not attempts.is_file():
        raise RefusedError(
            f"--output {folder}: expected an earlier calibration to replace, found "
            f"{', '.join(sorted(names)[:5])} and no {ATTEMPTS}"
        )
    return json.loads(attempts.read_text()) if attempts.is_file() else []


def write(cascade: CascadeConfig, folder: Path, signed: bool, precision: str) -> None:
    """Writes attempts, and, signed, the cascade: weights linked or copied, config last.

    Args:
      cascade: with its certificate; its tiers lie anywhere.
      folder: empty, or of an earlier calibration.
      signed: whether the last attempt was; else only the attempts are written.
      precision: in which the sample was scored.
    """
    folder.mkdir(parents=True, exist_ok=True)
    assert cascade.certificate is not None
    (folder / ATTEMPTS).write_text(json.dumps(cascade.certificate["attempts"], indent=2) + "\n")
    if not signed:
        return  # what an earlier calibration signed stands
    for path in folder.iterdir():
        if path.name != ATTEMPTS:
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    brought = bring(cascade, folder)
    certificate = {
        **cascade.certificate,
        "scoring": cascade.scoring(precision),
        "scoring_fingerprint": cascade.scoring_fingerprint(precision),
    }
    save_cascade(replace(brought, certificate=certificate), folder)
    assert (folder / CASCADE_FILE).is_file()


def bring(cascade: CascadeConfig, folder: Path) -> CascadeConfig:
    """Links (or copies) a cascade's checkpoints into a directory; the cascade as it is there.

    Args:
      cascade: its tiers lie anywhere; hub ids stay what they are.
      folder: holds no checkpoint yet.
    """
    places: dict[str, str] = {}
    tiers = [
        replace(tier, source=_bring(tier.source, folder / f"tier_{number}", places))
        for number, tier in enumerate(cascade.tiers, start=1)
    ]
    for number, tier in enumerate(tiers, start=1):
        if tier.tokenizer:
            place = _bring(tier.tokenizer, folder / f"tokenizer_{number}", places)
            tiers[number - 1] = replace(tier, tokenizer=place)
    return replace(cascade, tiers=tuple(tiers))


def _bring(source: str, target: Path, places: dict[str, str]) -> str:
    """Links (or copies) a checkpoint folder into the cascade directory; a hub id stays one."""
    origin = Path(source)
    if not origin.is_dir():
        return source
    if source not in places:
        # A hard link costs no space, and stays when the original is deleted.
        shutil.copytree(origin, target, copy_function=_link)
        places[source] = str(target)
    return places[source]


def _link(source: str, target: str) -> None:
    try:
        os.link(Path(source).resolve(), target)  # hub caches hold symbolic links
    except OSError:
        shutil.copy2(source, target)
