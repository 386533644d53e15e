"""Reads and checks what training starts from; what does not fit is refused by its option's name."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from safetensors import SafetensorError

from tango_beam import machine
from tango_beam.answers.task import LABELS, SCORE
from tango_beam.config import Compute, TierConfig
from tango_beam.errors import RefusedError
from tango_beam.io.labelled import LabelledTexts, read_labelled
from tango_beam.local_output import check_local_output
from tango_beam.models import transformer
from tango_beam.models.checkpoints import stated_of
from tango_beam.models.loading import resolve_device, resolve_precision
from tango_beam.models.protocol import Model
from tango_beam.models.transformer import Transformer
from tango_beam.training import holdout, texts
from tango_beam.training.options import TrainingOptions
from tango_beam.training.resume import KEPT


def output_folder(options: TrainingOptions) -> Path:
    """Where the tier goes; what a process keeps of torch's kernels is bounded, too.

    Raises:
      RefusedError: it cannot be written, or holds more than the state of a training to go on with.
    """
    machine.bound_kernels()  # batches have many shapes
    machine.keep_memory()
    folder = check_local_output(options.output, kept=KEPT)
    left = [name for name in KEPT if (folder / name).exists()]
    if left and not options.resume:
        raise RefusedError(
            f"--output {folder}: expected an empty directory, found {' and '.join(left)} of a "
            "training that was cut short; --resume goes on with it"
        )
    return folder


@dataclass(frozen=True)
class Data:
    """Labelled texts, parted.

    Attributes:
      train: rows to train on.
      held_out: rows to choose on; what no training row may be is `--held_out_by`'s to say.
      dev: rows to report on, or None.
    """

    train: LabelledTexts
    held_out: LabelledTexts
    dev: LabelledTexts | None


def read_data(
    options: TrainingOptions, kind: str | None, labels: tuple[str, ...] | None = None
) -> Data:
    """Reads the labelled files and sets the held-out rows aside.

    Args:
      options: name the files.
      kind: of answer; None for the one that the label column's type states.
      labels: the labels that may occur, in order; by default those of the training rows, sorted.

    Raises:
      RefusedError: a file that does not fit, an unknown label, nothing to learn, or too few rows.
    """
    rows = _read("--train", options.train, options, kind, labels, options.group_column)
    _refuse_sameness(rows, options)
    dev = None
    if options.dev:
        dev = _read("--dev", options.dev, options, rows.kind, rows.labels)
    split = _split(rows, options)
    if not len(split.train):
        raise RefusedError(
            f"--held_out {options.held_out}: expected rows of {options.train} left to train on, "
            f"found all {len(rows):,} inside the held-out {options.held_out_rows(rows.kind)}"
        )
    return Data(rows.take(split.train), rows.take(split.held_out), dev)


def _refuse_sameness(rows: LabelledTexts, options: TrainingOptions) -> None:
    """Raises RefusedError where every row bears the same answer: there is nothing to learn."""
    column = f"in {options.label_column!r}"
    if rows.kind == LABELS and len(rows.labels) < 2:
        found = list(rows.labels)
        raise RefusedError(f"{options.train}: expected two or more labels {column}, found {found}")
    if rows.kind != LABELS and not np.ptp(rows.targets, axis=0).any():
        same = "the same everywhere" if rows.targets.size else "empty lists alone"
        raise RefusedError(f"{options.train}: expected rows that differ {column}, found {same}")


def _split(rows: LabelledTexts, options: TrainingOptions) -> holdout.Holdout:
    count, seed = options.held_out, options.held_out_seed
    if rows.groups is not None:
        return holdout.hold_out_groups(rows.groups, count, seed)
    by_row = options.held_out_rows(rows.kind) == "rows"
    hold_out = holdout.hold_out_rows if by_row else holdout.hold_out
    return hold_out([" ".join(row) for row in texts.rows_of(rows)], count, seed)


def _read(
    option: str,
    path: str,
    options: TrainingOptions,
    kind: str | None,
    labels: tuple[str, ...] | None,
    group_column: str | None = None,
) -> LabelledTexts:
    return read_labelled(
        [path],
        options.text_columns,
        options.label_column,
        labels,
        kind=kind,
        group_column=group_column,
        input_format=options.input_format,
        option=option,
    )


def kind_of_teacher(source: str) -> str:
    """Which kind of answer a teacher gives; one output without a word of what it is, a score.

    Raises:
      RefusedError: it is not there, or its configuration cannot be read.
    """
    with naming("--teacher", source):
        return stated_of(source).kind or SCORE


def device_of(options: TrainingOptions) -> str:
    """`cpu` or `cuda`, on which transformers are trained and asked.

    Raises:
      RefusedError: a GPU that torch does not see.
    """
    with naming("--device", options.device):
        return resolve_device(options.device)


def load_teacher(source: str, max_length: int, device: str = "cpu") -> Transformer:
    """A teacher as it will answer in a cascade: in bf16 where that is native.

    Raises:
      RefusedError: it is not there, or does not load.
    """
    with naming("--teacher", source):
        stated_of(source)
        compute = Compute(device, resolve_precision("auto", device))
        return transformer.load(TierConfig(source, max_length=max_length), compute)


def load_teachers(
    sources: Sequence[str], data: LabelledTexts, max_length: int, device: str
) -> dict[str, Model]:
    """Teachers by source, all with answers of one kind; where there are labels, in whatever order.

    Raises:
      RefusedError: one is not there, does not load, or has another kind or other labels.
    """
    for source in sources:
        with naming("--teacher", source):
            stated = stated_of(source)
        found, kind = sorted(stated.labels), stated.kind
        if kind != data.kind:
            raise RefusedError(f"--teacher {source}: expected one of {data.kind}, found {kind}")
        if kind != SCORE and found != sorted(data.labels):
            raise RefusedError(
                f"--teacher {source}: expected the labels {sorted(data.labels)}, found {found}"
            )
    return {
        source: transformer.to_answer(load_teacher(source, max_length, device))
        for source in sources
    }


@contextmanager
def naming(option: str, source: str) -> Iterator[None]:
    """Turns what a checkpoint's loader raises into one line that names the option.

    Raises:
      RefusedError: in place of any such error.
    """
    try:
        yield
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        if str(error).startswith("--"):  # it names an option of its own
            raise
        reason = (str(error) or type(error).__name__).splitlines()[0]
        reason = reason.removeprefix("tier ").removeprefix(f"{source}: ")
        if "expected" not in reason:
            reason = f"expected a checkpoint that loads, found: {reason}"
        raise RefusedError(f"{option} {source}: {reason}") from error
