"""Texts of spans compared as SQuAD compares them (Rajpurkar et al., 2016, section 6.1). Pure."""

from __future__ import annotations

import re
import string
from collections import Counter
from collections.abc import Sequence

_ARTICLES = re.compile(r"\b(a|an|the)\b")
_PUNCTUATION = str.maketrans("", "", string.punctuation)


def normalised(text: str) -> str:
    """A text in lower case, without punctuation, articles and repeated white space."""
    return " ".join(_ARTICLES.sub(" ", text.lower().translate(_PUNCTUATION)).split())


def f1(first: str, second: str) -> float:
    """Harmonic mean of precision and recall of the words that two texts share, 0 to 1."""
    words, others = normalised(first).split(), normalised(second).split()
    if not words or not others:
        return float(words == others)
    shared = sum((Counter(words) & Counter(others)).values())
    return 2 * shared / (len(words) + len(others))


def best_f1(text: str, answers: Sequence[str]) -> float:
    """F1 with the nearest of the answers that count as right; none stands for an empty one."""
    return max(f1(text, answer) for answer in answers or [""])


def is_match(text: str, answers: Sequence[str]) -> bool:
    """Whether a text is one of the answers that count as right; none stands for an empty one."""
    return normalised(text) in {normalised(answer) for answer in answers or [""]}
