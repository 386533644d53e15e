"""One request and its reply, over HTTP; the key is known here and nowhere else."""

from __future__ import annotations

import asyncio
import contextlib
import urllib.request
from collections.abc import AsyncIterator, Callable
from contextvars import ContextVar
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

from tango_beam.endpoints.completion import BUSY, Completion, FailedCallError, read_reply
from tango_beam.endpoints.limits import Gate
from tango_beam.endpoints.settings import Endpoint, Limits
from tango_beam.errors import RefusedError

CONNECT_SECONDS = 15.0
HIDDEN = "[key]"


@dataclass
class _UnderWay:
    """A request, as far as it has come.

    Attributes:
      limit: of its time.
      sent: called when it goes out.
      reached: it has gone out.
    """

    limit: asyncio.Timeout
    sent: Callable[[], None]
    reached: bool = False


_under_way: ContextVar[_UnderWay] = ContextVar("_under_way")


class Exchange:
    """Sends requests to an endpoint.

    httpx's own connections take three times the processor time of aiohttp's for a request, so that
    these carry them, by `httpx-aiohttp`.

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
        self._http = _http()
        httpx = self._http.httpx
        self.url = endpoint.url.rstrip("/") + "/chat/completions"
        self.gate = Gate(endpoint.name)
        self._key = _checked(key, endpoint.name)
        self._timeout, self._requests = limits.timeout, limits.requests
        try:
            self._address = httpx.URL(self.url)
        except (httpx.InvalidURL, ValueError) as error:
            raise RefusedError(f"{endpoint.name}: expected a URL, found: {error}") from None
        self._certificates = httpx.create_ssl_context()
        self._free: asyncio.Queue[None] = asyncio.Queue()
        for _ in range(limits.requests):
            self._free.put_nowait(None)
        self._transport: Any = None
        wait = min(CONNECT_SECONDS, limits.timeout)
        self._extensions = {"timeout": {"connect": wait}}
        given = {"Accept": "application/json", "Content-Type": "application/json"}
        if self._key:
            given["Authorization"] = f"Bearer {self._key}"
        self._headers = httpx.Headers(given)

    @contextlib.asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        """One of as many requests as there may be at once; those who wait take turns.

        Whoever tries again at once, as while it is found out what a server takes, comes before
        them, which a semaphore would not allow.
        """
        await self._free.get()
        try:
            yield
        finally:
            self._free.put_nowait(None)

    async def call(self, body: bytes, sent: Callable[[], None]) -> Completion:
        """Sends a request and reads the answer; wants a `turn`.

        Args:
          body: JSON.
          sent: called when the request goes out.

        Raises:
          CallError: there is none.
        """
        if self._transport is None:
            self._transport = self._connected()
        under_way = None
        try:
            async with asyncio.timeout(self._timeout) as limit:
                under_way = _UnderWay(limit, sent)
                _under_way.set(under_way)
                reply = await self._reply(body)
        except TimeoutError:
            found = f"no reply within {self._timeout:g} s"
            raise FailedCallError(found, reached=_reached(under_way)) from None
        except (self._http.httpx.RequestError, self._http.aiohttp.ClientError) as error:
            said = " ".join(self._hide(str(error)).split()) or type(error).__name__
            reached = _reached(under_way)
            found = f"a cut connection ({said})" if reached else f"no connection ({said})"
            raise FailedCallError(found, reached=reached) from None
        return self._read(reply)

    async def close(self) -> None:
        """Closes the connections."""
        if self._transport is not None:
            await self._transport.aclose()

    async def _reply(self, body: bytes) -> Any:
        """The whole of what the server says, which a client of httpx would take twice as long for.

        Cookies, redirects and hooks are what such a client adds; an endpoint has none of them.
        """
        request = self._http.httpx.Request(
            "POST",
            self._address,
            headers=self._headers,
            content=body,
            extensions=self._extensions,
        )
        reply = await self._transport.handle_async_request(request)
        try:
            await reply.aread()
        finally:
            await reply.aclose()
        return reply

    def _connected(self) -> Any:
        """The connections; made in the event loop that they belong to."""
        aiohttp = self._http.aiohttp
        steps = aiohttp.TraceConfig()
        steps.on_connection_create_end.append(self._goes_out)
        steps.on_connection_reuseconn.append(self._goes_out)
        session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=self._requests, ssl=self._certificates),
            trace_configs=[steps],
        )
        return self._http.transport(client=session, verify=self._certificates, proxy=self._proxy())

    def _proxy(self) -> Any:
        """The environment's proxy; aiohttp would look for it at each request, in a thread."""
        host, scheme = self._address.host, self._address.scheme
        named = urllib.request.getproxies()
        proxy = named.get(scheme) or named.get("all")
        if not proxy or urllib.request.proxy_bypass(host):
            return None
        return self._http.httpx.Proxy(proxy)

    async def _goes_out(self, *_: object) -> None:
        """What aiohttp tells that a request has its connection, and waits for.

        A wait that the server asks for may begin while a connection is made: here is the last
        moment before a request goes out.
        """
        under_way = _under_way.get()
        if self.gate.left > 0:
            under_way.limit.reschedule(None)
            await self.gate.passed()
            under_way.limit.reschedule(asyncio.get_running_loop().time() + self._timeout)
        under_way.reached = True
        under_way.sent()

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


def _http() -> SimpleNamespace:
    try:
        import aiohttp
        import httpx
        from httpx_aiohttp import AiohttpTransport
    except ImportError as error:
        raise RefusedError(
            f"an endpoint: expected the package {error.name}, found none; "
            "pip install 'tango-beam[endpoint]'"
        ) from error
    return SimpleNamespace(aiohttp=aiohttp, httpx=httpx, transport=AiohttpTransport)


def _reached(under_way: _UnderWay | None) -> bool:
    return under_way is not None and under_way.reached


def _checked(key: str | None, name: str) -> str | None:
    """The key, if it can be sent: HTTP's own complaint would show it."""
    key = (key or "").strip()
    if not key.isascii() or not key.isprintable():
        raise RefusedError(
            f"{name}: expected a key of printable ASCII characters, found others in it"
        )
    return key or None
