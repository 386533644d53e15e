"""Objects in lines of JSON: their keys with the values as they are written, and what is wrong.

JSON is read as Python reads it: NaN, Infinity and -Infinity are numbers, and integers have any
length. A value that passes through is the bytes of its line, wherever that can be had.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
import numpy as np

from tango_beam.arrays import Int64

BOM = b"\xef\xbb\xbf"
_RAW = msgspec.json.Decoder(dict[str, msgspec.Raw])
_BLANK = b" \t\r\n"
# Behind a key; one behind a space would not be counted.
_COLON, _FAR_COLONS = b'":', (b" :", b"\t:", b"\r:")


class LineError(ValueError):
    """A line that is no object, or has no text: what was expected and what was found."""


class _Pairs(list):
    """The members of an object, repeated keys among them."""


_PAIRS = json.JSONDecoder(object_pairs_hook=_Pairs)


def line_starts(data: bytes) -> Int64:
    """Where the lines begin, int64; the last line may lack its newline."""
    breaks = np.flatnonzero(np.frombuffer(data, np.uint8) == ord("\n"))
    starts = np.concatenate([[0], breaks + 1]).astype(np.int64)
    return starts[starts < len(data)]


def split(data: bytes) -> tuple[Int64, list[bytes]]:
    """Lines that are not blank, without their newlines, and where they begin."""
    lines = data.split(b"\n")
    starts = line_starts(data)
    if not lines[-1]:
        lines.pop()
    if b"" in lines or any(map(bytes.isspace, lines)):
        filled = [number for number, line in enumerate(lines) if line.strip(_BLANK)]
        lines, starts = [lines[number] for number in filled], starts[filled]
    return starts, [line.rstrip(b"\r") for line in lines] if b"\r" in data else lines


def members(line: bytes) -> tuple[Mapping[str, Any], list[tuple[str, Any]]]:
    """The members of a line's object: key and value as bytes; and those whose key stands twice.

    Raises:
      LineError: no UTF-8, no JSON, or no object.
    """
    _refuse_other_bytes(line)
    try:
        found: Mapping[str, Any] = _RAW.decode(line)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        found = {}
    if found and not _has_repeats(line, found):
        return found, []
    pairs = [(key, dump(value)) for key, value in _pairs(line)]
    counts: dict[str, int] = {}
    for key, _ in pairs:
        counts[key] = counts.get(key, 0) + 1
    once = {key: value for key, value in pairs if counts[key] == 1}
    raw = {key: found.get(key, value) for key, value in once.items()}
    return raw, [pair for pair in pairs if counts[pair[0]] > 1]


def _refuse_other_bytes(line: bytes) -> None:
    try:
        line.isascii() or line.decode()
    except UnicodeDecodeError as error:
        found = f"byte 0x{line[error.start]:02x} at byte {error.start}"
        raise LineError(f"expected UTF-8, found {found}") from error


def _has_repeats(line: bytes, found: Mapping[str, Any]) -> bool:
    """Whether a key may stand twice: then there are more colons behind keys than keys and values.

    May say so where none does, never the other way around.
    """
    count = line.count(_COLON)
    if any(colon in line for colon in _FAR_COLONS):
        return True
    return count != len(found) and count != len(found) + b" ".join(found.values()).count(_COLON)


def _pairs(line: bytes) -> _Pairs:
    return _object(line, _PAIRS)


def load_object(line: bytes) -> dict[str, Any]:
    """A line's object; of keys that stand twice, the last.

    Raises:
      LineError: no UTF-8, no JSON, or no object.
    """
    return _object(line, json.JSONDecoder())


def _object(line: bytes, decoder: json.JSONDecoder) -> Any:
    _refuse_other_bytes(line)
    try:
        row = decoder.decode(line.decode())
    except (ValueError, RecursionError) as error:
        raise LineError(
            f"expected a JSON object, found text that is no JSON: {str(error)[:80]}"
        ) from error
    if not isinstance(row, dict | _Pairs):
        raise LineError(f"expected a JSON object, found {shown(row)}")
    return row


def load(raw: Any) -> Any:
    """A value as Python reads it, None for none."""
    return None if raw is None else json.loads(bytes(raw))


def plain(value: Any) -> Any:
    """A value with its members as dictionaries."""
    if isinstance(value, _Pairs):
        return {key: plain(inner) for key, inner in value}
    return [plain(inner) for inner in value] if isinstance(value, list) else value


def dump(value: Any) -> bytes:
    """A value as JSON; equal to what it was when it is read again."""
    if isinstance(value, _Pairs):
        return join([(key, dump(inner)) for key, inner in value])
    if isinstance(value, list):
        return b"[" + b",".join(map(dump, value)) + b"]"
    try:
        return json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError:  # half of a surrogate pair, which only an escape can say
        return json.dumps(value).encode()


def join(pairs: Sequence[tuple[str, Any]]) -> bytes:
    """An object of members whose values are written already."""
    return b"{" + b",".join(dump(key) + b":" + bytes(raw) for key, raw in pairs) + b"}"


def at(value: Any, steps: Sequence[str]) -> Any:
    """What a path leads to inside a value; None where it leads nowhere."""
    for step in steps:
        try:
            value = value[int(step)] if isinstance(value, list) else value.get(step)
        except (AttributeError, IndexError, ValueError):
            return None
    return value


_KINDS: dict[type, str] = {
    bool: "boolean",
    int: "integer",
    float: "number",
    str: "string",
    dict: "object",
    list: "array",
}


def shown(value: Any) -> str:
    """A value with its kind, for messages."""
    value = plain(value)
    text = repr(value)
    return f"{_KINDS.get(type(value), 'null')} {text if len(text) <= 40 else text[:37] + '...'}"


def encodes(text: str) -> bool:
    """Whether a string can be stored as UTF-8: it has no half of a surrogate pair."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
