"""Rows parted on disk by a hash of their keys, so that only a bucket of them is held in memory."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from tango_beam.comparing.outputs import KEY

_PRIME = np.uint64(0x100000001B3)
_MIX = np.uint64(0x9E3779B97F4A7C15)


def hashes(keys: pa.LargeBinaryArray) -> npt.NDArray[np.uint64]:
    """A hash of each key, shape [keys]: a polynomial of its bytes, the same on every machine."""
    offsets = np.frombuffer(keys.buffers()[1], np.int64)[keys.offset : keys.offset + len(keys) + 1]
    if not len(keys) or offsets[-1] == offsets[0]:
        return np.zeros(len(keys), np.uint64)
    data = np.frombuffer(keys.buffers()[2], np.uint8)[offsets[0] : offsets[-1]]
    ends, lengths = offsets - offsets[0], np.diff(offsets)
    powers = np.cumprod(np.full(int(lengths.max()), _PRIME))
    places = np.arange(len(data)) - np.repeat(ends[:-1], lengths)
    terms = (data.astype(np.uint64) + np.uint64(1)) * powers[places]
    sums = np.concatenate([np.zeros(1, np.uint64), np.cumsum(terms)])
    found = (sums[ends[1:]] - sums[ends[:-1]]) * _MIX
    return (found ^ (found >> np.uint64(32))) * _MIX >> np.uint64(32)


def part(batches: Iterable[pa.RecordBatch], folder: Path, count: int) -> None:
    """Writes rows to `count` files of a folder, by their keys' hashes."""
    folder.mkdir()
    writers: dict[int, pa.ipc.RecordBatchStreamWriter] = {}
    try:
        for batch in batches:
            if not batch.num_rows:
                continue
            bucket = (hashes(batch.column(KEY)) % np.uint64(count)).astype(np.int64)
            order = np.argsort(bucket, kind="stable")
            ordered = batch.take(pa.array(order))
            numbers, starts = np.unique(bucket[order], return_index=True)
            stops = [*starts[1:], batch.num_rows]
            for number, start, stop in zip(numbers.tolist(), starts, stops, strict=True):
                if number not in writers:
                    writers[number] = pa.ipc.new_stream(str(_path(folder, number)), batch.schema)
                writers[number].write_batch(ordered.slice(start, stop - start))
    finally:
        for writer in writers.values():
            writer.close()


def read(folder: Path, number: int) -> pa.Table | None:
    """The rows of a bucket; None where it has none."""
    path = _path(folder, number)
    if not path.exists():
        return None
    with pa.ipc.open_stream(str(path)) as stream:
        return stream.read_all().combine_chunks()


def _path(folder: Path, number: int) -> Path:
    return folder / f"{number}.arrow"
