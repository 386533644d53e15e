"""What commands say on standard error: lines for people, or JSON for a log collector.

Logging belongs to the process, and so does the form of its lines: `Parser` sets it, before any
option is checked, so that an error in an option has the form that was asked for.
"""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

FORMATS = ("text", "json")
_chosen = [FORMATS[0]]


def use(log_format: str) -> None:
    """Sets the form of every line from now on: `text` or `json`."""
    _chosen[0] = log_format


def is_json() -> bool:
    """Whether lines are JSON."""
    return _chosen[0] == "json"


def format_in(arguments: Sequence[str]) -> str:
    """The form that a command line asks for, if it does: `text` otherwise."""
    found = FORMATS[0]
    for argument, following in zip(arguments, [*arguments[1:], ""], strict=False):
        name, equals, value = argument.partition("=")
        if name == "--log_format":
            found = value if equals else following
    return found if found in FORMATS else FORMATS[0]


def figures(**named: Any) -> dict[str, Any]:
    """Figures that a line states, as fields of its JSON: `logger.info(..., extra=figures(...))`."""
    return {"figures": named}


class Lines(logging.Formatter):
    """A record as a line of the form that is in use when it is written.

    Args:
      text: format of the lines for people.
    """

    def __init__(self, text: str = "%(message)s") -> None:
        super().__init__(text)

    def format(self, record: logging.LogRecord) -> str:
        if not is_json():
            return super().format(record)
        said = {"logger": record.name, **getattr(record, "figures", {})}
        if record.exc_info:
            said["traceback"] = self.formatException(record.exc_info)
        return json_line(record.levelname, record.getMessage(), record.created, said)


def json_line(level: str, message: str, at: float, fields: Mapping[str, Any]) -> str:
    """One JSON object: when (UTC), how grave, what, and the figures in it.

    Args:
      level: `INFO`, `WARNING`, ...
      message: for people.
      at: seconds since 1970.
      fields: further ones.
    """
    time = datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds")
    return json.dumps(
        {
            "time": time.replace("+00:00", "Z"),
            "level": level.lower(),
            "message": message,
            **fields,
        },
        default=str,
    )


def say(
    message: str,
    fields: Mapping[str, Any] | None = None,
    *,
    level: str = "INFO",
    only_json: bool = False,
) -> None:
    """Says something on standard error, whatever loggers let through.

    Args:
      message: for people.
      fields: of the line where it is JSON.
      level: of the line where it is JSON.
      only_json: people have read it elsewhere, on standard output.
    """
    if is_json():
        message = json_line(level, message, datetime.now(UTC).timestamp(), fields or {})
    elif only_json:
        return
    sys.stderr.write(f"{message}\n")
    sys.stderr.flush()
