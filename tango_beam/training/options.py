"""What every training can be told: which rows, where the tier goes, how long."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Literal

from tango_beam.command_line import option
from tango_beam.errors import RefusedError
from tango_beam.options import InputFormat, refuse_outside

data = partial(option, group="data")
training = partial(option, group="training")


@dataclass(frozen=True, kw_only=True)
class TrainingOptions:
    """What is read, what is set aside, where the tier goes, and how long it is trained.

    Attributes:
      weight_decay: on matrices only.
      warm_up: share of the steps that the learning rate rises for.
    """

    train: str = data("texts and labels, in any format that a job reads", metavar="GLOB")
    output: str = data("empty, or not there yet", metavar="DIR")
    resume: bool = data(
        "go on with a training that was cut short, from the state that it saves every five "
        "minutes in --output",
        False,
    )
    dev: str | None = data("labelled too; scored once, at the end, to report", None, metavar="GLOB")
    input_format: InputFormat = data("of --train and --dev", "auto")  # noqa: RUF009 - a field
    text_column: str = data("the text, in every file", "text")
    text_pair_column: str | None = data("the second text, for tasks on pairs", None)
    label_column: str = data("of --train and --dev", "label")
    answer_start_column: str = data(
        "span: where each answer of --label_column begins, in characters", "answer_starts"
    )
    stride: int | None = data(
        "span: tokens that neighbouring windows of a context share (default: a third)", None
    )
    held_out: int = data("rows to set aside, to choose on", 0)
    held_out_by: str | None = data(
        "sentence: whole sentences, and every row inside one of them is left out; row: any rows, "
        "and every row of the same text is left out; or a column: all rows of one value in it are "
        "set aside together, so that there may be more than --held_out (default: sentence where "
        "each row has one label, row otherwise)",
        None,
        metavar="sentence|row|COLUMN",
    )
    held_out_seed: int = data("the same rows for the same seed", 0)
    unlabeled: tuple[str, ...] = data(
        "texts of the domain, cut into sentences (pairs as they are), for the teacher to label; "
        "may be given more than once",
        (),
        metavar="GLOB",
    )
    unlabeled_rows: int | None = data(
        "sentences of each --unlabeled file, drawn at random (default: all)", None
    )
    teacher_logits: str | None = data(
        "keep what each teacher says of each text in this folder, so that another training asks no "
        "teacher again (default: in --output, until the training is done)",
        None,
        metavar="DIR",
    )
    store: Literal["bf16", "fp32"] = data("precision of the weights on disk", "fp32")
    device: Literal["auto", "cpu", "cuda"] = training(
        "of transformers, students and teachers alike; students of other kinds, and exits, are "
        "trained on the processor (auto: a GPU, where torch sees one)",
        "auto",
    )
    epochs: int
    learning_rate: float | None
    batch_size: int
    seed: int
    max_length: int
    weight_decay: float
    warm_up: float

    @property
    def text_columns(self) -> tuple[str, ...]:
        """One column, or two for pairs."""
        return (self.text_column, *([self.text_pair_column] if self.text_pair_column else []))

    @property
    def group_column(self) -> str | None:
        """The column whose values are held out whole, if there is one."""
        return None if self.held_out_by in (None, "sentence", "row") else self.held_out_by

    def held_out_rows(self, kind: str) -> str:
        """What the held-out rows are: `sentences`, or `rows`.

        Args:
          kind: of answer.
        """
        by = self.held_out_by or ("sentence" if kind == "labels" else "row")
        return "sentences" if by == "sentence" else "rows"

    def __post_init__(self) -> None:
        refuse_outside(self, 0, "learning_rate", above=True)
        refuse_outside(self, 1, "epochs", "batch_size", "unlabeled_rows")
        refuse_outside(self, 0, "held_out", "held_out_seed", "seed", "weight_decay")
        refuse_outside(self, 0, "warm_up", under=1)
        if self.held_out_by and not self.held_out:
            raise RefusedError("--held_out_by: expected --held_out, how many rows, found none")
