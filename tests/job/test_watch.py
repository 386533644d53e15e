"""Progress on a terminal: from this process's own counts, or from receipts of other processes."""

import sys

import pytest

from tango_beam import progress
from tango_beam.job import watch
from tango_beam.job.watch import Watch
from tango_beam.run import receipts
from tango_beam.run.store import Store


@pytest.fixture
def terminal(monkeypatch):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)


def shown(watched):
    """What the line says: rows, share of the input, share that was escalated."""
    (task,) = watched._shown.tasks
    return task.fields["rows"], round(task.completed, 6), task.fields["escalated"]


def test_what_this_process_did_is_shown(terminal, tmp_path):
    with Watch(1000, 4, Store(str(tmp_path))) as watched:
        watched.tick()
        assert shown(watched) == (0, 0.0, "-")
        progress.board.took_in(30, 250)
        progress.board.answered(1, 15)
        progress.board.answered(2, 5)
        watched.tick()
        assert shown(watched) == (20, 0.25, "25.0%")
    with Watch(1000, 4, Store(str(tmp_path))) as watched:
        watched.tick()
        assert shown(watched) == (0, 0.0, "-")  # a new run counts anew


def test_where_other_processes_work_receipts_are_counted(terminal, tmp_path, monkeypatch):
    clock = [0.0]
    monkeypatch.setattr(watch.time, "monotonic", lambda: clock[0])
    monkeypatch.setattr(receipts, "progress", lambda store: (3, 120))
    with Watch(1000, 4, Store(str(tmp_path))) as watched:
        watched.tick()
        assert shown(watched) == (0, 0.0, "-")  # they are listed every two seconds
        clock[0] = 2.0
        watched.tick()
        assert shown(watched) == (120, 0.75, "-")


def test_nothing_is_shown_where_no_terminal_is(tmp_path, capfd):
    with Watch(10, 1, Store(str(tmp_path))) as watched:
        progress.board.took_in(1, 1)
        watched.tick()
    assert capfd.readouterr() == ("", "")
