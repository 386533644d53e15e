"""Asks an endpoint for the labels of rows: many at once, over and over until there is an answer."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Coroutine, Sequence
from dataclasses import dataclass, replace
from typing import Any

from tango_beam.arrays import Float32
from tango_beam.endpoints.answers_cache import Answer, AnswersCache, answer_key
from tango_beam.endpoints.completion import (
    BUSY,
    FAILED_AT_IT,
    CallError,
    Completion,
    FailedCallError,
    RowRefusedError,
    ServerRefusedError,
)
from tango_beam.endpoints.event_loop import event_loop
from tango_beam.endpoints.exchange import Exchange
from tango_beam.endpoints.label_probabilities import label_probabilities
from tango_beam.endpoints.limits import Spacing, TokenBucket, backoff
from tango_beam.endpoints.replies import EndpointError, Reply, Totals
from tango_beam.endpoints.settings import Endpoint, Limits
from tango_beam.endpoints.waiting_rows import Call, Row, WaitingRows
from tango_beam.endpoints.wording import (
    Features,
    Negotiation,
    no_label,
    request_body,
    said_label,
)
from tango_beam.errors import JobError

__all__ = ["EndpointClient", "EndpointError", "Reply", "Totals"]

# Rows in hand for each request under way: those that wait after a failure hold none up.
ROWS_A_REQUEST = 4
# A row that the server turns away with 429 had no part in that: it may come so much more often.
TURNED_AWAY_A_TRY = 10
# Refused one and all: from the first so many on, it is no matter of single rows.
REFUSED_ROWS, REFUSED_AT_LEAST = 100, 8
CLOSING_SECONDS = 10.0
CHARACTERS_A_TOKEN = 4  # roughly, of English; believed until the first answer


class EndpointClient:
    """Asks one endpoint; threads of a process share it, and with it its limits.

    Args:
      endpoint: whom to ask, and how.
      limits: how much of it is asked at once, and how long.
      cache: of answers; stays open when the client is closed.
      key: of the API, out of the environment.

    Raises:
      RefusedError: httpx is missing; or the URL or the key cannot be sent.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        limits: Limits,
        cache: AnswersCache | None = None,
        key: str | None = None,
    ) -> None:
        self._endpoint, self._limits, self._cache = endpoint, limits, cache
        self._fingerprint = endpoint.fingerprint
        self._exchange = Exchange(endpoint, limits, key)
        self._loop = event_loop()
        self._rows = WaitingRows()
        self._bucket = TokenBucket(limits.tokens_a_minute)
        self._spacing = Spacing(limits.requests)
        self._negotiation = Negotiation(endpoint.name)
        self._tasks: set[asyncio.Task[None]] = set()
        self._state = _State()
        self._totals, self._counting = Totals(), threading.Lock()
        self._closed = False

    def __enter__(self) -> EndpointClient:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def ask(self, rows: Sequence[tuple[str, ...]]) -> list[Reply]:
        """What the endpoint says of each row, in their order; waits until all is there.

        Args:
          rows: the text of each, and the second text where the prompt has one.

        Raises:
          EndpointError: the server answers nobody, or refuses everybody.
          JobError: the cache cannot be read or written.
        """
        waiting: dict[bytes, tuple[tuple[str, ...], list[int]]] = {}
        for place, row in enumerate(rows):
            key = answer_key(row, self._fingerprint)
            waiting.setdefault(key, (tuple(row), []))[1].append(place)
        call = Call(len(rows))
        if self._cache is not None:
            for key, answer in self._cache.get_many(waiting).items():
                _, places = waiting.pop(key)
                call.take_in(places, _kept(answer))
                self._count(cached=len(places))
        if not rows:
            return []
        try:
            if waiting:
                self._loop.call_soon_threadsafe(self._begin, call, waiting)
            return call.done.result()
        except BaseException:
            self._loop.call_soon_threadsafe(self._rows.drop, call)
            raise

    def totals(self) -> Totals:
        """What was done so far."""
        return self._totals

    def close(self) -> None:
        """Ends what is under way, and the connections."""
        if not self._closed:
            ending = asyncio.run_coroutine_threadsafe(self._close(), self._loop)
            ending.result(CLOSING_SECONDS)

    # What follows runs in the event loop.

    def _begin(self, call: Call, rows: dict[bytes, tuple[tuple[str, ...], list[int]]]) -> None:
        if self._closed:
            closed = f"{self._endpoint.name}: expected an open client, found a closed one"
            call.done.set_exception(JobError(f"{closed}; make another one"))
            return
        idle = not len(self._rows)
        self._rows.add(call, rows)
        if idle:
            self._state.useful = self._loop.time()
        working = sum(task.get_name() == "row" for task in self._tasks)
        most = min(self._limits.requests * ROWS_A_REQUEST, len(self._rows))
        for _ in range(working, most):
            self._start(self._work(), "row")
        if not any(task.get_name() == "patience" for task in self._tasks):
            self._start(self._watch(), "patience")

    def _start(self, work: Coroutine[None, None, None], name: str) -> None:
        task = self._loop.create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        if task not in self._tasks:
            return  # of work that was stopped
        self._tasks.discard(task)
        error = None if task.cancelled() else task.exception()
        if error:
            self._stop(error)

    def _stop(self, error: BaseException) -> None:
        """Ends all pending work with an error."""
        for task in self._tasks:
            task.cancel()
        self._tasks = set()
        for call in self._rows.clear():
            call.done.set_exception(error)

    async def _close(self) -> None:
        self._closed = True
        tasks = [*self._tasks]
        self._stop(self._error("to be asked to the end", "the client closed", "ask again"))
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._exchange.close()

    async def _watch(self) -> None:
        """Gives the server up when it has been of no use to anybody for too long."""
        patience = self._limits.patience
        tick = min(1.0, patience / 20)
        while len(self._rows):
            await asyncio.sleep(tick)
            if self._bucket.waited_for and not self._state.under_way:
                self._state.useful += tick  # our own limit, no fault of the server's
            elif len(self._rows) and self._loop.time() - self._state.useful > patience:
                last = self._state.last_failure or f"nothing within {patience:g} s"
                raise self._error(
                    f"a reply of use within {patience:g} s",
                    f"none, the last try brought {last}",
                    "see that the server runs",
                )

    async def _work(self) -> None:
        while (row := self._rows.take()) is not None:
            reply = await self._reply(row)
            if self._cache is not None and reply.label is not None:
                # Handed on when it is there to stay: else a killed job would pay for it again.
                await asyncio.wrap_future(self._cache.submit(row.key, _to_keep(reply)))
            self._count(cached=self._rows.answer(row, reply))

    async def _reply(self, row: Row) -> Reply:
        spent = _Spent()
        labels = self._endpoint.labels
        said, error = None, ""
        try:
            for _ in range(2):
                done = await self._completion(row.texts, said, spent)
                label = said_label(done.content, labels)
                if label is not None:
                    return spent.reply(label, label_probabilities(done.logprobs, labels, label))
                said, error = done.content, no_label(done.content, labels, done.cut)
        except RowRefusedError as refusal:
            self._refused(refusal)
            error = f"expected an answer, found the row refused with {refusal.found}"
        except FailedCallError as failure:
            error = f"expected an answer, found {failure.found} at the last of {spent.calls} tries"
        return replace(spent.reply(), error=error)

    async def _completion(
        self, texts: tuple[str, ...], said: str | None, spent: _Spent
    ) -> Completion:
        """An answer, label or not, to the fullest request that the server takes."""
        features = self._negotiation.features
        tried = [features]
        while True:
            body = request_body(self._endpoint, texts, features, said)
            try:
                done = await self._insist(body, features, spent)
                self._check_form(done, features)
            except RowRefusedError as refusal:
                following = self._negotiation.refused(refusal.found, tried)
                if following is None:
                    raise
                features = following
                tried.append(features)
            else:
                self._negotiation.works(features)
                self._state.answered = True
                return done

    def _check_form(self, done: Completion, features: Features) -> None:
        labels = self._endpoint.labels
        if not done.cut and not self._negotiation.has_kept_to_it(features, done.content, labels):
            said = " ".join(done.content.split())[:100]
            raise RowRefusedError(f"'{said}', a response_format that was not kept to")

    async def _insist(self, body: dict[str, Any], features: Features, spent: _Spent) -> Completion:
        """Sends a request as often as its row may be tried."""
        while True:
            try:
                return await self._once(body, spent)
            except FailedCallError as failure:
                self._state.last_failure = failure.found
                # llama-cpp-python says 500 where others say 400 or 422.
                if failure.status in FAILED_AT_IT and self._negotiation.is_refusal(
                    failure.found, features
                ):
                    raise RowRefusedError(failure.found) from None
                if spent.failed(failure, self._limits.tries):
                    raise
                if not (failure.wait and failure.status in BUSY):  # for these all wait, at the gate
                    wait = backoff(spent.in_succession, self._limits.patience)
                    await asyncio.sleep(max(wait, failure.wait or 0.0))

    async def _once(self, body: dict[str, Any], spent: _Spent) -> Completion:
        guess = sum(len(message["content"]) for message in body["messages"]) / CHARACTERS_A_TOKEN
        content = json.dumps(body).encode()
        used: int | None = 0
        async with self._exchange.turn():
            expected = await self._bucket.take(guess)
            self._state.under_way += 1
            try:
                await self._spacing.turn()
                await self._exchange.gate.passed()
                begun = self._loop.time()
                done = await self._exchange.call(content, lambda: self._sent(spent))
                used = None if done.tokens_in is None else done.tokens_in + (done.tokens_out or 0)
            except ServerRefusedError as refusal:
                # At once: whoever comes next on this connection would ask in vain.
                self._stop(self._refused_by_server(refusal))
                raise asyncio.CancelledError from None
            finally:
                self._state.under_way -= 1
                self._bucket.settle(expected, used)
        self._state.useful = self._loop.time()
        self._spacing.took(self._state.useful - begun)
        spent.answered(done)
        self._count(tokens_in=done.tokens_in or 0, tokens_out=done.tokens_out or 0)
        return done

    def _sent(self, spent: _Spent) -> None:
        spent.calls += 1
        self._count(calls=1, retries=int(spent.calls > 1))

    def _refused(self, refusal: CallError) -> None:
        """Notes a row that the server refuses; stops when it refuses all of them."""
        self._state.useful = self._loop.time()
        self._state.refused += 1
        count, most = self._state.refused, max(REFUSED_ROWS, 4 * self._limits.requests)
        is_last = len(self._rows) == 1
        if not self._state.answered and count >= (REFUSED_AT_LEAST if is_last else most):
            raise self._error(
                "requests that the server takes",
                f"all {count} rows refused, the last one with {refusal.found}",
                "see to --model and --prompt",
            )

    def _refused_by_server(self, refusal: ServerRefusedError) -> EndpointError:
        expected, way_out = {
            401: ("a key that the server takes", "see to the key in the environment"),
            403: ("a key that may ask this model", "see to the key in the environment"),
            404: (f"the model {self._endpoint.model} there", "see to the URL and --model"),
        }.get(refusal.status, ("a chat completion", "see to the URL and the server"))
        return self._error(expected, refusal.found, way_out)

    def _error(self, expected: str, found: str, way_out: str) -> EndpointError:
        return EndpointError(
            f"{self._endpoint.name}: expected {expected}, found {found}; {way_out}, "
            "then go on with --resume"
        )

    def _count(self, **more: int) -> None:
        with self._counting:
            now = {name: getattr(self._totals, name) + count for name, count in more.items()}
            self._totals = replace(self._totals, **now)


@dataclass
class _State:
    """How it stands with the server.

    Attributes:
      useful: when somebody last had a reply of use, by the loop's clock.
      last_failure: what came instead, last.
      answered: somebody ever had an answer.
      refused: rows that were refused.
      under_way: requests that were sent, or wait for the server's leave.
    """

    useful: float = 0.0
    last_failure: str = ""
    answered: bool = False
    refused: int = 0
    under_way: int = 0


@dataclass
class _Spent:
    """What a row has taken so far.

    Attributes:
      calls: requests that were sent.
      failures: those that failed, and may have done so for this row's sake.
      turned_away: those that the server did not look at.
      in_succession: failures of any kind since the last answer.
    """

    calls: int = 0
    tokens_in: int = 0
    tokens_out: int = 0
    failures: int = 0
    turned_away: int = 0
    in_succession: int = 0

    def failed(self, failure: FailedCallError, tries: int) -> bool:
        """Notes a failure; says whether it was the last one that the row may have."""
        self.in_succession += 1
        self.turned_away += failure.reached and failure.is_turned_away
        self.failures += not failure.is_turned_away
        return self.failures >= tries or self.turned_away >= tries * TURNED_AWAY_A_TRY

    def answered(self, done: Completion) -> None:
        """Notes an answer, label or not."""
        self.in_succession = 0
        self.tokens_in += done.tokens_in or 0
        self.tokens_out += done.tokens_out or 0

    def reply(self, label: str | None = None, probabilities: Float32 | None = None) -> Reply:
        """The row's reply."""
        return Reply(
            label,
            probabilities,
            calls=self.calls,
            tokens_in=self.tokens_in,
            tokens_out=self.tokens_out,
        )


def _kept(answer: Answer) -> Reply:
    return Reply(
        answer.label,
        answer.probabilities,
        tokens_in=answer.tokens_in,
        tokens_out=answer.tokens_out,
        cached=True,
    )


def _to_keep(reply: Reply) -> Answer:
    assert reply.label is not None and reply.probabilities is not None
    return Answer(reply.label, reply.probabilities, reply.tokens_in, reply.tokens_out)
