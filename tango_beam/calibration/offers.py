"""What the same rows say of other goals, and of speed: descriptions, no promises."""

from __future__ import annotations

from typing import Any

import numpy as np

from tango_beam.calibration import signing
from tango_beam.calibration.judged import Judged
from tango_beam.calibration.scored import Scored
from tango_beam.config import CascadeConfig

AGREEMENTS = (0.999, 0.995, 0.99, 0.98, 0.97, 0.95, 0.9)


def agreements(judged: Judged, delta: float, corpus: int | None) -> list[dict[str, Any]]:
    """Goals of agreement with the threshold and the escalation that each would take.

    Each would have been signed at level delta had it been the one goal; picking one afterwards is
    another attempt.
    """
    rows = []
    for goal in AGREEMENTS:
        signed = signing.agreement(judged, goal, delta, corpus)
        tier = judged.cascaded(signed.thresholds)[1]
        rows.append(
            {
                "agreement": goal,
                "met": signed.met,
                "threshold": signed.thresholds[0],
                "escalated": float((tier > 1).mean()),
            }
        )
    return rows


def speed(rows: Scored, cascade: CascadeConfig, thresholds: tuple[float, ...]) -> dict[str, Any]:
    """Seconds a row in each tier, and how many times as fast as the last tier alone the cascade is.

    Costs are those of this machine, batched and sorted by length, tokenization included; escalated
    rows are taken to cost what rows of the sample cost on average.
    """
    tier = rows.judged(cascade).cascaded(thresholds)[1]
    reached = [float((tier >= number).mean()) for number in range(1, len(rows.seconds) + 1)]
    cost = float(np.dot(reached, rows.seconds))
    times = rows.seconds[-1] / cost
    return {
        "seconds_a_row": list(rows.seconds),
        "escalated": reached[1],
        "reached": reached,
        "speedup": times,
        "pays": times > 1,
    }
