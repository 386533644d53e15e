"""A small BERT that learns a teacher's layers, then its answers: TinyBERT (Jiao et al., 2020).

In three stages: from the teacher's encoder as it was before its task, on unlabelled text (general
distillation); from the teacher's layers, on the task's texts; then from its logits. The student is
a plain BERT on the teacher's vocabulary.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import fields, replace
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional
from transformers import AutoModel, BertConfig, BertForSequenceClassification

from tango_beam.arrays import Float32, Int64
from tango_beam.config import Compute, TierConfig
from tango_beam.errors import RefusedError
from tango_beam.models import encoder_layers
from tango_beam.models.loading import resolve_precision
from tango_beam.models.tokens import Tokens
from tango_beam.models.transformer import Transformer, read_tokenizer
from tango_beam.training import finetune, inputs, loop, pretrained_start, texts
from tango_beam.training.distill_options import DistillOptions
from tango_beam.training.finetune_options import FinetuneOptions
from tango_beam.training.imitation import Imitation, layer_map
from tango_beam.training.options import TrainingOptions
from tango_beam.training.resume import Stage
from tango_beam.training.shown_encoder import ShownEncoder

logger = logging.getLogger(__name__)

# Of its embeddings, when it starts.
SPREAD = 0.05
# Numbers of scores whose activations are held at once.
_HELD_SCORES = 1 << 24


def start(
    teacher: Transformer, options: DistillOptions, embeddings: Callable[[], torch.Tensor]
) -> Transformer:
    """A BERT with the teacher's vocabulary and labels, on its device, in float32.

    Args:
      teacher: as it was loaded, neither packed nor shortened.
      options: its layers, and the encoder that it starts from, or else its hidden_size,
        feed_forward_size and heads.
      embeddings: what its pieces start from where it is untrained, shape [vocabulary,
        hidden_size].

    Raises:
      RefusedError: a teacher of another kind than can be looked into, or a shape that does not fit.
    """
    given = teacher.network.config
    if not encoder_layers.known(teacher.network):
        raise RefusedError(
            "--student tinybert: expected a teacher like BERT, RoBERTa, DistilBERT or MPNet, found "
            f"{type(teacher.network).__name__}"
        )
    if options.layers > given.num_hidden_layers:
        raise RefusedError(
            f"--layers: expected at most the teacher's {given.num_hidden_layers}, found "
            f"{options.layers}"
        )
    if options.start:
        network = pretrained_start.student_of(options, given, teacher.backend)
    else:
        network = _untrained(teacher, options, embeddings())
    tier, compute = TierConfig("", max_length=options.max_length), Compute(teacher.device, "fp32")
    return Transformer(network, teacher.backend, tier, compute)


def _untrained(teacher: Transformer, options: DistillOptions, embeddings: torch.Tensor) -> Any:
    """A BERT of the options' shape, whose layers have learnt nothing yet."""
    given = teacher.network.config
    config = BertConfig(
        vocab_size=len(embeddings),
        hidden_size=options.hidden_size,
        num_hidden_layers=options.layers,
        num_attention_heads=_heads(given.num_attention_heads, options),
        intermediate_size=options.feed_forward_size,
        max_position_embeddings=max(512, options.max_length),
        pad_token_id=teacher.tokenizer.pad_id,
        num_labels=given.num_labels,
        id2label=given.id2label,
        label2id=given.label2id,
        problem_type=given.problem_type,
    )
    torch.manual_seed(options.seed)
    network = BertForSequenceClassification(config)
    network.base_model.embeddings.word_embeddings.weight.data.copy_(embeddings)
    return network


def _heads(teacher: int, options: DistillOptions) -> int:
    """The teacher's number of heads, or the nearest smaller one that the hidden size can be cut in.

    Raises:
      RefusedError: `--heads` that do not fit.
    """
    width = options.hidden_size
    if options.heads is None:
        return next(heads for heads in range(teacher, 0, -1) if width % heads == 0)
    if width % options.heads:
        raise RefusedError(
            f"--heads: expected a divisor of --hidden_size {width}, found {options.heads}"
        )
    return options.heads


def train(
    student: Transformer,
    rows: list[texts.Row],
    logits: Float32,
    options: DistillOptions,
    rank: Callable[[Any], dict[str, float]],
) -> list[dict[str, float]]:
    """Trains a student in place, in all stages; returns a dict an epoch of the last one.

    Args:
      student: from `start`.
      rows: labelled, unlabelled and augmented texts alike.
      logits: the teacher's raw outputs, float32, shape [rows, labels].
      options: see `DistillOptions`.
      rank: called after every epoch with the student; returns scores to log.
    """
    tokens = student.tokenize(*texts.columns(rows))
    if options.encoder and options.general_epochs:
        _stage("general", student, lambda: _encoder(student, options), tokens, options)
    if options.layer_epochs:
        _stage("layers", student, lambda: _teacher(student, options), tokens, options)
    goal = functional.mse_loss
    return finetune.fine_tune(student, rows, logits, goal, as_finetuning(options), rank)


def as_finetuning(options: DistillOptions) -> FinetuneOptions:
    """The last stage, as a fine-tuning on the teacher's answers."""
    shared = {each.name: getattr(options, each.name) for each in fields(TrainingOptions)}
    stated = "learning_rate" in options.stated
    return FinetuneOptions(
        **{
            **shared,
            "encoder": "",
            "teacher": (options.teacher,),
            "learning_rate": options.learning_rate if stated else None,
            "weight_decay": FinetuneOptions.weight_decay,
            "warm_up": FinetuneOptions.warm_up,
        }
    )


def _teacher(student: Transformer, options: DistillOptions) -> ShownEncoder:
    return _shown(inputs.load_teacher(options.teacher, options.max_length, student.device))


def _encoder(student: Transformer, options: DistillOptions) -> ShownEncoder:
    """The teacher's encoder before its task.

    Raises:
      RefusedError: it is not there, or has another vocabulary than the teacher.
    """
    source = str(options.encoder)
    with inputs.naming("--encoder", source):
        dtype = _dtype(student.device)
        network = AutoModel.from_pretrained(
            source, use_safetensors=True, trust_remote_code=False, dtype=dtype
        )
        backend = read_tokenizer(source)
    found, expected = len(backend), len(student.backend)
    if backend.get_vocab() != student.backend.get_vocab():
        raise RefusedError(
            f"--encoder {source}: expected the teacher's vocabulary of {expected:,} pieces, found "
            f"another, of {found:,}"
        )
    if not encoder_layers.is_known_body(network):
        raise RefusedError(
            f"--encoder {source}: expected an encoder like BERT, RoBERTa, DistilBERT or MPNet, "
            f"found {type(network).__name__}"
        )
    network = network.to(student.device)
    return ShownEncoder(network, student.tokenizer.pad_id, segments=student.segments, dtype=dtype)


def _shown(model: Transformer) -> ShownEncoder:
    dtype = _dtype(model.device)
    return ShownEncoder(model.network, model.tokenizer.pad_id, segments=model.segments, dtype=dtype)


def _dtype(device: str) -> torch.dtype:
    return torch.bfloat16 if resolve_precision("auto", device) == "bf16" else torch.float32


def _stage(
    name: str,
    student: Transformer,
    teacher: Callable[[], ShownEncoder],
    tokens: Tokens,
    options: DistillOptions,
) -> None:
    """Lets the student's layers learn from a teacher's, unless that was done before."""
    stage = Stage(options, name)
    if stage.load(student.network):
        logger.info("%s distillation was done before", name)
        return
    shown = _shown(student)
    of = teacher()
    layers = layer_map(of.depth, shown.depth)
    heads = shown.heads, of.heads
    both = nn.ModuleDict(
        {
            "student": student.network,
            "imitation": Imitation(shown.hidden_size, of.hidden_size, layers, heads),
        }
    ).to(student.device)
    imitation: Any = both["imitation"]

    def loss(rows: Int64) -> torch.Tensor:
        with torch.no_grad():
            aim = of(tokens, rows, {*layers})
        return imitation(shown(tokens, rows, range(shown.depth)), aim)

    epochs = options.general_epochs if name == "general" else options.layer_epochs
    rng = np.random.default_rng(options.seed)
    batches = [
        loop.epoch_batches(tokens.lengths, rng, rows=1, tokens=options.layer_tokens, exact=True)
        for _ in range(epochs)
    ]
    given = replace(options, learning_rate=options.layer_rate)
    operations = student.operations(tokens.lengths)
    loop.train(
        both,
        batches,
        given,
        loss,
        cut=lambda rows: _cut(tokens, rows, of.heads),
        operations=operations,
        stage=name,
    )
    stage.done(student.network)


def _cut(tokens: Tokens, rows: Int64, heads: int) -> Sequence[Int64]:
    """Micro-batches whose scores fit into memory."""
    length = int(tokens.lengths[rows[0]])
    most = max(1, _HELD_SCORES // (heads * length * length))
    return [rows[at : at + most] for at in range(0, len(rows), most)]
