"""What `pipelines.calibrate` can be told."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any, Literal

from tango_beam.calibration.goals import Goals
from tango_beam.command_line import option
from tango_beam.errors import RefusedError
from tango_beam.options import AskingOptions, CascadeOptions, InputOptions, refuse_outside

DEFAULT_AGREEMENT = 0.99
_GOALS = f"goals (one; default: --agreement {DEFAULT_AGREEMENT}, of several labels each one's)"


@dataclass(frozen=True, kw_only=True)
class GoalOptions:
    """What a cascade is to promise, held against its last tier alone."""

    agreement: float | None = option(
        "of the rows answered as by the last tier", default=None, metavar="SHARE", group=_GOALS
    )
    max_escalation: float | None = option(
        "of the rows escalated at most", default=None, metavar="SHARE", group=_GOALS
    )
    recall: str | None = option(
        "makes a filter on LABEL: of the rows that the last tier calls so, this share is called "
        "so; with --precision, or beside the goals of agreement",
        default=None,
        metavar="LABEL=SHARE",
        group=_GOALS,
    )
    precision_of: str | None = option(
        "makes a filter on LABEL: of the rows that are called so, the last tier calls this share "
        "so; --precision LABEL=SHARE is the same",
        default=None,
        metavar="LABEL=SHARE",
        group=_GOALS,
    )
    delta: float = option(
        "probability that a promise is broken", default=Goals.delta, metavar="SHARE", group=_GOALS
    )

    @property
    def goals(self) -> Goals:
        """The goals among them.

        Raises:
          RefusedError: a share outside 0 to 1, or goals that exclude each other.
        """
        given = self._given()
        if not self.states_a_goal:
            given["agreement"] = DEFAULT_AGREEMENT
        return Goals(**given, delta=self.delta)

    @property
    def states_a_goal(self) -> bool:
        """Whether any goal was given."""
        return any(value is not None for value in self._given().values())

    def _given(self) -> dict[str, Any]:
        other = {"recall", "precision", "label", "delta"}
        names = {field.name for field in fields(Goals)} - other
        return {name: getattr(self, name, None) for name in names} | self._of_filter()

    def _of_filter(self) -> dict[str, Any]:
        """Recall, precision and label of a filter."""
        given = {"recall": self.recall, "precision": self.precision_of}
        shares: dict[str, Any] = {}
        for name, text in given.items():
            if text is None:
                continue
            label, _, share = text.rpartition("=")
            if shares.setdefault("label", label) != label:
                raise RefusedError(
                    f"--recall, --precision: expected one label, found {shares['label']} and "
                    f"{label}"
                )
            try:
                shares[name] = float(share)
            except ValueError:
                label = ""
            if not label:
                raise RefusedError(
                    f"--{name}: expected LABEL=SHARE, such as spam=0.95, found {text}"
                )
        return shares


@dataclass(frozen=True, kw_only=True)
class CalibrateOptions(GoalOptions, AskingOptions, CascadeOptions, InputOptions):
    """What `pipelines.calibrate` can be told; the names are those of the command line."""

    schema: str | None = option(
        "of JSONL, as for classify", default=None, metavar="FILE", group="reading"
    )
    label_column: str | None = option("the right label's name", default=None, group="reading")
    accuracy_retained: float | None = option(
        "of the last tier's accuracy; needs --label_column",
        default=None,
        metavar="SHARE",
        group=_GOALS,
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
    f1_agreement: float | None = option(
        "span: mean F1 of the answers against the last tier's",
        default=None,
        metavar="SHARE",
        group=_GOALS,
    )
    f1_retained: float | None = option(
        "span: of the last tier's mean F1; needs --label_column with the right answers",
        default=None,
        metavar="SHARE",
        group=_GOALS,
    )
    sample_rows: int | None = option(
        "to test with (default: 100 / (1 - goal), for a filter what its label's share asks for; at "
        "most a tenth of an unlabelled corpus)",
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
    exits: bool = option(
        "open those of the last tier's exits that pay (distill --student exits), two at most, and "
        "sign for their thresholds, too; what they are held to is the whole tier",
        default=False,
        group="how",
    )
    output: str = option("the new cascade directory", metavar="DIR")
    overwrite: bool = option("replace an earlier calibration", default=False)

    def __post_init__(self) -> None:
        super().__post_init__()
        refuse_outside(self, 1, "sample_rows")
        for name in ("accuracy_retained", "f1_retained"):
            if getattr(self, name) is not None and self.label_column is None:
                raise RefusedError(f"--{name}: expected --label_column with it, found none")
        if self.goals.label is not None:
            for name in ("label_column", "confidence"):
                if getattr(self, name) is not None:
                    raise RefusedError(
                        f"--{name}: expected none beside --recall and --precision, which go by the "
                        f"last tier's answers and the label's probability, found "
                        f"{getattr(self, name)}"
                    )


def goals_apart(arguments: Sequence[str]) -> list[str]:
    """A command line on which `--precision LABEL=SHARE` is spelled `--precision_of`.

    `--precision fp32` says what to compute in, as for every command.
    """
    apart = [*arguments]
    for at, argument in enumerate(arguments):
        name, _, value = argument.partition("=")
        following = arguments[at + 1] if at + 1 < len(arguments) else ""
        if name == "--precision" and "=" in (value or following):
            apart[at] = argument.replace(name, "--precision_of", 1)
    return apart
