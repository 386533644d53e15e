"""From an encoder and labelled texts to a second tier with its card."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import torch

from tango_beam.training import card, corpora, finetune, holdout, mixture
from tango_beam.training.settings import FinetuneConfig, SecondTier


def run(ours: SecondTier, config: FinetuneConfig, command: str) -> dict[str, float]:
    """Trains, scores and saves a second tier; returns its scores.

    With teachers, the texts are labelled by them and the labels are not used for training.
    """
    data = corpora.read_labelled(ours.train, ours.text_column, ours.label_column)
    split = holdout.hold_out(data.texts, ours.held_out, ours.held_out_seed)
    train, held_out = data.take(split.train), data.take(split.held_out)
    model = finetune.start(ours.encoder, data.labels, config, drop_unused=ours.drop_unused)
    used = [card.data_row(ours.train, len(train.texts), "train")]
    targets = None
    if ours.teacher:
        texts, used = mixture.gather(
            train.texts,
            ours.train,
            ours.unlabeled,
            text_column=ours.text_column,
            unlabeled_rows=ours.unlabeled_rows,
            seed=config.seed,
        )
        targets = mixture.teach(ours.teacher, texts, data.labels, config.max_length)
        train = corpora.Labelled(texts, targets.argmax(axis=1), data.labels)

    def rank(current: object) -> dict[str, float]:
        if not ours.held_out:
            return {}
        return {"accuracy, held-out sentences": finetune.accuracy(current, held_out)}

    history = finetune.fine_tune(model, train, config, targets, rank)
    folder = Path(ours.output)
    model.save(folder, torch.bfloat16 if ours.store == "bf16" else torch.float32)
    scores = rank(model)
    if ours.held_out:
        used.append(card.data_row(ours.train, ours.held_out, "held-out sentences, to choose on"))
    if ours.dev:
        dev = corpora.read_labelled(ours.dev, ours.text_column, ours.label_column)
        scores["accuracy, dev"] = finetune.accuracy(model, dev)
        used.append(card.data_row(ours.dev, len(dev.texts), "dev, scored once"))
    about = ours.about or f"A second tier, fine-tuned from {ours.encoder}."
    card.write(folder, folder.name, about, command, used, scores, history, asdict(config))
    return scores
