"""An endpoint that fails: what is tried again, what is waited for, and when it is given up."""

import asyncio
import socket
import threading
import time

import pytest

from tango_beam.endpoints.exchange import Exchange
from tango_beam.endpoints.replies import EndpointError
from tango_beam.endpoints.settings import Limits
from tests.endpoint_server import LABELS, WAYS, Process, Server, label_of
from tests.endpoints.clients import are_right, client, endpoint, rows

# As many rows in all as there are ways and rows of each.
ROWS = 715


@pytest.mark.parametrize("way", WAYS)
def test_when_a_tenth_of_replies_fails_every_row_has_its_label_or_says_why(way):
    asked = rows(ROWS)
    with Server(shares={way: 0.1}) as server:
        with client(server, requests=64, timeout=6.0 if way == "stall" else 60.0) as asking:
            replies = asking.ask(asked)
            totals = asking.totals()
        stats = server.stats()
    for (text,), reply in zip(asked, replies, strict=True):
        if reply.label is None:
            # Asked twice, and twice it was no label.
            assert way in ("nonsense", "words")
            assert stats["by_text"][text] == reply.calls == 2
            assert reply.error.startswith("expected one of the labels negative, positive, neutral")
        else:
            assert reply.label == label_of(text)
            assert reply.error is None
    failed = sum(reply.label is None for reply in replies)
    assert failed <= (ROWS * 0.03 if way in ("nonsense", "words") else 0)
    assert stats["ways"][way] > ROWS * 0.05
    assert stats["violations"] == 0
    assert stats["most_at_once"] <= 64 + (stats["ways"][way] if way == "stall" else 0)
    assert totals.calls == sum(reply.calls for reply in replies) == stats["calls"]
    assert totals.calls == ROWS + totals.retries
    assert sum(stats["by_text"].values()) == stats["calls"]


def test_all_ways_of_failing_at_once():
    with Server(shares={way: 0.05 for way in WAYS}) as server:
        with client(server, requests=64, timeout=6.0) as asking:
            replies = asking.ask(rows(ROWS))
        stats = server.stats()
    errors = [reply.error for reply in replies if reply.label is None]
    assert all(error.startswith("expected one of the labels") for error in errors)
    assert len(errors) < ROWS * 0.03
    right = [
        reply.label == label_of(text)
        for (text,), reply in zip(rows(ROWS), replies, strict=True)
        if reply.label
    ]
    assert all(right)
    assert stats["violations"] == 0


@pytest.mark.parametrize("form", ["seconds", "ms", "date"])
def test_when_the_server_asks_for_a_wait_nobody_calls_before_it_is_over(form):
    with Server(shares={"busy": 0.2}, retry_after=1.0, retry_form=form, delay=0.02) as server:
        with client(server, requests=8) as asking:
            halves = {}
            threads = [
                threading.Thread(
                    target=lambda at: halves.update({at: asking.ask(rows(8, at))}), args=at
                )
                for at in "ab"
            ]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
        stats = server.stats()
    assert all(are_right(halves[at], rows(8, at)) for at in "ab")
    assert stats["ways"]["busy"] > 0
    assert stats["violations"] == 0


def test_a_wait_that_begins_while_a_connection_is_made_holds_the_request_back():
    async def call(server):
        exchange = Exchange(endpoint(server.url), Limits(requests=1))
        async with exchange.turn():
            begun, sent = time.monotonic(), []
            exchange.gate.hold(0.4, 429)
            body = b'{"messages": [{"content": "hello"}]}'
            await exchange.call(body, lambda: sent.append(time.monotonic() - begun))
        await exchange.close()
        return sent

    with Server() as server:
        (sent,) = asyncio.run(call(server))
    assert sent >= 0.4


def test_the_server_notices_a_call_that_comes_too_early():
    """What the tests above count on."""
    import httpx

    body = {"model": "m", "messages": [{"role": "user", "content": "hello"}]}
    with Server(shares={"busy": 1.0}, retry_after=5.0) as server, httpx.Client() as calling:
        for _ in range(3):
            assert calling.post(f"{server.url}/chat/completions", json=body).status_code == 429
        assert server.stats()["violations"] == 2


def test_being_turned_away_costs_a_row_none_of_its_tries():
    with (
        Server(shares={"busy": 0.7}, retry_after=0.02) as server,
        client(server, tries=2) as asking,
    ):
        replies = asking.ask(rows(60))
    assert are_right(replies, rows(60))


def test_a_row_on_which_the_server_breaks_is_tried_so_often_and_no_more():
    asked = [*rows(30), ("a broken one",)]
    with Server(broken="broken") as server:
        with client(server, tries=3) as asking:
            replies = asking.ask(asked)
            assert asking.totals().retries == 2
        stats = server.stats()
    assert are_right(replies[:-1], asked[:-1])
    assert replies[-1].label is None
    assert replies[-1].probabilities is None
    assert replies[-1].error == (
        "expected an answer, found 500 'out of order' at the last of 3 tries"
    )
    assert stats["by_text"]["a broken one"] == replies[-1].calls == 3


def test_an_answer_that_is_no_label_is_asked_for_once_more_by_name():
    with Server(shares={"nonsense": 1.0}) as server, client(server) as asking:
        (reply,) = asking.ask(rows(1))
        bodies = server.endpoint.bodies
    assert reply.error == (
        "expected one of the labels negative, positive, neutral, found 'purple monkey dishwasher'"
    )
    assert reply.calls == 2
    assert reply.tokens_out == 6
    assert [len(body["messages"]) for body in bodies] == [1, 3]
    assert bodies[1]["temperature"] == 0
    assert all(label in bodies[1]["messages"][-1]["content"] for label in LABELS)


def test_a_row_that_is_refused_says_why_and_others_are_answered():
    asked = [("long " * 100,), *rows(50), ("also long " * 100,)]
    with Server(longest=100) as server, client(server) as asking:
        replies = asking.ask(asked)
        assert are_right(replies[1:-1], asked[1:-1])
        assert "response_format" in server.endpoint.bodies[-1]
    for reply in (replies[0], replies[-1]):
        assert reply.error == (
            "expected an answer, found the row refused with "
            "400 'the text is longer than 100 characters'"
        )


@pytest.mark.parametrize("count", [20, 3000])
def test_when_every_row_is_refused_the_run_stops(count):
    with Server(refuses=("all",), names_it=False) as server:
        with client(server) as asking, pytest.raises(EndpointError) as raised:
            asking.ask(rows(count))
        assert server.stats()["calls"] < 1500
    message = str(raised.value)
    assert message.startswith(
        f"openai:{server.url}: expected requests that the server takes, found"
    )
    assert "400 'bad request'" in message
    assert "--prompt" in message
    assert "--resume" in message


@pytest.mark.parametrize(
    ("status", "says"),
    [
        (401, "expected a key that the server takes, found 401 'says 401'"),
        (403, "expected a key that may ask this model, found 403"),
        (404, "expected the model m there, found 404"),
        (302, "expected a chat completion, found 302"),
    ],
)
def test_what_no_further_try_can_mend_stops_at_once(status, says):
    with Server(status=status) as server, client(server, requests=4) as asking:
        with pytest.raises(EndpointError) as raised:
            asking.ask(rows(500))
        assert server.stats()["calls"] <= 4
    assert says in str(raised.value)
    assert str(raised.value).endswith("then go on with --resume")
    assert "\n" not in str(raised.value)


def test_an_unknown_model_is_named():
    says = pytest.raises(EndpointError, match="the model m there, found 404 'model m does not")
    with Server(model="known") as server, client(server) as asking, says:
        asking.ask(rows(5))


def free_port():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return taken.getsockname()[1]


def test_a_port_where_nobody_is_ends_in_one_message():
    begun = time.monotonic()
    with client(f"http://127.0.0.1:{free_port()}/v1", patience=1.5, tries=2) as asking:
        with pytest.raises(EndpointError) as raised:
            asking.ask(rows(1000))
        assert asking.totals().calls == 0
    assert 1.5 <= time.monotonic() - begun < 30
    message = str(raised.value)
    assert "expected a reply of use within 1.5 s, found none" in message
    assert "no connection" in message
    assert "--resume" in message
    assert "\n" not in message


def test_a_server_that_dies_ends_all_who_ask():
    errors = []
    with Process("--delay", 0.02) as server, client(server, patience=2.0) as asking:

        def ask(name):
            try:
                asking.ask(rows(100_000, name))
            except EndpointError as error:
                errors.append(str(error))

        threads = [threading.Thread(target=ask, args=(name,)) for name in "abc"]
        for thread in threads:
            thread.start()
        while asking.totals().tokens_out < 50:
            time.sleep(0.05)
        server.kill()
        for thread in threads:
            thread.join(60)
    assert len(errors) == 3
    assert len({*errors}) == 1
    assert "found none, the last try brought" in errors[0]


@pytest.mark.parametrize(
    "shares", [{"stall": 1.0}, {"error": 1.0}, {"busy": 1.0}, {"no_json": 1.0}]
)
def test_a_server_of_no_use_to_anybody_is_given_up(shares):
    says = pytest.raises(EndpointError, match="expected a reply of use within 1 s, found none")
    limits = {"patience": 1.0, "timeout": 0.4}
    with Server(shares=shares) as server, client(server, **limits) as asking, says:
        asking.ask(rows(50))


def test_a_server_that_comes_back_in_time_is_waited_for():
    port = free_port()
    with client(f"http://127.0.0.1:{port}/v1", tries=2) as asking:
        late = threading.Timer(1.0, server_later, [port, started := []])
        late.start()
        assert are_right(asking.ask(rows(20)), rows(20))
    started[0].stop()


def server_later(port, started):
    started.append(Server(port).__enter__())


def test_after_a_stop_the_same_client_may_ask_again():
    with Server(status=401) as server, client(server) as asking:
        with pytest.raises(EndpointError):
            asking.ask(rows(50))
        server.behaviour.status = None
        assert are_right(asking.ask(rows(50)), rows(50))


def test_a_slow_limit_of_ones_own_is_no_fault_of_the_servers():
    with Server() as server, client(server, tokens_a_minute=300, patience=1.0) as asking:
        assert are_right(asking.ask(rows(3)), rows(3))
        assert are_right(asking.ask(rows(3, "more")), rows(3, "more"))
