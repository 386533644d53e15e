"""One writer at a time: who writes to an output directory says so there, and keeps saying it."""

from __future__ import annotations

import contextlib
import logging
import os
import socket
import time
import uuid
from pathlib import Path
from typing import Any

from tango_beam.errors import JobError, RefusedError
from tango_beam.run.layout import LEASE
from tango_beam.run.store import Store

logger = logging.getLogger(__name__)

# A driver renews its lease so often; one that has not been renewed for so long has ended.
EVERY_SECONDS = 10.0
STALE_SECONDS = 60.0


class Lease:
    """A claim on an output directory, as a file in it. A context that gives up what was taken."""

    def __init__(self) -> None:
        self._store: Store | None = None
        self._owner = uuid.uuid4().hex
        self._renewed = 0.0

    def __enter__(self) -> Lease:
        return self

    def __exit__(self, *_: object) -> None:
        if self._store:
            with contextlib.suppress(OSError):
                if (_read(self._store) or {}).get("owner") == self._owner:
                    self._store.delete([LEASE])

    def take(self, store: Store) -> None:
        """Takes the lease on an output directory.

        Raises:
          RefusedError: another run is alive there; OSError: the directory cannot be written.
        """
        held = _read(store)
        if held and _alive(held):
            raise RefusedError(
                f"--output {store.url}: expected no other run to write there, found process "
                f"{held['process']} on {held['host']}, last heard of "
                f"{max(0.0, time.time() - held['renewed']):.0f} s ago"
            )
        self._write(store)
        # Of two that came at once the later writer holds it, and the other one sees that here.
        now = _read(store) or {}
        if now.get("owner") != self._owner:
            raise RefusedError(f"--output {store.url}: another run has just begun there")
        self._store = store

    def renew(self) -> None:
        """Renews the lease if it is time to; a storage that fails for a moment is tried again.

        Raises:
          JobError: another run has taken the lease, since this one was silent for too long.
        """
        if not self._store or time.monotonic() - self._renewed < EVERY_SECONDS:
            return
        try:
            held = _read(self._store)
            if held and held.get("owner") != self._owner:
                raise JobError(
                    f"{self._store.url}: process {held['process']} on {held['host']} has taken over"
                )
            self._write(self._store)
        except OSError as error:
            self._renewed = time.monotonic()
            logger.warning("the lease on %s could not be renewed: %s", self._store.url, error)

    def _write(self, store: Store) -> None:
        self._renewed = time.monotonic()
        store.put_json(
            LEASE,
            {
                "owner": self._owner,
                "host": socket.gethostname(),
                "process": os.getpid(),
                "started": _started(os.getpid()),
                "renewed": time.time(),
            },
        )


def is_held(store: Store) -> bool:
    """Whether somebody who is alive writes to an output directory."""
    held = _read(store)
    return held is not None and _alive(held)


def _read(store: Store) -> dict[str, Any] | None:
    for _ in range(5):
        try:
            return store.read_json(LEASE)
        except ValueError:
            time.sleep(0.1)  # it is being written
    return None


def _alive(held: dict[str, Any]) -> bool:
    if time.time() - held["renewed"] > STALE_SECONDS:
        return False
    if held["host"] != socket.gethostname():
        return True
    try:
        os.kill(held["process"], 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    # A restarted container gives the same number to another process.
    return held.get("started") in (None, _started(held["process"]))


def _started(process: int) -> str | None:
    """When a process began, in ticks since the machine did; None where /proc does not say."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()[19]
    except (OSError, IndexError):
        return None
