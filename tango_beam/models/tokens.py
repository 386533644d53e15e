"""Tokenized texts as three flat arrays, and the tokenizer that makes them."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from tokenizers import Encoding, Tokenizer

from tango_beam.arrays import Bool, Int32, Int64, UInt8
from tango_beam.models.word_cache import Words, fits

# A text is cut to this many characters a token before it is tokenized. English runs at four to
# five; a text that turns out to need more is tokenized again, whole.
CHARACTERS_PER_TOKEN = 16
# A word that was cut by characters may have other tokens than it has whole; so many are to spare.
_TO_SPARE = 64
_NO_LIMIT = 1 << 30
CONFIG_FILE = "tokenizer_config.json"


@dataclass(frozen=True)
class Tokens:
    """Token ids of many texts, laid end to end.

    Attributes:
      ids: int32, shape [tokens].
      offsets: int64, shape [rows + 1]; row i is `ids[offsets[i]:offsets[i + 1]]`.
      truncated: bool, shape [rows]; the text was longer than `max_length`.
      types: uint8, shape [tokens]: which text a token is of, as the tokenizer says; None where all
        are 0.
    """

    ids: Int32
    offsets: Int64
    truncated: Bool
    types: UInt8 | None = None

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @property
    def lengths(self) -> Int64:
        """Tokens in each row, int64, shape [rows]."""
        return np.diff(self.offsets)

    @property
    def rows(self) -> int:
        """Of how many rows these are the tokens."""
        return len(self)

    @property
    def owners(self) -> Int64:
        """The row that each piece is of, int64, shape [pieces]; here a piece is a row."""
        return np.arange(len(self))

    def by_row(self, values: npt.NDArray) -> npt.NDArray:
        """Numbers of pieces, summed up by row."""
        return values

    def padded(self, rows: Int64, pad_id: int, *, left: bool = False) -> Int64:
        """The ids of some rows as one int64 matrix [rows, longest], padded on one side."""
        return self._padded(self.ids, rows, pad_id, left)

    def padded_types(self, rows: Int64, *, left: bool = False) -> Int64:
        """The types of some rows as `padded` gives their ids, 0 where there is no token."""
        if self.types is None:
            return np.zeros((len(rows), int(self.lengths[rows].max(initial=1))), np.int64)
        return self._padded(self.types, rows, 0, left)

    def inside(self, rows: Int64, *, left: bool = False) -> Bool:
        """Where in such a matrix a token is, and no padding."""
        lengths = self.lengths[rows]
        width = int(lengths.max(initial=1))
        skipped = (width - lengths if left else np.zeros_like(lengths))[:, None]
        column = np.arange(width)
        return (column >= skipped) & (column < skipped + lengths[:, None])

    def _padded(self, flat: Int32 | UInt8, rows: Int64, fill: int, left: bool) -> Int64:
        inside = self.inside(rows, left=left)
        if not len(flat):
            return np.full(inside.shape, fill, np.int64)
        starts, width = self.offsets[rows], inside.shape[1]
        if left:
            starts = starts - (width - self.lengths[rows])
        at = np.clip(starts[:, None] + np.arange(width), 0, len(flat) - 1)
        return np.where(inside, flat[at], fill).astype(np.int64)

    def take(self, rows: Int64) -> Tokens:
        """The tokens of some rows; of rows that stand together, without a copy of the ids."""
        at, offsets = self._run(rows) or self._places(rows)
        return Tokens(
            ids=self.ids[at],
            offsets=offsets,
            truncated=self.truncated[rows],
            types=None if self.types is None else self.types[at],
        )

    def _run(self, rows: Int64) -> tuple[slice, Int64] | None:
        """What `_places` gives, for rows one after the other as they stand here."""
        if not len(rows) or not (np.diff(rows) == 1).all():
            return None
        offsets = self.offsets[rows[0] : rows[-1] + 2]
        return slice(int(offsets[0]), int(offsets[-1])), offsets - offsets[0]

    def _places(self, pieces: Int64) -> tuple[Int64, Int64]:
        """Where the tokens of some pieces lie, and the offsets that they get."""
        lengths = self.lengths[pieces]
        offsets = np.zeros(len(pieces) + 1, np.int64)
        np.cumsum(lengths, out=offsets[1:])
        starts = np.repeat(self.offsets[pieces] - offsets[:-1], lengths)
        return starts + np.arange(int(offsets[-1])), offsets

    def to_arrow(self) -> pa.StructArray:
        """The same as an Arrow column, so that tokens travel with their rows to the next tier."""
        # from_arrays wants int32 offsets for a list; a batch of 2^31 tokens does not occur.
        offsets = self.offsets.astype(np.int32)
        ids = pa.ListArray.from_arrays(offsets, pa.array(self.ids))
        arrays, names = [ids, pa.array(self.truncated)], ["ids", "truncated"]
        if self.types is not None:
            arrays.append(pa.ListArray.from_arrays(offsets, pa.array(self.types)))
            names.append("types")
        return pa.StructArray.from_arrays(arrays, names)

    @classmethod
    def from_arrow(cls, column: pa.StructArray) -> Tokens:
        """Reads back what `to_arrow` made, sliced, filtered or joined since."""
        ids, offsets = _window(column.field("ids"))
        names = [field.name for field in column.type]
        return cls(
            ids=ids,
            offsets=offsets,
            truncated=column.field("truncated").to_numpy(zero_copy_only=False),
            types=_window(column.field("types"))[0] if "types" in names else None,
        )


def _window(column: pa.ListArray) -> tuple[np.ndarray, Int64]:
    """Values and offsets of lists; a slice spans a window of its parent's values."""
    offsets = column.offsets.to_numpy().astype(np.int64)
    return column.values.to_numpy()[offsets[0] : offsets[-1]], offsets - offsets[0]


def read_backend(folder: Path) -> Tokenizer:
    """A folder's tokenizer.json, with what tokenizer_config.json says of how texts are read.

    That is the side on which long texts are cut (held as the truncation's direction), and whether
    special tokens that a text spells are plain text.

    Raises:
      FileNotFoundError: no tokenizer.json.
    """
    path = folder / "tokenizer.json"
    if not path.is_file():
        raise FileNotFoundError(f"{path}: expected a tokenizer, found no such file")
    backend = Tokenizer.from_file(str(path))
    settings = folder / CONFIG_FILE
    stated = json.loads(settings.read_text()) if settings.is_file() else {}
    side = stated.get("truncation_side", _side(backend))
    backend.enable_truncation(_NO_LIMIT, direction=side)
    backend.encode_special_tokens = bool(stated.get("split_special_tokens"))
    return backend


def _side(backend: Tokenizer) -> str:
    return (backend.truncation or {}).get("direction", "right")


def _copy(backend: Tokenizer) -> Tokenizer:
    copy = Tokenizer.from_str(backend.to_str())
    copy.encode_special_tokens = backend.encode_special_tokens  # no part of its JSON
    return copy


class TextTokenizer:
    """A `tokenizers.Tokenizer` applied to Arrow columns, whole batches at a time.

    Args:
      backend: as it was saved.
      max_length: the most tokens that a text may have, special ones included.
      pad_id: the id that fills short rows up.
      side: on which a text that is too long is cut, `right` or `left`; by default on the one that
        the backend's own truncation names.

    Attributes:
      fingerprint: two tokenizers with the same one give the same tokens.
    """

    def __init__(
        self, backend: Tokenizer, max_length: int, pad_id: int, side: str | None = None
    ) -> None:
        if max_length < 3:
            raise ValueError(f"expected max_length of at least 3 tokens, found {max_length}")
        self.side = side or _side(backend)
        self._backend = _copy(backend)
        self._backend.no_padding()
        self._backend.enable_truncation(max_length, direction=self.side)
        self.max_length = max_length
        self.pad_id = pad_id
        split = "split" if backend.encode_special_tokens else ""
        stated = f"{self._backend.to_str()}{split}".encode()
        self.fingerprint = hashlib.sha256(stated).hexdigest()[:16]
        self._plain = plain = self.plain()
        self._typed = any(plain.encode("a").type_ids)
        by_words = fits(plain) and not self._typed
        self._words = Words(plain, max_length, self.side) if by_words else None

    def __call__(self, texts: pa.Array, pairs: pa.Array | None = None) -> Tokens:
        """Tokenizes a string column, or two for pairs, without nulls.

        A text far longer than `max_length` tokens is cut by characters at a space first, and
        tokenized again whole in the rare case that the piece does not fill `max_length`.
        """
        limit = CHARACTERS_PER_TOKEN * self.max_length
        columns = [texts] if pairs is None else [texts, pairs]
        short = [_cut_long(column, limit, self.side) for column in columns]
        changed = [_changed(*both) for both in zip(columns, short, strict=True)]
        cut: Bool = np.logical_or.reduce(changed)
        if pairs is None and self._words is not None:
            return self._by_words(texts, short[0], cut)
        encodings = self._encode(*short)
        for row in np.flatnonzero(cut):
            pieces = [part[row].as_py() for part, of in zip(short, changed, strict=True) if of[row]]
            if not self._is_certain(encodings[row], pieces):
                again = self._encode(*(column[row : row + 1] for column in columns))
                encodings[row], cut[row] = again[0], False
        return self._pack(encodings, cut, typed=self._typed or pairs is not None)

    def _is_certain(self, encoding: Encoding, pieces: list[str]) -> bool:
        """Whether texts that were cut by characters give the tokens that they give whole."""
        parts = self._plain.encode_batch_fast(pieces)
        if min(len(part.ids) for part in parts) < self.max_length + _TO_SPARE:
            return False
        # Of a pair the longer text gets the odd token, and pieces do not tell which that is.
        of_texts = encoding.sequence_ids
        first, second = of_texts.count(0), of_texts.count(1)
        return second == 0 or abs(first - second) > 1

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
        plain = _copy(self._backend)
        plain.no_truncation()
        return plain

    def sided(self) -> Tokenizer:
        """The tokenizer without a limit, which holds the side on which texts are cut."""
        sided = self.plain()
        sided.enable_truncation(_NO_LIMIT, direction=self.side)
        return sided

    def save(self, folder: Path) -> None:
        """Writes what `read_backend` reads: tokenizer.json, and what else is to be known of it."""
        self.plain().save(str(folder / "tokenizer.json"), pretty=False)
        split = self._backend.encode_special_tokens
        if split or self.side != "right":
            stated = {"truncation_side": self.side, "split_special_tokens": split}
            (folder / CONFIG_FILE).write_text(json.dumps(stated, indent=2) + "\n")

    def _encode(self, texts: pa.Array, pairs: pa.Array | None = None) -> list:
        inputs = texts.to_pylist()
        if pairs is not None:
            # To transformers an empty second text is none at all.
            both = zip(inputs, pairs.to_pylist(), strict=True)
            inputs = [pair if pair[1] else pair[0] for pair in both]
        return self._backend.encode_batch_fast(inputs)  # it leaves out offsets, which are not used

    def _pack(self, encodings: list, cut: Bool, typed: bool) -> Tokens:
        ids = [encoding.ids for encoding in encodings]
        offsets = np.zeros(len(ids) + 1, np.int64)
        np.cumsum(np.fromiter(map(len, ids), np.int64, len(ids)), out=offsets[1:])
        truncated = cut.copy()
        for row in np.flatnonzero(np.diff(offsets) >= self.max_length):
            truncated[row] |= bool(encodings[row].overflowing)
        types = None
        if typed:
            each = chain.from_iterable(encoding.type_ids for encoding in encodings)
            types = np.fromiter(each, np.uint8, int(offsets[-1]))
        flat = np.fromiter(chain.from_iterable(ids), np.int32, int(offsets[-1]))
        return Tokens(flat, offsets, truncated, types)


def _joined(first: Tokens, second: Tokens) -> Tokens:
    """The rows of one behind those of the other."""
    return Tokens(
        np.concatenate([first.ids, second.ids]),
        np.concatenate([first.offsets, second.offsets[1:] + first.offsets[-1]]),
        np.concatenate([first.truncated, second.truncated]),
    )


def _cut_long(texts: pa.Array, limit: int, side: str) -> pa.Array:
    """Cuts texts to `limit` characters, at the first space inside or else between characters."""
    long = pc.greater(pc.binary_length(texts), limit)
    if not pc.any(long).as_py():
        return texts
    start, stop, outer = (0, limit, r"\s\S*\z") if side == "right" else (-limit, None, r"\A\S*\s")
    kept = pc.utf8_slice_codeunits(texts.filter(long), start, stop)
    kept = pc.replace_substring_regex(kept, outer, "", max_replacements=1)
    return pc.replace_with_mask(texts, long, kept)


def _changed(texts: pa.Array, cut: pa.Array) -> Bool:
    if cut is texts:
        return np.zeros(len(texts), bool)
    changed = pc.not_equal(pc.binary_length(texts), pc.binary_length(cut))
    return changed.to_numpy(zero_copy_only=False)
