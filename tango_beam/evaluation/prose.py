"""What the page says in sentences: the result in short, the figures' captions, the method."""

from __future__ import annotations

from typing import Any

from tango_beam.evaluation.curves import DRAWS
from tango_beam.evaluation.tables import percent, times


def summary(found: dict[str, Any]) -> list[str]:
    """What a reader in a hurry takes away."""
    last, shown = len(found["cascade"]["tiers"]), found["metric"]["shown"]
    held = found["speedup_at"][0]["held_out"]
    lines = [
        f"With a threshold chosen on one half of the rows to keep 99 % of tier {last}'s {shown}, "
        f"the cascade was {times(held['speedup']['own_batch'])} as fast as tier {last} alone on "
        f"the other half (batch size 1: {times(held['speedup']['batch_1'])}), escalated "
        f"{percent(held['escalated'])} of the rows and kept {percent(held['kept'])} of it; "
        f"medians of {held['splits']} splits. {percent(held['reached'])} of the splits kept 99 % "
        "on the other half too."
    ]
    gain = found["against_random"]
    if gain["thresholds_above"] is not None:
        lines.append(
            f"Averaged over all shares of escalated rows, its {shown} is {gain['cascade']:+.4f} "
            f"against random escalation of as many, and higher at "
            f"{percent(gain['thresholds_above'])} of the thresholds; the oracle's is "
            f"{gain['oracle']:+.4f}."
        )
    return lines


def captions(found: dict[str, Any]) -> dict[str, tuple[str, str]]:
    """Title and caption of each figure."""
    last, shown = len(found["cascade"]["tiers"]), found["metric"]["shown"]
    return {
        "speedup_own_batch": (
            f"{_capital(shown)} against speedup, own batch sizes",
            "As in the paper's Figure 3. Every point is a threshold of the first tier. Random "
            f"escalates as many rows at random (line: expected; band: 5 to 95 % of {DRAWS} draws). "
            "The oracle escalates first what later tiers correct, last what they would break.",
        ),
        "speedup_batch_1": (
            f"{_capital(shown)} against speedup, batch size 1",
            "As in the paper's Figure 2: one text at a time.",
        ),
        "escalation": (
            f"{_capital(shown)} against rows escalated",
            "The same on every machine: no cost is in it.",
        ),
        "corrections": (
            "Errors by confidence",
            "As in the paper's Figure 4: rows on which the first tier is false and the later ones "
            "true (F-T), true and false (T-F), and both false, in each tenth of the rows by "
            "first-tier confidence. The deeper, the larger the share of the tenth. Equal "
            "confidences stay together.",
        ),
        "costs": (
            "Cost of escalated rows, own batch sizes",
            "Later tiers on the rows that each routing escalates. Points are measured, lines "
            f"interpolate. The grey line is the average row; a routing above it escalates rows "
            f"longer than that, or too few to fill tier {last}'s batches.",
        ),
    }


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def method(found: dict[str, Any]) -> list[str]:
    """How the numbers came about, for people who doubt them."""
    costs, repeats = found["costs"], found["repeats"]
    return [
        "Speedup: seconds of the last tier alone on all rows, over seconds of the first tier on "
        "all rows plus those of the later tiers on the escalated ones. Under 1, the cascade is "
        "slower than the last tier alone. Tokenization counts. " + _tokens(found),
        "Own batch sizes: each tier scores windows of its own size, sorted by length. "
        f"{costs['own_batch']['rows_timed']:,} rows were timed; the later tiers on exactly the "
        "rows that each routing escalates, at 5, 10, 25, 50 and 100 % of them, with straight lines "
        f"in between. Medians of {repeats} repeats, taken in turn.",
        f"Batch size 1: each of {costs['batch_1']['rows_timed']:,} rows drawn at random was "
        f"tokenized and scored alone, {repeats} times; a least-squares line in the number of "
        "tokens carries the medians over to all rows.",
        "Reading, writing and Beam are not counted. Rows of other lengths, another processor, or "
        "other work beside it give other speedups.",
    ]


def _tokens(found: dict[str, Any]) -> str:
    tiers = found["cascade"]["tiers"]
    takes = [str(place) for place, tier in enumerate(tiers, start=1) if tier["takes_tokens"]]
    if not takes:
        return "No tier shares its vocabulary with the one before, so each tokenizes what it reads."
    return (
        f"Tier {', '.join(takes)} shares its vocabulary with the tier before and, in the cascade, "
        "takes over its tokens, as the job does; alone it tokenizes."
    )
