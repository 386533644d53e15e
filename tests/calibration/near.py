"""Cascades whose first tiers nearly are the last one: its weights, with noise on them."""

import shutil

import numpy as np
from safetensors.numpy import load_file, save_file

from tango_beam.answers import Task
from tango_beam.cascade_directory import save_cascade
from tango_beam.config import CascadeConfig, TierConfig
from tests import tiny


def cascade_of(folder, *noises, labels=tiny.LABELS, task=Task(), seed=2, **changes):  # noqa: B008
    last = tiny.transformer(folder / "last_tier", labels or tiny.LABELS, seed, **changes)
    rng, tiers = np.random.default_rng(0), []
    for number, noise in enumerate(noises, start=1):
        place = shutil.copytree(last, folder / f"tier_{number}")
        weights = load_file(place / "model.safetensors")
        moved = {
            name: (value + noise * rng.standard_normal(value.shape)).astype(value.dtype)
            for name, value in weights.items()
        }
        save_file(moved, place / "model.safetensors", metadata={"format": "pt"})
        tiers.append(TierConfig(str(place), threshold=0.9))
    config = CascadeConfig((*tiers, TierConfig(str(last))), tuple(labels), "near", task=task)
    save_cascade(config, folder)
    return folder
