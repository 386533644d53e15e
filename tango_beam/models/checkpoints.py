"""What a checkpoint says of itself, read without loading its weights."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from tango_beam import checkpoint_files
from tango_beam.answers.task import LABELS, MULTI_LABEL, SCORE, SPAN
from tango_beam.errors import RefusedError

logger = logging.getLogger(__name__)

# Tokens read of a text where neither model nor tokenizer has a limit.
USUAL_LENGTH = 512
_POSITION_TABLES = ("position_embeddings", "wpe", "embed_positions", "char_position_embeddings")
# Tokenizers that state no limit state this or more (transformers' VERY_LARGE_INTEGER is 1e30).
_UNLIMITED = 1_000_000
# transformers' names for kinds of answers.
_KINDS = {
    "single_label_classification": LABELS,
    "multi_label_classification": MULTI_LABEL,
    "regression": SCORE,
}
_PICKLES = (".bin", ".pt", ".pth", ".pkl", ".ckpt")


@dataclass(frozen=True)
class Stated:
    """What a checkpoint's config.json says of its answers.

    Attributes:
      labels: names of its outputs, in their order; none for spans.
      kind: `labels`, `multi_label`, `score` or `span`; None where one output has no `problem_type`.
    """

    labels: tuple[str, ...]
    kind: str | None


def stated_of(source: str) -> Stated:
    """What a checkpoint answers with.

    Args:
      source: folder, or Hugging Face id (which needs the network, or a filled cache).

    Raises:
      RefusedError: no checkpoint there, weights that are no safetensors, or a checkpoint for
        another task.
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
            return Stated(tuple(labels), _KINDS.get(stored.get("problem_type"), LABELS))
    config = _hub_config(source)
    if is_span(config):
        return Stated((), SPAN)
    return Stated(label_names(source, config.id2label), _kind_of(source, config))


def is_span(config: Any) -> bool:
    """Whether a checkpoint's head gives spans of a context."""
    return any(name.endswith("ForQuestionAnswering") for name in config.architectures or ())


def _kind_of(source: str, config: Any) -> str | None:
    """Which kind of answer a sequence classifier gives; None where it does not say.

    Raises:
      ValueError: one that we cannot make answers of.
    """
    kind = _KINDS.get(config.problem_type)
    if config.problem_type and kind is None:
        raise ValueError(
            f"{source}: expected a problem_type of {', '.join(_KINDS)}, found {config.problem_type}"
        )
    if config.num_labels < 1 or (kind == SCORE and config.num_labels > 1):
        raise ValueError(
            f"{source}: expected one output for a score, found {config.num_labels} in id2label"
        )
    if kind == LABELS and config.num_labels < 2:
        raise ValueError(
            f"{source}: expected two or more labels, found {config.num_labels} in id2label"
        )
    return kind or (LABELS if config.num_labels > 1 else None)


def _plain_labels(stored: dict[str, Any]) -> list[str] | None:
    """Labels that a BERT's config.json states, where transformers would read the same ones."""
    names = stored.get("id2label")
    if stored.get("model_type") != "bert" or not isinstance(names, dict) or "auto_map" in stored:
        return None
    if stored.get("architectures") != ["BertForSequenceClassification"] or "num_labels" in stored:
        return None
    kind = stored.get("problem_type")
    if kind is not None and _KINDS.get(kind) not in (LABELS, MULTI_LABEL):
        return None
    values = [*names.values()]
    in_order = [*names] == [str(index) for index in range(len(names))]
    distinct = all(type(name) is str for name in values) and len({*values}) == len(values)
    return values if in_order and distinct and len(values) > 1 else None


def revision_of(source: str) -> str | None:
    """The commit that a Hugging Face id stands for now, the hash of a URL's; None for a folder."""
    if checkpoint_files.is_url(source):
        return checkpoint_files.digest(source)
    return None if Path(source).is_dir() else getattr(_hub_config(source), "_commit_hash", None)


def _hub_config(source: str) -> Any:
    """The configuration, which tells a kind of answer and its labels."""
    from transformers import AutoConfig

    _say_hub(source)
    try:
        config = AutoConfig.from_pretrained(source, trust_remote_code=False)
        if not is_span(config):
            _kind_of(source, config)
            label_names(source, config.id2label)
        return config
    except (OSError, ValueError, AttributeError, TypeError) as error:
        reason = str(error).splitlines()[0].removeprefix(f"{source}: ")
        if "expected" not in reason:
            reason = f"expected a config.json that transformers reads, found: {reason}"
        raise RefusedError(f"tier {source}: {reason}") from error


@cache
def _say_hub(source: str) -> None:
    """Says once that a name is asked of the hub, which may take long where there is no network."""
    from huggingface_hub import try_to_load_from_cache

    if Path(source).is_dir() or isinstance(try_to_load_from_cache(source, "config.json"), str):
        return
    logger.warning(
        "no such folder %r; taken for a hub id (HF_HUB_OFFLINE=1: no hub is asked)", source
    )


def refuse_unreadable(source: str) -> None:
    """Raises RefusedError for what is neither a folder with a checkpoint nor like a hub id."""
    folder = Path(checkpoint_files.local(source) or source)
    if not folder.is_dir():
        if source.startswith((".", "/", "~")) or source.count("/") > 1:
            raise RefusedError(
                f"tier {source}: expected a folder or a Hugging Face id, found no such folder"
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
