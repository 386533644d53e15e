"""Clients of the tests' server."""

import contextlib

from tango_beam.endpoints.client import EndpointClient
from tango_beam.endpoints.settings import Endpoint, Limits
from tests.endpoint_server import LABELS, PROMPT, label_of

# So long that a busy machine does not end a test; the first wait after a failure is 1/240 of it.
PATIENCE = 30.0


def endpoint(url, **changes):
    given = {"url": url, "model": "m", "prompt": PROMPT, "labels": LABELS}
    return Endpoint(**given | changes)


@contextlib.contextmanager
def client(server, cache=None, key=None, changes=None, **limits):
    """A client of a server, or of a URL."""
    url = server if isinstance(server, str) else server.url
    given = Limits(**{"requests": 16, "patience": PATIENCE, "timeout": PATIENCE} | limits)
    with EndpointClient(endpoint(url, **changes or {}), given, cache, key) as client:
        yield client


def rows(count, word="text"):
    return [(f"{word} {number}",) for number in range(count)]


def are_right(replies, asked, labels=LABELS):
    """Whether each row has its label."""
    return [reply.label for reply in replies] == [label_of(text, labels) for (text,) in asked]
