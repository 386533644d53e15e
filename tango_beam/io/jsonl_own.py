"""Lines of JSON that pass through as they are: only their texts are read.

Whatever else a line holds is neither parsed into values nor written anew, so that it cannot change.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from operator import attrgetter
from typing import Any, Literal

import msgspec
import numpy as np
import pyarrow as pa

from tango_beam import record_columns, text_columns
from tango_beam.io import json_objects
from tango_beam.io.format import BadLine
from tango_beam.io.json_objects import BOM, LineError
from tango_beam.io.jsonl_misfits import Parsed, text_at
from tango_beam.io.planned import LineColumns


class OwnLines:
    """Reads lines, and their texts.

    Args:
      columns: which keys stay, and which a line must not have.
      texts: text columns, or dotted paths.
    """

    def __init__(self, columns: LineColumns, texts: Sequence[str]) -> None:
        self._columns, self._texts = columns, tuple(texts)
        self._reserved = frozenset(columns.reserved)
        # A dotted path may lead into a column, which the line alone tells.
        plain = columns.kept is None and not any("." in text for text in self._texts)
        self._quick = _Quick(self._texts, (*columns.reserved, *columns.replaced)) if plain else None

    def parse(self, data: bytes, offset: int) -> Parsed:
        """Parses whole lines. Blank lines are no rows.

        Args:
          data: lines, each with its newline; the last may lack it.
          offset: where they begin in the file.
        """
        if offset == 0 and data.startswith(BOM):
            data, offset = data[len(BOM) :], len(BOM)
        starts, lines = json_objects.split(data)
        at_once = self._quick.at_once(data, lines) if self._quick else None
        if at_once is not None:
            return Parsed(_batch(lines, at_once), starts + offset, [])
        quick = self._quick.of_block(data, len(lines)) if self._quick else _slowly
        kept: list[int] = []
        out: list[bytes] = []
        found: list[Sequence[str | None]] = []
        bad: list[BadLine] = []
        for number, line in enumerate(lines):
            texts = quick(line)
            try:
                own, values = self._one(line) if texts is None else (line, texts)
            except LineError as error:
                bad.append(BadLine(offset + int(starts[number]), line, str(error)))
                continue
            kept.append(number)
            out.append(own)
            found.append(values)
        offsets = starts[np.array(kept, np.int64)] + offset
        columns = [[texts[place] for texts in found] for place in range(len(self._texts))]
        return Parsed(_batch(out, columns), offsets, bad)

    def _one(self, line: bytes) -> tuple[bytes, Sequence[str | None]]:
        """A line as it goes out, and its texts.

        Raises:
          LineError: it is no object, has no text, or has a key that it must not have.
        """
        found, repeated = json_objects.members(line)
        roots = {text_columns.root_of([*found], path) for path in self._texts}
        known = self._columns.kept
        for key in [*found, *(key for key, _ in repeated)]:
            if key in self._reserved and (known is None or key in known):
                raise LineError(
                    f"expected no key that the output adds, found {key!r}; --answer_prefix gives "
                    "the added ones other names"
                )
            if self._columns.unknown == "dead" and known is not None and key not in known:
                raise LineError(f"expected the keys {', '.join(known)}, found the key {key!r}")
        for key, _ in repeated:
            if key in roots or key in self._texts:
                raise LineError(f"column {key!r}: expected a key once, found it twice")
        texts = [text_at(found, path) for path in self._texts]
        members = [*found.items(), *repeated]
        kept = [one for one in members if one[0] in known] if known is not None else members
        kept = [one for one in kept if one[0] not in self._columns.replaced]
        return line if len(kept) == len(members) else json_objects.join(kept), texts


def _slowly(line: bytes) -> None:
    return None


class _Quick:
    """Reads the texts of a line and passes over the rest, unless the line needs a closer look."""

    def __init__(self, texts: tuple[str, ...], reserved: Sequence[str]) -> None:
        self._keys = [json_objects.dump(text) for text in texts]
        self._names = names = [f"text{number}" for number in range(len(texts))]
        others = {f"reserved{number}": name for number, name in enumerate(reserved)}
        never: Any = Literal["\0"]  # so that a line with a reserved key does not decode
        line = msgspec.defstruct(
            "Line",
            [*((name, str) for name in names), *((name, never, "\0") for name in others)],
            rename=dict(zip(names, texts, strict=True)) | others,
        )
        self._decode = msgspec.json.Decoder(line).decode
        self._texts = attrgetter(*names) if len(names) > 1 else lambda row: (row.text0,)

    def at_once(self, data: bytes, lines: list[bytes]) -> list[list[str]] | None:
        """The texts of a block's lines, a column each; None where a line needs a closer look."""
        try:
            data.isascii() or data.decode()
            rows = list(map(self._decode, lines))
        except (UnicodeDecodeError, msgspec.MsgspecError, RecursionError):
            return None
        if any(data.count(key) != len(lines) for key in self._keys):
            return None  # a key may stand twice, and msgspec takes the last
        return [list(map(attrgetter(name), rows)) for name in self._names]

    def of_block(self, data: bytes, lines: int) -> Callable[[bytes], Sequence[str] | None]:
        """Gives a line's texts, or None, for the lines of a block.

        Args:
          data: the block.
          lines: how many there are.
        """
        if not data.isascii():
            try:
                data.decode()
            except UnicodeDecodeError:
                return _slowly
        once = all(data.count(key) == lines for key in self._keys)
        return partial(self._read, once)

    def _read(self, once: bool, line: bytes) -> Sequence[str] | None:
        # A key may stand twice, and msgspec takes the last.
        if not once and any(line.count(key) != 1 for key in self._keys):
            return None
        try:
            return self._texts(self._decode(line))
        except (msgspec.MsgspecError, RecursionError):
            return None


def _batch(lines: list[bytes], texts: Sequence[Sequence[str | None]]) -> pa.RecordBatch:
    columns = {record_columns.LINE: pa.array(lines, pa.binary())}
    for hidden, values in zip(record_columns.TEXTS, texts, strict=False):
        columns[hidden] = pa.array(values, pa.string())
    return pa.RecordBatch.from_pydict(columns)
