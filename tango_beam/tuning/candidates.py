"""Candidate settings of a tier: how fast each is, and how often it answers as fp32 does."""

from __future__ import annotations

import logging
import statistics
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import product

import numpy as np
import pyarrow as pa

from tango_beam.answers import Answers, Decoder, LabelDecoder
from tango_beam.arrays import Float32, Int64
from tango_beam.guarantees import bounds
from tango_beam.models import thread_pool
from tango_beam.models.logits import logits_of_tokens
from tango_beam.models.peak_flops import peak_flops, seconds_of
from tango_beam.models.protocol import Model
from tango_beam.models.tokens import Tokens
from tango_beam.tuning.options import TuneOptions

logger = logging.getLogger(__name__)

BUDGETS = (512, 1024, 2048, 4096, 8192, 16384)
_FEWEST_ROWS = 64
# Rates this close are the same.
_NOISE = 0.03
# A tier by backend and precision.
Models = dict[tuple[str, str], Model]
# A tier that drops tokens, in a precision: by what it keeps, the cheapest first.
Shorter = Callable[[str], Iterator[tuple[tuple[float, ...], Model]]]


@dataclass(frozen=True)
class Timing:
    """How fast a tier is with some settings.

    Attributes:
      precision: `fp32`, `bf16` or `int8`.
      batch_tokens: padded tokens in a micro-batch.
      rate: rows a second, tokenization apart; the median of the rounds.
      padding: padded over real tokens.
      backend: `torch` or `onnx`.
      threads: that score one micro-batch; the other cores score further micro-batches meanwhile.
      kept_tokens: share of a text's tokens left behind each layer but the last; none: all of them.
    """

    precision: str
    batch_tokens: int
    rate: float
    padding: float
    backend: str = "torch"
    threads: int = 1
    kept_tokens: tuple[float, ...] = ()

    @property
    def name(self) -> str:
        """What decides the scores, as people call it: `bf16`, `onnx int8`, `bf16, keeps 0.5`."""
        kept = " ".join(f"{share:.3f}" for share in self.kept_tokens)
        return kind(self.backend, self.precision) + (kept and f", keeps {kept}")


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
class TunedTier:
    """What was measured of a tier, and the settings that were chosen.

    Attributes:
      best: the fastest whose agreement is high enough.
      timings: all settings, in the order in which they were tried.
      agreements: by `Timing.name`; fp32 agrees with itself.
      logits: with the chosen settings, shape [rows, labels].
      seconds_tokenizing: a row.
      useful_share: useful FLOP/s over the machine's in that precision; None for int8.
      least: share of rows that had to agree, by its lower bound.
      timed_rows: on which all settings were timed.
    """

    best: Timing
    timings: list[Timing]
    agreements: dict[str, Agreement]
    logits: Float32
    seconds_tokenizing: float
    useful_share: float | None
    least: float
    timed_rows: int = 0

    @property
    def seconds(self) -> float:
        """A row, tokenization apart."""
        return 1 / self.best.rate


def compare_answers(ours: Answers, reference: Answers, decoder: Decoder, delta: float) -> Agreement:
    """How often two sets of answers to the same rows agree."""
    alike = decoder.agrees(ours.columns(), reference.columns())
    differ = len(ours) - alike.true_count
    return Agreement(len(ours), differ, 1 - bounds.upper(differ, len(ours), delta))


def fastest(timings: Sequence[Timing], agreements: dict[str, Agreement], least: float) -> Timing:
    """The fastest whose answers agree with fp32's on the share `least`; fp32 is always allowed.

    Among batch sizes that differ by noise only, the smallest wins: it takes less memory, and a job
    shares its caches with another tier.
    """
    allowed = [
        timing
        for timing in timings
        if timing.name == "fp32" or agreements[timing.name].bound >= least
    ]
    top = max(allowed, key=lambda timing: timing.rate)
    as_fast = [
        timing
        for timing in allowed
        if (timing.name, timing.threads) == (top.name, top.threads)
        and timing.rate >= (1 - _NOISE) * top.rate
    ]
    return min(as_fast, key=lambda timing: timing.batch_tokens)


def tune_tier(
    models: Models,
    texts: Sequence[pa.Array],
    options: TuneOptions,
    most_rows: int,
    decoder: Decoder = LabelDecoder(),  # noqa: B008 - frozen
    shorter: Shorter = lambda precision: iter(()),
) -> TunedTier:
    """Measures every backend and precision at every budget, in turns, and picks the fastest.

    The fastest whose answers agree is then measured with more threads to a micro-batch, too, and
    beside the cheapest setting of dropped tokens whose answers agree.

    Args:
      models: the tier, `("torch", "fp32")` among them.
      texts: the sample, one column or two for pairs; every row is compared with fp32.
      options: rounds, seconds of work, and how often the answers must agree.
      most_rows: that are timed: as many as the job gives a model at a time.
      decoder: makes answers of the tier's outputs.
      shorter: the tier with fewer tokens; none by default.
    """
    reference = models["torch", "fp32"]
    tokens = reference.tokenize(*texts)
    logits = {kind(*name): logits_of_tokens(model, tokens) for name, model in models.items()}
    wanted = decoder(logits["fp32"], reference.labels, texts[-1])

    def compare(outputs: Float32) -> Agreement:
        ours = decoder(outputs, reference.labels, texts[-1])
        return compare_answers(ours, wanted, decoder, options.delta)

    agreements = {name: compare(outputs) for name, outputs in logits.items()}
    timed = timed_rows(reference, tokens, options.timed_seconds, most_rows)
    budgets = _budgets(reference, timed)
    timings = _time_all(models, timed, budgets, [1], options.rounds)
    best = fastest(timings, agreements, options.min_agreement)
    if more := _thread_counts(reference.device, best):
        name = best.backend, best.precision
        timings += _time_all({name: models[name]}, timed, budgets, more, options.rounds)
        best = fastest(timings, agreements, options.min_agreement)
    tuned = TunedTier(
        best=best,
        timings=timings,
        agreements=agreements,
        logits=logits[best.name],
        seconds_tokenizing=seconds_of(lambda: reference.tokenize(*texts)) / tokens.rows,
        useful_share=_useful_share(models[best.backend, best.precision], best, timed),
        least=options.min_agreement,
        timed_rows=timed.rows,
    )
    return _shortened(tuned, shorter, (tokens, timed), compare, options)


def _shortened(
    tuned: TunedTier,
    shorter: Shorter,
    rows: tuple[Tokens, Tokens],
    compare: Callable[[Float32], Agreement],
    options: TuneOptions,
) -> TunedTier:
    """The tier with the cheapest setting of dropped tokens whose answers agree, if it is faster.

    Args:
      tuned: the tier with all its tokens.
      shorter: the same with fewer.
      rows: those that are compared, and those that are timed.
      compare: says how often outputs for the first give fp32's answers.
      options: rounds, and how often the answers must agree.
    """
    torch_timings = [timing for timing in tuned.timings if timing.backend == "torch"]
    plain = fastest(torch_timings, tuned.agreements, tuned.least)
    for kept, model in shorter(plain.precision):
        outputs, way = logits_of_tokens(model, rows[0]), replace(plain, kept_tokens=kept)
        tuned.agreements[way.name] = found = compare(outputs)
        if found.bound < tuned.least:
            continue
        name, budget = (plain.backend, plain.precision), [plain.batch_tokens]
        timed = _time_all({name: model}, rows[1], budget, [plain.threads], options.rounds)
        tuned.timings.append(best := replace(way, rate=timed[0].rate))
        if best.rate > tuned.best.rate:
            share = _useful_share(model, best, rows[1])
            return replace(tuned, best=best, logits=outputs, useful_share=share)
        break
    return tuned


def _budgets(model: Model, timed: Tokens) -> list[int]:
    slots = thread_pool.slots() if model.device == "cpu" else 1
    return filled(BUDGETS, int(timed.lengths.sum()), slots)


def _useful_share(model: Model, best: Timing, timed: Tokens) -> float | None:
    """Useful FLOP/s over the machine's; None for int8, and on a GPU."""
    if best.precision == "int8" or model.device != "cpu":
        return None
    operations = float(model.operations(timed.lengths).sum())
    return operations / timed.rows * best.rate / peak_flops(best.precision)


def timed_rows(model: Model, tokens: Tokens, seconds: float, most_rows: int) -> Tokens:
    """Rows of the sample, repeated if need be, that a model takes `seconds` for; or `most_rows`.

    Few rows would make small micro-batches and leave cores idle at the end, which flatters the
    model that is slow on a large one.
    """
    count = min(_FEWEST_ROWS, most_rows)
    while True:
        rows = tokens.take(np.arange(count) % tokens.rows)
        spent = seconds_of(lambda: logits_of_tokens(model, rows))  # noqa: B023
        if spent >= seconds or count >= most_rows:
            return rows
        count = min(2 * count, most_rows)


def filled(budgets: Sequence[int], tokens: int, slots: int) -> list[int]:
    """The budgets at which the tokens fill a micro-batch for every slot, or else the smallest.

    A larger budget would be cut into the micro-batches of a smaller one, and look equally fast.
    """
    return [budget for budget in budgets if budget * slots <= tokens] or [min(budgets)]


def _thread_counts(device: str, best: Timing) -> list[int]:
    """Threads to a micro-batch that are worth a try besides one: powers of two, and all cores."""
    if device != "cpu" or best.backend != "torch":
        return []
    cores = thread_pool.workers()
    return sorted({cores, *(1 << power for power in range(1, cores.bit_length()))} - {1})


def _time_all(
    models: Models, tokens: Tokens, budgets: Sequence[int], threads: Sequence[int], rounds: int
) -> list[Timing]:
    """Times every model at every budget and number of threads, in turns."""
    plans = {
        (name, budget, count): models[name].plan(tokens.lengths, budget, count)
        for count, budget, name in product(threads, budgets, models)
    }
    seconds: dict[tuple, list[float]] = {setting: [] for setting in plans}
    for number in range(rounds):
        for (name, budget, count), parts in plans.items():
            spent = _seconds(models[name], tokens, parts, count)
            seconds[name, budget, count].append(spent)
        logger.info("round %d of %d", number + 1, rounds)
    return [
        Timing(
            precision,
            budget,
            tokens.rows / statistics.median(seconds[(backend, precision), budget, count]),
            _padding(models[backend, precision], tokens.lengths, parts),
            backend,
            count,
        )
        for ((backend, precision), budget, count), parts in plans.items()
    ]


def _seconds(model: Model, tokens: Tokens, parts: Sequence[Int64], threads: int) -> float:
    """Seconds for all micro-batches, scored as the job scores them."""
    score = partial(model.forward, tokens)
    return seconds_of(lambda: thread_pool.each(model.device, parts, score, threads))


def _padding(model: Model, lengths: Int64, parts: Sequence[Int64]) -> float:
    """Padded over real tokens."""
    padded = sum(int(model.padded(lengths[rows]).sum()) for rows in parts)
    return padded / max(1, int(lengths.sum()))
