"""A JSON array as lines: the same bytes at the same offsets, with newlines between its items.

Brackets, commas and blanks around the items become newlines, and line breaks inside an item become
blanks. So each item is a line, blank lines aside, and begins where it begins in the file. Nothing
is parsed but quotes, escapes and depth; what an item is worth is for the reader of lines to say.
"""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import numpy.typing as npt
import orjson

from tango_beam.arrays import Int64

BOM = b"\xef\xbb\xbf"
_BLANK = b" \t\r\n"
_QUOTE, _ESCAPE, _BREAK = ord('"'), ord("\\"), ord("\n")
# A line break within a string is no JSON. It must not end the line, nor make it good.
_BAD_BREAK = 0x0B


def _table(members: bytes) -> npt.NDArray[np.bool_]:
    table = np.zeros(256, bool)
    table[list(members)] = True
    return table


_IS_TOKEN, _IS_BLANK, _IS_PART = _table(b'"[]{},\r\n'), _table(_BLANK), _table(b"[]{},")
_IS_GAP, _IS_WORD = _table(_BLANK + b"[],"), ~(_IS_BLANK | _IS_PART)
_STEP = np.zeros(256, np.int8)
_STEP[list(b"[{")], _STEP[list(b"]}")] = 1, -1

# The array's own parts, and which may follow which.
_OPEN, _ITEM, _COMMA, _CLOSE, _STRAY, _NOTHING = range(6)
_PART = np.full(256, _STRAY, np.int8)
_PART[list(b"[,]")] = _OPEN, _COMMA, _CLOSE
_FOLLOWS = np.zeros((6, 6), bool)
for _first, _second in (
    (_NOTHING, _OPEN),
    (_OPEN, _ITEM),
    (_OPEN, _CLOSE),
    (_ITEM, _COMMA),
    (_ITEM, _CLOSE),
    (_COMMA, _ITEM),
):
    _FOLLOWS[_first, _second] = True


# What a file of JSON begins with.
ARRAY, LINES, ONE_LINE, OBJECT = "array", "lines", "one line", "object"


def shape(head: bytes) -> str:
    """What the first bytes of JSON are: an array, lines, one line, or an object over several."""
    text = head.removeprefix(BOM).lstrip(_BLANK)
    if text.startswith(b"["):
        return ARRAY if text[1:].lstrip(_BLANK)[:1] in (b"{", b"]", b"") else LINES
    if not text.startswith(b"{"):
        return LINES
    line, _, rest = text.partition(b"\n")
    rest = rest.lstrip(_BLANK)
    if not rest:
        return ONE_LINE
    try:
        orjson.loads(line)
    except orjson.JSONDecodeError:
        # A line that was cut short is followed by one that begins an object.
        opens = line.rstrip().endswith((b"[", b"{"))
        return OBJECT if opens or rest[:1] in (b'"', b"}") else LINES
    return LINES


def array_inside(head: bytes) -> tuple[str, bytes] | None:
    """The first key of an object that holds an array of objects, and what stands before it."""
    match = re.search(rb'"([^"\\]+)"\s*:\s*\[\s*\{', head)
    return (match[1].decode(errors="replace"), head[: match.start()]) if match else None


class ArrayLines:
    """Reads an array as lines, as many bytes as the stream beneath gives.

    An array that does not end, or that is none, raises OSError behind its last good item.

    Args:
      stream: has `read(n)`; at the beginning of the file.
    """

    def __init__(self, stream: Any) -> None:
        self._stream = stream
        self._offset = self._depth = 0
        self._last = _NOTHING
        # Where the last bytes stood: in a string, behind a backslash, in an item, in a number or
        # a word such as null that is an item.
        self._in_string = self._escaped = self._inside = self._in_word = False
        self._error = ""

    def read(self, count: int) -> bytes:
        """Up to `count` bytes; none at the end."""
        if self._error:
            raise OSError(self._error)
        data = self._stream.read(count)
        if not data:
            if self._last != _CLOSE:
                raise OSError("expected ] at the end of the JSON array, found the end of the file")
            return b""
        if not self._offset:
            while len(data) < len(BOM) and (more := self._stream.read(count)):
                data += more
            if data.startswith(BOM):
                data = b"\n" * len(BOM) + data[len(BOM) :]
        lines = self._lines(np.frombuffer(data, np.uint8))
        self._offset += len(data)
        return lines or self.read(count)

    def _lines(self, codes: npt.NDArray[np.uint8]) -> bytes:
        tokens = np.flatnonzero(_IS_TOKEN[codes])
        kinds = codes[tokens]
        quotes, escapes = kinds == _QUOTE, self._escapes(codes)
        if len(escapes):
            quotes &= ~np.isin(tokens, escapes)
        # An opening quote counts as inside the string, a closing one as outside.
        in_string = (np.cumsum(quotes) + self._in_string) % 2 == 1
        steps = np.where(in_string, 0, _STEP[kinds])
        depths = np.cumsum(steps, dtype=np.int64) + self._depth
        inside = in_string | (depths > 1)
        before = np.append(self._inside, inside)[:-1]
        begins, ends = inside & ~before, before & ~inside

        changes = np.zeros(len(codes) + 1, np.int8)
        changes[0] = self._inside
        changes[tokens[begins]] += 1
        changes[tokens[ends] + 1] -= 1
        outside = np.flatnonzero(np.cumsum(changes[:-1], dtype=np.int8) == 0)
        parts = tokens[~inside & ~ends & _IS_PART[kinds]]
        stop = self._check(codes, outside, tokens[begins], parts)

        lines = codes.copy()
        breaks = (kinds == _BREAK) | (kinds == ord("\r"))
        lines[tokens[breaks & ~in_string]] = ord(" ")
        lines[tokens[in_string & (kinds == _BREAK)]] = _BAD_BREAK
        lines[outside[_IS_GAP[codes[outside]]]] = _BREAK
        if len(tokens):
            self._in_string, self._inside = bool(in_string[-1]), bool(inside[-1])
            self._depth = int(depths[-1])
        return lines[:stop].tobytes()

    def _escapes(self, codes: npt.NDArray[np.uint8]) -> Int64:
        """Where a byte stands behind a backslash that is not itself escaped."""
        slashes = np.flatnonzero(codes == _ESCAPE)
        pending = np.array([0] if self._escaped else [], np.int64)
        self._escaped = False
        if not len(slashes):
            return pending
        firsts = np.flatnonzero(np.diff(slashes, prepend=-2) > 1)
        starts, lengths = slashes[firsts], np.diff(np.append(firsts, len(slashes)))
        if len(pending) and not starts[0]:  # this one is escaped itself
            starts[0], lengths[0] = 1, lengths[0] - 1
        behind = (starts + lengths)[lengths % 2 == 1]
        self._escaped = bool(len(behind)) and int(behind[-1]) == len(codes)
        return np.concatenate([pending, behind])

    def _check(
        self,
        codes: npt.NDArray[np.uint8],
        outside: Int64,
        items: Int64,
        parts: Int64,
    ) -> int:
        """Whether brackets, items and commas follow each other as they must.

        Args:
          codes: the bytes.
          outside: where they are in no object, list or string among the items.
          items: where such items begin.
          parts: where brackets, braces and commas stand outside of items.

        Returns:
          How many bytes are good.
        """
        words = outside[_IS_WORD[codes[outside]]]
        starts = words[np.diff(words, prepend=-1 if self._in_word else -2) > 1]
        self._in_word = bool(len(words)) and int(words[-1]) == len(codes) - 1
        at = np.concatenate([items, starts, parts])
        kinds = np.concatenate([np.full(len(items) + len(starts), _ITEM), _PART[codes[parts]]])
        order = np.argsort(at, kind="stable")
        at, kinds = at[order], np.append(self._last, kinds[order])
        wrong = np.flatnonzero(~_FOLLOWS[kinds[:-1], kinds[1:]])
        self._last = int(kinds[-1])
        if not len(wrong):
            return len(codes)
        stop = int(at[wrong[0]])
        found = codes[stop : stop + 20].tobytes()
        names = ("an item or ]", ", or ]", "an item", "the end of the file", "", "[")
        expected = names[kinds[wrong[0]]]
        self._error = (
            f"expected {expected} in the JSON array, found {found!r} at byte {self._offset + stop}"
        )
        return stop
