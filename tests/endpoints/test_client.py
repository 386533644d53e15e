"""Asking an endpoint: what comes back, how much at once, and what a server may leave out."""

import asyncio
import logging
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from tango_beam.endpoints.answers_cache import AnswersCache
from tango_beam.endpoints.client import ROWS_A_REQUEST, EndpointClient
from tango_beam.endpoints.event_loop import event_loop
from tango_beam.endpoints.replies import EndpointError
from tango_beam.endpoints.settings import Limits
from tango_beam.errors import JobError, RefusedError
from tests.endpoint_server import LABELS, PAIR_PROMPT, Process, Server, distribution, label_of
from tests.endpoints.clients import are_right, client, endpoint, rows

KEY = "sk-very-secret/+=1234"


@pytest.fixture
def server():
    with Server() as server:
        yield server


def test_rows_have_their_labels_probabilities_and_tokens(server):
    asked = rows(100)
    with client(server) as asking:
        replies = asking.ask(asked)
        totals = asking.totals()
    assert are_right(replies, asked)
    for reply, (text,) in zip(replies, asked, strict=True):
        assert reply.probabilities.dtype == np.float32
        wanted = [distribution(text)[label] for label in LABELS]
        assert reply.probabilities == pytest.approx(wanted, abs=1e-5)
        assert (reply.error, reply.calls, reply.cached) == (None, 1, False)
    assert totals.calls == server.stats()["calls"] == 100
    assert totals.tokens_in + totals.tokens_out == server.stats()["tokens"]
    assert totals.tokens_in == sum(reply.tokens_in for reply in replies)
    assert (totals.cached, totals.retries) == (0, 0)


def test_two_texts_a_row(server):
    with client(server, changes={"prompt": PAIR_PROMPT}) as asking:
        replies = asking.ask([("a", "b"), ("a", "c"), ("{labels}", "}{")])
    wanted = ["a | b", "a | c", "{labels} | }{"]
    assert [reply.label for reply in replies] == [label_of(text) for text in wanted]


def test_no_rows_take_no_call(server):
    with client(server) as asking:
        assert asking.ask([]) == []
    assert server.stats()["calls"] == 0


def test_equal_rows_are_asked_for_once(server):
    asked = rows(10) * 5
    with client(server) as asking:
        replies = asking.ask(asked)
        assert asking.totals().cached == 40
    assert are_right(replies, asked)
    assert server.stats()["calls"] == sum(reply.calls for reply in replies) == 10
    assert sum(reply.tokens_in + reply.tokens_out for reply in replies) == server.stats()["tokens"]
    assert sum(reply.cached for reply in replies) == 40


def test_threads_share_the_limit_and_the_rows_under_way(server):
    server.behaviour.delay = 0.05
    with client(server, requests=8) as asking, ThreadPoolExecutor(6) as threads:
        replies = [*threads.map(lambda at: asking.ask(rows(60)[at:] + rows(20, f"{at}")), range(6))]
    for at, found in enumerate(replies):
        assert are_right(found, rows(60)[at:] + rows(20, f"{at}"))
    stats = server.stats()
    assert stats["most_at_once"] == 8
    # A row that a thread asks for when another one has its answer already is a new call.
    assert 180 <= stats["calls"] <= 190


def test_few_tasks_for_many_rows(server):
    server.behaviour.delay = 0.02
    asking = EndpointClient(endpoint(server.url), Limits(requests=8))
    ended = []

    def ask(count):
        try:
            asking.ask(rows(count, f"{count}"))
        except EndpointError as error:
            ended.append(str(error))

    before = len(asyncio.all_tasks(event_loop()))
    threads = [threading.Thread(target=ask, args=(count,)) for count in (100_000, 2_000, 500)]
    for thread in threads:
        thread.start()
    alive = []
    while asking.totals().calls < 200:
        time.sleep(0.05)
        alive.append(len(asyncio.all_tasks(event_loop())))
    asking.close()
    for thread in threads:
        thread.join(60)
    # Those that ask, one that watches, and one for each connection that is being made.
    assert max(alive) - before <= 8 * (ROWS_A_REQUEST + 1) + 1
    assert len(ended) == 3
    assert all("the client closed" in message for message in ended)


@pytest.mark.parametrize("names_it", [True, False])
@pytest.mark.parametrize(
    ("refuses", "left"),
    [
        (("response_format",), {"logprobs", "top_logprobs"}),
        (("logprobs",), {"response_format"}),
        (("top_logprobs",), {"response_format", "logprobs", "top_logprobs"}),
        (("response_format", "logprobs"), set()),
    ],
)
def test_what_a_server_does_not_take_is_left_out_from_then_on(
    server, caplog, refuses, left, names_it
):
    caplog.set_level(logging.INFO, "tango_beam")
    server.behaviour.refuses, server.behaviour.names_it = refuses, names_it
    with client(server, requests=4) as asking:
        assert are_right(asking.ask(rows(20)), rows(20))
        found_out = server.stats()["calls"]
        assert are_right(asking.ask(rows(20, "later")), rows(20, "later"))
    assert server.stats()["calls"] == found_out + 20
    last = server.endpoint.bodies[-1]
    assert {*last} & {"response_format", "logprobs", "top_logprobs"} == left
    assert last.get("top_logprobs") in (None, 5 if "top_logprobs" in refuses else 20)
    ours = [record for record in caplog.records if record.name.startswith("tango_beam")]
    assert 1 <= len(ours) <= 3


@pytest.mark.parametrize("refuses", ["max_tokens", "temperature"])
def test_newer_models_names_are_taken_up(server, refuses):
    server.behaviour.refuses = (refuses,)
    with client(server) as asking:
        assert are_right(asking.ask(rows(20)), rows(20))
    assert refuses not in server.endpoint.bodies[-1]


def test_without_log_probabilities_the_answer_is_certain(server):
    server.behaviour.gives_logprobs = False
    with client(server) as asking:
        (reply,) = asking.ask(rows(1))
    assert reply.probabilities.tolist() == [label == reply.label for label in LABELS]


def test_a_plain_answer_is_a_label_too(server):
    server.behaviour.refuses, server.behaviour.plain = ("response_format",), " **{label}**."
    with client(server) as asking:
        assert are_right(asking.ask(rows(20)), rows(20))


def test_answers_are_kept_and_no_row_is_asked_for_twice(server, tmp_path):
    with AnswersCache(str(tmp_path)) as cache:
        with client(server, cache) as asking:
            first = asking.ask(rows(50))
        with client(server, cache) as asking:
            second = asking.ask(rows(60) + rows(5))
            totals = asking.totals()
    assert server.stats()["calls"] == 60
    assert (totals.calls, totals.cached) == (10, 55)
    for before, after in zip(first, second[:50], strict=True):
        assert after.cached
        assert after.calls == 0
        assert after.probabilities.tobytes() == before.probabilities.tobytes()
        fields = ("label", "tokens_in", "tokens_out")
        assert [getattr(after, name) for name in fields] == [
            getattr(before, name) for name in fields
        ]


def test_another_model_or_prompt_has_other_answers(server, tmp_path):
    with AnswersCache(str(tmp_path)) as cache:
        for changes in ({}, {"model": "other"}, {"prompt": "Now: <text>{text}</text>"}):
            with client(server, cache, changes=changes) as asking:
                asking.ask(rows(10))
    assert server.stats()["calls"] == 30


def test_an_error_is_not_kept(server, tmp_path):
    server.behaviour.shares = {"nonsense": 1.0}
    with AnswersCache(str(tmp_path)) as cache, client(server, cache) as asking:
        assert asking.ask(rows(1))[0].error
        server.behaviour.shares = {}
        assert are_right(asking.ask(rows(1)), rows(1))


def test_an_answer_is_kept_before_it_is_handed_on(server, tmp_path):
    with AnswersCache(str(tmp_path)) as cache, client(server, cache) as asking:
        asking.ask(rows(30))
        assert len(cache) == 30


def test_a_cache_that_cannot_be_written_ends_in_its_error(server, tmp_path):
    with AnswersCache(str(tmp_path)) as cache, client(server, cache) as asking:
        cache._writer.execute("PRAGMA query_only = ON")
        with pytest.raises(JobError, match=r"--answers_cache .*expected to read and write"):
            asking.ask(rows(30))


def test_tokens_a_minute_are_kept_to(server):
    with client(server, tokens_a_minute=6_000) as asking:
        begun = time.monotonic()
        asking.ask(rows(80))
        seconds = time.monotonic() - begun
    used = server.stats()["tokens"]
    assert used > 500
    # What is under way when the first answer comes was let go on a guess.
    assert used <= 100 * (seconds + 3) + 16 * 10


@pytest.fixture
def everything(caplog):
    """What all loggers say, down to the last."""
    caplog.set_level(logging.DEBUG)
    for name in ("httpx", "aiohttp", "asyncio", "tango_beam"):
        caplog.set_level(logging.DEBUG, logger=name)
    return caplog


def test_the_key_is_sent_and_shown_nowhere(server, everything, tmp_path):
    server.behaviour.key = KEY
    with AnswersCache(str(tmp_path)) as cache, client(server, cache, key=KEY) as asking:
        replies = asking.ask(rows(5))
        server.behaviour.longest = 0
        server.behaviour.names_it = False
        refused = asking.ask(rows(5, "more"))
        assert KEY not in repr([asking, vars(asking), replies, refused, asking.totals()])
    assert are_right(replies, rows(5))
    assert KEY not in everything.text
    assert not any(KEY.encode() in path.read_bytes() for path in tmp_path.iterdir())


@pytest.mark.parametrize("status", [401, None])
def test_a_server_that_says_the_key_back_does_not_spread_it(server, everything, status):
    server.behaviour.key = "another one"  # its refusal shows what it was given
    with client(server, key=KEY) as asking, pytest.raises(EndpointError) as raised:
        asking.ask(rows(5))
    error = raised.value
    while error is not None:
        assert KEY not in f"{error} {error!r} {error.args}"
        error = error.__cause__ or error.__context__
    assert "expected a key that the server takes, found 401 'wrong key: Bearer [key]'" in str(
        raised.value
    )
    assert KEY not in everything.text


@pytest.mark.parametrize("key", ["a\nb" + KEY, KEY + "é", "\0" + KEY])
def test_a_key_that_cannot_be_sent_is_refused_unseen(server, key):
    with pytest.raises(RefusedError, match="printable ASCII") as raised:
        EndpointClient(endpoint(server.url), Limits(), key=key)
    assert KEY not in str(raised.value)


def test_a_key_with_a_line_end_behind_it_is_sent_without(server):
    server.behaviour.key = KEY
    with client(server, key=f"{KEY}\n") as asking:
        assert are_right(asking.ask(rows(1)), rows(1))


def test_no_line_is_logged_for_a_request(server, caplog):
    caplog.set_level(logging.INFO)
    with client(server) as asking:
        asking.ask(rows(20))
    assert not [record for record in caplog.records if record.name != "aiohttp.access"]


def test_a_missing_package_is_named_with_the_way_out(server, monkeypatch):
    monkeypatch.setitem(sys.modules, "httpx", None)
    with pytest.raises(RefusedError, match=r"pip install 'tango-beam\[endpoint\]'"):
        EndpointClient(endpoint(server.url), Limits())


def test_a_proxy_of_the_environment_is_asked_but_for_hosts_that_it_leaves_out(server, monkeypatch):
    monkeypatch.setenv("http_proxy", server.url.removesuffix("/v1"))
    with client("http://far.invalid/v1") as asking:
        assert are_right(asking.ask(rows(3)), rows(3))
    monkeypatch.setenv("no_proxy", "far.invalid")
    given = client("http://far.invalid/v1", patience=0.5)
    with given as asking, pytest.raises(EndpointError, match="no connection"):
        asking.ask(rows(1))
    assert server.stats()["calls"] == 3


def test_a_closed_client_says_so(server):
    with client(server) as asking:
        asking.ask(rows(1))
    asking.close()
    with pytest.raises(JobError, match="expected an open client"):
        asking.ask(rows(1))


def test_a_server_in_a_process_of_its_own_tells_what_it_was_asked():
    with Process("--share", "error=0.1", "--labels", "a,b", "--key", "k") as server:
        with client(server, key="k", changes={"labels": ("a", "b")}) as asking:
            replies = asking.ask(rows(40))
            assert are_right(replies, rows(40), ("a", "b"))
            assert server.stats()["calls"] == asking.totals().calls
        assert sum(server.stats()["by_text"].values()) == server.stats()["calls"]
