"""One request and its reply, over HTTP; the key is known here and nowhere else."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Callable
from types import ModuleType
from typing import Any

from tango_beam.endpoints.completion import BUSY, Completion, FailedCallError, read_reply
from tango_beam.endpoints.limits import Gate
from tango_beam.endpoints.settings import Endpoint, Limits
from tango_beam.errors import RefusedError

CONNECT_SECONDS = 15.0
HIDDEN = "[key]"


class Exchange:
    """Sends requests to an endpoint.

    Args:
      endpoint: which.
      limits: how long a reply may take, and how many there are at once.
      key: of the API; goes into one header and nowhere else.

    Attributes:
      gate: closed while the server wants no requests.

    Raises:
      RefusedError: httpx is missing; or the URL or the key cannot be sent.
    """

    def __init__(self, endpoint: Endpoint, limits: Limits, key: str | None = None) -> None:
        self._httpx = _httpx()
        self.url = endpoint.url.rstrip("/") + "/chat/completions"
        self.gate = Gate(endpoint.name)
        self._key = _checked(key, endpoint.name)
        self._timeout = limits.timeout
        try:
            self._address = self._httpx.URL(self.url)
        except (self._httpx.InvalidURL, ValueError) as error:
            raise RefusedError(f"{endpoint.name}: expected a URL, found: {error}") from None
        self._certificates = self._httpx.create_ssl_context()
        # One pool with many connections looks at all of them for each request: at 64 that is half
        # of a request's processor time. Those used last come first, so that few are idle.
        self._clients: list[Any] = []
        self._free: asyncio.LifoQueue[Any] = asyncio.LifoQueue()
        for _ in range(limits.requests):
            self._free.put_nowait(None)
        self._silence = _Silence(self.url)
        logging.getLogger("httpx").addFilter(self._silence)

    @contextlib.asynccontextmanager
    async def connection(self) -> AsyncIterator[Any]:
        """One of as many connections as there may be requests; those who wait take turns."""
        free = await self._free.get()
        try:
            free = free or self._client()
            yield free
        finally:
            self._free.put_nowait(free)

    async def call(self, connection: Any, body: bytes, sent: Callable[[], None]) -> Completion:
        """Sends a request and reads the answer.

        Args:
          connection: nobody else's meanwhile.
          body: JSON.
          sent: called when the request goes out.

        Raises:
          CallError: there is none.
        """
        reached = False

        def went_out() -> None:
            nonlocal reached
            reached = True
            sent()

        try:
            async with asyncio.timeout(self._timeout) as limit:
                reply = await connection.post(
                    self._address, content=body, extensions={"trace": self._watch(limit, went_out)}
                )
        except TimeoutError:
            found = f"no reply within {self._timeout:g} s"
            raise FailedCallError(found, reached=reached) from None
        except self._httpx.RequestError as error:
            said = " ".join(self._hide(str(error)).split()) or type(error).__name__
            found = f"a cut connection ({said})" if reached else f"no connection ({said})"
            raise FailedCallError(found, reached=reached) from None
        return self._read(reply)

    async def close(self) -> None:
        """Closes the connections."""
        logging.getLogger("httpx").removeFilter(self._silence)
        await asyncio.gather(*(client.aclose() for client in self._clients))

    def _client(self) -> Any:
        headers = {"Content-Type": "application/json"}
        if self._key:
            headers["Authorization"] = f"Bearer {self._key}"
        timeout = self._httpx.Timeout(None, connect=min(CONNECT_SECONDS, self._timeout))
        limits = self._httpx.Limits(max_connections=1, max_keepalive_connections=1)
        client = self._httpx.AsyncClient(
            headers=headers, timeout=timeout, limits=limits, verify=self._certificates
        )
        self._clients.append(client)
        return client

    def _watch(self, limit: asyncio.Timeout, sent: Callable[[], None]) -> Callable[..., Any]:
        """What httpcore tells its steps to, and waits for.

        A wait that the server asks for may begin while a connection is made: here is the last
        moment before a request goes out.
        """

        async def step(event: str, info: dict[str, Any]) -> None:
            if (
                event.endswith(".send_request_headers.started")
                and info["request"].method == b"POST"
            ):
                if self.gate.left > 0:
                    limit.reschedule(None)
                    await self.gate.passed()
                    limit.reschedule(asyncio.get_running_loop().time() + self._timeout)
                sent()

        return step

    def _read(self, reply: Any) -> Completion:
        body = reply.content
        if self._key:
            # Some servers send the key back where they complain about it.
            body = body.replace(self._key.encode(), HIDDEN.encode())
        try:
            return read_reply(reply.status_code, reply.headers, body)
        except FailedCallError as failure:
            if failure.wait and failure.status in BUSY:
                self.gate.hold(failure.wait, failure.status)
            raise

    def _hide(self, text: str) -> str:
        return text.replace(self._key, HIDDEN) if self._key else text


class _Silence(logging.Filter):
    """Drops httpx's line about each request of ours."""

    def __init__(self, url: str) -> None:
        super().__init__()
        self._url = url

    def filter(self, record: logging.LogRecord) -> bool:
        return not any(str(part) == self._url for part in record.args or ())


def _httpx() -> ModuleType:
    try:
        import httpx
    except ImportError as error:
        raise RefusedError(
            "an endpoint: expected the package httpx, found none; "
            "pip install 'tango-beam[endpoint]'"
        ) from error
    return httpx


def _checked(key: str | None, name: str) -> str | None:
    """The key, if it can be sent: HTTP's own complaint would show it."""
    key = (key or "").strip()
    if not key.isascii() or not key.isprintable():
        raise RefusedError(
            f"{name}: expected a key of printable ASCII characters, found others in it"
        )
    return key or None
