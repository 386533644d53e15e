"""Scores micro-batches side by side: one thread each, unless told otherwise, on every core.

Two micro-batches on one core each take less time than one after the other on both: nothing waits
at the end of every operation, and the Python between them runs meanwhile.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import cache
from typing import TypeVar

T = TypeVar("T")

_lock = threading.Lock()
_limit: int | None = None
_pool: tuple[int, int, ThreadPoolExecutor] | None = None


def limit(workers: int | None) -> None:
    """Sets how many micro-batches this process scores at once; None stands for every core."""
    global _limit
    _limit = workers


def workers() -> int:
    """How many cores this process scores on.

    Every core that the process may use unless `limit` says otherwise; torch heeds OMP_NUM_THREADS
    and the process's affinity.
    """
    return _limit or _cores()


def slots(threads: int = 1) -> int:
    """How many micro-batches this process scores at once; each takes `threads` threads."""
    return max(1, workers() // threads)


@cache
def _cores() -> int:
    import torch

    # Asked once: what a thread of the pool sets for itself, torch hands on to threads born later.
    return torch.get_num_threads()


def each(device: str, parts: Sequence[T], action: Callable[[T], object], threads: int = 1) -> None:
    """Calls `action` on every part; on a processor side by side, the last ones first.

    Args:
      device: `cpu`, or one on which parts take turns.
      parts: micro-batches from short to long, so that the long ones begin first and none is left
        to run alone at the end.
      action: safe to call from several threads.
      threads: that torch may use for one call.

    Raises:
      Exception: the first that a call raised, once the others have ended.
    """
    if device != "cpu":
        for part in parts:
            action(part)
        return
    # Whoever stops early must not leave a thread writing into what it gave up.
    futures = [_threads(threads).submit(action, part) for part in reversed(parts)]
    errors = [error for error in [future.exception() for future in futures] if error]
    if errors:
        raise errors[0]


@contextmanager
def bound_to(threads: int) -> Iterator[None]:
    """Torch on so many threads in what this thread does itself: small operations want one."""
    import torch

    workers()  # counts torch's threads once, for good
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def renew() -> None:
    """Gives up the threads that `each` keeps, to be called after a failure.

    A thread in which oneDNN once found no memory for a kernel never makes one again: the error that
    its code generator keeps for every thread stays set.
    """
    global _pool
    with _lock:
        # They end when the last call that uses them does.
        _pool = None


def _threads(each: int) -> ThreadPoolExecutor:
    global _pool
    with _lock:
        count = slots(each)
        if _pool is None or _pool[:2] != (count, each):
            pool = ThreadPoolExecutor(count, "tier", initializer=_bound, initargs=(each,))
            _pool = count, each, pool
        return _pool[2]


def _bound(threads: int) -> None:
    """Limits how many threads a thread's operations use; 1 is the thread itself."""
    import torch

    torch.set_num_threads(threads)
