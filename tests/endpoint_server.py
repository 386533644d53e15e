"""A server that speaks /v1/chat/completions, and fails in every way that is asked for.

In a thread of the test (`Server`), in a process (`Process`), or by hand for the others to talk to:
`python -m tests.endpoint_server --port 8000 --delay 0.2 --share busy=0.1`. What was asked of it is
at /stats. Which calls fail is a matter of the text and of how often it was asked for, not of time.
"""

import argparse
import asyncio
import dataclasses
import hashlib
import json
import math
import re
import subprocess
import sys
import threading
import time
import urllib.request
from collections import Counter
from email.utils import formatdate

from aiohttp import web

LABELS = ("negative", "positive", "neutral")
PROMPT = "Is it {labels}?\n<text>{text}</text>"
PAIR_PROMPT = "Is it {labels}?\n<text>{text}</text><pair>{text_pair}</pair>"
WAYS = ("busy", "error", "stall", "cut", "nonsense", "words", "no_json")
# Calls on other connections may be on their way while a reply that asks for a wait is sent.
UNDER_WAY_SECONDS = 0.3
_TEXT = re.compile(r"<text>(.*)</text>(?:<pair>(.*)</pair>)?", re.DOTALL)


@dataclasses.dataclass
class Behaviour:
    """How the server answers; may be changed while it runs.

    Attributes:
      labels: of the default rule.
      delay: seconds before each reply.
      shares: of calls that fail, by way (`WAYS`).
      retry_after: seconds that a busy server asks for; None to say nothing of it.
      retry_form: "seconds", "ms" or "date".
      stall: seconds after which a stalled reply's connection is closed.
      refuses: parts of a request that are refused: "response_format", "logprobs", "top_logprobs"
        (more than 5), "max_tokens", "temperature", "all".
      names_it: whether a refusal says which part.
      longest: characters of a text above which its row is refused.
      key: that must be sent; None for none.
      model: that is known; None for any.
      status: that every reply has; None for the one that fits.
      gives_logprobs: whether they are given when asked for.
      plain: how an answer outside JSON is written.
      broken: a text that contains this never gets more than status 500.
    """

    labels: tuple = LABELS
    delay: float = 0.0
    shares: dict = dataclasses.field(default_factory=dict)
    retry_after: float | None = 0.1
    retry_form: str = "ms"
    stall: float = 60.0
    refuses: tuple = ()
    names_it: bool = True
    longest: int = 1 << 30
    key: str | None = None
    model: str | None = None
    status: int | None = None
    gives_logprobs: bool = True
    plain: str = "{label}"
    broken: str = "\0never"


def share_of(*parts):
    """A number from 0 to 1 that a hash of something gives."""
    digest = hashlib.sha256(repr(parts).encode()).digest()
    return int.from_bytes(digest[:7], "big") / 2**56


def distribution(text, labels=LABELS):
    """Probabilities of the labels for a text; the first of the most probable is the answer."""
    weights = [0.05 + share_of(text, label) for label in labels]
    best = weights.index(max(weights))
    weights[best] += 1
    return {label: weight / sum(weights) for label, weight in zip(labels, weights, strict=True)}


def label_of(text, labels=LABELS):
    """The right answer."""
    found = distribution(text, labels)
    return max(found, key=found.get)


def pieces(label):
    """Tokens of a label, three bytes each: they may split a character."""
    data = label.encode()
    return [data[at : at + 3] for at in range(0, len(data), 3)]


def token(data, probability):
    return {
        "token": data.decode(errors="replace"),
        "logprob": math.log(max(probability, 1e-30)),
        "bytes": list(data),
    }


def logprobs(label, probabilities, count, inside):
    """Tokens of an answer with their alternatives, so that a label comes as often as it should."""
    head, tail = ([b'{"', b"label", b'":', b' "'], [b'"}']) if inside else ([], [])
    entries = [token(data, 1.0) | {"top_logprobs": [token(data, 1.0)]} for data in head]
    ways = {name: [*pieces(name), *tail] for name in probabilities}
    for at, chosen in enumerate(ways[label]):
        before = ways[label][:at]
        nexts = Counter()
        for name, probability in probabilities.items():
            if ways[name][:at] == before:
                nexts[ways[name][at] if at < len(ways[name]) else b"\n"] += probability
        shares = {data: nexts[data] / nexts.total() for data in nexts}
        top = sorted(shares.items(), key=lambda pair: -pair[1])[:count]
        entries.append(
            token(chosen, shares[chosen]) | {"top_logprobs": [token(*pair) for pair in top]}
        )
    return {"content": entries}


class CutError(Exception):
    """The connection is to be cut."""


class Endpoint:
    """What answers; counts what it is asked."""

    def __init__(self, behaviour):
        self.behaviour = behaviour
        self.calls, self.violations, self.under_way, self.most_at_once = 0, 0, 0, 0
        self.tokens, self.begun = 0, time.monotonic()
        self.by_text, self.ways, self.statuses = Counter(), Counter(), Counter()
        self.bodies = []
        self._held = {}  # until when: by connection, by text, and (since, until) for all

    def stats(self):
        return {
            "calls": self.calls,
            "violations": self.violations,
            "under_way": self.under_way,
            "most_at_once": self.most_at_once,
            "tokens": self.tokens,
            "ways": dict(self.ways),
            "statuses": {str(status): count for status, count in self.statuses.items()},
            "by_text": dict(self.by_text),
        }

    async def answer(self, request):
        self.calls += 1
        self.under_way += 1
        self.most_at_once = max(self.most_at_once, self.under_way)
        try:
            reply = await self._answer(request)
        except CutError:
            request.transport.close()
            reply = web.Response(status=500)
        finally:
            self.under_way -= 1
        self.statuses[reply.status] += 1
        return reply

    async def _answer(self, request):
        raw = await request.read()
        asks = self.behaviour
        if asks.key and request.headers.get("Authorization") != f"Bearer {asks.key}":
            # As some do: it says what it was given.
            return failure(401, f"wrong key: {request.headers.get('Authorization')}")
        body = json.loads(raw)
        if len(self.bodies) < 100:
            self.bodies.append(body)
        if asks.model and body["model"] != asks.model:
            return failure(404, f"model {body['model']} does not exist")
        text = self._text(body)
        self.by_text[text] += 1
        self._note_violation(request, text)
        await asyncio.sleep(asks.delay)
        refused = self._refused(body, text)
        if refused:
            return failure(400, refused)
        if asks.broken in text:
            return failure(500, "out of order")
        way = self._way(text)
        self.ways[way] += 1
        return await self._reply(request, body, text, way)

    def _text(self, body):
        prompt = body["messages"][0]["content"]
        found = _TEXT.search(prompt)
        return " | ".join(part for part in found.groups() if part is not None) if found else prompt

    def _note_violation(self, request, text):
        """Whether a wait was asked for that whoever calls must know of."""
        now = time.monotonic()
        peer = request.transport.get_extra_info("peername")
        since, until = self._held.get("all", (0, 0))
        known = max(self._held.get(peer, 0), self._held.get(text, 0)) > now
        self.violations += known or since + UNDER_WAY_SECONDS < now < until

    def _hold(self, request, text):
        """Headers that ask for a wait."""
        wait, form = self.behaviour.retry_after, self.behaviour.retry_form
        if wait is None:
            return {}
        now = time.monotonic()
        if form == "date":
            date = math.ceil(time.time() + wait)
            wait, header = date - time.time(), {"Retry-After": formatdate(date, usegmt=True)}
        elif form == "ms":
            header = {"Retry-After-Ms": str(round(wait * 1000))}
        else:
            header = {"Retry-After": str(wait)}
        peer = request.transport.get_extra_info("peername")
        self._held |= {peer: now + wait, text: now + wait, "all": (now, now + wait)}
        return header

    def _way(self, text):
        number, at = share_of("way", text, self.by_text[text]), 0.0
        for way, share in self.behaviour.shares.items():
            at += share
            if number < at:
                return way
        return "well"

    def _refused(self, body, text):
        asks = self.behaviour
        if len(text) > asks.longest:
            return f"the text is longer than {asks.longest} characters"
        for part in asks.refuses:
            asked = part == "all" or (
                body.get("top_logprobs", 0) > 5 if part == "top_logprobs" else part in body
            )
            if asked and part == "max_tokens":
                return "'max_tokens' is not supported. Use 'max_completion_tokens' instead."
            if asked:
                return f"{part} is not supported" if asks.names_it else "bad request"
        return None

    async def _reply(self, request, body, text, way):
        asks = self.behaviour
        if asks.status:
            return failure(asks.status, f"says {asks.status}")
        if way == "busy":
            return failure(429, "too many", self._hold(request, text))
        if way == "error":
            return failure(500, "out of order")
        if way == "stall":
            await asyncio.sleep(asks.stall)
            raise CutError
        if way == "no_json":
            return web.Response(body=b"<html>Bad gateway</html>", content_type="text/html")
        content, content_logprobs = self._content(body, text, way)
        data = json.dumps(self._completion(body, content, content_logprobs)).encode()
        if way == "cut":
            return await self._half(request, data)
        return web.Response(body=data, content_type="application/json")

    async def _half(self, request, data):
        if share_of(data) < 0.5:
            raise CutError
        reply = web.StreamResponse(headers={"Content-Length": str(len(data))})
        await reply.prepare(request)
        await reply.write(data[: len(data) // 2])
        request.transport.abort()
        return reply

    def _content(self, body, text, way):
        asks = self.behaviour
        if way == "nonsense":
            return "purple monkey dishwasher", None
        probabilities = distribution(text, asks.labels)
        label = label_of(text, asks.labels)
        if way == "words":
            return f"I would say that it is rather {label}, all in all", None
        inside = "response_format" in body
        given = body.get("logprobs") and asks.gives_logprobs
        stated = json.dumps({"label": label}, ensure_ascii=False)
        return (
            stated if inside else asks.plain.format(label=label),
            logprobs(label, probabilities, body["top_logprobs"], inside) if given else None,
        )

    def _completion(self, body, content, content_logprobs):
        words = sum(len(message["content"].split()) for message in body["messages"])
        usage = {"prompt_tokens": words, "completion_tokens": len(content.split())}
        self.tokens += sum(usage.values())
        message = {"role": "assistant", "content": content}
        choice = {"message": message, "finish_reason": "stop", "logprobs": content_logprobs}
        return {"object": "chat.completion", "choices": [choice], "usage": usage}


def failure(status, message, headers=None):
    return web.json_response({"error": {"message": message}}, status=status, headers=headers)


class Server:
    """The server in a thread of this process.

    Attributes:
      endpoint: what answers and counts.
      behaviour: its behaviour.
      url: to give to a client.
    """

    def __init__(self, port=0, **behaviour):
        self.behaviour = Behaviour(**behaviour)
        self.endpoint = Endpoint(self.behaviour)
        self._port, self._loop = port, asyncio.new_event_loop()

    @property
    def url(self):
        return f"http://127.0.0.1:{self.port}/v1"

    def stats(self):
        return self.endpoint.stats()

    def __enter__(self):
        threading.Thread(target=self._loop.run_forever, daemon=True).start()
        asyncio.run_coroutine_threadsafe(self._start(), self._loop).result()
        return self

    def __exit__(self, *_):
        self.stop()

    def stop(self):
        """Cuts all connections and is gone."""
        if self._loop.is_running():
            asyncio.run_coroutine_threadsafe(self._runner.cleanup(), self._loop).result()
            self._loop.call_soon_threadsafe(self._loop.stop)

    async def _start(self):
        app = web.Application(client_max_size=1 << 26)
        app.router.add_post("/v1/chat/completions", self.endpoint.answer)
        app.router.add_get("/stats", self._stats)
        # A stalled reply ends when its caller has given up.
        ways = {"access_log": None, "shutdown_timeout": 0.0, "handler_cancellation": True}
        self._runner = web.AppRunner(app, **ways)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", self._port, backlog=1024)
        await site.start()
        self.port = self._runner.addresses[0][1]

    async def _stats(self, _):
        return web.json_response(self.endpoint.stats())


class Process:
    """The server in a process of its own; options as on the command line."""

    def __init__(self, *options):
        self._options = options

    @property
    def url(self):
        return f"http://127.0.0.1:{self.port}/v1"

    def stats(self):
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/stats", timeout=60) as reply:
            return json.load(reply)

    def kill(self):
        self.process.kill()
        self.process.wait()

    def __enter__(self):
        command = [sys.executable, "-m", "tests.endpoint_server", *map(str, self._options)]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        self.port = int(self.process.stdout.readline().rpartition(":")[2].split("/")[0])
        return self

    def __exit__(self, *_):
        self.kill()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--share", action="append", default=[], metavar="WAY=SHARE")
    parser.add_argument("--labels", type=lambda text: tuple(text.split(",")), default=LABELS)
    for field in dataclasses.fields(Behaviour):
        if isinstance(field.default, float | str | int) and not isinstance(field.default, bool):
            parser.add_argument(f"--{field.name}", type=type(field.default), default=field.default)
    parser.add_argument("--key")
    given = vars(parser.parse_args())
    port, shares = given.pop("port"), given.pop("share")
    given["shares"] = {way: float(share) for way, share in (part.split("=") for part in shares)}
    with Server(port, **given) as server:
        print(f"serving at {server.url}", flush=True)
        threading.Event().wait()


if __name__ == "__main__":
    main()
