"""Micro-batches side by side: each once, on threads that keep to themselves, errors told."""

import threading
import time

import pytest
import torch

from tango_beam.models import thread_pool


@pytest.fixture
def two():
    thread_pool.limit(2)
    yield
    thread_pool.limit(None)


def test_each_part_is_scored_once_on_threads_of_one_core(two):
    before, seen = torch.get_num_threads(), []

    def act(part):
        seen.append((part, threading.current_thread().name, torch.get_num_threads()))

    thread_pool.each("cpu", range(50), act)
    assert sorted(part for part, _, _ in seen) == list(range(50))
    assert all(name.startswith("tier") and threads == 1 for _, name, threads in seen)
    assert torch.get_num_threads() == before


def test_two_parts_run_at_once(two):
    meeting = threading.Barrier(2, timeout=20)
    thread_pool.each("cpu", range(2), lambda part: meeting.wait())


def test_the_long_ones_begin_first():
    thread_pool.limit(1)
    seen = []
    thread_pool.each("cpu", range(5), seen.append)
    thread_pool.limit(None)
    assert seen == [4, 3, 2, 1, 0]


def test_an_error_comes_back_once_all_have_ended(two):
    ended = []

    def act(part):
        if part == 1:
            raise ValueError("of part 1")
        time.sleep(0.05)
        ended.append(part)

    with pytest.raises(ValueError, match="of part 1"):
        thread_pool.each("cpu", range(4), act)
    assert sorted(ended) == [0, 2, 3]


def test_elsewhere_parts_take_turns_in_the_calling_thread():
    seen = []
    thread_pool.each("cuda", range(3), lambda part: seen.append(threading.current_thread()))
    assert seen == [threading.current_thread()] * 3


def test_threads_born_later_find_as_many_workers():
    found = []
    thread_pool.each("cpu", range(4), lambda part: None)
    thread = threading.Thread(target=lambda: found.append(thread_pool.workers()))
    thread.start()
    thread.join()
    assert found == [thread_pool.workers()] == [torch.get_num_threads()]
