"""What a checkpoint says of itself, read without loading its weights."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tango_beam import fetch
from tango_beam.config import at_hand, digest
from tango_beam.errors import RefusedError

_PICKLES = (".bin", ".pt", ".pth", ".pkl", ".ckpt")


def labels_of(source: str) -> tuple[str, ...]:
    """The labels that a checkpoint answers with, in the order of its outputs.

    Args:
      source: folder, or Hugging Face id (which needs the network, or a filled cache).

    Raises:
      RefusedError: no checkpoint there, weights that are no safetensors, or a checkpoint for
        another task (regression, many labels at once).
    """
    refuse_unreadable(source)
    source = at_hand(source) or source
    folder = Path(source)
    if folder.is_dir():
        try:
            stored = json.loads((folder / "config.json").read_text())
        except ValueError as error:
            raise RefusedError(f"{folder / 'config.json'}: expected JSON, found {error}") from error
        if isinstance(stored.get("labels"), list):
            return tuple(stored["labels"])
    config = _hub_config(source)
    return tuple(config.id2label[index] for index in range(config.num_labels))


def revision_of(source: str) -> str | None:
    """The commit that a Hugging Face id stands for now, the hash of a URL's; None for a folder."""
    if fetch.is_url(source):
        return digest(source)
    return None if Path(source).is_dir() else getattr(_hub_config(source), "_commit_hash", None)


def _hub_config(source: str) -> Any:
    from transformers import AutoConfig

    from tango_beam.models.transformer import refuse_other_tasks

    try:
        config = AutoConfig.from_pretrained(source, trust_remote_code=False)
        refuse_other_tasks(source, config)
    except (OSError, ValueError) as error:
        raise RefusedError(f"tier {source}: {str(error).splitlines()[0]}") from error
    return config


def refuse_unreadable(source: str) -> None:
    """Raises RefusedError for what is neither a folder with a checkpoint nor like a hub id."""
    folder = Path(at_hand(source) or source)
    if not folder.is_dir():
        if source.startswith((".", "/", "~")) or source.count("/") > 1:
            raise RefusedError(
                f"tier {source}: expected a folder or a Hugging Face id, found no folder"
            )
        return
    names = sorted(path.name for path in folder.iterdir())
    if "config.json" not in names:
        raise RefusedError(
            f"tier {source}: expected config.json, found {', '.join(names) or 'none'}"
        )
    if not any(name.endswith(".safetensors") for name in names):
        pickles = [name for name in names if name.endswith(_PICKLES)]
        found = f"{', '.join(pickles)}, which may run code when read" if pickles else "none"
        raise RefusedError(f"tier {source}: expected weights in .safetensors, found {found}")
