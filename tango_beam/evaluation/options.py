"""What `pipelines.evaluate` can be told."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Literal

from tango_beam.command_line import option
from tango_beam.options import InputOptions, TierOptions, refuse_outside

_measuring = partial(option, group="measuring")
_writing = partial(option, group="writing")


@dataclass(frozen=True, kw_only=True)
class EvaluateOptions(TierOptions, InputOptions):
    """What `pipelines.evaluate` can be told; a threshold is marked on the curve of all."""

    label_column: str = option(
        "the right label, as the cascade names it; multi_label: a list of them, or a JSON array; "
        "score: a number; span: the text that is right, or a list of those that are",
        "label",
        group="reading",
    )
    metric: (
        Literal["accuracy", "f1", "micro_f1", "macro_f1", "mcc", "exact_sets", "exact_match"] | None
    ) = _measuring(
        "what the curves are of (default: accuracy; multi_label: micro_f1; span: f1; score: always "
        "the share of rows in the right bucket); mcc is Matthews correlation",
        None,
    )
    positive: str | None = _measuring(
        "label that f1 is of (default: the second of two)", None, metavar="LABEL"
    )
    choose_cuts: bool = _measuring(
        "multi_label: choose each label's cut on a random half of the rows, for the last tier's "
        "highest F1; the report is of the other half",
        False,
    )
    repeats: int = _measuring("how often each cost is timed; the median counts", 3)
    splits: int = _measuring(
        "how often a threshold is chosen on a random half of the rows and scored on the other", 20
    )
    cost_rows: int = _measuring(
        "rows on which the tiers are timed, drawn at random where there are more", 5000
    )
    single_rows: int = _measuring("the same for batch size 1", 200)
    seed: int = _measuring("of halves, samples and random routing", 0)
    output: str = _writing("empty, or not there yet", metavar="DIR")
    overwrite: bool = _writing("replace an earlier report", False)

    def __post_init__(self) -> None:
        super().__post_init__()
        refuse_outside(self, 1, "repeats", "splits", "cost_rows", "single_rows")
        refuse_outside(self, 0, "seed")

    @property
    def has_own_threshold(self) -> bool:
        """Whether there is a threshold to report beside the curve: the cascade's, or one given."""
        return self.threshold is not None or self.first_tier is None
