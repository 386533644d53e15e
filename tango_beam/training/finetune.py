"""Fine-tunes a Hugging Face encoder into a second tier with its card."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import asdict
from typing import Any

import numpy as np
import torch
from torch.nn import functional
from transformers import AutoModelForSequenceClassification, PreTrainedTokenizerFast

from tango_beam.arrays import Float32, Int64
from tango_beam.config import TierConfig
from tango_beam.io.labelled import LabelledTexts
from tango_beam.local_output import check_local_output
from tango_beam.models import encoder_layers
from tango_beam.models.checkpoints import readable_length, refuse_unreadable
from tango_beam.models.logits import logits_of
from tango_beam.models.tokens import Tokens
from tango_beam.models.transformer import Transformer, read_tokenizer
from tango_beam.training import inputs, loop, model_card, span_training, texts, vocabulary
from tango_beam.training.options import FinetuneOptions


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
        return span_training.run(options, command)
    folder = check_local_output(options.output)
    data = inputs.read_data(options)
    with inputs.naming("--encoder", options.encoder):
        refuse_unreadable(options.encoder)
        model = start(options, data.train.labels)
    used = [model_card.data_row(options.train, len(data.train), "train")]
    rows = texts.rows_of(data.train)
    goal: Int64 | Float32 = data.train.targets
    if options.teacher:
        rows, goal, used = _taught(options, data.train)

    def rank(current: Transformer) -> dict[str, float]:
        if not options.held_out:
            return {}
        return {"accuracy, held-out sentences": accuracy(current, data.held_out)}

    history = fine_tune(model, rows, goal, options, rank)
    model.save(folder, torch.bfloat16 if options.store == "bf16" else torch.float32)
    scores = rank(model)
    if data.dev:
        scores["accuracy, dev"] = accuracy(model, data.dev)
    used += model_card.scored_rows(options, data.dev)
    about = options.about or f"A second tier, fine-tuned from {options.encoder}."
    settings = asdict(options)
    model_card.write(folder, folder.name, about, command, used, scores, history, settings)
    return scores


def _taught(
    options: FinetuneOptions, train: LabelledTexts
) -> tuple[list[texts.Row], Float32, list[dict[str, Any]]]:
    """Texts with the teachers' mean logits, and where the texts come from."""
    teachers = inputs.load_teachers(options.teacher, train.labels, options.max_length)
    gathered, used = texts.gather(train, options, unlabeled_rows=options.unlabeled_rows)
    return gathered, texts.teach(teachers, gathered, train.labels), used


def start(options: FinetuneOptions, labels: tuple[str, ...]) -> Transformer:
    """An encoder with a classification head, in float32.

    Args:
      options: name the encoder, a folder or Hugging Face id. Its head is kept if it has the same
        number of labels; otherwise it gets a new one.
      labels: the labels' names.

    Raises:
      ValueError, RuntimeError: weights or a tokenizer that do not fit; OSError: no such encoder.
    """
    torch.manual_seed(options.seed)
    network, report = AutoModelForSequenceClassification.from_pretrained(
        options.encoder,
        num_labels=len(labels),
        id2label=dict(enumerate(labels)),
        label2id={label: index for index, label in enumerate(labels)},
        use_safetensors=True,
        trust_remote_code=False,
        dtype=torch.float32,
        ignore_mismatched_sizes=True,
        output_loading_info=True,
    )
    _refuse_misfits(options.encoder, network.base_model_prefix, report["mismatched_keys"])
    tokenizer = read_tokenizer(options.encoder)
    if options.drop_unused:
        tokenizer = _without_unused(network, tokenizer)
    model = Transformer(network, tokenizer, TierConfig("", max_length=options.max_length))
    if not encoder_layers.known(network):
        model.try_out()
    return model


def _refuse_misfits(encoder: str, body: str, mismatched: Iterable[Any]) -> None:
    """A head for other labels may have another shape; the body's weights must fit."""
    names = [entry if isinstance(entry, str) else entry[0] for entry in mismatched]
    misfits = sorted(name for name in names if name.startswith(f"{body}."))
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
    goal: Int64 | Float32,
    options: FinetuneOptions,
    rank: Callable[[Transformer], dict[str, float]],
) -> list[dict[str, float]]:
    """Trains in place with cross entropy, or with squared error where teacher logits are given.

    Args:
      model: from `start`.
      rows: texts, or pairs of them.
      goal: index of the right label, int64, shape [rows]; or teacher logits, float32, shape
        [rows, labels].
      options: see `FinetuneOptions`.
      rank: called after every epoch with the model; returns scores to log.

    Returns:
      One dict an epoch: its mean loss and what `rank` said.
    """
    rng = np.random.default_rng(options.seed)
    torch.manual_seed(options.seed)
    tokens, aim = model.tokenize(*texts.columns(rows)), torch.from_numpy(goal)
    epochs = [
        loop.epoch_batches(tokens.lengths, options.batch_size, rng) for _ in range(options.epochs)
    ]
    mean = _RunningMean(model.network, options.average) if options.average else None
    history = loop.train(
        model.network,
        epochs,
        options,
        lambda batch: _loss(model, tokens, batch, aim[batch], options),
        after_step=mean.update if mean else lambda step: None,
        rank=lambda: mean.apply(lambda: rank(model)) if mean else rank(model),
    )
    if mean:
        mean.keep()
    return history


def _loss(
    model: Transformer,
    tokens: Tokens,
    rows: Int64,
    goal: torch.Tensor,
    options: FinetuneOptions,
) -> torch.Tensor:
    bf16 = options.precision == "bf16"
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=bf16):
        logits = model.logits(tokens, rows)
    if goal.is_floating_point():
        return functional.mse_loss(logits.float(), goal)
    return functional.cross_entropy(logits.float(), goal, label_smoothing=options.smoothing)


class _RunningMean:
    """Exponential running mean of a network's weights, held beside them."""

    def __init__(self, network: torch.nn.Module, decay: float) -> None:
        self._weights = [p for p in network.parameters() if p.requires_grad]
        self._mean = [p.detach().clone() for p in self._weights]
        self._decay = decay

    @torch.no_grad()
    def update(self, step: int) -> None:
        # At first the mean follows faster: it must forget the weights that it began with.
        decay = min(self._decay, (step + 1) / (step + 10))
        torch._foreach_lerp_(self._mean, [p.detach() for p in self._weights], 1 - decay)

    @torch.no_grad()
    def _swap(self) -> None:
        for weight, mean in zip(self._weights, self._mean, strict=True):
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


def accuracy(model: Transformer, data: LabelledTexts) -> float:
    """Share of rows whose best label is the right one, 0 to 1."""
    return float((logits_of(model, data.texts, data.pairs).argmax(axis=1) == data.targets).mean())
