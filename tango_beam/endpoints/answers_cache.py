"""Answers that were paid for, kept in a folder of this machine: no row is asked for twice."""

from __future__ import annotations

import contextlib
import hashlib
import json
import queue
import sqlite3
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tango_beam.arrays import Float32
from tango_beam.errors import JobError, RefusedError

FILE = "answers.sqlite"
BUSY_SECONDS = 60.0
MOST_IN_A_GROUP = 5_000
MOST_VARIABLES = 500  # of one statement; SQLite's oldest limit is 999
_TABLE = """
CREATE TABLE IF NOT EXISTS answers (
  key BLOB PRIMARY KEY, label TEXT NOT NULL, probabilities BLOB NOT NULL,
  tokens_in INTEGER NOT NULL, tokens_out INTEGER NOT NULL
) WITHOUT ROWID
"""


@dataclass(frozen=True, eq=False)
class Answer:
    """What is kept of a row's answer.

    Attributes:
      label: the label.
      probabilities: of all labels, float32, shape [labels].
      tokens_in: of the prompts that it took.
      tokens_out: of the answers that it took.
    """

    label: str
    probabilities: Float32
    tokens_in: int
    tokens_out: int


def answer_key(row: Sequence[str], fingerprint: str) -> bytes:
    """Under what a row's answer is kept: a hash of its texts and of the endpoint's fingerprint."""
    return hashlib.sha256(json.dumps([*row, fingerprint]).encode()).digest()


class AnswersCache:
    """Answers by key, in SQLite; threads and processes of one machine share it.

    An answer that `put` has returned for outlives the process, however it ends; a power cut may
    take the last ones. Only hashes, labels, numbers: no text, no URL, no key of an API.

    Args:
      folder: of this machine; made where it is missing. SQLite's shared log does not work on
        network drives.

    Raises:
      RefusedError: it is a URL, or holds something else.
    """

    def __init__(self, folder: str) -> None:
        if "://" in folder:
            raise RefusedError(
                f"--answers_cache {folder}: expected a folder of this machine, found a URL"
            )
        self._path = Path(folder).expanduser() / FILE
        self._where = f"--answers_cache {folder}"
        self._reading = threading.Lock()
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._reader, self._writer = _connection(self._path), _connection(self._path)
        except (OSError, sqlite3.Error) as error:
            raise RefusedError(
                f"{self._where}: expected a folder for answers, found: {error}; name another one"
            ) from error
        self._waiting: queue.SimpleQueue[_Put | None] = queue.SimpleQueue()
        self._closing = threading.Lock()
        self._closed = False
        self._thread = threading.Thread(target=self._write, name="answers cache", daemon=True)
        self._thread.start()

    def __enter__(self) -> AnswersCache:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __len__(self) -> int:
        with self._reading, self._complained():
            return self._reader.execute("SELECT count(*) FROM answers").fetchone()[0]

    def get_many(self, keys: Iterable[bytes]) -> dict[bytes, Answer]:
        """Those of the answers that are there.

        Raises:
          JobError: the file cannot be read.
        """
        wanted = [*dict.fromkeys(keys)]
        found: dict[bytes, Answer] = {}
        for at in range(0, len(wanted), MOST_VARIABLES):
            some = wanted[at : at + MOST_VARIABLES]
            marks = ",".join("?" * len(some))
            with self._reading, self._complained():
                rows = self._reader.execute(
                    f"SELECT * FROM answers WHERE key IN ({marks})",  # noqa: S608 - marks only
                    some,
                ).fetchall()
            found |= {
                key: Answer(label, _array(data), *tokens) for key, label, data, *tokens in rows
            }
        return found

    def put(self, key: bytes, answer: Answer) -> None:
        """Keeps an answer; returns when it is there to stay.

        Raises:
          JobError: it cannot be written.
        """
        self.submit(key, answer).result()

    def submit(self, key: bytes, answer: Answer) -> Future[None]:
        """As `put`, without waiting: the future ends, or fails, when `put` would."""
        data = answer.probabilities.astype("<f4").tobytes()
        row = (key, answer.label, data, answer.tokens_in, answer.tokens_out)
        with self._closing:
            if self._closed:
                raise JobError(f"{self._where}: expected no answers after its end, found one")
            put = _Put(row, Future())
            self._waiting.put(put)
        return put.done

    def close(self) -> None:
        """Writes what waits, and closes the file."""
        with self._closing:
            if self._closed:
                return
            self._closed = True
            self._waiting.put(None)
        self._thread.join()
        self._writer.close()
        with self._reading:
            self._reader.close()

    def _write(self) -> None:
        """Writes what waits, all of it in one transaction, until the end."""
        ended = False
        while not ended:
            group = [self._waiting.get()]
            while len(group) < MOST_IN_A_GROUP and not self._waiting.empty():
                group.append(self._waiting.get())
            puts = [put for put in group if put]
            ended = len(puts) < len(group)
            if puts:
                self._commit(puts)

    def _commit(self, puts: Sequence[_Put]) -> None:
        failure = None
        try:
            with self._complained(), self._writer:
                self._writer.execute("BEGIN IMMEDIATE")
                self._writer.executemany(
                    "INSERT OR IGNORE INTO answers VALUES (?, ?, ?, ?, ?)",
                    [put.row for put in puts],
                )
        except JobError as error:
            failure = error
        for put in puts:
            if put.done.set_running_or_notify_cancel():
                put.done.set_exception(failure) if failure else put.done.set_result(None)

    @contextlib.contextmanager
    def _complained(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            raise JobError(
                f"{self._where}: expected to read and write answers, found: {error}; see to the "
                "disk or name another folder, then go on with --resume"
            ) from error


@dataclass(frozen=True)
class _Put:
    row: tuple[bytes, str, bytes, int, int]
    done: Future[None]


def _array(data: bytes) -> Float32:
    return np.frombuffer(data, "<f4").astype(np.float32)


def _connection(path: Path) -> sqlite3.Connection:
    """A connection that commits when told to, for one thread at a time."""
    connection = sqlite3.connect(
        path, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False
    )
    end = time.monotonic() + BUSY_SECONDS
    while True:
        try:
            # Of processes that begin at once, one switches the log on; SQLite lets none wait.
            mode = connection.execute("PRAGMA journal_mode=WAL").fetchone()[0]
            connection.execute("PRAGMA synchronous=NORMAL")
            connection.execute(_TABLE)
        except sqlite3.OperationalError as error:
            if "locked" not in str(error) or time.monotonic() > end:
                raise
            time.sleep(0.02)
            continue
        if mode != "wal":
            raise sqlite3.OperationalError("the drive does not allow a shared write-ahead log")
        return connection
