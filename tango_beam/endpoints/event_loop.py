"""The one event loop of a process in which endpoints are asked, in a thread of its own."""

from __future__ import annotations

import asyncio
import os
import threading

_lock = threading.Lock()
_running: tuple[int, asyncio.AbstractEventLoop] | None = None


def event_loop() -> asyncio.AbstractEventLoop:
    """The loop, which is started by whoever comes first; ends with the process."""
    global _running
    with _lock:
        # A forked process has the loop, but not the thread that it ran in.
        if _running is None or _running[0] != os.getpid():
            loop = asyncio.new_event_loop()
            threading.Thread(target=loop.run_forever, name="endpoints", daemon=True).start()
            _running = os.getpid(), loop
        return _running[1]
