"""What a checkpoint says of itself, read without loading its weights."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tango_beam import checkpoint_files
from tango_beam.errors import RefusedError

logger = logging.getLogger(__name__)

# Tokens read of a text where neither model nor tokenizer has a limit.
USUAL_LENGTH = 512
_POSITION_TABLES = ("position_embeddings", "wpe", "embed_positions", "char_position_embeddings")
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
    return _hub_config(source)[1]


def _plain_labels(stored: dict[str, Any]) -> list[str] | None:
    """Labels that a BERT's config.json states, where transformers would read the same ones."""
    names = stored.get("id2label")
    task = stored.get("problem_type")
    if stored.get("model_type") != "bert" or not isinstance(names, dict) or "auto_map" in stored:
        return None
    if task not in (None, "single_label_classification") or "num_labels" in stored:
        return None
    values = [*names.values()]
    in_order = [*names] == [str(index) for index in range(len(names))]
    distinct = all(type(name) is str for name in values) and len({*values}) == len(values)
    return values if in_order and distinct and len(values) > 1 else None


def revision_of(source: str) -> str | None:
    """The commit that a Hugging Face id stands for now, the hash of a URL's; None for a folder."""
    if checkpoint_files.is_url(source):
        return checkpoint_files.digest(source)
    return None if Path(source).is_dir() else getattr(_hub_config(source)[0], "_commit_hash", None)


def _hub_config(source: str) -> tuple[Any, tuple[str, ...]]:
    """The configuration, and the names of the labels."""
    from transformers import AutoConfig

    try:
        config = AutoConfig.from_pretrained(source, trust_remote_code=False)
        refuse_other_tasks(source, config)
        return config, label_names(source, config.id2label)
    except (OSError, ValueError, AttributeError, TypeError) as error:
        reason = str(error).splitlines()[0].removeprefix(f"{source}: ")
        if "expected" not in reason:
            reason = f"expected a config.json that transformers reads, found: {reason}"
        raise RefusedError(f"tier {source}: {reason}") from error


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


def readable_length(config: Any, tokenizer: Any, network: Any = None) -> int | None:
    """The most tokens that both the tokenizer and the model's position embeddings allow.

    Args:
      config: of the model.
      tokenizer: says what it was made for.
      network: has the embeddings themselves; its weights are not read.

    Returns:
      None where neither knows a limit.
    """
    limits = [getattr(config, "max_position_embeddings", None), tokenizer.model_max_length]
    limits += [] if network is None else _positions(network)
    known = [int(limit) for limit in limits if limit and 0 < limit < _UNLIMITED]
    return min(known, default=None)


def _positions(network: Any) -> Iterator[int]:
    """How many positions each table of a network has for tokens.

    A table with a padding index has rows for positions behind it only (RoBERTa); one with an offset
    says so itself (BART).
    """
    for name, module in network.named_modules():
        weight = getattr(module, "weight", None)
        if name.rpartition(".")[2] in _POSITION_TABLES and weight is not None:
            padding = getattr(module, "padding_idx", None)
            behind = 0 if padding is None else padding + 1
            yield weight.shape[0] - getattr(module, "offset", 0) - behind


def label_names(source: str, id2label: Any) -> tuple[str, ...]:
    """Names of a checkpoint's outputs, in their order, of what its configuration maps them to.

    Raises:
      ValueError: two outputs bear one name.
    """
    numbers = sorted(id2label, key=int)
    if [int(number) for number in numbers] != list(range(len(numbers))):
        logger.warning(
            "%s: id2label numbers its labels %s; they are taken in that order, from the first "
            "output on",
            *(source, ", ".join(str(number) for number in numbers)),
        )
    names = tuple(
        f"LABEL_{place}" if id2label[number] is None else str(id2label[number])
        for place, number in enumerate(numbers)
    )
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ValueError(
            f"{source}: expected a name for each label in id2label of config.json, found {twice} "
            "twice"
        )
    return names


def refuse_other_tasks(source: str, config: Any) -> None:
    """Raises ValueError for a checkpoint that does not answer with one of two or more labels."""
    kind = config.problem_type
    if kind in ("regression", "multi_label_classification"):
        raise ValueError(f"{source}: expected a single-label classifier, found problem_type {kind}")
    if config.num_labels < 2:
        raise ValueError(
            f"{source}: expected a classifier of two or more labels, found "
            f"{config.num_labels} in id2label (a regression head)"
        )
