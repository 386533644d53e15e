"""Fine-tunes a Hugging Face encoder into a second tier with its card."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import asdict
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch.nn import functional
from transformers import AutoModelForSequenceClassification, PreTrainedTokenizerFast

from tango_beam.answers.task import LABELS, SCORE
from tango_beam.arrays import Float32, Int64
from tango_beam.config import Compute, TierConfig
from tango_beam.errors import RefusedError
from tango_beam.io.labelled import LabelledTexts
from tango_beam.models import encoder_layers
from tango_beam.models.checkpoints import readable_length, refuse_unreadable
from tango_beam.models.loading import resolve_precision
from tango_beam.models.logits import logits_of
from tango_beam.models.tokens import Tokens
from tango_beam.models.transformer import (
    Transformer,
    no_progress_bar,
    read_tokenizer,
    to_answer,
    twin,
)
from tango_beam.training import (
    inputs,
    layers,
    length_drop,
    loop,
    model_card,
    networks,
    objectives,
    span_training,
    teacher_logits,
    texts,
    vocabulary,
)
from tango_beam.training.finetune_options import FinetuneOptions
from tango_beam.training.objectives import PROBLEM_TYPES, Scale
from tango_beam.training.progress import PASSES

History = list[dict[str, float]]


def run(options: FinetuneOptions, command: str) -> dict[str, float]:
    """Trains, scores and saves a second tier; returns its scores.

    With teachers, the texts are labelled by them and the labels are not used for training.

    Args:
      options: see `FinetuneOptions`.
      command: for the card.

    Raises:
      RefusedError: before any training; says what does not fit.
    """
    if options.task == "span":
        return span_training.run(options, command)[0]
    folder = inputs.output_folder(options)
    data = inputs.read_data(options, options.task)
    train, where = data.train, f"held-out {options.held_out_rows(data.train.kind)}"
    if options.smoothing and train.kind != LABELS:
        raise RefusedError(f"--smoothing: expected --task labels, found {train.kind}")
    with inputs.naming("--encoder", options.encoder):
        refuse_unreadable(options.encoder)
        model = start(options, train)
        layers.freeze(model.network, options.freeze_layers)
        if options.length_drop:
            networks.shortening(model, options.precision)
    used = [model_card.data_row(options.train, len(train), "train")]
    rows, goal = texts.rows_of(train), train.targets
    loss = objectives.loss_of(train.kind, goal, options.rare_weight, options.smoothing)
    if options.teacher:
        rows, goal, used = _taught(options, train)
        loss = functional.mse_loss

    def rank(current: Transformer) -> dict[str, float]:
        if not options.held_out:
            return {}
        return scores_on(current, data.held_out, where, options.precision)

    history = fine_tune(model, rows, goal, loss, options, rank)
    model.save(folder, torch.bfloat16 if options.store == "bf16" else torch.float32)
    scores = rank(model) if options.store == "bf16" else loop.last_scores(history)
    if options.length_drop:
        held = length_drop.held_rows(model, data.held_out)
        scores |= length_drop.write_settings(model, held, options)
    if data.dev:
        scores |= scores_on(model, data.dev, "dev", options.precision)
    used += model_card.scored_rows(options, data.held_out, data.dev)
    about = options.about or f"A second tier, fine-tuned from {options.encoder}."
    settings = asdict(options)
    model_card.write(folder, folder.name, about, command, used, scores, history, settings)
    return scores


def _taught(
    options: FinetuneOptions, train: LabelledTexts
) -> tuple[list[texts.Row], Float32, list[dict[str, Any]]]:
    """Texts with the teachers' mean logits, and where the texts come from."""
    device = inputs.device_of(options)
    teachers = inputs.load_teachers(options.teacher, train, options.max_length, device)
    gathered, used = texts.gather(train, options)
    return gathered, teacher_logits.teach(teachers, gathered, train.labels, options), used


def start(options: FinetuneOptions, data: LabelledTexts) -> Transformer:
    """An encoder with a head for a kind of answer, in float32.

    Args:
      options: name the encoder, a folder or Hugging Face id. Its head is kept if it has the same
        number of outputs; otherwise it gets a new one.
      data: say the kind and the labels' names.

    Raises:
      ValueError, RuntimeError: weights or a tokenizer that do not fit; OSError: no such encoder.
    """
    torch.manual_seed(options.seed)
    with no_progress_bar():
        network, report = AutoModelForSequenceClassification.from_pretrained(
            options.encoder,
            num_labels=len(data.labels),
            id2label=dict(enumerate(data.labels)),
            label2id={label: index for index, label in enumerate(data.labels)},
            problem_type=PROBLEM_TYPES[data.kind],
            use_safetensors=True,
            trust_remote_code=False,
            dtype=torch.float32,
            ignore_mismatched_sizes=True,
            output_loading_info=True,
        )
    mismatched = _names(report["mismatched_keys"])
    _refuse_misfits(options.encoder, network.base_model_prefix, mismatched)
    tokenizer = read_tokenizer(options.encoder)
    if options.drop_unused:
        tokenizer = _without_unused(network, tokenizer)
    compute = Compute(inputs.device_of(options), "fp32")
    model = Transformer(network, tokenizer, TierConfig("", max_length=options.max_length), compute)
    if not encoder_layers.known(network):
        model.try_out()
    if data.kind == SCORE:
        name, head = objectives.head_of(network, 1)
        if f"{name}.weight" in {*mismatched, *_names(report["missing_keys"])}:
            Scale.of(data.targets, head).to_scores(head)  # a new head knows nothing of the scores
    return model


def _names(keys: Iterable[Any]) -> list[str]:
    return [entry if isinstance(entry, str) else entry[0] for entry in keys]


def _refuse_misfits(encoder: str, body: str, mismatched: list[str]) -> None:
    """A head for other labels may have another shape; the body's weights must fit."""
    misfits = sorted(name for name in mismatched if name.startswith(f"{body}."))
    if misfits:
        raise ValueError(
            f"{encoder}: expected weights of the shapes in config.json, found others for "
            f"{', '.join(misfits[:3])}"
        )


def _without_unused(network: Any, tokenizer: Any) -> Any:
    backend, kept = vocabulary.without_unused(tokenizer.backend_tokenizer)
    old = network.get_input_embeddings()
    pad = backend.token_to_id(tokenizer.pad_token)
    embeddings = torch.nn.Embedding(len(kept), old.embedding_dim, padding_idx=pad)
    with torch.no_grad():
        embeddings.weight.copy_(old.weight[torch.from_numpy(kept)])
    network.set_input_embeddings(embeddings)
    network.config.vocab_size = len(kept)
    network.config.pad_token_id = pad
    return PreTrainedTokenizerFast(
        tokenizer_object=backend,
        model_max_length=readable_length(network.config, tokenizer),
        model_input_names=tokenizer.model_input_names,
        truncation_side=tokenizer.truncation_side,
        split_special_tokens=tokenizer.split_special_tokens,
        **tokenizer.special_tokens_map,
    )


def fine_tune(
    model: Transformer,
    rows: list[texts.Row],
    goal: npt.NDArray,
    loss: objectives.Loss,
    options: FinetuneOptions,
    rank: Callable[[Transformer], dict[str, float]],
) -> History:
    """Trains in place.

    Args:
      model: from `start`.
      rows: texts, or pairs of them.
      goal: what each row's logits are compared with: targets, or the logits of teachers.
      loss: of logits and goal.
      options: see `FinetuneOptions`.
      rank: called after every epoch with the model; returns scores to log.

    Returns:
      One dict an epoch: its mean loss and what `rank` said.
    """

    def train(goal: npt.NDArray, look: Callable[[], dict[str, float]]) -> History:
        return _train(model, rows, goal, loss, options, look)

    if model.network.config.problem_type == PROBLEM_TYPES[SCORE]:
        return objectives.train_on_scores(model.network, goal, lambda: rank(model), train)
    return train(goal, lambda: rank(model))


def _train(
    model: Transformer,
    rows: list[texts.Row],
    goal: npt.NDArray,
    loss: objectives.Loss,
    options: FinetuneOptions,
    rank: Callable[[], dict[str, float]],
) -> History:
    rng = np.random.default_rng(options.seed)
    torch.manual_seed(options.seed)
    tokens = model.tokenize(*texts.columns(rows))
    aim = torch.from_numpy(goal).to(model.device)
    network, mean_loss = _of_batches(model, tokens, aim, loss, options)
    least = loop.tokens_a_step(options, tokens.lengths)
    epochs = [
        loop.epoch_batches(tokens.lengths, rng, rows=options.batch_size, tokens=least)
        for _ in range(options.epochs)
    ]
    mean = _RunningMean(model.network, options.average) if options.average else None
    history = loop.train(
        model.network,
        epochs,
        options,
        mean_loss,
        cut=lambda batch: network.cut(tokens, batch),
        operations=model.operations(tokens.lengths) * _passes(model.network, options),
        after_step=mean.update if mean else lambda step: None,
        rank=lambda: mean.apply(rank) if mean else rank(),
        kept=mean.tensors if mean else (),
    )
    if mean:
        mean.keep()
    return history


def _of_batches(
    model: Transformer,
    tokens: Tokens,
    aim: torch.Tensor,
    loss: objectives.Loss,
    options: FinetuneOptions,
) -> tuple[networks.Trainable, Callable[[Int64], torch.Tensor]]:
    """What is trained, and its mean loss on some rows."""
    if not options.length_drop:
        network = networks.of(model, options.precision)
        return network, lambda rows: loss(network.logits(tokens, rows), aim[rows])
    shorter = networks.shortening(model, options.precision)
    alike = length_drop.alike_of(model.network.config.problem_type)

    def mean(rows: Int64) -> torch.Tensor:
        return length_drop.sandwich(
            shorter,
            lambda: shorter.logits(tokens, rows),
            lambda whole: loss(whole, aim[rows]),
            alike,
            options.length_drop,
        )

    return shorter, mean


def _passes(network: torch.nn.Module, options: FinetuneOptions) -> float:
    """Share of the products of a step that are computed: nothing goes back to frozen layers."""
    if not options.freeze_layers:
        return 1.0
    trained = 1 - options.freeze_layers / layers.depth(network)
    return (1 + (PASSES - 1) * trained) / PASSES


class _RunningMean:
    """Exponential running mean of a network's weights, held beside them."""

    def __init__(self, network: torch.nn.Module, decay: float) -> None:
        self._weights = [p for p in network.parameters() if p.requires_grad]
        self.tensors = [p.detach().clone() for p in self._weights]
        self._decay = decay

    @torch.no_grad()
    def update(self, step: int) -> None:
        # At first the mean follows faster: it must forget the weights that it began with.
        decay = min(self._decay, (step + 1) / (step + 10))
        torch._foreach_lerp_(self.tensors, [p.detach() for p in self._weights], 1 - decay)

    @torch.no_grad()
    def _swap(self) -> None:
        for weight, mean in zip(self._weights, self.tensors, strict=True):
            held = weight.detach().clone()
            weight.copy_(mean)
            mean.copy_(held)

    def apply(self, action: Any) -> Any:
        """Runs an action with the mean in place of the weights."""
        self._swap()
        try:
            return action()
        finally:
            self._swap()

    def keep(self) -> None:
        """Leaves the mean in place of the weights."""
        self._swap()


def scores_on(
    model: Transformer, data: LabelledTexts, where: str, precision: str = "fp32"
) -> dict[str, float]:
    """How right a model is on labelled rows, as it will answer: without padding, where it can.

    Args:
      model: any; it may be in training.
      data: the rows.
      where: says in the scores' names which rows they are.
      precision: that it answers in, `bf16`, `fp32`, or `auto` for bf16 where it is native.
    """
    answering = to_answer(twin(model, resolve_precision(precision, model.device)))
    outputs = logits_of(answering, data.texts, data.pairs)
    scores = objectives.scores_of(data.kind, outputs, data.targets)
    return {f"{name}, {where}": value for name, value in scores.items()}
