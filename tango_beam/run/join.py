"""Part files of a size that people choose (`--part_bytes`): small pieces joined at the end.

A sink writes a piece for each checkpoint, since that is what counts or does not count. Once all
checkpoints are committed, which pieces make a part is decided once and written down
(`_joins.json`). Each join then stands alone, on any worker: it writes its part whole, and deletes
its pieces after that. Whoever does it again finds the part there. So a run that is killed goes on
here too, and the room that is needed twice is that of the parts under way.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from tango_beam.json_record import JsonRecord
from tango_beam.run import parts, receipts
from tango_beam.run.layout import JOINS, PART, RECEIPTS
from tango_beam.run.receipts import Receipt, StoredFile
from tango_beam.run.run_file import load_run
from tango_beam.run.store import Store


@dataclass(frozen=True)
class Join(JsonRecord):
    """Pieces that become one part file."""

    name: str
    rows: int
    pieces: tuple[str, ...]


@dataclass(frozen=True)
class Joins(JsonRecord):
    """What was decided: the receipts that count, and the joins of the pieces that they name."""

    receipts: tuple[str, ...]
    joins: tuple[Join, ...]


def plan_joins(files: Sequence[StoredFile], part_bytes: int) -> list[Join]:
    """Which pieces make a part file, in the order of the input.

    A part ends where it is nearest to `part_bytes`. So, of pieces that are no larger, every part
    has between half of it and one and a half times of it; the last of a folder may have less.

    Args:
      files: all pieces, of the data set, of dead letters and of an audit.
      part_bytes: at least 1.

    Returns:
      The joins; a piece that is a part by itself is in none.
    """
    groups: list[list[StoredFile]] = []
    size, folder = 0, None
    for file in sorted(files, key=lambda one: one.name.rpartition("/")):
        inside = file.name.rpartition("/")[0]
        over = size + file.bytes - part_bytes
        if inside != folder or over > part_bytes - size:
            groups.append([])
            size, folder = 0, inside
        groups[-1].append(file)
        size += file.bytes
    return [_join(group) for group in groups if len(group) > 1]


def _join(pieces: Sequence[StoredFile]) -> Join:
    names = tuple(piece.name for piece in pieces)
    folder, _, first = names[0].rpartition("/")
    item, index = first.removeprefix(PART).split("-")[:2]
    suffix = first.rpartition(".")[2]
    unique = hashlib.sha256("\n".join(names).encode()).hexdigest()[:16]
    name = f"{folder}{'/' * bool(folder)}{PART}{item}-{index}-joined-{unique}.{suffix}"
    return Join(name, sum(piece.rows for piece in pieces), names)


def decide(store: Store) -> list[Join]:
    """The run's joins, written down when they are first asked for; none in a run that has ended.

    Raises:
      JobError: not every checkpoint is committed.
    """
    if store.has_ended():
        return []
    decided = _decided(store)
    if decided is None:
        run, counted = load_run(store), count(store)
        receipts.require_every_checkpoint(run.items(), counted.values())
        files = [file for receipt in counted.values() for file in receipt.files]
        joins = plan_joins(files, run.part_bytes) if run.part_bytes else []
        store.write_json(JOINS, Joins(tuple(counted), tuple(joins)).to_json())
        decided = _decided(store)
    return [*decided.joins] if decided else []


def _decided(store: Store) -> Joins | None:
    stored = store.read_json(JOINS)
    return None if stored is None else Joins.from_json(stored)


def count(store: Store) -> dict[str, Receipt]:
    """The receipts that count, by name: those that were decided on, or those that count now."""
    decided = _decided(store)
    if decided is not None:
        names = [*decided.receipts]
    else:
        every = store.names(RECEIPTS)
        names = receipts.of_attempts(every, receipts.committed(every))
    return dict(zip(names, receipts.load(store, names), strict=True))


def execute(store: Store, join: Join) -> None:
    """Joins pieces into a part; may run twice, and twice at once.

    Raises:
      JobError: the pieces hold another number of rows than their receipts say.
    """
    if not store.exists(join.name):
        try:
            parts.join(store, join.name, join.pieces, join.rows)
        except FileNotFoundError:
            if not store.exists(join.name):
                raise
            return  # another worker has just done it
    store.delete([*join.pieces])


def joined(store: Store, files: Sequence[StoredFile]) -> list[StoredFile]:
    """The files with parts in the places of their pieces."""
    decided = _decided(store)
    joins = decided.joins if decided else ()
    pieces = Counter(piece for join in joins for piece in join.pieces)
    stays = [file for file in files if not pieces[file.name]]
    return [*stays, *(StoredFile(one.name, one.rows, store.size(one.name)) for one in joins)]
