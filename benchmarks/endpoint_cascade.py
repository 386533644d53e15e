"""A cascade whose second tier is the tests' endpoint, and rows that all differ.

Its first tier is tiny and sends every row on: what counts is who is asked, how often and how fast.
"""

import os
from pathlib import Path

import numpy as np

from tango_beam.cascade_directory import save_cascade
from tango_beam.config import CascadeConfig, TierConfig
from tango_beam.endpoints.settings import Endpoint
from tests import endpoint_server, killing, tiny

# On tiny networks several threads would only wait for each other.
os.environ.setdefault("OMP_NUM_THREADS", "1")

SENTENCES = 500  # that differ; a number behind each makes a text of its own


def texts(count: int, seed: int = 0) -> list[str]:
    """So many texts, no two of them the same."""
    some = killing.sentences(np.random.default_rng(seed), SENTENCES)
    return [f"{some[number % SENTENCES]} {number:07d}" for number in range(count)]


def cascade(folder: Path, url: str, labels: tuple[str, ...] = tiny.LABELS) -> str:
    """Writes the cascade directory over the endpoint at a URL."""
    first = TierConfig(str(tiny.static(folder / "first_tier", labels)), threshold=1.0)
    asked = Endpoint(url, "judge", endpoint_server.PROMPT, labels)
    tiers = first, TierConfig(asked.name, endpoint=asked)
    save_cascade(CascadeConfig(tiers, labels, folder.name), folder)
    return str(folder)


def right(text: str) -> str:
    """What the endpoint says of a text."""
    return endpoint_server.label_of(text, tiny.LABELS)
