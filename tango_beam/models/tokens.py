"""Tokenized texts as three flat arrays, and the tokenizer that makes them."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from tokenizers import Tokenizer

from tango_beam.arrays import Bool, Int32, Int64
from tango_beam.models.word_cache import Words, fits

# A text is cut to this many characters a token before it is tokenized. English runs at four to
# five; a text that turns out to need more is tokenized again, whole.
CHARACTERS_PER_TOKEN = 16


@dataclass(frozen=True)
class Tokens:
    """Token ids of many texts, laid end to end.

    Attributes:
      ids: int32, shape [tokens].
      offsets: int64, shape [rows + 1]; row i is `ids[offsets[i]:offsets[i + 1]]`.
      truncated: bool, shape [rows]; the text was longer than `max_length`.
      second: int32, shape [rows]: where the second text of a pair starts; None for single texts.
    """

    ids: Int32
    offsets: Int64
    truncated: Bool
    second: Int32 | None = None

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @property
    def lengths(self) -> Int64:
        """Tokens in each row, int64, shape [rows]."""
        return np.diff(self.offsets)

    def padded(self, rows: Int64, pad_id: int) -> Int64:
        """The ids of some rows as one int64 matrix [rows, longest], padded on the right."""
        starts, lengths = self.offsets[rows], self.lengths[rows]
        column = np.arange(int(lengths.max(initial=1)))
        inside = column < lengths[:, None]
        if not len(self.ids):
            return np.full(inside.shape, pad_id, np.int64)
        flat = np.minimum(starts[:, None] + column, len(self.ids) - 1)
        return np.where(inside, self.ids[flat], pad_id).astype(np.int64)

    def take(self, rows: Int64) -> Tokens:
        """The tokens of some rows."""
        lengths = self.lengths[rows]
        offsets = np.zeros(len(rows) + 1, np.int64)
        np.cumsum(lengths, out=offsets[1:])
        shifts = np.repeat(self.offsets[rows] - offsets[:-1], lengths)
        return Tokens(
            ids=self.ids[np.arange(int(offsets[-1])) + shifts],
            offsets=offsets,
            truncated=self.truncated[rows],
            second=None if self.second is None else self.second[rows],
        )

    def to_arrow(self) -> pa.StructArray:
        """The same as an Arrow column, so that tokens travel with their rows to the next tier."""
        # from_arrays wants int32 offsets for a list; a batch of 2^31 tokens does not occur.
        ids = pa.ListArray.from_arrays(self.offsets.astype(np.int32), pa.array(self.ids))
        arrays, names = [ids, pa.array(self.truncated)], ["ids", "truncated"]
        if self.second is not None:
            arrays.append(pa.array(self.second))
            names.append("second")
        return pa.StructArray.from_arrays(arrays, names)

    @classmethod
    def from_arrow(cls, column: pa.StructArray) -> Tokens:
        """Reads back what `to_arrow` made, sliced, filtered or joined since."""
        ids = column.field("ids")
        # A slice keeps its parent's values; take the window that its offsets span.
        offsets = ids.offsets.to_numpy().astype(np.int64)
        values = ids.values.to_numpy()[offsets[0] : offsets[-1]]
        names = [field.name for field in column.type]
        return cls(
            ids=values,
            offsets=offsets - offsets[0],
            truncated=column.field("truncated").to_numpy(zero_copy_only=False),
            second=column.field("second").to_numpy() if "second" in names else None,
        )


class TextTokenizer:
    """A `tokenizers.Tokenizer` applied to Arrow columns, whole batches at a time.

    Attributes:
      max_length: the most tokens that a text may have, special ones included.
      pad_id: the id that fills short rows up.
      fingerprint: two tokenizers with the same one give the same tokens.
    """

    def __init__(self, backend: Tokenizer, max_length: int, pad_id: int) -> None:
        if max_length < 3:
            raise ValueError(f"expected max_length of at least 3 tokens, found {max_length}")
        self._backend = Tokenizer.from_str(backend.to_str())
        self._backend.no_padding()
        self._backend.enable_truncation(max_length)
        self.max_length = max_length
        self.pad_id = pad_id
        self.fingerprint = hashlib.sha256(self._backend.to_str().encode()).hexdigest()[:16]
        plain = self.plain()
        self._words = Words(plain, max_length) if fits(plain) else None

    def __call__(self, texts: pa.Array, pairs: pa.Array | None = None) -> Tokens:
        """Tokenizes a string column, or two for pairs, without nulls.

        A text far longer than `max_length` tokens is cut by characters at a space first, and
        tokenized again whole in the rare case that the piece does not fill `max_length`.
        """
        limit = CHARACTERS_PER_TOKEN * self.max_length
        short = _cut_long(texts, limit)
        short_pairs = None if pairs is None else _cut_long(pairs, limit)
        cut = _changed(texts, short)
        if pairs is not None:
            cut = cut | _changed(pairs, short_pairs)
        elif self._words is not None:
            return self._by_words(texts, short, cut)
        encodings = self._encode(short, short_pairs)
        for row in np.flatnonzero(cut):
            if len(encodings[row].ids) < self.max_length:
                whole = slice(row, row + 1)
                again = self._encode(texts[whole], None if pairs is None else pairs[whole])
                encodings[row], cut[row] = again[0], False
        return self._pack(encodings, cut, paired=pairs is not None)

    def _by_words(self, texts: pa.Array, short: pa.Array, cut: Bool) -> Tokens:
        assert self._words is not None
        tokens = Tokens(*self._words(short.cast(pa.string())))
        if not cut.any():
            return tokens
        whole = cut & (tokens.lengths < self.max_length)
        again = Tokens(*self._words(texts.filter(pa.array(whole)).cast(pa.string())))
        order = np.arange(len(tokens))
        order[whole] = len(tokens) + np.arange(len(again))
        joined = _joined(tokens, again).take(order)
        return Tokens(joined.ids, joined.offsets, joined.truncated | (cut & ~whole))

    def plain(self) -> Tokenizer:
        """The tokenizer without truncation."""
        plain = Tokenizer.from_str(self._backend.to_str())
        plain.no_truncation()
        return plain

    def save(self, path: Path) -> None:
        """Writes the tokenizer as tokenizer.json, without truncation or padding."""
        self.plain().save(str(path), pretty=False)

    def _encode(self, texts: pa.Array, pairs: pa.Array | None) -> list:
        inputs = texts.to_pylist()
        if pairs is not None:
            inputs = list(zip(inputs, pairs.to_pylist(), strict=True))
        return self._backend.encode_batch_fast(inputs)  # it leaves out offsets, which are not used

    def _pack(self, encodings: list, cut: Bool, paired: bool) -> Tokens:
        ids = [encoding.ids for encoding in encodings]
        offsets = np.zeros(len(ids) + 1, np.int64)
        np.cumsum(np.fromiter(map(len, ids), np.int64, len(ids)), out=offsets[1:])
        truncated = cut.copy()
        for row in np.flatnonzero(np.diff(offsets) >= self.max_length):
            truncated[row] |= bool(encodings[row].overflowing)
        second = None
        if paired:
            second = np.array([len(e.ids) - sum(e.type_ids) for e in encodings], np.int32)
        flat = np.fromiter(chain.from_iterable(ids), np.int32, int(offsets[-1]))
        return Tokens(flat, offsets, truncated, second)


def _joined(first: Tokens, second: Tokens) -> Tokens:
    """The rows of one behind those of the other."""
    return Tokens(
        np.concatenate([first.ids, second.ids]),
        np.concatenate([first.offsets, second.offsets[1:] + first.offsets[-1]]),
        np.concatenate([first.truncated, second.truncated]),
    )


def _cut_long(texts: pa.Array, limit: int) -> pa.Array:
    """Cuts texts past `limit` characters at the last space before it, or at it."""
    long = pc.greater(pc.binary_length(texts), limit)
    if not pc.any(long).as_py():
        return texts
    heads = pc.utf8_slice_codeunits(texts, 0, limit)
    heads = pc.replace_substring_regex(heads, r"\s\S*\z", "", max_replacements=1)
    return pc.if_else(long, heads, texts)


def _changed(texts: pa.Array, cut: pa.Array | None) -> Bool:
    if cut is texts or cut is None:
        return np.zeros(len(texts), bool)
    changed = pc.not_equal(pc.binary_length(texts), pc.binary_length(cut))
    return changed.to_numpy(zero_copy_only=False).copy()
