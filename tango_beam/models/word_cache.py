"""Tokens of texts, put together from the tokens of their words, each tokenized once.

A corpus says the same words again and again. Where a tokenizer parts texts at spaces before it does
anything that looks further than a character, the tokens of a text are those of its words, one after
the other; so Arrow parts the texts and finds the distinct words, the tokenizer sees those that are
new, and NumPy lays the rest end to end.
"""

from __future__ import annotations

import json
import threading
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from tokenizers import Tokenizer

from tango_beam.arrays import Int32, Int64

# What looks at characters one by one, or at what stands between two spaces.
_NORMALIZERS = {"BertNormalizer", "Lowercase"}
_PRE_TOKENIZERS = {"BertPreTokenizer", "Whitespace", "WhitespaceSplit"}
_MODELS = {"WordPiece", "WordLevel"}
# Words are forgotten, all at once, when they take more bytes than this.
_MOST_BYTES = 1 << 25
_BYTES_A_WORD = 150  # beside its letters


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
    return bool(added["lstrip"] or added["rstrip"] or " " in added["content"])


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
        self._most = max_length - len(self._before) - len(self._behind)
        self._lock = threading.Lock()
        self._forget()

    def _forget(self) -> None:
        self._at: dict[str, int] = {}
        self._bytes = 0
        self._ids: Int32 = np.zeros(0, np.int32)
        self._starts: Int64 = np.zeros(1, np.int64)

    def __call__(self, texts: pa.Array) -> tuple[Int32, Int64, Any]:
        """Token ids of texts end to end, offsets of the rows, and which rows were truncated.

        Args:
          texts: string, without nulls.

        Returns:
          int32, shape [tokens]; int64, shape [rows + 1]; bool, shape [rows].
        """
        parted = pc.split_pattern(texts, " ")
        words = parted.values[parted.offsets[0].as_py() : parted.offsets[-1].as_py()]
        encoded = words.dictionary_encode()
        with self._lock:
            at = self._find(encoded.dictionary.to_pylist())
            ids, starts = self._ids, self._starts
        word = at[encoded.indices.to_numpy()] if len(words) else np.zeros(0, np.int64)
        sizes = starts[word + 1] - starts[word]
        reached = np.concatenate([[0], np.cumsum(sizes)])
        edges = parted.offsets.to_numpy().astype(np.int64)
        body = reached[edges - edges[0]]
        flat = ids[_ranges(starts[word], sizes)]
        return self._framed(flat, body)

    def _find(self, words: list[str]) -> Int64:
        """Where each word's tokens are; those of new words are added."""
        if self._bytes > _MOST_BYTES:
            self._forget()
        new = [word for word in words if word not in self._at]
        if new:
            encodings = self._backend.encode_batch_fast(new, add_special_tokens=False)
            ids = [encoding.ids for encoding in encodings]
            sizes = np.fromiter(map(len, ids), np.int64, len(ids))
            first = len(self._at)
            self._at.update(zip(new, range(first, first + len(new)), strict=True))
            flat = [token for some in ids for token in some]
            # New arrays, not longer ones: other threads may be reading from these.
            self._ids = np.concatenate([self._ids, np.array(flat, np.int32)])
            self._starts = np.concatenate([self._starts, self._starts[-1] + np.cumsum(sizes)])
            self._bytes += sum(map(len, new)) + _BYTES_A_WORD * len(new) + 4 * len(flat)
        return np.fromiter(map(self._at.__getitem__, words), np.int64, len(words))

    def _framed(self, flat: Int32, body: Int64) -> tuple[Int32, Int64, Any]:
        """Cuts rows to what may be read of them, and puts special tokens around them."""
        sizes = np.diff(body)
        kept = np.minimum(sizes, self._most)
        before, behind = len(self._before), len(self._behind)
        offsets = np.concatenate([[0], np.cumsum(kept + before + behind)])
        ids = np.empty(int(offsets[-1]), np.int32)
        first = body[:-1] if self._side == "right" else body[1:] - kept
        ids[_ranges(offsets[:-1] + before, kept)] = flat[_ranges(first, kept)]
        for place, token in enumerate(self._before):
            ids[offsets[:-1] + place] = token
        for place, token in enumerate(self._behind):
            ids[offsets[1:] - behind + place] = token
        return ids, offsets, sizes > self._most


def _ranges(starts: Int64, sizes: Int64) -> Int64:
    """start, start + 1, ... of every start, so many of them each, end to end."""
    ends = np.cumsum(sizes)
    total = int(ends[-1]) if len(ends) else 0
    return np.arange(total) + np.repeat(starts - (ends - sizes), sizes)
