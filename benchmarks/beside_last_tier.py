"""Cascades in the job, in turns with the tier that they end in."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds

from benchmarks import common
from tango_beam.cascade_directory import load_cascade


class Run(NamedTuple):
    """One run of the job.

    Attributes:
      seconds: that it took, without its start-up.
      answers: of every row, by id.
      last: share of rows that the last tier answered.
    """

    seconds: float
    answers: pa.ChunkedArray
    last: float


def run(path: Path, cascade: str, work: Path) -> Run:
    """Runs the job on a file."""
    start_up, _ = common.run_job(path, work, cascade, "--limit", "1")
    seconds, _ = common.run_job(path, work, cascade)
    table = ds.dataset(work / "out", format="parquet").to_table(["id", "prediction", "tier"])
    return Run(
        seconds - start_up,
        table.sort_by("id")["prediction"],
        _share(pc.equal(table["tier"], len(load_cascade(cascade).tiers))),
    )


def compare(
    cascades: Sequence[str], alone: str, path: Path, work: Path, rounds: int
) -> list[dict[str, object]]:
    """Agreement and speedup of some cascades, in turns with the last tier of all of them alone."""
    done = [[run(path, one, work) for one in (alone, *cascades)] for _ in range(rounds)]
    last, *own = zip(*done, strict=True)
    return [_told(one, last) for one in own]


def _told(own: Sequence[Run], last: Sequence[Run]) -> dict[str, object]:
    seconds = common.middle([one.seconds for one in own])
    return {
        "rows": len(own[-1].answers),
        "agreement": _share(pc.equal(own[-1].answers, last[-1].answers)),
        "reach the last tier": own[-1].last,
        "speedup": common.middle([one.seconds for one in last]) / seconds,
        "rounds": [b.seconds / a.seconds for a, b in zip(own, last, strict=True)],
        "rows a second": len(own[-1].answers) / seconds,
    }


def _share(rows: pa.ChunkedArray) -> float:
    return float(pc.mean(pc.cast(rows, pa.float64())).as_py())
