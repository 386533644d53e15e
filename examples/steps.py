"""What the example scripts share: rows drawn from a file, commands that are shown, plots."""

from __future__ import annotations

import glob
import shlex
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq

from tango_beam import command_line

FIRST, SECOND = "#2a7f9e", "#d9822b"  # colors of what the first and the second tier answer


def read(source: str) -> pa.Table:
    """All rows of a Parquet file, folder or glob."""
    files = sorted(glob.glob(source))  # noqa: PTH207 - a Path's glob takes no absolute pattern
    found = files[0] if len(files) == 1 else files or source  # a folder goes alone
    return ds.dataset(found, format="parquet").to_table()


def draw(source: str, path: Path, rows: int | None, seed: int = 0) -> Path:
    """Writes rows drawn at random to a file; without a number the source stands as it is."""
    if rows is None:
        return Path(source)
    table = read(source)
    chosen = np.random.default_rng(seed).permutation(len(table))[:rows]
    return write(table.take(pa.array(chosen)), path)


def write(table: pa.Table, path: Path) -> Path:
    """Writes a table as Parquet; makes the folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, path)
    return path


def run(command: ModuleType, *options: str) -> None:
    """Runs a command of `pipelines` and shows it; ends the script where it did not succeed.

    An alarm of an audit does not end it: the output stands.
    """
    verb = command.__name__.removeprefix("pipelines.")
    print(f"\n$ python -m pipelines.{verb} {shlex.join(options)}", flush=True)
    code = command.main(list(options))
    if code not in (command_line.DONE, command_line.ALARM):
        sys.exit(code)


def figure(across: str, up: str) -> tuple[Any, Any]:
    """An empty plot with named axes."""
    import matplotlib

    matplotlib.use("svg")
    from matplotlib import pyplot

    pyplot.rcParams.update({"svg.fonttype": "none", "svg.hashsalt": "tango-beam"})
    made, axes = pyplot.subplots(figsize=(6.4, 3.2), layout="constrained")
    axes.set_xlabel(across)
    axes.set_ylabel(up)
    axes.spines[["top", "right"]].set_visible(False)
    return made, axes


def save(made: Any, path: Path) -> None:
    """Writes a plot, with the same bytes for the same figures."""
    made.savefig(path, metadata={"Date": None})
    print(f"plot          {path}")
