"""One writer at a time: who holds an output directory, for how long, and who may take it over."""

import logging
import os
import socket
import subprocess
import sys
import time

import pytest

from tango_beam.errors import JobError, RefusedError
from tango_beam.run import lease
from tango_beam.run.layout import LEASE
from tango_beam.run.lease import Lease
from tango_beam.run.store import Store


@pytest.fixture
def store(tmp_path):
    return Store(str(tmp_path / "out"))


def held(store):
    return store.read_json(LEASE)


def hold(store, **changes):
    """A lease that somebody else left in the directory."""
    stored = {
        "owner": "somebody",
        "host": socket.gethostname(),
        "process": os.getpid(),
        "started": lease._started(os.getpid()),
        "renewed": time.time(),
    }
    store.put_json(LEASE, stored | changes)


def test_a_lease_says_who_writes_and_is_given_up_at_the_end(store):
    with Lease() as mine:
        mine.take(store)
        assert held(store)["process"] == os.getpid()
        assert held(store)["host"] == socket.gethostname()
    assert store.read_json(LEASE) is None


def test_a_second_writer_is_refused_while_the_first_is_alive(store):
    with Lease() as first:
        first.take(store)
        with pytest.raises(RefusedError, match=rf"found process {os.getpid()} on"):
            Lease().take(store)
    Lease().take(store)  # the first has given it up


def test_a_lease_of_a_process_that_is_gone_may_be_taken(store):
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    hold(store, process=gone.pid)
    Lease().take(store)
    assert held(store)["process"] == os.getpid()


def test_a_number_that_went_to_another_process_is_no_claim(store):
    hold(store, started="1")  # this process began at another time
    Lease().take(store)


def test_a_lease_of_another_machine_holds_until_it_is_stale(store):
    hold(store, host="elsewhere")
    with pytest.raises(RefusedError, match="on elsewhere, last heard of"):
        Lease().take(store)
    hold(store, host="elsewhere", renewed=time.time() - lease.STALE_SECONDS - 1)
    Lease().take(store)


def test_it_is_renewed_when_it_is_time_to(store, monkeypatch):
    with Lease() as mine:
        mine.take(store)
        before = held(store)["renewed"]
        mine.renew()
        assert held(store)["renewed"] == before
        monkeypatch.setattr(lease, "EVERY_SECONDS", 0.0)
        mine.renew()
        assert held(store)["renewed"] > before


def test_who_has_lost_the_lease_stops_and_leaves_it_alone(store, monkeypatch):
    monkeypatch.setattr(lease, "EVERY_SECONDS", 0.0)
    with Lease() as mine:
        mine.take(store)
        hold(store, process=4, host="elsewhere")
        with pytest.raises(JobError, match="process 4 on elsewhere has taken over"):
            mine.renew()
    assert held(store)["owner"] == "somebody"


def test_a_storage_that_fails_for_a_moment_is_a_warning(store, monkeypatch, caplog):
    monkeypatch.setattr(lease, "EVERY_SECONDS", 0.0)
    with Lease() as mine:
        mine.take(store)
        with monkeypatch.context() as patch, caplog.at_level(logging.WARNING):
            patch.setattr(Store, "put_json", lambda *_: (_ for _ in ()).throw(OSError("full")))
            mine.renew()
        assert "could not be renewed: full" in caplog.text
        mine.renew()
        assert held(store)["process"] == os.getpid()
