"""Frozen dataclasses that are written as JSON objects, and checked when they are read."""

from __future__ import annotations

from typing import Any, Self

import msgspec


class JsonRecord:
    """A dataclass that is written and read as a JSON object with its fields' names.

    Nested dataclasses, tuples and dictionaries of them are written and read alike. Source:
    https://jcristharif.com/msgspec/converters.html
    """

    def to_json(self) -> dict[str, Any]:
        """The JSON object, as dictionaries and lists."""
        return msgspec.to_builtins(self, enc_hook=_plain)

    @classmethod
    def from_json(cls, stored: Any) -> Self:
        """Reads back what `to_json` gave; keys that it does not know are passed over.

        Raises:
          TypeError: a value is missing or of another type; the message says which.
        """
        try:
            return msgspec.convert(stored, cls)
        except msgspec.ValidationError as error:
            raise TypeError(f"expected a {cls.__name__.lower()}, found: {error}") from error


def _plain(value: Any) -> Any:
    """A NumPy scalar as Python's own."""
    return value.item()
