"""What is checked before anything is trained; whatever does not fit is refused by name."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from safetensors import SafetensorError

from tango_beam.errors import RefusedError
from tango_beam.models import resolve_precision
from tango_beam.models.checkpoints import labels_of
from tango_beam.models.transformer import Transformer, load_transformer
from tango_beam.training import corpora, holdout
from tango_beam.training.corpora import Labelled
from tango_beam.training.settings import TrainingFiles


@dataclass(frozen=True)
class Data:
    """Labelled texts, parted.

    Attributes:
      train: rows to train on.
      held_out: whole sentences to choose on; no training row lies inside one.
      dev: rows to report on, or None.
    """

    train: Labelled
    held_out: Labelled
    dev: Labelled | None


def read_data(files: TrainingFiles, labels: tuple[str, ...] | None = None) -> Data:
    """Reads the labelled files and sets the held-out sentences aside.

    Args:
      files: names them.
      labels: the labels that may occur, in order; by default those of the training rows, sorted.

    Raises:
      RefusedError: a file that does not fit, an unknown label, or too few rows.
    """
    rows = corpora.read_labelled(files.train, files.text_column, files.label_column, labels)
    if len(rows.labels) < 2:
        raise RefusedError(
            f"{files.train}: expected two or more labels in {files.label_column!r}, found "
            f"{list(rows.labels)}"
        )
    dev = None
    if files.dev:
        dev = corpora.read_labelled(files.dev, files.text_column, files.label_column, rows.labels)
    split = holdout.hold_out(rows.texts, files.held_out, files.held_out_seed)
    if not len(split.train):
        raise RefusedError(
            f"--held_out {files.held_out}: expected rows of {files.train} left to train on, found "
            f"all {len(rows.texts):,} inside the held-out sentences"
        )
    return Data(rows.take(split.train), rows.take(split.held_out), dev)


def refuse_output(output: str) -> None:
    """Raises RefusedError unless a folder is empty, or can be made."""
    folder = Path(output)
    nearest = next(path for path in (folder, *folder.resolve().parents) if path.exists())
    if not nearest.is_dir() or not os.access(nearest, os.W_OK):
        found = f"{nearest}, which cannot be written" if nearest.is_dir() else f"the file {nearest}"
        raise RefusedError(f"--output {output}: expected a directory to write in, found {found}")
    names = sorted(path.name for path in folder.iterdir()) if folder.exists() else []
    if names:
        raise RefusedError(
            f"--output {output}: expected an empty directory, or none yet, found "
            f"{', '.join(names[:5])}"
        )


def load_teacher(source: str, max_length: int) -> Transformer:
    """A teacher as it will answer in a cascade: in bf16 where that is native.

    Raises:
      RefusedError: it is not there, or does not load.
    """
    with naming("--teacher", source):
        labels_of(source)
        precision = resolve_precision("auto", "cpu")
        return load_transformer(source, precision=precision, max_length=max_length)


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
