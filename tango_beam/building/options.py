"""What `pipelines.build` can be told."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from tango_beam.calibration.options import GoalOptions
from tango_beam.command_line import option
from tango_beam.errors import RefusedError
from tango_beam.options import AnswerOptions, EndpointOptions, InputOptions, refuse_outside

# Of a second tier that answers with spans, and of any other.
OF_SPANS = ("layers",)
STUDENTS = ("static", "bilstm", "tinybert", *OF_SPANS)


@dataclass(frozen=True, kw_only=True)
class BuildOptions(GoalOptions, EndpointOptions, AnswerOptions, InputOptions):
    """What `pipelines.build` can be told; the names are those of the command line."""

    second_tier: str = option(
        "the good, slow model that is to be spared: a checkpoint, openai:URL, or "
        "handler:package.module:function; its answers are what the cascade is held against",
        metavar="PATH-or-hub-id",
    )
    output: str = option(
        "the new cascade directory; a build that was cut short goes on in it", metavar="DIR"
    )
    encoder: str | None = option(
        "a small encoder that learns from the second tier, too, and may stand in the middle",
        None,
        metavar="PATH-or-hub-id",
    )
    students: tuple[str, ...] = option(
        f"kinds to train, out of {', '.join(STUDENTS)}; layers, some of the second tier's own, are "
        "the kind for spans, the others are for labels and scores",
        STUDENTS,
        metavar="A,B",
        separator=",",
    )
    tiers: int = option("of a chain at most, the second tier counted", 4)
    minutes: float = option("that the build may take, about", 60.0)
    teacher_rows: int | None = option(
        "rows that the second tier may be asked about at most (default: what --minutes allows)",
        None,
    )
    seed: int = option("of the draw of rows, and of the trainings", 0)
    overwrite: bool = option("begin anew in a directory that holds an earlier build", False)
    device: Literal["auto", "cpu"] = "cpu"

    def __post_init__(self) -> None:
        super().__post_init__()
        refuse_outside(self, 1, "teacher_rows")
        refuse_outside(self, 2, "tiers")
        refuse_outside(self, 0, "minutes", above=True)
        refuse_outside(self, 0, "seed")
        if self.encoder == self.second_tier:
            raise RefusedError(
                f"--encoder {self.encoder}: expected a smaller one than --second_tier, found it"
            )
        unknown = [name for name in self.students if name not in STUDENTS]
        if unknown or not self.students:
            raise RefusedError(
                f"--students: expected some of {', '.join(STUDENTS)}, found "
                f"{', '.join(unknown) or 'none'}"
            )
