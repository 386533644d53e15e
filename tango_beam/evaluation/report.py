"""What report.json holds: every number of an evaluation, each computed once (see `results`)."""

from __future__ import annotations

from dataclasses import dataclass

from tango_beam.json_record import JsonRecord
from tango_beam.machine import Facts

# A number for each batch size: `batch_1`, `own_batch`.
BySize = dict[str, float | None]


@dataclass(frozen=True)
class Tier(JsonRecord):
    """One tier, and whether it takes over the tokens of the tier before."""

    source: str
    model: str
    parameters: int
    threshold: float | None
    temperature: float
    confidence: str
    batch_rows: int
    takes_tokens: bool
    mean_tokens: float


@dataclass(frozen=True)
class Cascade(JsonRecord):
    """What was evaluated: `task` is the kind of answer, `cuts` are those of labels or a score."""

    name: str
    task: str
    labels: tuple[str, ...]
    cuts: tuple[float, ...]
    scoring_fingerprint: str
    tiers: tuple[Tier, ...]


@dataclass(frozen=True)
class Rows(JsonRecord):
    """What was read: columns by option, and how many rows bear each label.

    In place of labels stand the buckets of a score, and whether a question has an answer.
    """

    files: tuple[str, ...]
    columns: dict[str, str]
    rows: int
    labels: dict[str, int]


@dataclass(frozen=True)
class MetricName(JsonRecord):
    """What the curves are of; `positive` is the label that F1 is of."""

    name: str
    shown: str
    positive: str | None


@dataclass(frozen=True)
class Score(JsonRecord):
    """Every metric of a tier alone or of the cascade, and how many times as fast it is.

    `metrics` are by name, as `--metric` has it; `by_label` is F1, of several labels a row.
    """

    what: str
    metrics: dict[str, float]
    by_label: dict[str, float]
    escalated: float | None
    speedup: BySize


@dataclass(frozen=True)
class ChosenCut(JsonRecord):
    """A label's cut before and after, and its F1 with each on the rows that did not choose it."""

    before: float
    cut: float
    f1_before: float
    f1: float


@dataclass(frozen=True)
class ChosenCuts(JsonRecord):
    """Cuts chosen on other rows than those of the report, and the last tier with and without them.

    Attributes:
      rows: on which they were chosen.
      labels: each label's.
      before: every metric with the cuts before.
      after: every metric with these.
      option: what to give to any command to use them.
    """

    rows: int
    labels: dict[str, ChosenCut]
    before: dict[str, float]
    after: dict[str, float]
    option: str


@dataclass(frozen=True)
class AtThreshold(JsonRecord):
    """The cascade at one threshold: share escalated, score, and share of the last tier's score."""

    threshold: float
    escalated: float
    score: float
    kept: float | None
    speedup: BySize


@dataclass(frozen=True)
class HeldOut(AtThreshold):
    """Medians over splits; `reached` is the share of the splits that kept what was promised."""

    splits: int
    reached: float
    speedup_low: BySize
    speedup_high: BySize


@dataclass(frozen=True)
class SpeedupAt(JsonRecord):
    """Speedup that keeps a share of the last tier's score; None where no threshold keeps it."""

    share: float
    same_rows: AtThreshold | None
    held_out: HeldOut


@dataclass(frozen=True)
class Curves(JsonRecord):
    """Scores at every threshold, in ascending order of rows escalated, and speedups by routing."""

    thresholds: list[float]
    escalated: list[int]
    cascade: list[float]
    oracle: list[float]
    random: list[float]
    random_low: list[float]
    random_high: list[float]
    speedups: dict[str, dict[str, list[float]]]


@dataclass(frozen=True)
class ExitAt(JsonRecord):
    """The fewest layers of the last tier that keep a share of its score; None where none do."""

    share: float
    threshold: float | None
    layers: float | None
    score: float | None
    speedup: BySize


@dataclass(frozen=True)
class EarlyExit(JsonRecord):
    """The last tier left at its exits: scores, mean layers and speedups by falling threshold."""

    layers_of: int
    thresholds: list[float]
    layers: list[float]
    scores: list[float]
    speedups: dict[str, list[float]]
    speedup_at: tuple[ExitAt, ...]


@dataclass(frozen=True)
class AgainstRandom(JsonRecord):
    """Mean gain over random routing, and the share of thresholds that beat it."""

    cascade: float
    oracle: float
    thresholds_above: float | None


@dataclass(frozen=True)
class ByConfidence(JsonRecord):
    """Rows by quantile of the first tier's confidence (see `corrections`)."""

    edges: list[float]
    rows: list[int]
    corrected: list[int]
    introduced: list[int]
    both_wrong: list[int]
    both_right: list[int]


@dataclass(frozen=True)
class Seconds(JsonRecord):
    """Seconds a row: the one that counts, and one entry a repeat."""

    seconds_per_row: float
    repeats: list[float]


@dataclass(frozen=True)
class Later(JsonRecord):
    """Seconds a row of input that the tiers behind the first add, by share of rows escalated."""

    shares: list[float]
    seconds: list[float]


@dataclass(frozen=True)
class SizeCosts(JsonRecord):
    """What the tiers cost at one batch size: the first one, the last one alone, the later ones."""

    rows_timed: int
    first: Seconds
    alone: Seconds
    later: dict[str, Later]


@dataclass(frozen=True)
class Report(JsonRecord):
    """An evaluation.

    Attributes:
      command: the command line.
      cascade: what was evaluated.
      input: on what.
      metric: what the curves are of.
      seed: of halves, samples and random routing.
      repeats: how often each cost was timed.
      machine: on which it was measured.
      scores: of each tier alone, then of the cascade at its own threshold where it has one.
      speedup_at: at 99 % and 98 % of the last tier's score.
      reference: the last tier's score.
      curve: over all thresholds.
      against_random: the curve beside random routing.
      corrections: errors that escalation corrects and introduces.
      costs: by batch size.
      cuts: those that were chosen; None where none were to be.
      early_exit: the last tier left at its exits; None where it has none.
    """

    command: str
    cascade: Cascade
    input: Rows
    metric: MetricName
    seed: int
    repeats: int
    machine: Facts
    scores: tuple[Score, ...]
    speedup_at: tuple[SpeedupAt, ...]
    reference: float
    curve: Curves
    against_random: AgainstRandom
    corrections: ByConfidence
    costs: dict[str, SizeCosts]
    cuts: ChosenCuts | None
    early_exit: EarlyExit | None = None

    @property
    def last(self) -> str:
        """The last tier, as people call it."""
        return f"tier {len(self.cascade.tiers)}"

    @property
    def own(self) -> Score | None:
        """The cascade at its own threshold, where it has one."""
        return self.scores[-1] if self.scores[-1].escalated is not None else None
