"""Files appear whole or not at all, and none once a run was stopped."""

import threading

import pytest

from tango_beam.run.store import TEMPORARY, Store


def test_a_file_appears_when_it_is_published(tmp_path):
    publication = Store(str(tmp_path)).create("part-0")
    publication.file.write(b"whole")
    assert not (tmp_path / "part-0").exists()
    assert publication.publish() == 5
    assert (tmp_path / "part-0").read_bytes() == b"whole"


def test_a_stopped_run_publishes_nothing_more(tmp_path):
    store = Store(str(tmp_path / "out"))
    publication = store.create("part-0")
    Store(str(tmp_path / "out")).abandon()
    for late in (publication.publish, lambda: store.create("part-1")):
        with pytest.raises(OSError, match="the run that wrote here was stopped"):
            late()
    assert not list((tmp_path / "out").iterdir())
    Store(str(tmp_path / "other")).create("part-0").publish()


def test_clearing_up_beside_threads_that_go_on_writing_leaves_nothing_unfinished(tmp_path):
    store = Store(str(tmp_path / "out"))
    busy = threading.Barrier(5)

    def write(number):
        busy.wait()
        with pytest.raises(OSError, match="was stopped"):
            for count in range(100_000):
                store.create(f"part-{number}-{count}").publish()

    threads = [threading.Thread(target=write, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    busy.wait()
    while not list((tmp_path / "out").glob("part-*")):
        pass
    store.abandon()
    for thread in threads:
        thread.join()
    assert not (tmp_path / "out" / TEMPORARY).exists()
