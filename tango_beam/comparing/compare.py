"""Compares two runs: checks both, parts their rows by key, and joins bucket by bucket."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path

from tango_beam.answers.task import SPAN
from tango_beam.comparing import buckets, differences, outputs
from tango_beam.comparing.changed_rows import ChangedRows, refuse_what_is_there
from tango_beam.comparing.differences import Differences
from tango_beam.comparing.options import CompareOptions
from tango_beam.comparing.outputs import Output
from tango_beam.comparing.report import Report, make_report
from tango_beam.errors import RefusedError

# A bucket of each run is held in memory: about so many rows, and stored bytes, of the larger run.
_BUCKET_ROWS, _BUCKET_BYTES = 1 << 18, 32 << 20
# Each is a file that is open while rows are parted; a process may usually open a thousand.
_MOST_BUCKETS = 512


def compare(options: CompareOptions) -> Report:
    """Compares two runs, and writes the changed rows where that is asked for.

    Raises:
      RefusedError: says which run, what was expected and what was found.
    """
    a, b = outputs.open_output(options.a), outputs.open_output(options.b)
    _refuse_what_cannot_be_matched(a, b, options.key)
    if options.output is not None:
        refuse_what_is_there(options.output, options.overwrite)
    texts = a.texts if options.examples or options.output else ()
    found = Differences()
    with (
        tempfile.TemporaryDirectory(prefix="tango_beam_compare_") as work,
        ChangedRows(options.output, options.key, a, Path(work)) as changed,
    ):
        _join(a, b, options, texts, Path(work), found, changed)
    if a.task.kind == SPAN:
        found.pairs.clear()
    return make_report(a, b, options.key, found)


def _refuse_what_cannot_be_matched(a: Output, b: Output, key: str | None) -> None:
    if a.store.address == b.store.address:
        raise RefusedError(f"expected two runs, found {a.name} twice")
    if a.task.kind != b.task.kind:
        raise RefusedError(
            f"expected answers of one kind, found {a.task.kind} in {a.name} and {b.task.kind} in "
            f"{b.name}"
        )
    for one in (a, b):
        if key is not None:
            outputs.refuse_key(one, key)
        elif not one.source:
            raise RefusedError(
                f"{one.name}: expected the source columns, by which rows are matched, found none; "
                "name a column that tells rows apart with --key, or classify with --source_columns"
            )


def _join(
    a: Output,
    b: Output,
    options: CompareOptions,
    texts: Sequence[str],
    work: Path,
    found: Differences,
    changed: ChangedRows,
) -> None:
    count = _bucket_count(a, b)
    sides = (a, texts, work / "a"), (b, (), work / "b")
    for run, passed, folder in sides:
        buckets.part(outputs.read_rows(run, options.key, passed), folder, count)
    for number in range(count):
        tables = [buckets.read(folder, number) for _, _, folder in sides]
        there = next((table for table in tables if table is not None), None)
        if there is None:
            continue
        first, second = (there.slice(0, 0) if table is None else table for table in tables)
        for run, table in (a, first), (b, second):
            differences.refuse_twins(table, run.name, options.key)
        tolerance = a.task.tolerance
        changed.write(differences.compare(first, second, found, options.examples, tolerance))


def _bucket_count(a: Output, b: Output) -> int:
    files = [one.manifest.files for one in (a, b)]
    rows = max(sum(file.rows for file in some) for some in files)
    size = max(sum(file.bytes for file in some) for some in files)
    return min(_MOST_BUCKETS, max(1, -(-rows // _BUCKET_ROWS), -(-size // _BUCKET_BYTES)))
