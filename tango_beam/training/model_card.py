"""Model cards: the command, seed, data and scores, beside the weights."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tango_beam.io.labelled import LabelledTexts
from tango_beam.machine import versions
from tango_beam.training import resume
from tango_beam.training.options import TrainingOptions

CARD, LOG = "README.md", "training.json"


def data_row(path: str, rows: int, use: str) -> dict[str, Any]:
    """What a card says of a data file; the hash tells whether another copy is the same."""
    file = Path(path)
    digest = hashlib.sha256(file.read_bytes()).hexdigest()[:16] if file.is_file() else "folder"
    return {"file": f"{file.parent.name}/{file.name}", "sha256": digest, "rows": rows, "use": use}


def scored_rows(
    options: TrainingOptions, held_out: LabelledTexts, dev: LabelledTexts | None
) -> list[dict[str, Any]]:
    """What a card says of the rows that its scores are measured on."""
    rows = []
    if options.held_out:
        use = f"held-out {options.held_out_rows(held_out.kind)}, to choose on"
        rows.append(data_row(options.train, len(held_out), use))
    if options.dev and dev:
        rows.append(data_row(options.dev, len(dev), "dev, scored once"))
    return rows


def write(
    folder: Path,
    title: str,
    about: str,
    command_line: str,
    data: Sequence[Mapping[str, Any]],
    scores: Mapping[str, float],
    history: Sequence[Mapping[str, float]],
    settings: Mapping[str, Any],
) -> None:
    """Writes README.md for people and training.json for programs."""
    used = "\n".join(
        f"| {row['use']} | {row['file']} | {row['rows']:,} | `{row['sha256']}` |" for row in data
    )
    measured = "\n".join(f"| {name} | {value:.4f} |" for name, value in scores.items())
    text = f"""# {title}

{about}

## How it was made

    {command_line}

| use | file | rows | sha256 (first 16) |
|---|---|---|---|
{used}

## Scores

| what | value |
|---|---|
{measured}

Settings, versions and the course of the training: `{LOG}`.
"""
    resume.clear(folder)
    (folder / CARD).write_text(text)
    log = {
        "command": command_line,
        "settings": dict(settings),
        "data": [dict(row) for row in data],
        "scores": dict(scores),
        "epochs": [dict(row) for row in history],
        "versions": versions(),
    }
    (folder / LOG).write_text(json.dumps(log, indent=2) + "\n")
