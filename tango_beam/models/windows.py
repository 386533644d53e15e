"""Questions with their contexts as a span model reads them: windows that overlap, laid end to end.

A context that is longer than a model reads is cut into windows, each behind the whole question; two
neighbours share some tokens, so that an answer at a window's edge stands whole in the next one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from tokenizers import Encoding

from tango_beam.arrays import Bool, Int32, Int64
from tango_beam.models.tokens import TextTokenizer, Tokens

# transformers' own question answering read no more of a question, and BERT's of a window.
QUESTION_TOKENS = 64
WINDOW_TOKENS = 384
_CONTEXT = 1


@dataclass(frozen=True, kw_only=True)
class Windows(Tokens):
    """Token ids of windows, and where in the contexts their tokens stand.

    `truncated` says of each row whether its question was longer than is read.

    Attributes:
      of_row: the row that a window is of, int64, shape [windows], ascending; each row has one.
      first: a window's first token of the context, counted in the window; int64, shape [windows].
      stop: the token behind its last one of the context.
      fresh: spans that begin before this token of a window stand in no later one.
      characters: where a token of the context begins and stops, in characters of the context;
        int32, shape [tokens, 2], 0 for other tokens.
    """

    of_row: Int64
    first: Int64
    stop: Int64
    fresh: Int64
    characters: Int32

    @property
    def rows(self) -> int:
        """Of how many rows these are the windows."""
        return len(self.truncated)

    @property
    def owners(self) -> Int64:
        """The row that each window is of, int64, shape [windows]."""
        return self.of_row

    def by_row(self, values: npt.NDArray) -> npt.NDArray:
        """Numbers of windows, summed up by row."""
        return np.bincount(self.of_row, values, self.rows).astype(values.dtype)

    def take(self, rows: Int64) -> Windows:
        """The windows of some rows."""
        counts = np.bincount(self.of_row, minlength=self.rows)[rows]
        first = np.searchsorted(self.of_row, rows)
        chosen = np.repeat(first - (np.cumsum(counts) - counts), counts) + np.arange(counts.sum())
        at, offsets = self._places(chosen)
        return Windows(
            ids=self.ids[at],
            offsets=offsets,
            truncated=self.truncated[rows],
            types=None if self.types is None else self.types[at],
            of_row=np.repeat(np.arange(len(rows)), counts),
            first=self.first[chosen],
            stop=self.stop[chosen],
            fresh=self.fresh[chosen],
            characters=self.characters[at],
        )


class WindowTokenizer:
    """Cuts questions with their contexts into windows, as transformers' tokenizers do.

    Args:
      tokenizer: of the checkpoint; its limit is the window's.
      stride: tokens of a context that two neighbouring windows share; None for a third of a window.

    Raises:
      ValueError: windows that have no room for a question and a stride.
    """

    def __init__(self, tokenizer: TextTokenizer, stride: int | None = None) -> None:
        self.max_length, self.pad_id = tokenizer.max_length, tokenizer.pad_id
        self.stride = self.max_length // 3 if stride is None else stride
        self._plain = tokenizer.plain()
        special = self._plain.num_special_tokens_to_add(is_pair=True)
        self._question = min(QUESTION_TOKENS, (self.max_length - special) // 4)
        room = self.max_length - special - self._question
        if not 0 <= self.stride < room or self._question < 1:
            raise ValueError(
                f"expected a --stride of 0 to {room - 1} tokens in windows of {self.max_length} "
                f"(--max_length), found {self.stride}"
            )
        self._backend = tokenizer.plain()
        self._backend.enable_truncation(self.max_length, stride=self.stride, strategy="only_second")
        self.fingerprint = f"{tokenizer.fingerprint} {self.stride}"

    def __call__(self, questions: pa.Array, contexts: pa.Array) -> Windows:
        """Windows of string columns without nulls; every row has at least one."""
        asked, cut = self._shortened(questions)
        encodings = self._backend.encode_batch(list(zip(asked, contexts.to_pylist(), strict=True)))
        each = [[encoding, *encoding.overflowing] for encoding in encodings]
        counts = np.fromiter(map(len, each), np.int64, len(each))
        owners = np.repeat(np.arange(len(each)), counts)
        return _laid_out([*chain.from_iterable(each)], owners, cut, self.stride)

    def _shortened(self, questions: pa.Array) -> tuple[list[str], Bool]:
        """Questions cut behind their last token that is read, and which were cut."""
        texts = questions.to_pylist()
        cut = np.zeros(len(texts), bool)
        # A token is at least a byte.
        long = pc.greater(pc.binary_length(questions), self._question)
        rows = np.flatnonzero(long.to_numpy(zero_copy_only=False))
        parts = self._plain.encode_batch([texts[row] for row in rows], add_special_tokens=False)
        for row, part in zip(rows, parts, strict=True):
            if len(part.ids) > self._question:
                texts[row], cut[row] = texts[row][: part.offsets[self._question - 1][1]], True
        return texts, cut


def _laid_out(windows: Sequence[Encoding], owners: Int64, cut: Bool, stride: int) -> Windows:
    ids = [window.ids for window in windows]
    offsets = np.zeros(len(ids) + 1, np.int64)
    np.cumsum(np.fromiter(map(len, ids), np.int64, len(ids)), out=offsets[1:])
    count = int(offsets[-1])
    types = np.fromiter(chain.from_iterable(w.type_ids for w in windows), np.uint8, count)
    of = [window.sequence_ids for window in windows]
    first = np.array([one.index(_CONTEXT) if _CONTEXT in one else 0 for one in of], np.int64)
    stop = first + np.array([one.count(_CONTEXT) for one in of], np.int64)
    # A window that another follows is full, and shares its last tokens with it.
    followed = np.diff(owners, append=-1) == 0
    fresh = stop - stride * followed
    pairs = chain.from_iterable(chain.from_iterable(window.offsets for window in windows))
    characters = np.fromiter(pairs, np.int32, 2 * count).reshape(-1, 2)
    return Windows(
        ids=np.fromiter(chain.from_iterable(ids), np.int32, count),
        offsets=offsets,
        truncated=cut,
        types=types,
        of_row=owners,
        first=first,
        stop=stop,
        fresh=fresh,
        characters=characters,
    )
