"""What fine-tuning and distillation can be told; the names are those of the command lines.

Here stand the defaults, and nowhere else. Neither torch nor Beam is imported: a misspelt option
need not wait for them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from tango_beam.errors import RefusedError
from tango_beam.training.augmentation import KINDS


def refuse_outside(
    settings: object, least: float, *names: str, under: float = math.inf, above: bool = False
) -> None:
    """Raises RefusedError for the first of some numbers that is too small or too large.

    Args:
      settings: a dataclass whose fields are options.
      least: the smallest number allowed.
      names: the fields; one that is None passes.
      under: a number that they must stay under.
      above: `least` itself is too small.
    """
    for name in names:
        value = getattr(settings, name)
        fits = value is None or ((least < value if above else least <= value) and value < under)
        if not fits:
            expected = f"{'above' if above else 'at least'} {least}"
            limit = "" if under == math.inf else f" and under {under}"
            raise RefusedError(f"--{name}: expected {expected}{limit}, found {value}")


@dataclass(frozen=True, kw_only=True)
class TrainingFiles:
    """What is read, what is set aside, and where the tier goes.

    Attributes:
      train: Parquet of texts and labels.
      output: folder of the tier; empty, or not there yet.
      dev: scored once, at the end.
      text_column: of every file.
      label_column: of the labelled files.
      held_out: whole sentences to set aside.
      held_out_seed: draws them.
      unlabeled: Parquet of longer texts, cut into sentences.
      store: precision of the weights on disk.
    """

    train: str
    output: str
    dev: str | None = None
    text_column: str = "text"
    label_column: str = "label"
    held_out: int = 0
    held_out_seed: int = 0
    unlabeled: tuple[str, ...] = ()
    store: Literal["bf16", "fp32"] = "fp32"

    def __post_init__(self) -> None:
        refuse_outside(self, 0, "held_out", "held_out_seed")


@dataclass(frozen=True, kw_only=True)
class SecondTier(TrainingFiles):
    """What goes into a second tier.

    Attributes:
      encoder: folder or Hugging Face id.
      drop_unused: leaves out pieces named `[unusedN]`.
      teacher: classifiers whose mean logits are learnt instead of the labels.
      unlabeled_rows: at most so many sentences of each unlabelled file.
      about: a sentence for the model card.
    """

    encoder: str
    drop_unused: bool = False
    teacher: tuple[str, ...] = ()
    unlabeled_rows: int | None = None
    about: str = ""

    def __post_init__(self) -> None:
        super().__post_init__()
        refuse_outside(self, 1, "unlabeled_rows")
        if self.unlabeled and not self.teacher:
            raise RefusedError("--unlabeled: expected --teacher to label the texts, found none")


@dataclass(frozen=True)
class FinetuneConfig:
    """How an encoder is fine-tuned.

    Attributes:
      epochs: passes over the training rows.
      learning_rate: peak, reached after `warm_up` of all steps, then down linearly to 0.
      batch_size: rows a step; rows of like length go together.
      weight_decay: on matrices only.
      warm_up: share of the steps that the learning rate rises for.
      max_length: tokens read of a text.
      seed: order of rows, dropout, head's first weights.
      precision: `bf16` computes the forward pass under autocast, weights stay float32.
      smoothing: label smoothing.
      average: decay of the running mean of the weights that is kept; 0 keeps the last weights.
    """

    epochs: int = 2
    learning_rate: float = 7e-5
    batch_size: int = 32
    weight_decay: float = 0.01
    warm_up: float = 0.06
    max_length: int = 128
    seed: int = 0
    precision: Literal["bf16", "fp32"] = "bf16"
    smoothing: float = 0.0
    average: float = 0.0

    def __post_init__(self) -> None:
        refuse_outside(self, 0, "learning_rate", above=True)
        refuse_outside(self, 1, "epochs", "batch_size")
        refuse_outside(self, 3, "max_length")
        refuse_outside(self, 0, "seed", "weight_decay")
        refuse_outside(self, 0, "warm_up", "smoothing", "average", under=1)


@dataclass(frozen=True, kw_only=True)
class Recipe(TrainingFiles):
    """What goes into a student, but for its shape (`BiLSTMConfig`).

    Attributes:
      teacher: folder of a second tier.
      augment: kinds of augmented texts, with commas between.
      augmented: how many augmented texts.
      student: reads the teacher's word `pieces`, or `words`.
      vectors: Parquet of a words student's first embeddings.
      cascade: name of the cascade that is written over teacher and student.
      agreement: share of held-out sentences on which cascade and teacher are to agree.
    """

    teacher: str
    augment: str = "mask,ngram,join"
    augmented: int = 90_000
    student: Literal["pieces", "words"] = "pieces"
    vectors: str | None = None
    cascade: str | None = None
    agreement: float = 0.99

    @property
    def kinds(self) -> list[str]:
        """Kinds of augmented texts."""
        return [kind for kind in self.augment.split(",") if kind]

    def __post_init__(self) -> None:
        super().__post_init__()
        refuse_outside(self, 0, "augmented")
        if not 0 <= self.agreement <= 1:
            raise RefusedError(f"--agreement: expected 0 to 1, found {self.agreement}")
        unknown = [kind for kind in self.kinds if kind not in KINDS]
        if unknown:
            raise RefusedError(f"--augment: expected kinds out of {list(KINDS)}, found {unknown}")
        if self.vectors and self.student != "words":
            raise RefusedError(f"--vectors: expected --student words, found {self.student}")
        if self.cascade and not self.held_out:
            raise RefusedError("--cascade: expected --held_out sentences to read a threshold off")
        folders = [Path(self.teacher).resolve(), Path(self.output).resolve()]
        if self.cascade and folders[0].parent != folders[1].parent:
            raise RefusedError(
                f"--cascade: expected teacher and output side by side in the cascade directory, "
                f"found {self.teacher} and {self.output}"
            )
        if self.cascade and not folders[0].is_dir():
            raise RefusedError(f"--teacher {self.teacher}: expected a folder, found none")


@dataclass(frozen=True)
class DistillConfig:
    """How a student is trained.

    Attributes:
      epochs: passes over all texts.
      learning_rate: peak of AdamW's, down linearly to 0.
      batch_size: rows a step, all of one exact length.
      weight_decay: on matrices.
      warm_up: share of the steps that the learning rate rises for.
      seed: order of rows, dropout, first weights.
    """

    epochs: int = 4
    learning_rate: float = 2e-3
    batch_size: int = 128
    weight_decay: float = 1e-5
    warm_up: float = 0.02
    seed: int = 0

    def __post_init__(self) -> None:
        refuse_outside(self, 0, "learning_rate", above=True)
        refuse_outside(self, 1, "epochs", "batch_size")
        refuse_outside(self, 0, "seed", "weight_decay")
        refuse_outside(self, 0, "warm_up", under=1)
