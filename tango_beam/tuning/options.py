"""What `pipelines.tune` can be told."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from tango_beam.command_line import option
from tango_beam.errors import RefusedError
from tango_beam.options import CascadeOptions, InputOptions, refuse_outside


@dataclass(frozen=True, kw_only=True)
class TuneOptions(CascadeOptions, InputOptions):
    """What `pipelines.tune` can be told; the names are those of the command line."""

    # No option: every precision is tried.
    precision: Literal["auto"] = "auto"
    sample_rows: int = option("compared with fp32", default=2000, group="how")
    timed_seconds: float = option(
        "of work that is timed at each batch size, about", default=1.0, group="how"
    )
    rounds: int = option("of timing, precisions in turns; medians count", default=3, group="how")
    min_agreement: float = option(
        "with fp32's answers, by its lower bound", default=0.995, group="how"
    )
    delta: float = option("level of that bound", default=0.05, group="how")
    seed: int = option("of the sample", default=0, group="how")
    processes: bool = option(
        "do not try worker processes, of which each loads the models", default=True
    )
    output: str = option("the new cascade directory", metavar="DIR")

    def __post_init__(self) -> None:
        refuse_outside(self, 1, "sample_rows", "rounds")
        if not self.timed_seconds > 0:
            raise RefusedError(f"--timed_seconds: expected more than 0, found {self.timed_seconds}")
        for name in ("min_agreement", "delta"):
            if not 0 < getattr(self, name) < 1:
                raise RefusedError(f"--{name}: expected 0 to 1, found {getattr(self, name)}")
