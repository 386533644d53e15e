"""Fine-tunes an encoder to answer questions with spans of their contexts.

Devlin et al., 2019, section 4.2: cross entropy of the answer's first and last token, over the
tokens of the context and the first token of all, which stands for no answer.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from transformers import AutoModelForQuestionAnswering

from tango_beam.answers import span_text
from tango_beam.answers.span import SpanDecoder
from tango_beam.arrays import Float32, Int64
from tango_beam.config import Compute, TierConfig
from tango_beam.errors import RefusedError
from tango_beam.models import span_transformer, transformer
from tango_beam.models.checkpoints import refuse_unreadable
from tango_beam.models.loading import resolve_precision
from tango_beam.models.logits import logits_of
from tango_beam.models.span_transformer import SpanTransformer
from tango_beam.models.transformer import no_progress_bar, read_tokenizer
from tango_beam.models.windows import Windows
from tango_beam.training import (
    holdout,
    inputs,
    length_drop,
    loop,
    model_card,
    networks,
    span_teacher,
)
from tango_beam.training.finetune_options import FinetuneOptions
from tango_beam.training.layers import freeze, keep_layers
from tango_beam.training.questions import Questions, positions, read_questions
from tango_beam.training.span_teacher import allowed_log_softmax


def run(options: FinetuneOptions, command: str) -> tuple[dict[str, float], Questions]:
    """Trains, scores and saves a tier that answers with spans.

    Args:
      options: see `FinetuneOptions`.
      command: for the card.

    Returns:
      Its scores, and the questions that were held out.

    Raises:
      RefusedError: before any training; says what does not fit.
    """
    if options.teacher_logits:
        raise RefusedError(
            "--teacher_logits: expected labels or a score, found spans: none is kept"
        )
    folder = inputs.output_folder(options)
    data = read(options.train, "--train", options)
    dev = read(options.dev, "--dev", options) if options.dev else None
    train, held_out = part(data, options)
    with inputs.naming("--encoder", options.encoder):
        refuse_unreadable(options.encoder)
        model = start(options)
        freeze(model.network, options.freeze_layers)
        if options.length_drop:
            networks.shortening(model, options.precision)
    windows = model.tokenize(train.questions, train.contexts)
    if options.teacher:
        teachers = [_teacher(source, options) for source in options.teacher]
        goal = span_teacher.taught(teachers, train, windows)
    else:
        goal = targets(windows, positions(windows, train))
    history = fit(model, windows, goal, options, held_out)
    model.save(folder, torch.bfloat16 if options.store == "bf16" else torch.float32)
    scores = loop.last_scores(history)
    if options.store == "bf16":
        scores = scored(model, held_out, "held-out", options.precision)
    if options.length_drop:
        scores |= length_drop.write_settings(model, _held_rows(model, held_out), options)
    if dev is not None:
        scores |= scored(model, dev, "dev", options.precision)
    used = [model_card.data_row(options.train, len(train), "train")]
    if options.dev and dev is not None:
        used.append(model_card.data_row(options.dev, len(dev), "dev, scored once"))
    about = options.about or f"Answers questions with spans, fine-tuned from {options.encoder}."
    settings = asdict(options)
    model_card.write(folder, folder.name, about, command, used, scores, history, settings)
    return scores, held_out


def read(pattern: str, option: str, options: FinetuneOptions) -> Questions:
    """Questions of a file that an option names."""
    by = options.held_out_by
    return read_questions(
        pattern,
        options.text_columns,
        options.label_column,
        options.answer_start_column,
        group=by if by not in (None, "row", "sentence") and option == "--train" else None,
        input_format=options.input_format,
        option=option,
    )


def part(data: Questions, options: FinetuneOptions) -> tuple[Questions, Questions]:
    """Questions to train on, and those that are set aside: whole groups where rows have them."""
    count, seed = options.held_out, options.held_out_seed
    if data.group is None:
        split = holdout.hold_out_rows(data.questions.to_pylist(), count, seed)
    else:
        groups = data.group.dictionary_encode().indices.to_numpy().astype(np.int64)
        split = holdout.hold_out_groups(groups, count, seed)
    if not len(split.train):
        raise RefusedError(
            f"--held_out {count}: expected rows of {options.train} left to train on, found "
            f"{len(data):,} in all"
        )
    return data.take(split.train), data.take(split.held_out)


def start(options: FinetuneOptions) -> SpanTransformer:
    """An encoder with a head for first and last tokens, in float32; one that it has is kept.

    Raises:
      ValueError, RuntimeError: weights or a tokenizer that do not fit; OSError: no such encoder.
    """
    torch.manual_seed(options.seed)
    with no_progress_bar():
        network: Any = AutoModelForQuestionAnswering.from_pretrained(
            options.encoder, use_safetensors=True, trust_remote_code=False, dtype=torch.float32
        )
    if options.layers:
        keep_layers(network, options.layers)
    tier = TierConfig("", max_length=options.max_length, stride=options.stride)
    compute = Compute(inputs.device_of(options), "fp32")
    return SpanTransformer(network, read_tokenizer(options.encoder), tier, compute)


def _teacher(source: str, options: FinetuneOptions) -> SpanTransformer:
    with inputs.naming("--teacher", source):
        device = inputs.device_of(options)
        compute = Compute(device, resolve_precision("auto", device))
        tier = TierConfig(source, max_length=options.max_length, stride=options.stride)
        return span_transformer.load(tier, compute)


def fit(
    model: SpanTransformer,
    windows: Windows,
    goal: Float32,
    options: FinetuneOptions,
    held_out: Questions,
) -> list[dict[str, float]]:
    """Trains in place; returns a dict an epoch.

    Args:
      model: from `start`.
      windows: of the training rows.
      goal: probabilities of first and last tokens, float32, shape [tokens, 2].
      options: see `FinetuneOptions`.
      held_out: questions to score after every epoch.
    """
    rng = np.random.default_rng(options.seed)
    torch.manual_seed(options.seed)
    network, loss = _of_batches(model, windows, goal, options)
    least = loop.tokens_a_step(options, windows.lengths)
    epochs = [
        loop.epoch_batches(windows.lengths, rng, rows=options.batch_size, tokens=least)
        for _ in range(options.epochs)
    ]

    def rank() -> dict[str, float]:
        return scored(model, held_out, "held-out", options.precision)

    return loop.train(
        model.network,
        epochs,
        options,
        loss,
        cut=lambda rows: network.cut(windows, rows),
        operations=model.operations(windows.lengths),
        rank=rank,
    )


def _of_batches(
    model: SpanTransformer, windows: Windows, goal: Float32, options: FinetuneOptions
) -> tuple[networks.Trainable, Callable[[Int64], torch.Tensor]]:
    """What is trained, and its mean loss on some windows."""
    drop = options.length_drop
    shorter = networks.shortening(model, options.precision) if drop else None
    network = shorter or networks.of(model, options.precision)

    def loss(rows: Int64) -> torch.Tensor:
        aim = torch.zeros((len(rows), int(windows.lengths[rows].max()), 2))
        for place, row in enumerate(rows):
            start, stop = windows.offsets[row : row + 2]
            aim[place, : stop - start] = torch.from_numpy(goal[start:stop])
        aim = aim.to(model.device)
        if shorter is None:
            return edge_loss(network.edges(windows, rows), windows, rows, aim)

        def alike(edges: torch.Tensor, whole: torch.Tensor) -> torch.Tensor:
            said = allowed_log_softmax(whole, windows, rows).exp()
            return edge_loss(edges, windows, rows, said)

        return length_drop.sandwich(
            shorter,
            lambda: network.edges(windows, rows),
            lambda edges: edge_loss(edges, windows, rows, aim),
            alike,
            drop,
        )

    return network, loss


def _held_rows(model: SpanTransformer, data: Questions) -> length_drop.Held:
    """Held-out rows of a reader; settings are compared by the F1 of their answers."""

    def scores(outputs: Float32) -> dict[str, float]:
        texts = SpanDecoder().texts(outputs, data.contexts)
        pairs = zip(texts, data.answers, strict=True)
        return {"F1": float(np.mean([span_text.best_f1(*pair) for pair in pairs]))}

    def distance(outputs: Float32, whole: Float32, rows: Int64) -> float:
        contexts = data.contexts.take(pa.array(rows))
        answers = (SpanDecoder().texts(one, contexts) for one in (outputs, whole))
        return 1 - float(np.mean([span_text.f1(*pair) for pair in zip(*answers, strict=True)]))

    return length_drop.Held(model.tokenize(data.questions, data.contexts), scores, distance)


def targets(windows: Windows, answers: Int64) -> Float32:
    """Answers as probabilities of first and last tokens, float32, shape [tokens, 2]."""
    found = np.zeros((len(windows.ids), 2), np.float32)
    for side in (0, 1):
        found[windows.offsets[:-1] + answers[:, side], side] = 1
    return found


def edge_loss(
    edges: torch.Tensor, windows: Windows, rows: Int64, goal: torch.Tensor
) -> torch.Tensor:
    """Mean cross entropy of first and last tokens over those that may be one.

    Args:
      edges: start and end logits, shape [windows, tokens, 2].
      windows: of all rows.
      rows: the windows of the batch.
      goal: probabilities, of the shape of `edges`.
    """
    logs = allowed_log_softmax(edges, windows, rows)
    return -(goal * logs).sum(dim=1).mean()


def scored(model: SpanTransformer, data: Questions, where: str, precision: str) -> dict[str, float]:
    """Exact match and F1 of a model's answers, 0 to 1; nothing without rows.

    Args:
      model: may be in training.
      data: the rows.
      where: says in the scores' names which rows they are.
      precision: that it answers in, `bf16`, `fp32`, or `auto` for bf16 where it is native.
    """
    if not len(data):
        return {}
    answering = span_transformer.to_answer(
        transformer.twin(model, resolve_precision(precision, model.device))
    )
    found = logits_of(answering, data.questions, data.contexts)
    texts = SpanDecoder().texts(found, data.contexts)
    pairs = list(zip(texts, data.answers, strict=True))
    return {
        f"exact match, {where}": float(np.mean([span_text.is_match(*pair) for pair in pairs])),
        f"F1, {where}": float(np.mean([span_text.best_f1(*pair) for pair in pairs])),
    }
