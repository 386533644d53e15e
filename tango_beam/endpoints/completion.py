"""What a reply of `/chat/completions` says: an answer, a refusal of the row, or a failure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from tango_beam.endpoints.limits import retry_after

MOST_SAID = 300
REFUSED_ROW = (400, 413, 422)
# Timeout, conflict, too early, too many; beside all from 500 on.
FAILED_FOR_NOW = (408, 409, 425, 429)
BUSY = (429, 503)
# The server broke on the request, or has no such thing.
FAILED_AT_IT = (500, 501)


@dataclass(frozen=True)
class Completion:
    """An answer.

    Attributes:
      content: its text.
      logprobs: of its tokens, as the protocol has them; None where there are none.
      tokens_in: of the prompt; None where the server does not say.
      tokens_out: of the answer; None likewise.
      cut: it ended because it had reached its limit.
    """

    content: str
    logprobs: Any = None
    tokens_in: int | None = None
    tokens_out: int | None = None
    cut: bool = False


class CallError(Exception):
    """A request that brought no answer.

    Attributes:
      found: what came instead, one line.
    """

    def __init__(self, found: str) -> None:
        super().__init__(found)
        self.found = found


class RowRefusedError(CallError):
    """The server does not take the request as it is."""


class ServerRefusedError(CallError):
    """The server will take none.

    Attributes:
      status: of its reply.
    """

    def __init__(self, found: str, status: int) -> None:
        super().__init__(found)
        self.status = status


class FailedCallError(CallError):
    """It may go better next time.

    Attributes:
      status: of the reply; None where there was none.
      reached: the server has seen the request.
      wait: seconds that it asks us to wait; None where it does not.
    """

    def __init__(
        self,
        found: str,
        status: int | None = None,
        reached: bool = True,
        wait: float | None = None,
    ) -> None:
        super().__init__(found)
        self.status, self.reached, self.wait = status, reached, wait

    @property
    def is_turned_away(self) -> bool:
        """The row had no part in it: nobody was there, or there were too many at once."""
        return not self.reached or self.status == 429 or (self.status == 503 and bool(self.wait))


def read_reply(status: int, headers: Mapping[str, str], body: bytes) -> Completion:
    """The answer in a reply.

    Args:
      status: HTTP's.
      headers: names in lower case, or in any where the mapping does not care.
      body: whole.

    Raises:
      CallError: which of its kinds, the status says.
    """
    if status in REFUSED_ROW:
        raise RowRefusedError(f"{status} '{_said(body)}'")
    if status in FAILED_FOR_NOW or status >= 500:
        wait = retry_after(headers)
        asked = "" if wait is None else f" and a wait of {wait:.3g} s"
        raise FailedCallError(f"{status} '{_said(body)}'{asked}", status, wait=wait)
    if status != 200:
        raise ServerRefusedError(f"{status} '{_said(body)}'", status)
    try:
        return _completion(orjson.loads(body))
    except (ValueError, KeyError, TypeError, IndexError, AttributeError):
        raise FailedCallError(f"no chat completion but '{_said(body)}'", status) from None


def _completion(reply: Any) -> Completion:
    choice = reply["choices"][0]
    content = choice["message"].get("content") or ""
    if not isinstance(content, str):
        content = "".join(part.get("text", "") for part in content)
    usage = reply.get("usage") or {}
    return Completion(
        content,
        (choice.get("logprobs") or {}).get("content"),
        _count(usage.get("prompt_tokens")),
        _count(usage.get("completion_tokens")),
        choice.get("finish_reason") == "length",
    )


def _count(value: Any) -> int | None:
    return value if isinstance(value, int) and value >= 0 else None


def _said(body: bytes) -> str:
    """What a server says went wrong, one line of at most 300 characters.

    Where the reply is JSON, its messages alone: some servers send the whole request back beside
    them, and what a refusal names is looked for in what is said.
    """
    try:
        said = _message(orjson.loads(body))
    except ValueError:
        said = None
    return " ".join((said or body[:10_000].decode(errors="replace")).split())[:MOST_SAID]


def _message(reply: Any) -> str | None:
    """The messages within an error of OpenAI's form, or of FastAPI's."""
    if isinstance(reply, str):
        return reply
    if isinstance(reply, list):
        return "; ".join(filter(None, map(_message, reply))) or None
    if not isinstance(reply, dict):
        return None
    for name in ("error", "message", "msg", "detail"):
        message = _message(reply.get(name))
        if message:
            place = reply.get("loc")
            return f"{'.'.join(map(str, place))}: {message}" if isinstance(place, list) else message
    return None
