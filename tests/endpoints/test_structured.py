"""Answers in a form that is asked for: servers that know the older form alone, or pass over it.

What llama.cpp's servers say here, they said: that of llama-cpp-python 0.3.36, and llama.cpp's own
(11549), asked about a film by a tiny model of random weights (`tiny_gguf.py`).
"""

import json
from pathlib import Path

import pytest
from aiohttp import web

from tango_beam.endpoints.completion import read_reply
from tango_beam.endpoints.label_probabilities import label_probabilities
from tango_beam.endpoints.wording import said_label
from tests.endpoint_server import LABELS, Endpoint, Server, label_of
from tests.endpoints.clients import are_right, client, rows

REPLIES = json.loads(Path(__file__).with_name("llama_cpp_replies.json").read_text())
# To a `response_format` of type json_schema, with status 500; its folders left out.
SAID = (
    "1 validation error:\n  {'type': 'literal_error', 'loc': ('body', 'response_format', 'type'), "
    "'msg': \"Input should be 'text' or 'json_object'\", 'input': 'json_schema', 'ctx': "
    "{'expected': \"'text' or 'json_object'\"}}\n\n  File \"llama_cpp/server/app.py\", line 376, "
    "in create_chat_completion\n    POST /v1/chat/completions"
)


class LlamaCppPython(Endpoint):
    """Breaks on the newer form, as llama-cpp-python's server does."""

    keeps_to_schemas = True

    async def _answer(self, request):
        asked = json.loads(await request.read()).get("response_format", {})
        if asked.get("type") == "json_schema":
            error = {"message": SAID, "type": "internal_server_error", "param": None, "code": None}
            return web.json_response({"error": error}, status=500)
        return await super()._answer(request)

    def _content(self, body, text, way):
        if "response_format" in body and way == "well" and not self.keeps_to_schemas:
            return json.dumps({"sentiment": label_of(text), "sure": True}), None
        return super()._content(body, text, way)


@pytest.fixture
def server():
    made = Server()
    made.endpoint = LlamaCppPython(made.behaviour)
    with made as running:
        yield running


def test_a_server_that_breaks_on_the_newer_form_is_asked_in_the_older_one(server):
    with client(server, requests=4) as asking:
        assert are_right(asking.ask(rows(40)), rows(40))
        assert are_right(asking.ask(rows(20, "later")), rows(20, "later"))
    last = server.endpoint.bodies[-1]
    assert last["response_format"]["type"] == "json_object"
    assert last["response_format"]["schema"]["properties"]["label"]["enum"] == [*LABELS]
    assert last["top_logprobs"] == 20
    assert set(server.stats()["by_text"].values()) == {1}  # no row was tried again and again


def test_any_other_failure_is_tried_again(server):
    server.behaviour.shares = {"error": 0.2}
    with client(server, requests=4) as asking:
        assert are_right(asking.ask(rows(40)), rows(40))
    assert server.endpoint.bodies[-1]["response_format"]["type"] == "json_object"
    assert server.stats()["ways"]["error"] > 2


def test_a_form_that_a_server_passes_over_is_not_asked_for(server):
    server.endpoint.keeps_to_schemas = False
    with client(server, requests=4) as asking:
        assert are_right(asking.ask(rows(40)), rows(40))
    assert "response_format" not in server.endpoint.bodies[-1]


@pytest.mark.parametrize(
    ("name", "tokens", "probabilities"),
    [
        # At its "u" no other label was near.
        ("llama.cpp", (73, 26), [0, 0, 1]),
        # Of what was likely before the grammar, "N" begins two labels: they share it.
        ("llama-cpp-python", (71, 23), [0.5, 0, 0.5]),
    ],
)
def test_a_real_answer_is_read(name, tokens, probabilities):
    done = read_reply(200, {}, json.dumps(REPLIES[name]).encode())
    assert said_label(done.content, LABELS) == "neutral"
    found = label_probabilities(done.logprobs, ("negative", "positive", "neutral"), "neutral")
    assert found.tolist() == pytest.approx(probabilities, abs=1e-3)
    assert (done.tokens_in, done.tokens_out, done.cut) == (*tokens, False)
