"""From an encoder and labelled texts to a second tier with its card."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from tango_beam.models.checkpoints import refuse_unreadable
from tango_beam.training import card, finetune, launch, mixture
from tango_beam.training.corpora import Labelled
from tango_beam.training.settings import FinetuneConfig, SecondTier


def run(ours: SecondTier, config: FinetuneConfig, command: str) -> dict[str, float]:
    """Trains, scores and saves a second tier; returns its scores.

    With teachers, the texts are labelled by them and the labels are not used for training.

    Raises:
      RefusedError: before any training; says what does not fit.
    """
    launch.refuse_output(ours.output)
    data = launch.read_data(ours)
    with launch.naming("--encoder", ours.encoder):
        refuse_unreadable(ours.encoder)
        model = finetune.start(
            ours.encoder, data.train.labels, config, drop_unused=ours.drop_unused
        )
    train, targets = data.train, None
    used = [card.data_row(ours.train, len(train.texts), "train")]
    if ours.teacher:
        train, targets, used = _taught(ours, config, train)

    def rank(current: object) -> dict[str, float]:
        if not ours.held_out:
            return {}
        return {"accuracy, held-out sentences": finetune.accuracy(current, data.held_out)}

    history = finetune.fine_tune(model, train, config, targets, rank)
    folder = Path(ours.output)
    model.save(folder, torch.bfloat16 if ours.store == "bf16" else torch.float32)
    scores = rank(model)
    if ours.held_out:
        used.append(card.data_row(ours.train, ours.held_out, "held-out sentences, to choose on"))
    if ours.dev and data.dev:
        scores["accuracy, dev"] = finetune.accuracy(model, data.dev)
        used.append(card.data_row(ours.dev, len(data.dev.texts), "dev, scored once"))
    about = ours.about or f"A second tier, fine-tuned from {ours.encoder}."
    card.write(folder, folder.name, about, command, used, scores, history, asdict(config))
    return scores


def _taught(
    ours: SecondTier, config: FinetuneConfig, train: Labelled
) -> tuple[Labelled, npt.NDArray[np.float32], list[dict[str, Any]]]:
    """Texts with the teachers' best label and mean logits, and where the texts come from."""
    teachers = launch.load_teachers(ours.teacher, train.labels, config.max_length)
    texts, used = mixture.gather(
        train.texts,
        ours.train,
        ours.unlabeled,
        text_column=ours.text_column,
        unlabeled_rows=ours.unlabeled_rows,
        seed=config.seed,
    )
    targets = mixture.teach(teachers, texts, train.labels)
    return Labelled(texts, targets.argmax(axis=1), train.labels), targets, used
