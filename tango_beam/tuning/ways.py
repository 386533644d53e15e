"""Ways to compute a tier, how fast each is, and how often it answers as fp32 does."""

from __future__ import annotations

import logging
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from tango_beam.calibration import bounds
from tango_beam.models import parallel
from tango_beam.models.base import Model
from tango_beam.models.operations import of_rows
from tango_beam.models.tokens import Tokens
from tango_beam.tuning import rates

logger = logging.getLogger(__name__)

BUDGETS = (512, 1024, 2048, 4096, 8192, 16384)
_FEWEST_ROWS = 64
# Rates this close are the same.
_NOISE = 0.03


@dataclass(frozen=True)
class Measured:
    """One way to compute a tier.

    Attributes:
      precision: `fp32`, `bf16` or `int8`.
      batch_tokens: padded tokens in a micro-batch.
      rate: rows a second, tokenization apart; the median of the rounds.
      padding: padded over real tokens.
      backend: `torch` or `onnx`.
      threads: that score one micro-batch; as many are scored side by side as that leaves cores for.
    """

    precision: str
    batch_tokens: int
    rate: float
    padding: float
    backend: str = "torch"
    threads: int = 1

    @property
    def name(self) -> str:
        """What decides the scores, as people call it: `bf16`, `onnx int8`."""
        return kind(self.backend, self.precision)


def kind(backend: str, precision: str) -> str:
    """What decides the scores of a tier, as people call it."""
    return precision if backend == "torch" else f"{backend} {precision}"


@dataclass(frozen=True)
class Agreement:
    """How often another precision or backend gives the answer of torch in fp32.

    Attributes:
      rows: compared.
      differ: rows among them with another answer.
      bound: lower bound on the share that agrees (Clopper and Pearson), one-sided.
    """

    rows: int
    differ: int
    bound: float


@dataclass(frozen=True)
class Chosen:
    """What was measured of a tier, and what came of it.

    Attributes:
      way: the fastest whose agreement is high enough.
      measured: every way, in the order in which they were tried.
      agreements: by `Measured.name`; fp32 agrees with itself.
      outputs: logits of the way that was chosen, shape [rows, labels].
      seconds_tokenizing: a row.
      useful_share: useful FLOP/s over the machine's in that precision; None for int8.
      least: share of rows that had to agree, by its lower bound.
      timed_rows: on which every way was timed.
    """

    way: Measured
    measured: list[Measured]
    agreements: dict[str, Agreement]
    outputs: npt.NDArray[np.float32]
    seconds_tokenizing: float
    useful_share: float | None
    least: float
    timed_rows: int = 0

    @property
    def seconds(self) -> float:
        """A row, tokenization apart."""
        return 1 / self.way.rate


def agreement(
    ours: npt.NDArray[np.float32], reference: npt.NDArray[np.float32], delta: float
) -> Agreement:
    """How often two sets of logits, shape [rows, labels], give the same answer."""
    differ = int((ours.argmax(axis=1) != reference.argmax(axis=1)).sum())
    return Agreement(len(ours), differ, 1 - bounds.upper(differ, len(ours), delta))


def best(measured: Sequence[Measured], agreements: dict[str, Agreement], least: float) -> Measured:
    """The fastest way whose answers agree with fp32's on the share `least`; fp32 always may.

    Of its batch sizes the smallest one that is as fast but for noise: it takes less memory, and in
    a job caches are shared with another tier.
    """
    allowed = [way for way in measured if way.name == "fp32" or agreements[way.name].bound >= least]
    fastest = max(allowed, key=lambda way: way.rate)
    as_fast = [
        way
        for way in allowed
        if (way.name, way.threads) == (fastest.name, fastest.threads)
        and way.rate >= (1 - _NOISE) * fastest.rate
    ]
    return min(as_fast, key=lambda way: way.batch_tokens)


def try_all(
    models: dict[tuple[str, str], Model],
    texts: pa.Array,
    pairs: pa.Array | None,
    *,
    budgets: Sequence[int],
    rounds: int,
    seconds: float,
    most_rows: int,
    least: float,
    delta: float,
) -> Chosen:
    """Measures every backend and precision at every budget, in turns, and picks the fastest.

    The fastest whose answers agree is then measured with more threads to a micro-batch, too.

    Args:
      models: the tier by backend and precision, `("torch", "fp32")` among them.
      texts: the sample; every row is compared with fp32.
      pairs: the second texts, for tasks on pairs.
      budgets: padded tokens in a micro-batch; of those that the timed rows fill.
      rounds: of measuring; medians count.
      seconds: of work that is timed at each budget, about, in fp32.
      most_rows: that are timed: as many as the job gives a model at a time.
      least: share of rows that must agree with fp32, by its lower bound.
      delta: level of that bound.
    """
    reference = models["torch", "fp32"]
    tokens = reference.tokenize(texts, pairs)
    tokenizing = rates.seconds_of(lambda: reference.tokenize(texts, pairs)) / len(texts)
    outputs = {kind(*name): _logits(model, tokens) for name, model in models.items()}
    agreements = {name: agreement(found, outputs["fp32"], delta) for name, found in outputs.items()}
    part = _enough(reference, tokens, seconds, most_rows)
    slots = parallel.slots() if reference.device == "cpu" else 1
    budgets = filled(budgets, int(part.lengths.sum()), slots)
    measured = _measure(models, part, budgets, [1], rounds)
    way = best(measured, agreements, least)
    if more := _threads(reference.device, way):
        again = {(way.backend, way.precision): models[way.backend, way.precision]}
        measured += _measure(again, part, budgets, more, rounds)
        way = best(measured, agreements, least)
    share = None
    if way.precision != "int8" and reference.device == "cpu":
        network = models[way.backend, way.precision].network
        operations = float(of_rows(network, part.lengths).sum())
        share = operations / len(part) * way.rate / rates.machine(way.precision)
    return Chosen(way, measured, agreements, outputs[way.name], tokenizing, share, least, len(part))


def _enough(model: Model, tokens: Tokens, seconds: float, most_rows: int) -> Tokens:
    """Rows of the sample, again and again if need be, that take a model so long; or `most_rows`.

    Few rows would make small micro-batches and leave cores idle at the end, which flatters the
    model that is slow on a large one.
    """
    count = min(_FEWEST_ROWS, most_rows)
    while True:
        part = tokens.take(np.arange(count) % len(tokens))
        spent = rates.seconds_of(lambda: _logits(model, part))  # noqa: B023
        if spent >= seconds or count >= most_rows:
            return part
        count = min(2 * count, most_rows)


def filled(budgets: Sequence[int], tokens: int, slots: int) -> list[int]:
    """Budgets of which so many tokens make a micro-batch for every slot; the smallest, always.

    A larger one would be cut into the micro-batches of a smaller, and be taken for as fast.
    """
    return [budget for budget in budgets if budget * slots <= tokens] or [min(budgets)]


def _threads(device: str, way: Measured) -> list[int]:
    """Threads to a micro-batch that are worth a try besides one: powers of two, and all cores."""
    if device != "cpu" or way.backend != "torch":
        return []
    cores = parallel.workers()
    return sorted({cores, *(1 << power for power in range(1, cores.bit_length()))} - {1})


def _measure(
    models: dict[tuple[str, str], Model],
    tokens: Tokens,
    budgets: Sequence[int],
    threads: Sequence[int],
    rounds: int,
) -> list[Measured]:
    """Every model at every budget and with so many threads to a micro-batch, in turns."""
    seconds: dict[tuple[str, str, int, int], list[float]] = {}
    padding: dict[tuple[str, str, int, int], float] = {}
    for number in range(rounds):
        for count, budget in product(threads, budgets):
            for name, model in models.items():
                spent, ratio = _timed(model, tokens, budget, count)
                seconds.setdefault((*name, budget, count), []).append(spent)
                padding[*name, budget, count] = ratio
        logger.info("round %d of %d", number + 1, rounds)
    return [
        Measured(
            precision,
            budget,
            len(tokens) / statistics.median(spent),
            padding[backend, precision, budget, count],
            backend,
            count,
        )
        for (backend, precision, budget, count), spent in seconds.items()
    ]


def _logits(model: Model, tokens: Tokens) -> npt.NDArray[np.float32]:
    found = np.zeros((len(tokens), len(model.labels)), np.float32)

    def run(rows: npt.NDArray[np.int64]) -> None:
        found[rows] = model.forward(tokens, rows)

    parallel.each(model.device, model.plan(tokens.lengths), run, model.threads)
    return found


def _timed(model: Model, tokens: Tokens, budget: int, threads: int) -> tuple[float, float]:
    """Seconds for all rows, as the job scores them, and padded over real tokens."""
    kept = model.batch_tokens, model.threads
    model.batch_tokens, model.threads = budget, threads
    try:
        parts = model.plan(tokens.lengths)
    finally:
        model.batch_tokens, model.threads = kept
    lengths = tokens.lengths
    padded = sum(int(model.padded(lengths[rows]).sum()) for rows in parts)

    def score() -> None:
        parallel.each(model.device, parts, lambda rows: model.forward(tokens, rows), threads)

    return rates.seconds_of(score), padded / max(1, int(lengths.sum()))
