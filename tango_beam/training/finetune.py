"""Fine-tunes a Hugging Face encoder into a second tier."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import torch
from torch.nn import functional
from transformers import (
    AutoModelForSequenceClassification,
    PreTrainedTokenizerFast,
)

from tango_beam.models.bulk import logits_of
from tango_beam.models.tokens import Tokens
from tango_beam.models.transformer import Transformer, read_tokenizer, readable_length
from tango_beam.training import schedule, vocabulary
from tango_beam.training.corpora import Labelled
from tango_beam.training.settings import FinetuneConfig

logger = logging.getLogger(__name__)


def start(
    encoder: str, labels: tuple[str, ...], config: FinetuneConfig, *, drop_unused: bool = False
) -> Transformer:
    """An encoder with a classification head, in float32.

    Args:
      encoder: folder or Hugging Face id; a head for as many labels is kept, else a new one made.
      labels: the labels' names.
      config: seed and max_length are read.
      drop_unused: leaves out the word pieces that no text ever gives, and their embeddings.

    Raises:
      ValueError, RuntimeError: weights or a tokenizer that do not fit; OSError: no such encoder.
    """
    torch.manual_seed(config.seed)
    network, report = AutoModelForSequenceClassification.from_pretrained(
        encoder,
        num_labels=len(labels),
        id2label=dict(enumerate(labels)),
        label2id={label: index for index, label in enumerate(labels)},
        use_safetensors=True,
        trust_remote_code=False,
        dtype=torch.float32,
        ignore_mismatched_sizes=True,
        output_loading_info=True,
    )
    _refuse_misfits(encoder, network.base_model_prefix, report["mismatched_keys"])
    tokenizer = read_tokenizer(encoder)
    if drop_unused:
        tokenizer = _without_unused(network, tokenizer)
    return Transformer(network, tokenizer, max_length=config.max_length)


def _refuse_misfits(encoder: str, body: str, mismatched: Iterable[Any]) -> None:
    """Weights of another shape may be a head's, for other labels; the body's must fit."""
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
        **tokenizer.special_tokens_map,
    )


def fine_tune(
    model: Transformer,
    train: Labelled,
    config: FinetuneConfig,
    targets: npt.NDArray[np.float32] | None = None,
    rank: Any = None,
) -> list[dict[str, float]]:
    """Trains in place with cross entropy, or with squared error where teacher logits are given.

    Args:
      model: from `start`.
      train: texts and labels.
      config: see `FinetuneConfig`.
      targets: teacher logits, float32, shape [rows, labels]; the labels are then not used.
      rank: called after every epoch with (epoch, model); returns a dict of scores to log.

    Returns:
      One dict an epoch: its mean loss and what `rank` said.
    """
    rng = np.random.default_rng(config.seed)
    torch.manual_seed(config.seed)
    tokens = model.tokenize(pa.array(train.texts))
    goal = torch.from_numpy(train.targets if targets is None else targets)
    lengths = tokens.lengths
    plans = [schedule.epoch_batches(lengths, config.batch_size, rng) for _ in range(config.epochs)]
    steps, step = sum(map(len, plans)), 0
    optimizer = schedule.optimizer(model.network, config.learning_rate, config.weight_decay)
    mean = _RunningMean(model.network, config.average) if config.average else None
    history = []
    for epoch, plan in enumerate(plans, start=1):
        model.network.train()
        losses = []
        for rows in schedule.logged(plan, f"epoch {epoch} of {config.epochs}"):
            rate = config.learning_rate * schedule.linear_decay(step, steps, config.warm_up)
            for group in optimizer.param_groups:
                group["lr"] = rate
            loss = _loss(model, tokens, rows, goal[rows], config)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.network.parameters(), 1.0)
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
            if mean:
                mean.update(step)
            losses.append(float(loss.detach()))
            step += 1
        model.network.eval()
        scores = {"epoch": epoch, "loss": float(np.mean(losses))}
        if rank:
            scores |= mean.apply(lambda: rank(model)) if mean else rank(model)
        logger.info("%s", {name: round(value, 4) for name, value in scores.items()})
        history.append(scores)
    if mean:
        mean.keep()
    return history


def _loss(
    model: Transformer,
    tokens: Tokens,
    rows: npt.NDArray[np.int64],
    goal: torch.Tensor,
    config: FinetuneConfig,
) -> torch.Tensor:
    ids = torch.from_numpy(tokens.padded(rows, model.tokenizer.pad_id))
    lengths = torch.from_numpy(tokens.lengths[rows])
    mask = (torch.arange(ids.shape[1]) < lengths[:, None]).long()
    bf16 = config.precision == "bf16"
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=bf16):
        logits = model.network(input_ids=ids, attention_mask=mask).logits
    if goal.is_floating_point():
        return functional.mse_loss(logits.float(), goal)
    return functional.cross_entropy(logits.float(), goal, label_smoothing=config.smoothing)


class _RunningMean:
    """Exponential running mean of a network's weights, held beside them."""

    def __init__(self, network: torch.nn.Module, decay: float) -> None:
        self._weights = [p for p in network.parameters() if p.requires_grad]
        self._mean = [p.detach().clone() for p in self._weights]
        self._decay = decay

    @torch.no_grad()
    def update(self, step: int) -> None:
        # A young mean follows faster, else it would drag the first weights along.
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


def accuracy(model: Any, data: Labelled) -> float:
    """Share of rows whose best label is the right one, 0 to 1."""
    return float((logits_of(model, data.texts).argmax(axis=1) == data.targets).mean())
