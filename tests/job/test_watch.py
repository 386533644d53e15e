"""Progress: from this process's own counts, or from receipts of other processes."""

import json
import logging
import os
import pty
import re
import struct
import sys
import termios
from fcntl import ioctl

import pytest
from rich.table import Table

from pipelines import classify
from tango_beam import command_line, logs, progress, terminal
from tango_beam.io.planned import Item
from tango_beam.job import watch
from tango_beam.job.pace import WINDOW_SECONDS, Pace, Seen
from tango_beam.job.watch import Watch
from tango_beam.run import receipts
from tango_beam.run.receipts import Receipt
from tango_beam.run.store import Store
from tango_beam.terminal import StatusLine
from tests import jobs

NOTHING = receipts.Progress()
PLAIN = [Item((), 250)] * 4


@pytest.fixture
def store(tmp_path):
    return Store(str(tmp_path / "out"))


@pytest.fixture
def clock(monkeypatch):
    """A clock that the test sets, in seconds."""
    now = [0.0]
    monkeypatch.setattr(watch.time, "monotonic", lambda: now[0])
    return now


@pytest.fixture
def said(clock, capsys, monkeypatch):
    """Lets time pass; returns the figures that a log collector then gets, or none."""
    monkeypatch.setattr(logs, "_chosen", ["json"])

    def at(seconds, watched):
        clock[0] = seconds
        watched.tick()
        lines = capsys.readouterr().err.splitlines()
        assert len(lines) <= 1
        return json.loads(lines[0]) if lines else None

    return at


def leave(store, checkpoint, weight=0, last=True, **rows):
    for step, count in rows.items():
        receipts.publish(store, Receipt(checkpoint, 1, step, count, weight=weight, last=last))


def test_what_this_process_did_is_told_once_a_minute(store, said):
    with Watch(PLAIN, store, NOTHING) as watched:
        progress.board.took_in(32, 250, dead=1)
        progress.board.answered(1, 15, failed=1)
        progress.board.answered(2, 5)
        assert said(59, watched) is None
        told = said(60, watched)
        assert said(61, watched) is None
    assert (told["rows"], told["share"], told["dead"]) == (22, 0.25, 2)
    assert (told["escalated"], told["escalation_rate"]) == (5, 0.25)
    assert told["rows_a_second"] == pytest.approx(22 / 60, abs=1e-3)
    assert told["seconds_left"] == 180
    assert told["message"] == ("22 rows (25.0%), 0/s, 25.0% escalated, 2 dead, about 3 min left")


def test_a_run_that_goes_on_counts_what_earlier_ones_did_and_not_in_its_rate(store, said):
    leave(store, 0, read=100, accepted=60, escalated=39, dead=1)
    with Watch(PLAIN, store, receipts.progress(store)) as watched:
        progress.board.took_in(60, 250)
        progress.board.answered(1, 60)
        told = said(60, watched)
    assert (told["rows"], told["share"], told["dead"], told["escalated"]) == (160, 0.5, 1, 39)
    assert (told["rows_a_second"], told["seconds_left"]) == (1.0, 120)


def test_where_other_processes_work_their_receipts_tell(store, said):
    with Watch([Item((), 500), Item((), 1000, stream=True)], store, NOTHING) as watched:
        assert said(60, watched)["message"] == "no row is stored yet"
        leave(store, 0, read=50, accepted=30, escalated=15, dead=5)
        stream = 1 << 32
        leave(store, stream, weight=400, last=False, read=20, accepted=10, audited=10)
        leave(store, stream + 1, weight=100, last=False, read=20, accepted=10)  # half is stored
        told = said(120, watched)
        assert (told["rows"], told["escalated"], told["dead"]) == (70, 15, 5)
        assert told["share"] == pytest.approx(900 / 1500, abs=1e-6)
        leave(store, stream + 1, weight=100, last=True, escalated=10, read=0)
        assert said(180, watched)["share"] == 1.0


def test_a_store_that_cannot_be_listed_for_a_while_ends_nothing(store, said, monkeypatch):
    leave(store, 0, read=5, accepted=5)
    with Watch(PLAIN, store, NOTHING) as watched:
        assert said(60, watched)["rows"] == 5
        with monkeypatch.context() as failing:
            failing.setattr(Store, "names", _fails)
            assert said(120, watched)["rows"] == 5
        leave(store, 1, read=2, accepted=2)
        assert said(180, watched)["rows"] == 7


def _fails(*_):
    raise OSError("throttled")


def test_a_rate_forgets_what_is_long_past():
    pace = Pace(0.0, Seen())
    pace.figures(100.0, Seen(0.1, answered=10))  # a slow start
    for second in range(101, 400):
        found = pace.figures(second, Seen(0.1 + second / 1000, answered=10 + 50 * (second - 100)))
    assert found.rate == pytest.approx(50)
    assert found.seconds_left == pytest.approx((1 - 0.499) * 1000)
    assert 399 - pace._moments[0][0] < WINDOW_SECONDS + 1


def test_an_endpoint_s_price_is_told_with_what_it_will_be():
    told = Pace(0.0, Seen()).figures(10.0, Seen(0.25, 100, 100, calls=120, price=2.0))
    assert "120 calls, 2.00 spent of about 8.00" in told.line()
    assert (told.fields()["calls"], told.fields()["price"]) == (120, 2.0)


def test_the_line_stays_within_a_terminal_whose_width_changes():
    leader, follower = pty.openpty()
    with os.fdopen(follower, "w") as stream:
        line = StatusLine(stream)
        for width in (60, 30, 12, 60):
            ioctl(follower, termios.TIOCSWINSZ, struct.pack("HHHH", 24, width, 0, 0))
            line.draw(0.25, "22 rows (25.0%), 7/s, 0 dead")
            drawn = os.read(leader, 4096).decode()
            # The cursor is left at the start, so that what is cut in two is cleared whole.
            assert drawn.startswith("\x1b[J") and drawn.endswith("\r")
            shown = drawn[3:-1]
            assert len(shown) < width and not set("\r\n") & set(shown)
            assert ("━━━━━─" in shown, "0 dead" in shown) == (width > 50, width > 28)
        line.clear()
        assert os.read(leader, 4096) == b"\x1b[J"


def test_a_terminal_gets_the_line_and_a_file_none(store, clock, capsys, monkeypatch):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    monkeypatch.setattr(sys.stderr, "fileno", lambda: pty.openpty()[1], raising=False)
    with Watch(PLAIN, store, NOTHING) as watched:
        watched.tick()
        assert "no row is stored yet\r" in capsys.readouterr().err
    monkeypatch.setenv("TERM", "dumb")
    with Watch(PLAIN, store, NOTHING) as watched:
        watched.tick()
        assert capsys.readouterr().err == "\x1b[J"  # of the one before, at its end


@pytest.fixture
def text_again(monkeypatch):
    """The form of lines is the process's: puts it back behind a test that changes it."""
    monkeypatch.setattr(logs, "_chosen", ["text"])


def test_a_log_collector_gets_json_and_nothing_else(cascade, tmp_path, capsys, text_again):
    rows = [{"text": "a good film"}, {"text": None}]
    path = jobs.write_jsonl(tmp_path / "in.jsonl", rows)
    given = jobs.arguments(cascade, path, tmp_path / "out", "--log_format", "json")
    assert classify.main([*given, "--max_dead_fraction", "0.1"]) == 3
    ended, failed = map(json.loads, capsys.readouterr().err.splitlines())
    assert (ended["message"], ended["read"], ended["dead"]) == ("ended", 2, 1)
    assert ended["output"] == str(tmp_path / "out") and ended["rows_a_second"] > 0
    assert (failed["level"], failed["message"][:6]) == ("error", "failed")
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", failed["time"])


@pytest.mark.parametrize(
    ("given", "level", "said"),
    [
        (["--input", "x", "--output", "y", "--threshold", "2"], "error", "refused: --threshold: "),
        (["--input", "x", "--outputs", "y"], "error", "refused: "),
    ],
)
def test_an_error_in_an_option_is_json_as_well(given, level, said, capsys, monkeypatch, text_again):
    codes = []
    monkeypatch.setattr(command_line, "leave", codes.append)
    for form in (["--log_format", "json"], ["--log_format=json"]):
        command_line.run_main(lambda form=form: classify.main([*given, *form]))
    for line in map(json.loads, capsys.readouterr().err.splitlines()):
        assert (line["level"], line["exit_code"]) == (level, 2) and line["message"].startswith(said)
    assert codes == [2, 2]


def test_a_table_and_a_warning_are_json_as_well(capsys, monkeypatch):
    monkeypatch.setattr(logs, "_chosen", ["json"])
    table = Table(title="tiers")
    table.add_column("tier")
    table.add_column("[bold]rows")
    table.add_row("1", "[green]9")
    terminal.show(table)
    record = logging.makeLogRecord({"levelname": "WARNING", "msg": "late", **logs.figures(rows=3)})
    shown = json.loads(capsys.readouterr().err), json.loads(logs.Lines().format(record))
    assert (shown[0]["message"], shown[0]["rows"]) == ("tiers", [{"tier": "1", "rows": "9"}])
    assert (shown[1]["level"], shown[1]["message"], shown[1]["rows"]) == ("warning", "late", 3)
