"""What `pipelines.calibrate` can be told."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Literal

from tango_beam.calibration.goals import Goals
from tango_beam.command_line import option
from tango_beam.errors import RefusedError
from tango_beam.options import CascadeOptions, InputOptions, refuse_outside

DEFAULT_AGREEMENT = 0.99
_GOALS = f"goals (one; default: --agreement {DEFAULT_AGREEMENT})"


@dataclass(frozen=True, kw_only=True)
class CalibrateOptions(CascadeOptions, InputOptions):
    """What `pipelines.calibrate` can be told; the names are those of the command line."""

    schema: str | None = option(
        "of JSONL, as for classify", default=None, metavar="FILE", group="reading"
    )
    label_column: str | None = option("the right label's name", default=None, group="reading")
    agreement: float | None = option(
        "of the rows answered as by the last tier", default=None, metavar="SHARE", group=_GOALS
    )
    accuracy_retained: float | None = option(
        "of the last tier's accuracy; needs --label_column",
        default=None,
        metavar="SHARE",
        group=_GOALS,
    )
    max_escalation: float | None = option(
        "of the rows escalated at most", default=None, metavar="SHARE", group=_GOALS
    )
    min_speedup: float | None = option(
        "over the last tier alone", default=None, metavar="TIMES", group=_GOALS
    )
    class_agreement: float | None = option(
        "agreement within every class; alone, or beside --agreement",
        default=None,
        metavar="SHARE",
        group=_GOALS,
    )
    delta: float = option(
        "probability that a promise is broken", default=Goals.delta, metavar="SHARE", group=_GOALS
    )
    sample_rows: int | None = option(
        "to test with (default: 100 / (1 - goal), at most a tenth of an unlabelled corpus)",
        default=None,
        group="how",
    )
    seed: int | None = option("default: a hash of corpus and cascade", default=None, group="how")
    temperature: Literal["fit", "keep"] = option(
        "keep the cascade's own, or fit new ones", default="fit", group="how"
    )
    confidence: Literal["max_softmax", "margin", "entropy"] | None = option(
        "kind for every tier but the last (default: the cascade's own)", default=None, group="how"
    )
    output: str = option("the new cascade directory", metavar="DIR")
    overwrite: bool = option("replace an earlier calibration", default=False)

    def __post_init__(self) -> None:
        refuse_outside(self, 1, "sample_rows")
        if self.goals.accuracy_retained is not None and self.label_column is None:
            raise RefusedError("--accuracy_retained: expected --label_column with it, found none")

    @property
    def goals(self) -> Goals:
        """The goals among them.

        Raises:
          RefusedError: a share outside 0 to 1, or goals that exclude each other.
        """
        given = {field.name: getattr(self, field.name) for field in fields(Goals)}
        if all(value is None for name, value in given.items() if name != "delta"):
            given["agreement"] = DEFAULT_AGREEMENT
        return Goals(**given)
