"""How probable each label is, by the log probabilities of an answer's tokens."""

from __future__ import annotations

import codecs
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from tango_beam.arrays import Float32, Float64
from tango_beam.endpoints.wording import NOISE

_BEGINS = re.compile(rb'"label"\s*:\s*"')
# What a word goes on with: "positively" is not "positive", and "non-fiction" is not "non".
_JOINS = "-_/&"


@dataclass(frozen=True)
class _Token:
    data: bytes
    probability: float


@dataclass(frozen=True)
class _Step:
    """The token that was chosen at one place of an answer, and those that were not."""

    chosen: _Token
    others: tuple[_Token, ...]


def label_probabilities(content: Any, labels: tuple[str, ...], label: str) -> Float32:
    """Probabilities of the labels, float32, shape [labels]; they sum to 1.

    The answer's tokens are walked along. A token that was not chosen, with probability q at a place
    that was reached with probability p, gives p * q to the label that goes on with it; several such
    labels share it evenly, since what would have come next is not known. The label that was
    answered gets the probability of its own path, up to where no other label was left. What leads
    to no label, or does not say yet to which, is left out.

    Args:
      content: `choices[0].logprobs.content` of a chat completion; None where there is none.
      labels: those that the answer could have been.
      label: the one that it is.
    """
    found = np.zeros(len(labels))
    try:
        steps = [_step(entry) for entry in content or ()]
    except (TypeError, ValueError, KeyError, AttributeError):
        steps = []  # not what the protocol says: as without
    if steps:
        found = _walk(steps, labels, labels.index(label))
    if not 0 < found.sum() < np.inf:
        found = np.zeros(len(labels))
        found[labels.index(label)] = 1
    return (found / found.sum()).astype(np.float32)


def _step(entry: dict[str, Any]) -> _Step:
    chosen = _token(entry)
    others = (_token(other) for other in entry.get("top_logprobs") or ())
    return _Step(chosen, tuple(other for other in others if other.data != chosen.data))


def _token(entry: dict[str, Any]) -> _Token:
    data = entry.get("bytes")
    data = entry["token"].encode(errors="replace") if data is None else bytes(data)
    # Rounded logarithms may stand a hair above 0.
    return _Token(data, float(np.exp(min(0.0, float(entry["logprob"])))))


def _walk(steps: Sequence[_Step], labels: tuple[str, ...], answered: int) -> Float64:
    found = np.zeros(len(labels))
    inside = _BEGINS.search(b"".join(step.chosen.data for step in steps))
    begin = inside.end() if inside else 0
    prefix, path = b"", 1.0
    for step in steps:
        if len(prefix) + len(step.chosen.data) < begin:
            prefix += step.chosen.data  # JSON before the label
            continue
        for other in step.others:
            # A token without bytes ends an answer.
            shared = _going_on(labels, inside is not None, prefix + (other.data or b"\n"))
            found[[*shared]] += path * other.probability / max(1, len(shared))
        prefix, path = prefix + step.chosen.data, path * step.chosen.probability
        if len(_going_on(labels, inside is not None, prefix)) == 1:
            break
    found[answered] += path
    return found


def _label_text(prefix: bytes, inside: bool) -> bytes | None:
    """What of an answer's beginning belongs to the label; None where it has not begun."""
    if not inside:
        return (
            prefix.decode(errors="surrogateescape").lstrip(NOISE).encode(errors="surrogateescape")
        )
    begins = _BEGINS.search(prefix)
    return prefix[begins.end() :] if begins else None


# The same beginnings come again and again: labels are few.
@lru_cache(maxsize=1 << 16)
def _going_on(labels: tuple[str, ...], inside: bool, prefix: bytes) -> tuple[int, ...]:
    """Places of the labels that an answer with this beginning may still give.

    Args:
      labels: all of them.
      inside: the label stands in JSON, and not alone.
      prefix: from the answer's first token on; may end within a character.
    """
    begun = _label_text(prefix, inside)
    if not begun:
        return ()
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    text, rest = decoder.decode(begun), decoder.getstate()[0]
    distinct = len({label.casefold() for label in labels}) == len(labels)
    for same in (str.casefold,) if distinct else (str, str.casefold):
        spelt = [
            (place, same(spelling))
            for place, label in enumerate(labels)
            for spelling in _spellings(label, inside)
        ]
        found = {place for place, word in spelt if _goes_on(same(text), rest, word)}
        # "sci fi" is that label, and not "sci" with something behind it; "sci " may be either.
        found |= {
            place
            for place, word in spelt
            if _has_ended(same(text), word, inside)
            and not (found and same(text)[len(word) :].strip(NOISE))
        }
        if found:
            return tuple(sorted(found))
    return ()


def _spellings(label: str, inside: bool) -> set[str]:
    """How a label may be written in an answer."""
    if not inside:
        return {label.lstrip(NOISE)}
    return {json.dumps(label, ensure_ascii=ascii)[1:-1] for ascii in (True, False)}


def _goes_on(text: str, rest: bytes, word: str) -> bool:
    """Whether a word begins with a text, of whose last character there is only a part."""
    if not word.startswith(text):
        return False
    character = word[len(text) : len(text) + 1]
    ways = (character, character.upper())
    return not rest or any(way.encode().startswith(rest) for way in ways)


def _has_ended(text: str, word: str, inside: bool) -> bool:
    """Whether a text is a word with an end behind it."""
    if not text.startswith(word) or text == word:
        return False
    end = text[len(word)]
    return end == '"' if inside else not (end.isalnum() or end in _JOINS)
