"""Waits: those that a server asks for, those after failures, and those for tokens."""

import asyncio
import logging
import time
from datetime import UTC, datetime

import httpx
import pytest

from tango_beam.endpoints.limits import (
    SPREAD,
    Gate,
    Spacing,
    TokenBucket,
    backoff,
    retry_after,
)

NOW = datetime(2026, 3, 1, 12, 0, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"retry-after": "7"}, 7),
        ({"retry-after": "0.5"}, 0.5),
        ({"retry-after-ms": "250", "retry-after": "7"}, 0.25),
        ({"retry-after": "Sun, 01 Mar 2026 12:00:30 GMT"}, 30),
        ({"retry-after": "Sun, 01 Mar 2026 11:00:00 GMT"}, 0),
        # The server's clock is an hour behind ours.
        (
            {
                "retry-after": "Sun, 01 Mar 2026 11:00:30 GMT",
                "date": "Sun, 01 Mar 2026 11:00:00 GMT",
            },
            30,
        ),
        ({"retry-after": "-3"}, 0),
        ({"retry-after": "inf"}, None),
        ({"retry-after": "soon"}, None),
        ({}, None),
    ],
)
def test_a_wait_is_read_in_each_of_its_forms(headers, seconds):
    assert retry_after(httpx.Headers(headers), NOW) == seconds


def test_ten_tries_outlast_the_patience():
    shortest = min(sum(backoff(number, 120) for number in range(1, 10)) for _ in range(200))
    assert shortest > 120
    assert 0.3 < backoff(1, 120) < 0.7
    assert backoff(1000, 120) <= 75


def test_waits_after_failures_differ():
    assert len({backoff(3, 120) for _ in range(20)}) == 20


def test_the_gate_opens_when_the_longest_wait_is_over():
    async def wait():
        gate = Gate("m")
        await gate.passed()
        begun = time.monotonic()
        gate.hold(0.2, 429)
        gate.hold(0.05, 429)
        await gate.passed()
        return time.monotonic() - begun

    assert asyncio.run(wait()) >= 0.2


def test_long_waits_are_told_of_once_in_a_while(caplog):
    caplog.set_level(logging.INFO, "tango_beam")
    gate = Gate("openai:http://here")
    for _ in range(50):
        gate.hold(3, 429)
    assert not caplog.records
    for _ in range(50):
        gate.hold(20, 429)
    assert len(caplog.records) == 1
    assert "openai:http://here answers 429" in caplog.text


def spend(bucket, each, guess, seconds):
    """Tokens that requests, each answered at once, take in a time."""

    async def run():
        end, spent = time.monotonic() + seconds, 0
        while time.monotonic() < end:
            expected = await bucket.take(guess)
            spent += each
            bucket.settle(expected, each)
        return spent, time.monotonic() - end + seconds

    return asyncio.run(run())


@pytest.mark.parametrize("guess", [1, 100, 2000])
def test_tokens_a_minute_are_those_that_were_really_used(guess):
    rate = 6_000 / 60
    spent, seconds = spend(TokenBucket(6_000), 100, guess, 2.0)
    assert spent <= rate * (seconds + 3) + 2 * 100
    if guess < 2000:  # one guess that is far too high waits for itself
        assert spent >= rate * 2


def test_a_request_that_failed_gives_its_tokens_back():
    async def run():
        bucket = TokenBucket(60)
        for _ in range(1000):
            bucket.settle(await bucket.take(50), 0)

    begun = time.monotonic()
    asyncio.run(run())
    assert time.monotonic() - begun < 30  # 1,000 x 50 tokens at one a second would take hours


def test_without_a_limit_nobody_waits():
    spent, _ = spend(TokenBucket(None), 1_000_000, 1, 0.05)
    assert spent > 1_000_000


def test_requests_that_come_at_once_begin_apart_and_others_do_not_wait():
    async def run():
        spacing, begun = Spacing(4), []
        spacing.took(0.8)
        for gap in (0.0, 0.0, 0.0, 0.3):
            await asyncio.sleep(gap)
            before = time.monotonic()
            await spacing.turn()
            begun.append((time.monotonic(), time.monotonic() - before))
        return begun

    first, second, third, fourth = asyncio.run(run())
    apart = 0.8 / 4 * SPREAD
    assert second[0] - first[0] >= 0.99 * apart and third[0] - second[0] >= 0.99 * apart
    assert first[1] < apart / 2 and fourth[1] < apart / 2
