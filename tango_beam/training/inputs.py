"""Reads and checks what training starts from; what does not fit is refused by its option's name."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from safetensors import SafetensorError

from tango_beam.config import Compute, TierConfig
from tango_beam.errors import RefusedError
from tango_beam.io.labelled import LabelledTexts, read_labelled
from tango_beam.models import transformer
from tango_beam.models.checkpoints import labels_of
from tango_beam.models.loading import resolve_precision
from tango_beam.models.transformer import Transformer
from tango_beam.training import holdout, texts
from tango_beam.training.options import TrainingOptions


@dataclass(frozen=True)
class Data:
    """Labelled texts, parted.

    Attributes:
      train: rows to train on.
      held_out: whole sentences to choose on; no training row lies inside one.
      dev: rows to report on, or None.
    """

    train: LabelledTexts
    held_out: LabelledTexts
    dev: LabelledTexts | None


def read_data(options: TrainingOptions, labels: tuple[str, ...] | None = None) -> Data:
    """Reads the labelled files and sets the held-out sentences aside.

    Args:
      options: name the files.
      labels: the labels that may occur, in order; by default those of the training rows, sorted.

    Raises:
      RefusedError: a file that does not fit, an unknown label, or too few rows.
    """
    rows = _read("--train", options.train, options, labels)
    if len(rows.labels) < 2:
        raise RefusedError(
            f"{options.train}: expected two or more labels in {options.label_column!r}, found "
            f"{list(rows.labels)}"
        )
    dev = _read("--dev", options.dev, options, rows.labels) if options.dev else None
    sentences = [" ".join(row) for row in texts.rows_of(rows)]
    split = holdout.hold_out(sentences, options.held_out, options.held_out_seed)
    if not len(split.train):
        raise RefusedError(
            f"--held_out {options.held_out}: expected rows of {options.train} left to train on, "
            f"found all {len(rows):,} inside the held-out sentences"
        )
    return Data(rows.take(split.train), rows.take(split.held_out), dev)


def _read(
    option: str, path: str, options: TrainingOptions, labels: tuple[str, ...] | None
) -> LabelledTexts:
    columns = options.text_columns, options.label_column
    form = options.input_format
    return read_labelled([path], *columns, labels, input_format=form, option=option)


def load_teacher(source: str, max_length: int) -> Transformer:
    """A teacher as it will answer in a cascade: in bf16 where that is native.

    Raises:
      RefusedError: it is not there, or does not load.
    """
    with naming("--teacher", source):
        labels_of(source)
        compute = Compute("cpu", resolve_precision("auto", "cpu"))
        return transformer.load(TierConfig(source, max_length=max_length), compute)


def load_teachers(
    sources: Sequence[str], labels: Sequence[str], max_length: int
) -> list[Transformer]:
    """Teachers that all answer with the same labels, in whatever order.

    Raises:
      RefusedError: one is not there, does not load, or has other labels.
    """
    for source in sources:
        with naming("--teacher", source):
            found = sorted(labels_of(source))
        if found != sorted(labels):
            raise RefusedError(
                f"--teacher {source}: expected the labels {sorted(labels)}, found {found}"
            )
    return [load_teacher(source, max_length) for source in sources]


@contextmanager
def naming(option: str, source: str) -> Iterator[None]:
    """Turns what a checkpoint's loader raises into one line that names the option.

    Raises:
      RefusedError: in place of any such error.
    """
    try:
        yield
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        reason = (str(error) or type(error).__name__).splitlines()[0]
        reason = reason.removeprefix("tier ").removeprefix(f"{source}: ")
        if "expected" not in reason:
            reason = f"expected a checkpoint that loads, found: {reason}"
        raise RefusedError(f"{option} {source}: {reason}") from error
