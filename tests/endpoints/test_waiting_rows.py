"""Rows that wait: whose turn it is, and who is told."""

import pytest

from tango_beam.endpoints.replies import Reply
from tango_beam.endpoints.waiting_rows import Call, WaitingRows


def add(waiting, *names):
    call = Call(len(names))
    rows = {}
    for place, name in enumerate(names):
        rows.setdefault(name.encode(), ((name,), []))[1].append(place)
    waiting.add(call, rows)
    return call


def texts(waiting):
    return [row.texts[0] for row in iter(waiting.take, None)]


def test_those_who_ask_take_turns():
    waiting = WaitingRows()
    add(waiting, "a", "b", "c")
    add(waiting, "x", "y")
    assert texts(waiting) == ["a", "x", "b", "y", "c"]


def test_a_row_that_two_ask_for_is_taken_once_and_told_to_both():
    waiting = WaitingRows()
    first, second = add(waiting, "a", "a"), add(waiting, "b", "a")
    rows = [*iter(waiting.take, None)]
    reply = Reply("yes", calls=3, tokens_in=5)
    told = [waiting.answer(row, reply) for row in rows]
    assert sum(told) == 2
    assert len(waiting) == 0
    found = first.done.result(0) + second.done.result(0)
    assert [reply.label for reply in found] == ["yes"] * 4
    assert [(reply.cached, reply.calls) for reply in found] == [
        (False, 3),
        (True, 0),
        (False, 3),
        (True, 0),
    ]


def test_a_call_ends_with_its_last_row():
    waiting = WaitingRows()
    call = add(waiting, "a", "b")
    waiting.answer(waiting.take(), Reply("yes"))
    assert not call.done.done()
    waiting.answer(waiting.take(), Reply("no"))
    assert [reply.label for reply in call.done.result(0)] == ["yes", "no"]


def test_rows_of_a_call_that_was_dropped_are_not_asked_for_unless_others_want_them():
    waiting = WaitingRows()
    dropped = add(waiting, "a", "b", "c")
    under_way = waiting.take()
    kept = add(waiting, "b")
    waiting.drop(dropped)
    assert texts(waiting) == ["b"]
    assert waiting.answer(under_way, Reply("yes")) == 0
    assert not kept.done.done()
    assert len(waiting) == 1


def test_after_a_stop_nobody_waits():
    waiting = WaitingRows()
    calls = [add(waiting, "a", "b"), add(waiting, "b", "c")]
    waiting.take()
    assert {*waiting.clear()} == {*calls}
    assert waiting.take() is None
    assert len(waiting) == 0


@pytest.mark.parametrize("again", [False, True])
def test_a_row_may_be_asked_for_again_later(again):
    waiting = WaitingRows()
    add(waiting, "a")
    row = waiting.take()
    if again:
        waiting.clear()
    else:
        waiting.answer(row, Reply("yes"))
    add(waiting, "a")
    assert texts(waiting) == ["a"]
