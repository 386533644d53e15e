"""What a row takes in each tier, timed side by side once all of them are there.

Tiers are tuned many minutes apart. A machine that is warmer by then, or has other work, would make
one tier look slow beside another, and the cheapest chain a wrong one.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa

from tango_beam.building.measured import Measured
from tango_beam.building.settings import Settings
from tango_beam.config import Compute
from tango_beam.models.logits import logits_of_tokens
from tango_beam.models.peak_flops import seconds_of
from tango_beam.resolve import load_tier
from tango_beam.tuning.candidates import timed_rows

logger = logging.getLogger(__name__)

ROUNDS = 3
_MOST_TOKENIZED = 2048


def timed(
    candidates: Sequence[Measured],
    texts: Sequence[pa.Array],
    compute: Compute,
    seconds: float,
    path: Path,
) -> tuple[Measured, ...]:
    """Candidates with the seconds a row that they take beside each other; timed once, and kept.

    Of several rounds the fastest counts: other work only ever adds. A tier that is asked keeps what
    it was measured at, since its calls cost money.

    Args:
      candidates: with their fastest settings.
      texts: rows to time them on.
      compute: settled.
      seconds: of work that is timed, for each candidate in each round, about.
      path: where what was measured is kept.
    """
    known = json.loads(path.read_text()) if path.is_file() else None
    if known is None or set(known) != {one.name for one in candidates}:
        known = _measured(candidates, texts, compute, seconds)
        path.write_text(json.dumps(known, indent=2) + "\n")
    return tuple(replace(one, settings=_with(one.settings, known[one.name])) for one in candidates)


def _with(settings: Settings, known: Sequence[float]) -> Settings:
    return replace(settings, seconds=known[0], tokenizing=known[1])


def _measured(
    candidates: Sequence[Measured], texts: Sequence[pa.Array], compute: Compute, seconds: float
) -> dict[str, tuple[float, float]]:
    """Seconds a row by name: in the model, and for its tokens where it makes its own."""
    known = {one.name: (one.settings.seconds, one.settings.tokenizing) for one in candidates}
    some = [text[:_MOST_TOKENIZED] for text in texts]
    trials = []
    for one in candidates:
        if not one.settings.tier.is_asked:
            model = load_tier(one.settings.tier, compute)
            rows = timed_rows(model, model.tokenize(*some), seconds, one.settings.tier.batch_rows)
            trials.append((one, model, rows))
    spent = np.full((ROUNDS, len(trials), 2), 0.0)
    for number in range(ROUNDS):
        for place, (one, model, rows) in enumerate(trials):
            spent[number, place, 0] = seconds_of(lambda: logits_of_tokens(model, rows)) / rows.rows  # noqa: B023
            if one.settings.tokenizing:
                tokenizing = seconds_of(lambda: model.tokenize(*some))  # noqa: B023
                spent[number, place, 1] = tokenizing / len(some[0])
    for (one, _, _), (least, tokenizing) in zip(trials, spent.min(axis=0), strict=True):
        known[one.name] = (float(least), float(tokenizing))
        logger.info("%s: %.0f rows a second, beside the others", one.name, 1 / least)
    return known
