"""Small cascades and rows of every kind of answer."""

import json
from pathlib import Path

import numpy as np
import pytest

from tango_beam.answers import Task
from tango_beam.cascade_directory import save_cascade
from tango_beam.config import CascadeConfig, TierConfig
from tango_beam.models.logits import logits_of
from tests import tiny

TASKS = {
    "labels": Task(),
    "multi_label": Task("multi_label", (0.3, 0.5, 0.6)),
    "score": Task("score", (-0.5, 0.5)),
    "span": Task("span"),
}
LABELS = {"labels": tiny.LABELS, "multi_label": ("a", "b", "c"), "score": ("LABEL_0",), "span": ()}
WINDOWS = {"max_length": 40, "stride": 8}
PAIR = ("--text_pair_column", "text_pair")
# What stands in the place of a row, and has no answer.
BROKEN = (
    b'{"id": %d, "text": "a", "text_pair": "b"',
    b'{"id": %d, "text": null, "text_pair": "a"}',
    b'{"id": %d, "text": "\xff", "text_pair": "a"}',
    b'{"id": %d, "text": 5, "text_pair": "a"}',
)
NO_WORD = b'{"id": %d, "text": "a", "text_pair": " "}'


def some_nightly(*names):
    """The kinds for `parametrize`; those that are named run where TANGO_BEAM_NIGHTLY is set."""
    marks = {name: (pytest.mark.nightly,) for name in names}
    return [pytest.param(kind, marks=marks.get(kind, ())) for kind in TASKS]


def options(kind) -> tuple[str, ...]:
    """Of the commands, for rows of a kind."""
    return PAIR if kind == "span" else ()


def checkpoint(folder: Path, kind: str, seed: int, **changes) -> Path:
    if kind == "span":
        return tiny.reader(folder, seed, **changes)
    stated = {"multi_label": "multi_label_classification", "score": "regression"}.get(kind)
    return tiny.transformer(folder, LABELS[kind], seed, problem_type=stated, **changes)


def cascade(folder: Path, kind: str, tiers: int = 3, **changes) -> Path:
    """A cascade directory whose tiers each send about half of their rows on."""
    task, more = TASKS[kind], WINDOWS if kind == "span" else {}
    made, sample = [], [json.loads(line(n, kind)) for n in range(200)]
    texts, pairs = [row["text"] for row in sample], [row["text_pair"] for row in sample]
    for number in range(1, tiers + 1):
        path = checkpoint(folder / f"tier_{number}", kind, number, **changes)
        threshold = None
        if number < tiers:
            given = texts, pairs if kind == "span" else None
            outputs = logits_of(tiny.load(path, **more), *given)
            confidences = task.decoder(LABELS[kind]).confidences(outputs)
            threshold = round(float(np.median(confidences)), 4)
        made.append(TierConfig(str(path), threshold=threshold, **more))
    config = CascadeConfig(tuple(made), LABELS[kind], folder.name, task=task)
    save_cascade(config, folder)
    return folder


def line(number: int, kind: str) -> bytes:
    """A row as JSON; it is the same for a number, always."""
    rng = np.random.default_rng(number)
    longest = 90 if kind == "span" else 9
    row = {"id": number, "text": tiny.sentence(rng), "text_pair": tiny.sentence(rng, longest)}
    return json.dumps(row).encode()


def broken(number: int, kind: str) -> bytes:
    """A line without an answer."""
    known = (*BROKEN, NO_WORD) if kind == "span" else BROKEN
    return known[number % len(known)] % number
