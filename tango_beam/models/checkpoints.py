"""What a checkpoint says of itself, read without loading its weights."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tango_beam import checkpoint_files
from tango_beam.errors import RefusedError

# Tokenizers that state no limit state this or more (transformers' VERY_LARGE_INTEGER is 1e30).
_UNLIMITED = 1_000_000
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
    source = checkpoint_files.local(source) or source
    folder = Path(source)
    if folder.is_dir():
        try:
            stored = json.loads((folder / "config.json").read_text())
        except ValueError as error:
            raise RefusedError(f"{folder / 'config.json'}: expected JSON, found {error}") from error
        labels = stored.get("labels") or _plain_labels(stored)
        if isinstance(labels, list):
            return tuple(labels)
    config = _hub_config(source)
    return tuple(config.id2label[index] for index in range(config.num_labels))


def _plain_labels(stored: dict[str, Any]) -> list[str] | None:
    """Labels that a BERT's config.json states, where transformers would read the same ones."""
    names = stored.get("id2label")
    task = stored.get("problem_type")
    if stored.get("model_type") != "bert" or not isinstance(names, dict) or "auto_map" in stored:
        return None
    if task not in (None, "single_label_classification") or "num_labels" in stored:
        return None
    in_order = [*names] == [str(index) for index in range(len(names))]
    return [*names.values()] if in_order and len(names) > 1 else None


def revision_of(source: str) -> str | None:
    """The commit that a Hugging Face id stands for now, the hash of a URL's; None for a folder."""
    if checkpoint_files.is_url(source):
        return checkpoint_files.digest(source)
    return None if Path(source).is_dir() else getattr(_hub_config(source), "_commit_hash", None)


def _hub_config(source: str) -> Any:
    from transformers import AutoConfig

    try:
        config = AutoConfig.from_pretrained(source, trust_remote_code=False)
        refuse_other_tasks(source, config)
    except (OSError, ValueError) as error:
        raise RefusedError(f"tier {source}: {str(error).splitlines()[0]}") from error
    return config


def refuse_unreadable(source: str) -> None:
    """Raises RefusedError for what is neither a folder with a checkpoint nor like a hub id."""
    folder = Path(checkpoint_files.local(source) or source)
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


def readable_length(config: Any, tokenizer: Any) -> int:
    """The most tokens that both the tokenizer and the model's position embeddings allow."""
    limits = [getattr(config, "max_position_embeddings", None), tokenizer.model_max_length]
    if config.model_type in ("roberta", "xlm-roberta", "camembert") and limits[0]:
        limits[0] -= 2  # positions start behind the padding index
    known = [int(limit) for limit in limits if limit and limit < _UNLIMITED]
    return min(known, default=512)


def refuse_other_tasks(source: str, config: Any) -> None:
    """Raises ValueError for a checkpoint that does not answer with one of two or more labels."""
    kind = config.problem_type
    if kind in ("regression", "multi_label_classification"):
        raise ValueError(f"{source}: expected a single-label classifier, found problem_type {kind}")
    if config.num_labels < 2:
        raise ValueError(
            f"{source}: expected a classifier of two or more labels, found "
            f"{config.num_labels} (a regression head)"
        )
