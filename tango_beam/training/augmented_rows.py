"""Augmented rows of all kinds that were asked for, an equal share of each."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from tango_beam.training import augmentation, language_models
from tango_beam.training.distill_options import AUGMENTATIONS, DistillOptions
from tango_beam.training.language_models import Generator, Maker, Replacer
from tango_beam.training.resume import TEXTS_FOLDER
from tango_beam.training.texts import Row


def make(rows: Sequence[Row], options: DistillOptions) -> list[Row]:
    """As many augmented rows as the options ask for, or fewer where a model makes too few.

    Args:
      rows: that they are made of.
      options: see `DistillOptions`.

    Raises:
      RefusedError: a model that is not there, or that makes hardly a text.
    """
    kinds, count = options.kinds, options.augmented_texts
    shares = {kind: (count + at) // len(kinds) for at, kind in enumerate(reversed(kinds))}
    plain = [kind for kind in kinds if kind in AUGMENTATIONS]
    made = list[Row]()
    if plain:
        texts, total = [text for (text,) in rows], sum(shares[kind] for kind in plain)
        made = [(text,) for text in augmentation.augment(texts, plain, total, options.seed)]
    for kind in kinds:
        if kind not in plain:
            made += _by_model(kind, rows, shares[kind], options)
    return made


def _by_model(kind: str, rows: Sequence[Row], count: int, options: DistillOptions) -> list[Row]:
    maker: Maker
    if kind == "generated":
        source, vectors = str(options.generator), None
        maker = Generator.load(source, rows, options.max_length)
    else:
        source, vectors = str(options.masked_lm), options.vectors
        maker = Replacer.load(source, vectors)
    name = language_models.fingerprint(
        kind, source, vectors, options.seed, options.max_length, rows
    )
    folder = Path(options.output) / TEXTS_FOLDER / name
    return language_models.made(maker, rows, count, options.seed, folder)
