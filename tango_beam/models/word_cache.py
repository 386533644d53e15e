"""Tokens of texts, put together from the tokens of their words, each tokenized once.

A corpus says the same words again and again. Where a tokenizer parts texts at white space before it
does anything that looks further than a character, the tokens of a text are those of its words, one
after the other; so NumPy parts the texts, Arrow finds the distinct words, the tokenizer sees those
that are new, and NumPy lays the rest end to end. A tokenizer that sets punctuation apart is given
less to see: `good` and `.`, and not `good.` as well.
"""

from __future__ import annotations

import json
import string
import threading
from itertools import repeat
from typing import Any

import numpy as np
import pyarrow as pa
from tokenizers import Tokenizer

from tango_beam.arrays import Bool, Int32, Int64
from tango_beam.models import thread_pool

Found = tuple[Int32, Int64, Bool]

# What looks at characters one by one, or at what stands between two spaces.
_NORMALIZERS = {"BertNormalizer", "Lowercase"}
_PRE_TOKENIZERS = {"BertPreTokenizer", "Whitespace", "WhitespaceSplit"}
_MODELS = {"WordPiece", "WordLevel"}
_SPACE, _MARK = 1, 2  # what a byte is; 0: part of a word
_WHITE_SPACE = b" \t\n\r"
# Words are forgotten, all at once, when they take more bytes than this.
_MOST_BYTES = 1 << 25
_BYTES_A_WORD = 150  # beside its letters
# Texts tokenized at a time have at most so many bytes; for the sake of another thread, at least.
_PART_BYTES, _LEAST_BYTES = 1 << 20, 1 << 16


def fits(backend: Tokenizer) -> bool:
    """Whether the tokens of a text are those of its words, one after the other."""
    stated = json.loads(backend.to_str())
    normalizer, parting = stated["normalizer"], stated["pre_tokenizer"]
    return (
        (normalizer is None or normalizer["type"] in _NORMALIZERS)
        and parting is not None
        and parting["type"] in _PRE_TOKENIZERS
        and stated["model"].get("type") in _MODELS
        and not any(_looks_further(token) for token in stated["added_tokens"])
        and _specials(backend) is not None
    )


def _looks_further(added: dict[str, Any]) -> bool:
    """Whether an added token may take in a space, or hold one."""
    beside = added["lstrip"] or added["rstrip"] or added["single_word"]
    return bool(beside or set(added["content"].encode()) & {*_WHITE_SPACE})


def _kinds_of_bytes(backend: Tokenizer) -> bytes:
    """What each byte of a text in UTF-8 is: white space, a mark, or part of a word.

    A mark is a word of its own. A byte that an added token holds is none, so that it stays whole.
    """
    stated = json.loads(backend.to_str())
    kinds = bytearray(256)
    for byte in _WHITE_SPACE:
        kinds[byte] = _SPACE
    if stated["pre_tokenizer"]["type"] == "BertPreTokenizer":
        added = {byte for token in stated["added_tokens"] for byte in token["content"].encode()}
        for byte in {*string.punctuation.encode()} - added:
            kinds[byte] = _MARK
    return bytes(kinds)


def _specials(backend: Tokenizer) -> tuple[list[int], list[int]] | None:
    """Special tokens before and behind a text; None where they are not all there."""
    encoding = backend.encode("a")
    own = [at for at, special in enumerate(encoding.special_tokens_mask) if not special]
    if not own or own != list(range(own[0], own[-1] + 1)):
        return None
    return encoding.ids[: own[0]], encoding.ids[own[-1] + 1 :]


class Words:
    """Tokenizes texts word by word; remembers the words. Safe to call from several threads.

    Args:
      backend: a tokenizer that `fits`, without truncation.
      max_length: the most tokens that a text may have, special ones included.
      side: on which a longer text is cut, `right` or `left`.
    """

    def __init__(self, backend: Tokenizer, max_length: int, side: str = "right") -> None:
        specials = _specials(backend)
        if specials is None or not fits(backend):
            raise ValueError("expected a tokenizer that parts texts at spaces, found another")
        self._backend, self._side = backend, side
        self._before, self._behind = (np.array(ids, np.int32) for ids in specials)
        self._kinds = _kinds_of_bytes(backend)
        self._most = max_length - len(self._before) - len(self._behind)
        self._lock = threading.Lock()
        self._seen = _Seen()

    def __call__(self, texts: pa.Array) -> Found:
        """Token ids of texts end to end, offsets of the rows, and which rows were truncated.

        Args:
          texts: string, without nulls.

        Returns:
          int32, shape [tokens]; int64, shape [rows + 1]; bool, shape [rows].
        """
        edges = _edges(texts)
        if len(edges) == 2:
            return self._part(texts)
        found: list[Any] = [None] * (len(edges) - 1)

        def tokenize(part: int) -> None:
            found[part] = self._part(texts[edges[part] : edges[part + 1]])

        thread_pool.each("cpu", range(len(found)), tokenize)
        ids, offsets, truncated = zip(*found, strict=True)
        sizes = np.concatenate([[0], *(np.diff(part) for part in offsets)])
        return np.concatenate(ids), np.cumsum(sizes), np.concatenate(truncated)

    def _part(self, texts: pa.Array) -> Found:
        words, edges = self._words(texts)
        encoded = words.dictionary_encode()
        ids, starts, sizes = self._find(encoded.dictionary.to_pylist())
        word = encoded.indices.to_numpy() if len(words) else np.zeros(0, np.int32)
        each = sizes[word]
        reached = np.zeros(len(each) + 1, np.int32)
        np.cumsum(each, out=reached[1:])
        first = starts[word]
        first -= reached[:-1]
        places = np.repeat(first, each)
        places += np.arange(len(places), dtype=np.int32)
        return self._framed(ids[places], reached[edges].astype(np.int64))

    def _words(self, texts: pa.Array) -> tuple[pa.Array, Int64]:
        """The words of all texts, and the number of words before each text's first.

        A word begins with the space before it, or with the byte behind a mark. None is copied.
        """
        offsets = _offsets(texts)
        if not len(texts) or offsets[0] == offsets[-1]:
            return pa.array([], pa.string()), np.zeros(len(offsets), np.int64)
        whole = texts.buffers()[2]
        read = whole.slice(int(offsets[0]), int(offsets[-1] - offsets[0]))
        kinds = np.frombuffer(read.to_pybytes().translate(self._kinds), np.uint8)
        space, mark = kinds == _SPACE, kinds == _MARK
        begins = mark.copy()
        begins[1:] &= ~space[:-1]
        begins |= space
        begins[1:] |= mark[:-1]
        own = offsets - offsets[0]
        begins[own[:-1][np.diff(own) > 0]] = True
        starts = np.append(np.flatnonzero(begins).astype(np.int32), np.int32(len(kinds)))
        words = pa.StringArray.from_buffers(len(starts) - 1, pa.py_buffer(starts), read)
        return words, np.searchsorted(starts, own)

    def _find(self, words: list[str]) -> tuple[Int32, Int32, Int32]:
        """Many words' tokens, where in them each word's begin, and how many it has."""
        seen = self._seen
        at = seen.find(words)
        if (at < 0).any():
            with self._lock:
                if self._seen.bytes > _MOST_BYTES:
                    self._seen = _Seen()
                seen = self._seen
                at = seen.find(words)  # another thread may have met them meanwhile
                new = [words[number] for number in np.flatnonzero(at < 0)]
                encodings = self._backend.encode_batch_fast(new, add_special_tokens=False)
                seen.add(new, [encoding.ids for encoding in encodings])
                at = seen.find(words)
        ids, starts = seen.ids, seen.starts
        return ids, starts[at], starts[at + 1] - starts[at]

    def _framed(self, flat: Int32, body: Int64) -> Found:
        """Cuts rows to what may be read of them, and puts special tokens around them."""
        sizes = np.diff(body)
        kept = np.minimum(sizes, self._most)
        before, behind = len(self._before), len(self._behind)
        offsets = np.concatenate([[0], np.cumsum(kept + before + behind)])
        if (kept < sizes).any():
            flat = flat[_ranges(body[:-1] if self._side == "right" else body[1:] - kept, kept)]
        ids = np.empty(int(offsets[-1]), np.int32)
        own = np.ones(len(ids), bool)
        for place in range(before):
            own[offsets[:-1] + place] = False
        for place in range(behind):
            own[offsets[1:] - behind + place] = False
        ids[own] = flat
        for place, token in enumerate(self._before):
            ids[offsets[:-1] + place] = token
        for place, token in enumerate(self._behind):
            ids[offsets[1:] - behind + place] = token
        return ids, offsets, sizes > self._most


class _Seen:
    """Words and their tokens. One thread adds words while others look for some."""

    def __init__(self) -> None:
        self.bytes = 0
        self.ids: Int32 = np.zeros(0, np.int32)
        self.starts: Int32 = np.zeros(1, np.int32)
        self._at: dict[str, int] = {}

    def find(self, words: list[str]) -> Int64:
        """The number of each word; -1 where it is new."""
        return np.fromiter(map(self._at.get, words, repeat(-1)), np.int64, len(words))

    def add(self, words: list[str], ids: list[list[int]]) -> None:
        """Takes words in that are all new."""
        flat = [token for some in ids for token in some]
        ends = self.starts[-1] + np.cumsum([*map(len, ids)], dtype=np.int32)
        # New arrays, not longer ones, and before the words that they are for: others read them.
        self.ids = np.concatenate([self.ids, np.array(flat, np.int32)])
        self.starts = np.concatenate([self.starts, ends])
        first = len(self._at)
        self._at.update(zip(words, range(first, first + len(words)), strict=True))
        self.bytes += sum(map(len, words)) + _BYTES_A_WORD * len(words) + 4 * len(flat)


def _edges(texts: pa.Array) -> list[int]:
    """Row numbers at which texts are parted: by their bytes, for threads and for their caches."""
    if not len(texts):
        return [0, 0]
    reached = _offsets(texts)
    size = int(reached[-1] - reached[0])
    parts = max(-(-size // _PART_BYTES), min(thread_pool.slots(), size // _LEAST_BYTES), 1)
    steps = reached[0] + size * np.arange(1, parts) // parts
    inner = np.unique(np.searchsorted(reached, steps))
    return [0, *(int(row) for row in inner if 0 < row < len(texts)), len(texts)]


def _offsets(texts: pa.Array) -> Int32:
    """Where each text begins in its array's bytes, and where the last one ends."""
    if not len(texts):
        return np.zeros(1, np.int32)
    return np.frombuffer(texts.buffers()[1], np.int32)[texts.offset :][: len(texts) + 1]


def _ranges(starts: Int64, sizes: Int64) -> Int64:
    """start, start + 1, ... of every start, so many of them each, end to end."""
    ends = np.cumsum(sizes)
    total = int(ends[-1]) if len(ends) else 0
    return np.arange(total) + np.repeat(starts - (ends - sizes), sizes)
