"""What `pipelines.finetune` can be told."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from tango_beam.command_line import option
from tango_beam.errors import RefusedError
from tango_beam.options import refuse_outside
from tango_beam.training.options import TrainingOptions, training


@dataclass(frozen=True, kw_only=True)
class FinetuneOptions(TrainingOptions):
    """What `pipelines.finetune` can be told; the names are those of the command line."""

    encoder: str = option(
        "any that transformers reads; gets a head for the labels", metavar="PATH-or-hub-id"
    )
    task: Literal["labels", "multi_label", "score", "span"] | None = option(
        "what --label_column holds: a label a row, a list of labels, a score, or answers that "
        "stand in the context in --text_pair_column (default: multi_label for a column of lists, "
        "labels for others; must be said of fractions and spans)",
        None,
    )
    epochs: int = training("passes over the training rows", 2)
    learning_rate: float | None = training(
        "peak of AdamW's, after a warm-up, down linearly to 0 (default: 7e-5 for a step of 32 "
        "texts, and in proportion for one of more)",
        None,
    )
    batch_size: int = training("texts a step, at least", 32)
    batch_tokens: int | None = training(
        "where texts are short, a step has so many tokens, and with them more texts than "
        "--batch_size (default: 2,048, or fewer where an epoch would have fewer than 64 steps); 0: "
        "it has --batch_size texts",
        None,
    )
    max_length: int = training("tokens read of a text", 128)
    seed: int = training("order of texts, dropout, the head's first weights", 0)
    smoothing: float = training("labels: label smoothing", 0.0)
    rare_weight: float = training(
        "multi_label: the most that a row with a rare label weighs, the root of the number of rows "
        "without it over those with it; 1: no weights",
        3.0,
    )
    average: float = training(
        "keep a running mean of the weights with this decay (0.999, say); 0: the last weights", 0.0
    )
    precision: Literal["auto", "bf16", "fp32"] = training(
        "of products; the weights that are trained stay fp32 (auto: bf16 where it is native)",
        "auto",
    )
    freeze_layers: int = training(
        "leave the embeddings and so many of the first layers as they are, and train the others: "
        "with half of the layers frozen, a step takes two thirds of the time",
        0,
    )
    length_drop: float = training(
        "learn to answer with fewer tokens: the largest share of them that a layer drops (0.2, "
        "say), by the attention that they receive; settings worth having are written beside the "
        "weights, and pipelines.tune picks one; 0: all tokens are kept",
        0.0,
        metavar="0..1",
    )
    length_settings: int = training(
        "--length_drop: settings that are tried: half drawn, half bred of the best", 200
    )
    weight_decay: float = 0.01
    warm_up: float = 0.06
    layers: int | None = option(
        "span: keep so many of the encoder's layers, evenly spaced; with its own checkpoint as "
        "--teacher, a student that starts from the teacher (default: all)",
        None,
    )
    drop_unused: bool = option("leave out pieces named [unusedN]", False)
    teacher: tuple[str, ...] = option(
        "learn the mean logits of these classifiers instead of the labels (self-training); may be "
        "given more than once",
        (),
        metavar="PATH-or-hub-id",
    )
    about: str = option("a sentence for the model card", "", metavar="TEXT")

    def __post_init__(self) -> None:
        super().__post_init__()
        refuse_outside(self, 3, "max_length")
        refuse_outside(self, 0, "smoothing", "average", "length_drop", under=1)
        refuse_outside(self, 1, "length_settings")
        if self.length_drop and not self.held_out:
            raise RefusedError("--length_drop: expected --held_out rows to score, found none")
        refuse_outside(self, 1, "rare_weight")
        refuse_outside(self, 0, "batch_tokens")
        refuse_outside(self, 1, "layers")
        refuse_outside(self, 0, "stride", "freeze_layers")
        if self.unlabeled and not self.teacher:
            raise RefusedError("--unlabeled: expected --teacher to label the texts, found none")
        if self.teacher_logits and not self.teacher:
            raise RefusedError("--teacher_logits: expected --teacher, found none")
