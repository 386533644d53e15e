import hypothesis
import pytest
from hypothesis import strategies as st

from tango_beam.run import receipts
from tango_beam.run.layout import RECEIPTS
from tango_beam.run.receipts import Receipt, StoredFile
from tango_beam.run.store import Store


@pytest.fixture
def store(tmp_path):
    return Store(str(tmp_path / "out"))


def leave(store, checkpoint, attempt, **rows):
    for step, count in rows.items():
        receipts.publish(store, Receipt(checkpoint, attempt, step, count))


def committed(store):
    return receipts.committed(store.names(RECEIPTS))


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
    names = store.names(RECEIPTS)
    kept = receipts.load(store, receipts.of_attempts(names, {1: 8}))
    assert {receipt.attempt for receipt in kept} == {8}


def test_several_receipts_of_one_sink_add_up(store):
    leave(store, 1, 7, read=5)
    leave(store, 1, 7, accepted=2)
    leave(store, 1, 7, accepted=3)
    assert committed(store) == {1: 7}


def deliver(store, parcel, delivery, held, **rows):
    for step, count in rows.items():
        receipt = Receipt(1, 7, step, count, parcel=parcel, delivery=delivery, parcel_rows=held)
        receipts.publish(store, receipt)


def test_a_parcel_counts_once_however_often_it_is_delivered(store):
    leave(store, 1, 7, read=10, accepted=4)
    deliver(store, 3, 31, 4, escalated=3)
    deliver(store, 5, 51, 2, escalated=2)
    assert committed(store) == {}
    deliver(store, 3, 32, 4, escalated=2)
    assert committed(store) == {}  # 2 + 3 + 2 rows of parcels: no delivery of the first is whole
    deliver(store, 3, 32, 4, escalated=2)
    deliver(store, 5, 50, 2, escalated=1, dead=1)
    assert committed(store) == {1: 7}
    kept = receipts.of_attempts(store.names(RECEIPTS), {1: 7})
    loaded = receipts.load(store, kept)
    assert {receipt.delivery for receipt in loaded} == {0, 32, 50}
    assert sum(receipt.rows for receipt in loaded) == 20


@hypothesis.given(st.data())
def test_what_counts_is_every_row_once(data):
    """Whatever was delivered again, cut short or not at all."""
    sizes = data.draw(st.lists(st.integers(1, 9), min_size=1, max_size=5))
    names, whole = [f"{1:016x}.{7:016x}.read.{sum(sizes)}.u.json"], set()
    for parcel, size in enumerate(sizes, start=1):
        for delivery in range(data.draw(st.integers(0, 3))):
            stored = data.draw(st.integers(1, size))
            unique = f"{parcel:x}-{100 * parcel + delivery:x}-{size}-{delivery}"
            names.append(f"{1:016x}.{7:016x}.escalated.{stored}.{unique}.json")
            whole |= {parcel} if stored == size else set()
    names = data.draw(st.permutations(names))
    done = receipts.committed(names)
    assert done == ({1: 7} if len(whole) == len(sizes) else {})
    if done:
        kept = [name.split(".") for name in receipts.of_attempts(names, done)]
        stored = [int(name[3]) for name in kept if name[2] == "escalated"]
        assert sum(stored) == sum(sizes) and len(stored) == len(sizes)


def test_an_empty_checkpoint_needs_no_sink(store):
    leave(store, 4, 7, read=0)
    assert committed(store) == {4: 7}


def test_a_receipt_survives_storage(store):
    receipt = Receipt(5, 6, "dead", 2, files=(StoredFile("x", 2, 9),), errors={"e": 2})
    name = receipts.publish(store, receipt)
    assert receipts.load(store, [name]) == [receipt]
