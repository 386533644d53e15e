"""An encoder that drops tokens on the way, beside itself on texts that are cut short, by the clock.

    python -m pipelines.finetune --length_drop 0.3 ... --output SHORTER
    python -m benchmarks.speed.dropped_tokens --checkpoint SHORTER --input LABELLED

LABELLED are rows that nobody trained on. Every setting beside the weights, and the full length on
texts of at most so many tokens (`--max_length`), says how right it is on all of them, and how many
of some of them it answers in a second, from texts to answers, in turns. `cut texts` is what they
would score at a setting's own speed, on straight lines between two lengths. With `--spans` rows are
questions; a context that is cut becomes several windows, so none is.
"""

import argparse
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from benchmarks import common
from tango_beam import machine
from tango_beam.answers import span_text
from tango_beam.answers.span import SpanDecoder
from tango_beam.arrays import Float32, Float64, Int64
from tango_beam.config import Compute, TierConfig
from tango_beam.io.labelled import read_labelled
from tango_beam.models import kept_tokens
from tango_beam.models.kept_tokens import Point
from tango_beam.models.logits import logits_of
from tango_beam.models.peak_flops import seconds_of
from tango_beam.models.protocol import Model
from tango_beam.resolve import load_tier
from tango_beam.training.questions import read_questions

LENGTHS = (32, 48, 64, 96, 128, 192, 256, 384)
SETTINGS = 12
SPAN_COLUMNS = (("question", "context"), "answers", "answer_starts")


@dataclass(frozen=True)
class Rows:
    """Rows that are scored, and some of them that are timed.

    Attributes:
      columns: their texts, string, one or two.
      score: of a model's outputs for all of them, 0 to 1.
      timed: rows that are timed, int64.
      labels: order of the outputs' columns; none of spans.
    """

    columns: tuple[pa.Array, ...]
    score: Callable[[Float32], float]
    timed: Int64
    labels: tuple[str, ...] | None


@dataclass(frozen=True)
class Way:
    """A way to answer: its name, and its model."""

    name: str
    model: Model


def texts_of(path: str, count: int) -> Rows:
    """Labelled texts; the score is accuracy."""
    data = read_labelled([path], ["text"], "label")
    timed = _some(len(data), count)
    return Rows(
        (data.texts,),
        lambda outputs: float((outputs.argmax(axis=1) == data.targets).mean()),
        timed,
        data.labels,
    )


def questions_of(path: str, count: int) -> Rows:
    """Questions with contexts; the score is F1."""
    data = read_questions(path, *SPAN_COLUMNS, option="--input")

    def f1(outputs: Float32) -> float:
        said = SpanDecoder().texts(outputs, data.contexts)
        pairs = zip(said, data.answers, strict=True)
        return float(np.mean([span_text.best_f1(*pair) for pair in pairs]))

    return Rows((data.questions, data.contexts), f1, _some(len(data), count), None)


def _some(rows: int, count: int) -> Int64:
    return np.sort(np.random.default_rng(0).permutation(rows)[:count])


def some_settings(points: list[Point], operations: tuple[float, float]) -> Int64:
    """Which of a checkpoint's settings to try: no more than `SETTINGS` of those between two costs.

    Raises:
      SystemExit: there is none.
    """
    least, most = operations
    known = [n for n, point in enumerate(points) if n and least <= point.operations <= most]
    if not known:
        raise SystemExit(
            f"--operations {least} {most}: expected settings of such a cost beside the weights, "
            f"found none among {len(points)}"
        )
    places = np.linspace(0, len(known) - 1, min(SETTINGS, len(known))).round().astype(int)
    return np.array(known)[places]


def ways(
    checkpoint: str,
    compute: Compute,
    max_length: int,
    lengths: list[int],
    operations: tuple[float, float],
) -> Iterator[Way]:
    """Full length, some settings from the dearest to the cheapest, and texts that are cut."""
    points = kept_tokens.load(Path(checkpoint))
    places = some_settings(points, operations)
    whole = TierConfig(checkpoint, max_length=max_length)
    yield Way("all tokens", load_tier(whole, compute))
    for place in places:
        point = points[place]
        tier = TierConfig(checkpoint, max_length=max_length, kept_tokens=point.kept_tokens)
        yield Way(
            f"setting {place}, {point.operations:.2f} of the operations", load_tier(tier, compute)
        )
    for length in lengths:
        tier = TierConfig(checkpoint, max_length=length)
        yield Way(f"cut at {length} tokens", load_tier(tier, compute))


def rates(each: list[Way], rows: Rows, rounds: int) -> Float64:
    """Rows a second of each way, medians over rounds in turns; one more, the first, is thrown away."""
    columns = [column.take(pa.array(rows.timed)) for column in rows.columns]
    seconds = [
        [seconds_of(lambda: logits_of(way.model, *columns)) for way in each]  # noqa: B023
        for _ in range(rounds + 1)
    ]
    return len(rows.timed) / np.median(seconds[1:], axis=0)


def report(each: list[Way], scores: Float64, speeds: Float64) -> None:
    """Prints a line a way, and what cut texts score at the speed of each setting."""
    cut = [place for place, way in enumerate(each) if way.name.startswith("cut") or not place]
    order = sorted(cut, key=lambda place: speeds[place])
    for place, way in enumerate(each):
        shares = f"{scores[place] / scores[0]:.4f} of the score, {speeds[place] / speeds[0]:.2f} x"
        said = f"{way.name}: {scores[place]:.4f}; {speeds[place]:,.1f} rows a second; {shares}"
        if len(cut) > 1 and place not in cut:
            beside = np.interp(speeds[place], speeds[order], scores[order])
            said += f"; cut texts {beside:.4f}"
        print(said, flush=True)
    enough = [place for place in range(len(each)) if scores[place] >= 0.99 * scores[0]]
    for kind, places in (
        ("settings", [place for place in enough if place not in cut[1:]]),
        ("cut texts", [place for place in enough if place in cut]),
    ):
        best = max(places, key=lambda place: speeds[place])
        gained = speeds[best] / speeds[0]
        print(f"{kind}, at least 99 % of the score: {gained:.2f} x ({each[best].name})")


def main() -> None:
    parser = argparse.ArgumentParser(description="Dropped tokens beside texts that are cut.")
    parser.add_argument("--checkpoint", required=True, help="trained with --length_drop")
    parser.add_argument("--input", required=True, help="labelled rows that nobody trained on")
    parser.add_argument(
        "--spans", action="store_true", help="rows are questions, as SQuAD has them"
    )
    parser.add_argument("--max_length", type=int, default=512)
    parser.add_argument("--lengths", type=int, nargs="+", default=[*LENGTHS], help="to cut at")
    parser.add_argument(
        "--operations",
        type=float,
        nargs=2,
        default=(0.0, 1.0),
        metavar=("LEAST", "MOST"),
        help="settings that take this share of all operations",
    )
    parser.add_argument("--timed_rows", type=int, default=500)
    parser.add_argument("--rounds", type=int, default=3)
    ours = parser.parse_args()
    common.quiet()
    machine.keep_memory()  # as a tier does
    rows = (questions_of if ours.spans else texts_of)(ours.input, ours.timed_rows)
    lengths = [] if ours.spans else [one for one in ours.lengths if one < ours.max_length]
    each = [*ways(ours.checkpoint, Compute(), ours.max_length, lengths, ours.operations)]
    scores = np.array(
        [rows.score(logits_of(way.model, *rows.columns, labels=rows.labels)) for way in each]
    )
    report(each, scores, rates(each, rows, ours.rounds))


if __name__ == "__main__":
    main()
