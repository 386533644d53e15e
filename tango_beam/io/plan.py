"""The input cut into checkpoints: a fixed grid, the same for every run over the same input.

An item is what one checkpoint reads: a few slices of files that together hold about
`checkpoint_bytes`. A file that is read as a stream (a compressed one, a CSV) is an item of its own,
read in several checkpoints; nobody knows how many before it is read. A checkpoint's number is
`item << 32 | index within the item`. Numbers ascend along the input, so a range of them is a
restriction from which a splittable DoFn can claim.
"""

from __future__ import annotations

from collections.abc import Sequence

from tango_beam.io.formats import FORMATS
from tango_beam.io.planned import Item, PlannedFile, Slice

INDEX_BITS = 32


def number(item: int, index: int = 0) -> int:
    """A checkpoint's number."""
    return item << INDEX_BITS | index


def item_of(checkpoint: int) -> tuple[int, int]:
    """Item, and index within it, of a checkpoint's number."""
    return checkpoint >> INDEX_BITS, checkpoint & ((1 << INDEX_BITS) - 1)


def plan_items(files: Sequence[PlannedFile], checkpoint_bytes: int) -> list[Item]:
    """Cuts files into items of about `checkpoint_bytes`, in order.

    Raises:
      ValueError: checkpoint_bytes under 1.
    """
    if checkpoint_bytes < 1:
        raise ValueError(f"expected checkpoint_bytes of at least 1, found {checkpoint_bytes}")
    items: list[Item] = []
    pending: list[Slice] = []
    held = 0

    def flush() -> None:
        nonlocal held
        if pending:
            items.append(Item(tuple(pending), held))
        pending.clear()
        held = 0

    for index, planned in enumerate(files):
        kind = FORMATS[planned.file.format]
        if kind.is_stream(planned.file):
            flush()
            stream = Slice(index, kind.stream_group, 0, planned.stop)
            items.append(Item((stream,), max(1, planned.file.size), stream=True))
            continue
        for piece, weight in kind.pieces(index, planned, checkpoint_bytes):
            if held + weight > checkpoint_bytes:
                flush()
            pending.append(piece)
            held += weight
    flush()
    return items
