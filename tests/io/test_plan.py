import hypothesis.strategies as st
from hypothesis import given

from tango_beam.io import plan
from tango_beam.io import planned as planned_files
from tango_beam.io.files import InputFile
from tango_beam.io.planned import PlannedFile

PARQUET = st.lists(st.tuples(st.integers(0, 500), st.integers(1, 5000)), max_size=5).map(
    lambda groups: PlannedFile(InputFile("p", 1, "", "parquet"), tuple(groups))
)
JSONL = st.integers(0, 9000).map(lambda size: PlannedFile(InputFile("j", size, "", "jsonl")))
GZIP = st.integers(0, 9000).map(lambda size: PlannedFile(InputFile("g", size, "", "jsonl", "gzip")))


def covered(items, index, group):
    return sorted(
        (piece.start, piece.stop)
        for item in items
        for piece in item.slices
        if (piece.file, piece.row_group) == (index, group)
    )


@given(st.lists(PARQUET | JSONL | GZIP, max_size=6), st.integers(1, 4000))
def test_slices_cover_every_row_and_byte_once(files, checkpoint_bytes):
    items = plan.plan_items(files, checkpoint_bytes)
    for index, planned in enumerate(files):
        if planned.file.compression:
            streams = [item for item in items if item.stream and item.slices[0].file == index]
            assert len(streams) == 1
            continue
        groups = list(enumerate(rows for rows, _ in planned.row_groups))
        if planned.file.format == "jsonl":
            groups = [(-1, planned.file.size)]
        for group, total in groups:
            at = 0
            for start, stop in covered(items, index, group):
                assert start == at < stop
                at = stop
            assert at == total


@given(st.lists(PARQUET | JSONL | GZIP, max_size=6), st.integers(1, 4000))
def test_items_follow_the_input_and_small_slices_share_one(files, checkpoint_bytes):
    items = plan.plan_items(files, checkpoint_bytes)
    keys = [(p.file, p.row_group, p.start) for item in items for p in item.slices]
    assert keys == sorted(keys)
    for item in items:
        assert len(item.slices) == 1 or item.weight <= checkpoint_bytes


@given(st.lists(PARQUET | JSONL | GZIP, max_size=4))
def test_files_survive_json(files):
    assert [planned_files.from_json(planned_files.to_json(planned)) for planned in files] == files


@given(st.integers(0, 2**30), st.integers(0, 2**32 - 1))
def test_a_checkpoints_number_tells_item_and_index(item, index):
    assert plan.item_of(plan.number(item, index)) == (item, index)
