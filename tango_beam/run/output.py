"""Opens an output directory: for a new run, over an earlier one, or to go on with one."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from tango_beam.errors import RefusedError
from tango_beam.run import run_file
from tango_beam.run.layout import RUN_FILE
from tango_beam.run.lease import Lease
from tango_beam.run.run_file import Run
from tango_beam.run.store import Store


def open_output(
    output: str,
    run: Run,
    *,
    overwrite: bool = False,
    resume: bool = False,
    spelled: Collection[str] = (),
    lease: Lease | None = None,
) -> Store:
    """Makes or empties the output directory and writes `_run.json`; leaves a run to resume alone.

    Args:
      output: path or URL.
      run: what is to be run.
      overwrite: replaces an earlier run.
      resume: goes on with the run that was begun there, if it is this one.
      spelled: options that a resumed run may spell in another way.
      lease: taken before anything is changed there.

    Raises:
      RefusedError: it holds something, or cannot be written, or another run than this one, or
        somebody else is writing there.
    """
    try:
        store = Store(output)
        inside = [entry.file.path for entry in run.input.files if store.holds(entry.file.path)]
        if inside:
            raise RefusedError(f"--output {output}: expected no input in it, found {inside[0]}")
        begun = store.read_json(RUN_FILE) if resume else None
        # Nothing but an empty `_run.json`: it was killed before it had begun.
        again = overwrite or begun is not None
        if begun:
            _refuse_another_run(output, run, begun, spelled)
        else:
            store.refuse_what_is_there(again)
        if lease:
            lease.take(store)
        if begun:
            store.reopen()
            return store
        store.prepare(again)
    except (OSError, ValueError, ImportError) as error:
        if isinstance(error, RefusedError):
            raise
        raise RefusedError(
            f"--output {output}: expected a directory to write in, found {error}"
        ) from error
    run.save(store)
    return store


def _refuse_another_run(
    output: str, run: Run, begun: dict[str, Any], spelled: Collection[str]
) -> None:
    differs = run_file.differences(begun, run, spelled)
    if differs:
        shown = "; ".join(differs[:8])
        more = f"; and {len(differs) - 8} more" if len(differs) > 8 else ""
        raise RefusedError(
            f"--resume: expected the run that was begun in {output}, found another: {shown}{more}. "
            "--overwrite starts anew"
        )
