import pytest

from tango_beam.io import receipts
from tango_beam.io.receipts import Receipt
from tango_beam.io.store import Store


@pytest.fixture
def store(tmp_path):
    return Store(str(tmp_path / "out"))


def leave(store, checkpoint, attempt, **rows):
    for step, count in rows.items():
        receipts.publish(store, Receipt(checkpoint, attempt, step, count))


def committed(store):
    return receipts.committed(store.names(receipts.FOLDER))


def test_a_checkpoint_counts_when_the_sinks_add_up_to_what_was_read(store):
    leave(store, 1, 7, accepted=3, escalated=2)
    assert committed(store) == {}
    leave(store, 1, 7, read=6)
    assert committed(store) == {}
    leave(store, 1, 7, dead=1)
    assert committed(store) == {1: 7}


def test_attempts_are_not_mixed(store):
    leave(store, 1, 7, read=5, accepted=3)
    leave(store, 1, 8, read=5, escalated=2)
    assert committed(store) == {}


def test_of_two_whole_attempts_one_counts_and_it_is_always_the_same(store):
    leave(store, 1, 9, read=1, accepted=1)
    leave(store, 1, 8, read=1, accepted=1)
    assert committed(store) == {1: 8}
    names = store.names(receipts.FOLDER)
    kept = receipts.load(store, receipts.of_attempts(names, {1: 8}))
    assert {receipt.attempt for receipt in kept} == {8}


def test_several_receipts_of_one_sink_add_up(store):
    leave(store, 1, 7, read=5)
    leave(store, 1, 7, accepted=2)
    leave(store, 1, 7, accepted=3)
    assert committed(store) == {1: 7}


def test_an_empty_checkpoint_needs_no_sink(store):
    leave(store, 4, 7, read=0)
    assert committed(store) == {4: 7}


def test_a_receipt_survives_storage(store):
    receipt = Receipt(
        5, 6, "dead", 2, files=[{"name": "x", "rows": 2, "bytes": 9}], errors={"e": 2}
    )
    name = receipts.publish(store, receipt)
    assert receipts.load(store, [name]) == [receipt]
