"""Answers that are kept: exactly, at once, for all processes of a machine."""

import subprocess
import sys
import threading
import time

import numpy as np
import pytest

from tango_beam.endpoints.answers_cache import FILE, Answer, AnswersCache, answer_key
from tango_beam.errors import JobError, RefusedError

WRITER = """
import os, sys
import numpy as np
from tango_beam.endpoints.answers_cache import Answer, AnswersCache, answer_key
cache = AnswersCache(sys.argv[1])
first, last = int(sys.argv[2]), int(sys.argv[3])
print("ready", flush=True)
for number in range(first, last):
    answer = Answer(f"label {number}", np.float32([number, 1]), number, 1)
    cache.put(answer_key((str(number),), ""), answer)
    print(number, flush=True)
"""


@pytest.fixture
def cache(tmp_path):
    with AnswersCache(str(tmp_path / "answers")) as cache:
        yield cache


def answer(number=0):
    rng = np.random.default_rng(number)
    return Answer(f"label {number} é", rng.random(7, dtype=np.float32), number, 2 * number)


def key(number):
    return answer_key((f"text {number}",), "endpoint")


def same(found, wanted):
    exact = found.probabilities.tobytes() == wanted.probabilities.tobytes()
    fields = ("label", "tokens_in", "tokens_out")
    return exact and all(getattr(found, name) == getattr(wanted, name) for name in fields)


def test_an_answer_comes_back_exactly(cache):
    strange = Answer("a", np.array([np.nan, 1e-45, -0.0, np.inf], np.float32), 1, 2)
    cache.put(key(0), strange)
    found = cache.get_many([key(0), key(1)])
    assert {*found} == {key(0)}
    assert same(found[key(0)], strange)
    assert found[key(0)].probabilities.dtype == np.float32


def test_more_keys_than_a_statement_takes(cache):
    pending = [cache.submit(key(number), answer(number)) for number in range(3000)]
    for put in pending:
        put.result()
    found = cache.get_many(key(number) for number in range(5000))
    assert len(found) == len(cache) == 3000
    assert all(same(found[key(number)], answer(number)) for number in range(3000))


def test_texts_and_endpoints_are_told_apart():
    keys = {
        answer_key(("a", "b"), "e"),
        answer_key(("ab",), "e"),
        answer_key(("a",), "be"),
        answer_key(("a", "b", "e"), ""),
        answer_key(('a", "b',), "e"),
        answer_key(("\ud800",), "e"),
    }
    assert len(keys) == 6


def test_the_first_answer_stays(cache):
    cache.put(key(0), answer(1))
    cache.put(key(0), answer(2))
    assert same(cache.get_many([key(0)])[key(0)], answer(1))


def test_it_is_there_for_the_next_one(tmp_path):
    for number in range(3):
        with AnswersCache(str(tmp_path)) as cache:
            assert len(cache) == number
            cache.put(key(number), answer(number))


def test_threads_share_it(cache):
    def work(first):
        for number in range(first, first + 200):
            cache.put(key(number), answer(number))
            assert same(cache.get_many([key(number)])[key(number)], answer(number))

    threads = [threading.Thread(target=work, args=(100 * at,)) for at in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(cache) == 500


def writer(folder, first, last):
    command = [sys.executable, "-c", WRITER, str(folder), str(first), str(last)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def test_processes_share_it(tmp_path):
    processes = [writer(tmp_path, 50 * at, 50 * at + 100) for at in range(4)]
    for process in processes:
        process.communicate()
        assert process.returncode == 0
    with AnswersCache(str(tmp_path)) as cache:
        assert len(cache) == 250


def test_a_killed_process_loses_nothing_that_it_was_told_is_kept(tmp_path):
    told = set()
    for first in (0, 100_000, 200_000):
        process = writer(tmp_path, first, first + 100_000)
        assert process.stdout.readline() == "ready\n"
        lines = [process.stdout.readline() for _ in range(50)]
        process.kill()
        lines += process.stdout.readlines()
        told |= {int(line) for line in lines if line.endswith("\n")}
        process.wait()
    assert len(told) >= 3 * 50
    with AnswersCache(str(tmp_path)) as cache:
        wanted = {answer_key((str(number),), "") for number in told}
        assert {*cache.get_many(wanted)} == wanted


def test_many_answers_are_written_together(cache):
    begun = time.process_time()
    for put in [cache.submit(key(number), answer()) for number in range(10_000)]:
        put.result()
    # Of the processor's time: the machine may be busy. Each on its own would take far more.
    assert time.process_time() - begun < 5
    assert len(cache) == 10_000


def test_a_url_is_refused():
    with pytest.raises(RefusedError, match="s3://bucket/x: expected a folder of this machine"):
        AnswersCache("s3://bucket/x")


@pytest.mark.parametrize("content", [b"no database at all, but long enough to be read" * 50, None])
def test_a_folder_that_cannot_hold_answers_is_refused(tmp_path, content):
    folder = tmp_path / "answers"
    if content is None:
        folder.write_text("a file")
    else:
        folder.mkdir()
        (folder / FILE).write_bytes(content)
    with pytest.raises(RefusedError, match=r"expected a folder for answers, found: .*another one"):
        AnswersCache(str(folder))


def test_a_write_that_fails_is_told(cache):
    cache.put(key(0), answer())
    cache._writer.execute("PRAGMA query_only = ON")
    with pytest.raises(JobError, match=r"expected to read and write answers.*--resume"):
        cache.put(key(1), answer())
    assert len(cache) == 1


def test_after_its_end_it_takes_nothing(tmp_path):
    cache = AnswersCache(str(tmp_path))
    pending = [cache.submit(key(number), answer()) for number in range(100)]
    cache.close()
    cache.close()
    assert all(put.done() for put in pending)
    with pytest.raises(JobError, match="after its end"):
        cache.submit(key(0), answer())
