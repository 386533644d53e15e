"""What `pipelines.distill` can be told."""

from __future__ import annotations

from dataclasses import dataclass, fields
from functools import partial
from pathlib import Path
from typing import Any, Literal

from tango_beam.command_line import option
from tango_beam.errors import RefusedError
from tango_beam.models.bilstm_config import BiLSTMConfig
from tango_beam.models.static_config import StaticConfig
from tango_beam.options import refuse_outside
from tango_beam.training.options import TrainingOptions, data, training

AUGMENTATIONS = ("mask", "ngram", "join")
# By language models: what the option that names one is called.
BY_MODELS = {"generated": "generator", "replaced": "masked_lm"}

_shape = partial(option, group="shape of the student")


@dataclass(frozen=True, kw_only=True)
class DistillOptions(TrainingOptions):
    """What `pipelines.distill` can be told; the names are those of the command line."""

    teacher: str = option("a second tier", metavar="DIR")
    augment: str | None = data(
        "kinds of augmented texts, out of mask, ngram, join, generated, replaced (default: "
        "generated with --generator, replaced with --masked_lm, otherwise the first three)",
        None,
        metavar="KINDS",
    )
    augmented: int | None = data(
        "how many augmented texts, an equal share of each kind (default: 90,000; of pairs, which "
        "only language models augment, none without one)",
        None,
    )
    generator: str | None = data(
        "a causal language model that writes texts like those of --train",
        None,
        metavar="PATH-or-hub-id",
    )
    masked_lm: str | None = data(
        "a masked language model that replaces two words in five by others that fit; those that it "
        "cuts in pieces by their neighbours in --vectors",
        None,
        metavar="PATH-or-hub-id",
    )
    augment_unlabeled: bool = data("augment the texts of --unlabeled, too", False)
    student: Literal["pieces", "words", "static", "tinybert", "exits"] = _shape(
        "a BiLSTM that reads the teacher's word pieces, or words; a static one, of means of "
        "embeddings of pieces and bigrams, which reads a text as fast as its tokenizer; a small "
        "BERT, which learns the teacher's layers before its answers; or the teacher itself, with "
        "exits behind its layers",
        "pieces",
    )
    vectors: str | None = _shape(
        "words, --masked_lm: GloVe, columns word and vector", None, metavar="GLOB"
    )
    vocabulary_size: int = _shape(
        "words: the most frequent ones, padding and unknown among them",
        BiLSTMConfig.vocabulary_size,
    )
    embedding_size: int = _shape(
        "width of a word's or piece's embedding (static: 64)", BiLSTMConfig.embedding_size
    )
    hidden_size: int = _shape(
        "units of one direction of one of the two LSTM layers (tinybert: width, 312)",
        BiLSTMConfig.hidden_size,
    )
    pooling: Literal["last", "max"] = _shape(
        "BiLSTM: labels hang on the last hidden state of each direction, or besides on the largest "
        "that each unit was in the text",
        "last",
    )
    feed_forward_size: int = _shape(
        "units between the LSTM, or the means (static: 64), and the labels (tinybert: of each "
        "layer, 1200)",
        BiLSTMConfig.feed_forward_size,
    )
    heads: int | None = _shape(
        "tinybert: of attention (default: as many as the teacher has, or fewer where --hidden_size "
        "cannot be cut so)",
        None,
    )
    bigrams: int = _shape(
        "static: buckets for hashed bigrams, a power of two; 0: none", StaticConfig.bigrams
    )
    max_length: int = _shape("tokens read of a text (spans: 384)", BiLSTMConfig.max_length)
    layers: int = _shape(
        "spans: layers of the teacher that the student starts from (tinybert: its own, 4)", 3
    )
    dropout: float = _shape(
        "between layers (static: of the means), in training", BiLSTMConfig.dropout
    )
    encoder: str | None = training(
        "tinybert: the teacher's encoder as it was before its task; the student first learns its "
        "layers, from the same texts",
        None,
        metavar="PATH-or-hub-id",
    )
    start: str | None = training(
        "tinybert: a small pretrained BERT on the teacher's pieces, whose embeddings and evenly "
        "spaced layers, and with them whose width and heads, the student starts from",
        None,
        metavar="PATH-or-hub-id",
    )
    general_epochs: int = training("tinybert: passes over all texts for the layers of --encoder", 1)
    layer_epochs: int = training("tinybert: passes over all texts for the teacher's layers", 1)
    layer_rate: float = training("tinybert: peak of the learning rate in both", 5e-4)
    layer_tokens: int = training("tinybert: tokens a step in both", 2048)
    epochs: int = training("passes over all texts for the teacher's logits (spans, tinybert: 3)", 4)
    learning_rate: float = training(
        "peak of AdamW's, down linearly to 0 (spans: 1e-4, static: 5e-3, tinybert: as finetune)",
        2e-3,
    )
    batch_size: int = training("texts a step (spans: 16, tinybert: 32, static: 1024)", 128)
    seed: int = training("order of texts, augmentation, dropout, first weights", 0)
    weight_decay: float = 1e-5
    warm_up: float = 0.02
    cascade: str | None = option("write cascade.json over teacher and student, beside both", None)
    cuts: tuple[float, ...] = option(
        "with --cascade, as classify has it: what a score must reach, or the probability from "
        "which on a label is given",
        (),
        metavar="X,Y",
        separator=",",
    )
    agreement: float = option(
        "with --cascade: share of held-out rows on which cascade and teacher agree",
        0.99,
        metavar="0..1",
    )

    stated: tuple[str, ...] = ()  # names of the options that a command line gives

    @property
    def augmented_texts(self) -> int:
        """How many augmented texts there are to be."""
        usual = 90_000 if self.kinds else 0
        return usual if self.augmented is None else self.augmented

    @property
    def kinds(self) -> list[str]:
        """Kinds of augmented texts."""
        if self.augment is not None:
            return [kind for kind in self.augment.split(",") if kind]
        by_models = [kind for kind, model in BY_MODELS.items() if getattr(self, model)]
        return by_models or ([] if self.text_pair_column else [*AUGMENTATIONS])

    def shape(self, labels: tuple[str, ...], problem_type: str) -> BiLSTMConfig:
        """Shape of a student that gives these labels."""
        sizes = ("vocabulary_size", "embedding_size", "hidden_size", "feed_forward_size")
        names = (*sizes, "pooling", "max_length", "dropout")
        stated = {name: getattr(self, name) for name in names}
        return BiLSTMConfig(labels, problem_type=problem_type, **stated)

    def static_shape(
        self, labels: tuple[str, ...], problem_type: str, separator: int | None
    ) -> StaticConfig:
        """Shape of a static student that gives these labels."""
        names = ("embedding_size", "bigrams", "feed_forward_size", "max_length", "dropout")
        stated = {name: getattr(self, name) for name in names}
        return StaticConfig(labels, problem_type=problem_type, separator=separator, **stated)

    def usual(self, **own: Any) -> dict[str, Any]:
        """These options, with other values where they were left as they are."""
        usual = {field.name: field.default for field in fields(self)}
        found = {name: getattr(self, name) for name in own}
        left = {name for name, v in found.items() if v == usual[name] and name not in self.stated}
        return {name: own[name] if name in left else v for name, v in found.items()}

    def _refuse_foreign(self) -> None:
        """Raises RefusedError for an option that is another kind of student's."""
        if self.vectors and self.student != "words" and not self.masked_lm:
            found = self.student
            raise RefusedError(f"--vectors: expected --student words or --masked_lm, found {found}")
        for name in ("encoder", "start"):
            if getattr(self, name) and self.student != "tinybert":
                raise RefusedError(f"--{name}: expected --student tinybert, found {self.student}")

    def _refuse_kinds(self) -> None:
        """Raises RefusedError for augmentations that there are not, or that lack what they need."""
        known = [*AUGMENTATIONS, *BY_MODELS]
        unknown = [kind for kind in self.kinds if kind not in known]
        if unknown:
            raise RefusedError(f"--augment: expected kinds out of {known}, found {unknown}")
        for kind, model in BY_MODELS.items():
            if (kind in self.kinds) != bool(getattr(self, model)):
                raise RefusedError(
                    f"--augment: expected {kind} and --{model} together, found one of them"
                )
        plain = [kind for kind in self.kinds if kind in AUGMENTATIONS]
        if self.text_pair_column and plain:
            raise RefusedError(
                f"--augment: expected {' or '.join(BY_MODELS)} for pairs of texts, found {plain}"
            )
        if self.augmented and not self.kinds:
            raise RefusedError("--augmented: expected a kind in --augment, found none")

    def __post_init__(self) -> None:
        super().__post_init__()
        refuse_outside(self, 0, "augmented", "bigrams", "general_epochs", "layer_epochs")
        refuse_outside(self, 0, "layer_rate", above=True)
        if self.bigrams.bit_count() > 1 or self.bigrams == 1:
            raise RefusedError(f"--bigrams: expected 0, 2, 4, 8, ..., found {self.bigrams}")
        refuse_outside(
            self,
            1,
            *("embedding_size", "hidden_size", "feed_forward_size", "layers", "heads"),
            "layer_tokens",
        )
        # Padding, the unknown word, and one that is known.
        refuse_outside(self, 3, "vocabulary_size", "max_length")
        refuse_outside(self, 0, "dropout", under=1)
        if not 0 <= self.agreement <= 1:
            raise RefusedError(f"--agreement: expected 0 to 1, found {self.agreement}")
        self._refuse_kinds()
        if self.augment_unlabeled and not self.unlabeled:
            raise RefusedError("--augment_unlabeled: expected --unlabeled texts, found none")
        self._refuse_foreign()
        if self.cascade and not self.held_out:
            raise RefusedError("--cascade: expected --held_out rows to read a threshold off")
        folders = [Path(self.teacher).resolve(), Path(self.output).resolve()]
        if self.cascade and folders[0].parent != folders[1].parent:
            raise RefusedError(
                f"--cascade: expected teacher and output side by side in the cascade directory, "
                f"found {self.teacher} and {self.output}"
            )
        if self.cascade and not folders[0].is_dir():
            raise RefusedError(f"--teacher {self.teacher}: expected a folder, found none")
