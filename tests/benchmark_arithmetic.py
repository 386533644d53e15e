"""The benchmarks' own arithmetic: texts of given lengths, samples, micro-batches, ratios.

It lies here because tests check it, and no test imports a benchmark.
"""

import re
import statistics
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

_WORD = re.compile(r"\w+|[^\w\s]")


def words(text: str) -> int:
    """Words and marks of punctuation, as BERT's tokenizer parts them before it looks for pieces."""
    return len(_WORD.findall(text))


def composed(sentences: Sequence[str], lengths: Sequence[int], seed: int = 0) -> list[str]:
    """Texts of given numbers of words, made of randomly drawn sentences; the last is cut short.

    Args:
      sentences: parted at spaces as `words` parts them, or nearly so; none of them empty.
      lengths: words that each text shall have.
      seed: of the draw.
    """
    rng = np.random.default_rng(seed)
    parted = [sentence.split() for sentence in sentences]
    made = []
    for length in lengths:
        text: list[str] = []
        while len(text) < length:
            text += parted[int(rng.integers(len(parted)))]
        made.append(" ".join(text[:length]))
    return made


def spread(lengths: Sequence[int], count: int) -> npt.NDArray[np.int64]:
    """`count` rows at even steps through the rows sorted by length: the same lengths, fewer rows.

    Args:
      lengths: of all rows.
      count: at most as many as there are.

    Returns:
      Row numbers, int64, ascending.
    """
    order = np.argsort(np.asarray(lengths), kind="stable")
    steps = (np.arange(count) + 0.5) * len(order) / count
    return np.sort(order[steps.astype(np.int64)])


def cut(lengths: np.ndarray, budget: int) -> list[np.ndarray]:
    """Micro-batches of rows sorted by length, each within a budget of padded tokens, or one row."""
    order = np.argsort(lengths, kind="stable")
    parts, start = [], 0
    while start < len(order):
        stop = start + 1
        while stop < len(order) and (stop + 1 - start) * lengths[order[stop]] <= budget:
            stop += 1
        parts.append(order[start:stop])
        start = stop
    return parts


def evenly(parts: list[np.ndarray], lengths: np.ndarray, tokens: int) -> list[np.ndarray]:
    """Micro-batches at even steps that hold about `tokens` tokens; at least four, or all."""
    count = max(4, round(len(parts) * tokens / lengths.sum()))
    if count >= len(parts):
        return parts
    return [parts[int(at)] for at in (np.arange(count) + 0.5) * len(parts) / count]


def rated(records: list[dict], contender: str, condition: str | None = None) -> list[dict]:
    """A contender's records that hold a rate, under one condition where one is given."""
    return [
        record
        for record in records
        if record["contender"] == contender
        and "rate" in record
        and condition in (None, record.get("condition"))
    ]


def ratio(records: list[dict], condition: str, letter: str) -> float | None:
    """The job's rate over a contender's, median of the rounds that have both; start-up apart."""
    ours = {record["round"]: record["rate"] for record in rated(records, "f", condition)}
    theirs = {record["round"]: record["rate"] for record in rated(records, letter)}
    both = ours.keys() & theirs.keys()
    return statistics.median(ours[number] / theirs[number] for number in both) if both else None
