"""Exits behind the layers of a second tier, trained on what its layers say of first tokens.

DeeBERT (Xin et al., 2020), its second stage: the network stays as it is. Its first tokens' states
are computed once and kept on disk, so that training on them takes minutes. What an exit learns is
the network's own answer, by the cross entropy with its probabilities: exits promise to say what the
whole network would.
"""

from __future__ import annotations

import logging
import shutil
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.nn import functional

from tango_beam import routing
from tango_beam.answers.task import LABELS
from tango_beam.arrays import Float32, Int64
from tango_beam.errors import RefusedError
from tango_beam.io.labelled import LabelledTexts
from tango_beam.logs import figures
from tango_beam.models import transformer
from tango_beam.models.early_exit import KIND
from tango_beam.models.exits import Exits
from tango_beam.models.logits import each_micro_batch, logits_of_tokens
from tango_beam.models.packed import PackedTransformer
from tango_beam.models.tokens import Tokens
from tango_beam.models.transformer import Transformer
from tango_beam.training import inputs, loop, model_card, teacher_logits, texts
from tango_beam.training.distill_options import DistillOptions
from tango_beam.training.resume import STATES_FOLDER

logger = logging.getLogger(__name__)

_PART = 2048
_LOG_EVERY_SECONDS = 20.0


def run(
    options: DistillOptions,
    data: inputs.Data,
    rows: list[texts.Row],
    used: list[dict[str, Any]],
    command: str,
) -> dict[str, float]:
    """Trains the exits, writes them beside a copy of the teacher; returns their scores.

    Args:
      options: see `DistillOptions`.
      data: the labelled rows, parted.
      rows: labelled, unlabelled and augmented texts alike.
      used: what a card says of where they come from.
      command: for the card.

    Raises:
      RefusedError: a teacher that does not give one label, or that cannot be packed.
    """
    folder = Path(options.output)
    if data.train.kind != LABELS:
        raise RefusedError(
            f"--student exits: expected a teacher of labels, found {data.train.kind}"
        )
    model = transformer.to_answer(inputs.load_teacher(options.teacher, options.max_length))
    if not isinstance(model, PackedTransformer):
        raise RefusedError(
            "--student exits: expected a teacher like BERT, RoBERTa, DistilBERT or MPNet, found "
            "another"
        )
    logits = teacher_logits.teach({options.teacher: model}, rows, model.labels, options)
    states = _States(model, rows, folder / STATES_FOLDER).all()
    torch.manual_seed(options.seed)
    behind = Exits(states.shape[1], states.shape[2], len(model.labels))
    history = _train(behind, states, logits, options)
    scores = _scores(model, behind, data.held_out, "held-out", options) if options.held_out else {}
    if data.dev:
        scores |= _scores(model, behind, data.dev, "dev", options)
    _save(options, behind)
    used = used + model_card.scored_rows(options, data.held_out, data.dev)
    about = f"{options.teacher}, with exits behind its layers."
    model_card.write(folder, folder.name, about, command, used, scores, history, asdict(options))
    return scores


@dataclass(frozen=True)
class _States:
    """First tokens' states of many rows, computed a part at a time and kept on disk.

    Attributes:
      model: whose layers they are.
      rows: texts or pairs.
      folder: where they lie; parts that are there are not computed again.
    """

    model: PackedTransformer
    rows: list[texts.Row]
    folder: Path

    def all(self) -> np.ndarray:
        """float16, shape [rows, layers, hidden size]; mapped from the disk."""
        self.folder.mkdir(parents=True, exist_ok=True)
        started = looked = time.monotonic()
        first = self._part(0)
        whole = np.lib.format.open_memmap(
            self.folder / "all.npy", "w+", np.float16, (len(self.rows), *first.shape[1:])
        )
        for at in range(0, len(self.rows), _PART):
            part = self._part(at)
            whole[at : at + len(part)] = part
            now, done = time.monotonic(), at + len(part)
            if now - looked > _LOG_EVERY_SECONDS:
                looked, left = now, (now - started) * (len(self.rows) - done) / done
                counts = f"{done:,} of {len(self.rows):,}"
                said = figures(rows=done, share=done / len(self.rows), seconds_left=left)
                logger.info("states of %s texts, about %.0f s left", counts, left, extra=said)
        return whole

    def _part(self, at: int) -> np.ndarray:
        path = self.folder / f"{at:09d}.npy"
        if path.is_file():
            return np.asarray(np.load(path))
        tokens = self.model.tokenize(*texts.columns(self.rows[at : at + _PART]))
        found = first_states(self.model, tokens).astype(np.float16)
        partial = path.with_suffix(".partial")
        with partial.open("wb") as file:
            np.save(file, found)
        partial.rename(path)
        return found


def first_states(model: PackedTransformer, tokens: Tokens) -> Float32:
    """First tokens' states behind each layer but the last, shape [rows, layers, hidden size]."""
    parts: list[tuple[Int64, Float32]] = []

    def look(rows: Int64) -> None:
        parts.append((rows, model.encoder.first_states(tokens, rows, model.tokenizer.pad_id)))

    each_micro_batch(model, tokens, look)
    found = np.empty((len(tokens), *parts[0][1].shape[1:]), np.float32)
    for rows, states in parts:
        found[rows] = states
    return found


def _train(
    behind: Exits, states: np.ndarray, logits: Float32, options: DistillOptions
) -> list[dict[str, float]]:
    rng = np.random.default_rng(options.seed)
    aim = torch.from_numpy(logits).softmax(dim=-1)

    def loss(rows: Int64) -> torch.Tensor:
        given = torch.from_numpy(states[np.sort(rows)].astype(np.float32))
        goal, total = aim[np.sort(rows)], torch.zeros(())
        for number in range(len(behind)):
            found = behind.logits(number, given[:, number])
            total = total + functional.cross_entropy(found, goal)
        return total / len(behind)

    lengths = np.ones(len(states), np.int64)
    epochs = [
        loop.epoch_batches(lengths, rng, rows=options.batch_size) for _ in range(options.epochs)
    ]
    return loop.train(behind, epochs, options, loss, per_row=True)


@torch.inference_mode()
def _scores(
    model: PackedTransformer,
    behind: Exits,
    data: LabelledTexts,
    where: str,
    options: DistillOptions,
) -> dict[str, float]:
    """How each exit agrees with the whole, and the threshold that keeps the agreement asked for."""
    tokens = model.tokenize(data.texts, *([] if data.pairs is None else [data.pairs]))
    given = torch.from_numpy(first_states(model, tokens))
    whole = logits_of_tokens(model, tokens)
    found = [behind.logits(number, given[:, number]).numpy() for number in range(len(behind))]
    agree = [float((one.argmax(axis=1) == whole.argmax(axis=1)).mean()) for one in found]
    scores = {f"agreement of exit {n}, {where}": share for n, share in enumerate(agree, start=1)}
    lowest, depth = lowest_exit_threshold(
        np.stack([routing.confidence(routing.softmax(one), KIND) for one in found], axis=1),
        np.stack([one.argmax(axis=1) for one in found], axis=1),
        whole.argmax(axis=1),
        options.agreement,
    )
    return scores | {
        f"exit threshold for {options.agreement:.0%} agreement, {where}": lowest,
        f"layers that a row then goes through, of {len(behind) + 1}, {where}": depth,
    }


def lowest_exit_threshold(
    confidences: Float32, answers: Int64, whole: Int64, agreement: float
) -> tuple[float, float]:
    """The lowest threshold of all exits, and how many layers a row then goes through.

    It describes these rows, and promises nothing of others. Agreement is not monotone in it, so
    values are walked down from the highest, a 200th of them at a time, and the walk ends at the
    first that agrees on too few.

    Args:
      confidences: at each exit, float32, shape [rows, exits].
      answers: of each exit, shape [rows, exits].
      whole: of the whole network, shape [rows].
      agreement: share of rows that leave with its answer.
    """
    best, depth = 1.0, float(confidences.shape[1] + 1)
    for lowest in np.quantile(confidences, np.linspace(1, 0, 201), method="lower"):
        given, depths = left_at(confidences, answers, whole, float(lowest))
        if float((given == whole).mean()) < agreement:
            break
        best, depth = float(lowest), float(depths.mean())
    return best, depth


def left_at(
    confidences: Float32, answers: Int64, whole: Int64, threshold: float
) -> tuple[Int64, Int64]:
    """What rows are answered that leave at a threshold, and how many layers each goes through."""
    leaves = np.stack([~routing.is_complex(one, threshold) for one in confidences.T], axis=1)
    at = np.concatenate([leaves, np.ones((len(whole), 1), bool)], axis=1).argmax(axis=1)
    said = np.concatenate([answers, whole[:, None]], axis=1)
    return said[np.arange(len(whole)), at], at + 1


def _save(options: DistillOptions, behind: Exits) -> None:
    """Writes a copy of the teacher's checkpoint with the exits in it."""
    folder, teacher = Path(options.output), Path(options.teacher)
    if teacher.is_dir():
        for file in teacher.iterdir():
            if file.is_file() and file.name not in (model_card.CARD, model_card.LOG):
                shutil.copyfile(file, folder / file.name)
    else:
        loaded: Transformer = inputs.load_teacher(options.teacher, options.max_length)
        loaded.save(folder, torch.bfloat16 if options.store == "bf16" else torch.float32)
    behind.save(folder)
