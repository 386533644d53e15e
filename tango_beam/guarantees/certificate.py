"""What a certificate says, and whether it covers a run. Pure: values in, values out."""

from __future__ import annotations

import operator
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

from tango_beam.json_record import JsonRecord

COVERED = "covered"
OTHER_CORPUS = "same cascade, other corpus: not covered"
SCORES_DIFFER = "scores differ: not covered"
NONE = "none"

# Of two tiers, higher thresholds only agree more with the second.
_SAFER_ABOVE = {"agreement", "class_agreement", "f1_agreement", "recall", "precision"}


@dataclass(frozen=True)
class Guarantee(JsonRecord):
    """What is promised of a cascade's answers, and the exact test that carries it.

    Attributes:
      goal: what is promised: `agreement`, `accuracy_retained`, `class_agreement`, `escalation`,
        `recall`, `precision`, `f1_agreement` or `f1_retained`.
      value: the share promised, 0 to 1.
      delta: probability, over the draw of the sample, that the promise is broken.
      thresholds: for every tier but the last.
      rows: of the sample that tested it.
      errors: rows among them that count against the goal at these thresholds.
      bound: the share that the sample proves at level delta for these thresholds: at least that
        agreement, or at most that escalation; None for a mean (`accuracy_retained`, F1), whose
        test says yes or no. Where the same rows chose the thresholds, it is what the test used, no
        new estimate.
      met: whether any row is accepted under the promise.
      method: name of the test.
      label: the class, for `class_agreement`; the filter's label, for `recall` and `precision`.
      label_threshold: of the rows that a filter's first tier calls the label; None where both
        sides share a threshold.
    """

    goal: str
    value: float
    delta: float
    thresholds: tuple[float, ...]
    rows: int
    errors: int
    bound: float | None
    met: bool
    method: str
    label: str | None = None
    label_threshold: float | None = None


@dataclass(frozen=True)
class ClassAgreement(JsonRecord):
    """Agreement with the last tier on the rows of one class that it gives.

    Attributes:
      label: the class.
      rows: of the sample.
      disagreements: among them.
      agreement: share of them, 0 to 1.
      interval: exact two-sided interval of that share.
      accepted: rows among them that an earlier tier answers.
    """

    label: str
    rows: int
    disagreements: int
    agreement: float
    interval: tuple[float, float]
    accepted: int


@dataclass(frozen=True)
class CorpusFile(JsonRecord):
    """A file of a corpus: bytes as stored, and its rows where the file says how many."""

    path: str
    size: int
    rows: int | None = None


@dataclass(frozen=True)
class Corpus(JsonRecord):
    """The rows that a certificate is about.

    Attributes:
      files: in order.
      cut: whether only the first rows are read (`--limit`).
      rows: in all; None where they were not counted.
      columns: the text columns.
    """

    files: tuple[CorpusFile, ...]
    cut: bool
    rows: int | None
    columns: tuple[str, ...]


@dataclass(frozen=True)
class SampleRows(JsonRecord):
    """Rows of the sample: drawn, used in the test, and used only to fit."""

    drawn: int
    tested: int
    fitted: int


@dataclass(frozen=True)
class Speed(JsonRecord):
    """What the cascade cost on the sample, on the machine that calibrated it.

    Attributes:
      seconds_a_row: in each tier, tokenization included.
      escalated: share of the rows that reach the second tier.
      reached: share of the rows that reach each tier.
      speedup: times as fast as the last tier alone.
      pays: whether it is faster.
    """

    seconds_a_row: tuple[float, ...]
    escalated: float
    reached: tuple[float, ...]
    speedup: float
    pays: bool


@dataclass(frozen=True)
class CalibrationError(JsonRecord):
    """Expected calibration error of one tier, before and after its temperature was fitted."""

    tier: int
    against: str
    temperature_before: float
    error_before: float
    temperature_after: float
    error_after: float


@dataclass(frozen=True)
class Goal(JsonRecord):
    """A goal that an attempt was about."""

    goal: str
    value: float
    label: str | None = None


@dataclass(frozen=True)
class Attempt(JsonRecord):
    """What stays on record of an attempt, also of one that signed nothing."""

    made: str
    delta: float
    seed: int
    sample: SampleRows
    thresholds: tuple[float, ...]
    goals: tuple[Goal, ...]
    met: bool


@dataclass(frozen=True)
class Certificate(JsonRecord):
    """What `pipelines.calibrate` signed for.

    Attributes:
      made: when, ISO 8601.
      signed: the guarantees.
      delta: probability that any of them is broken.
      thresholds: for every tier but the last.
      seed: of the sample.
      sample: how many rows it has.
      corpus: that it was drawn from.
      speed: what the cascade costs.
      by_class: agreement in every class that the last tier gives.
      unseen_classes: classes of which the sample holds no row.
      calibration: errors of every tier's confidences.
      versions: of the packages that scored.
      attempts: all on record, this one last.
      scoring: all that moves a score, by name (`CascadeConfig.scoring`).
      scoring_fingerprint: its fingerprint.
      filter: the label that the cascade is a filter on; None where it is none.
      label_threshold: of rows that a filter's first tier calls the label; None where `thresholds`
        are those of all rows.
      exit_thresholds: of the last tier's exits; none where it has none, or they were not asked.
    """

    made: str
    signed: tuple[Guarantee, ...]
    delta: float
    thresholds: tuple[float, ...]
    seed: int
    sample: SampleRows
    corpus: Corpus
    speed: Speed
    by_class: tuple[ClassAgreement, ...]
    calibration: tuple[CalibrationError, ...]
    versions: dict[str, str]
    unseen_classes: tuple[str, ...] = ()
    attempts: tuple[Attempt, ...] = ()
    scoring: dict[str, Any] | None = None
    scoring_fingerprint: str = ""
    filter: str | None = None
    label_threshold: float | None = None
    exit_thresholds: tuple[float, ...] = ()

    def attempt(self) -> Attempt:
        """What stays on record of it."""
        goals = tuple(Goal(one.goal, one.value, one.label) for one in self.signed)
        met = all(one.met for one in self.signed)
        return Attempt(self.made, self.delta, self.seed, self.sample, self.thresholds, goals, met)


@dataclass(frozen=True)
class Coverage(JsonRecord):
    """Whether a certificate holds for a run.

    Attributes:
      status: one of `COVERED`, `OTHER_CORPUS`, `SCORES_DIFFER` and `NONE`.
      differs: a line for each difference.
      signed: the certificate's guarantees.
      delta: its level; None without a certificate.
      scoring_fingerprint: what it was signed for; None without a certificate.
      made: when; None without a certificate.
    """

    status: str = NONE
    differs: tuple[str, ...] = ()
    signed: tuple[Guarantee, ...] = ()
    delta: float | None = None
    scoring_fingerprint: str | None = None
    made: str | None = None

    def to_json(self) -> dict[str, Any]:
        """The JSON object; the status alone where there is no certificate."""
        return {"status": NONE} if self.status == NONE else super().to_json()

    @property
    def agreement(self) -> float | None:
        """Share of all rows on which agreement was certified, whether it covers the run or not."""
        values = [one.value for one in self.signed if one.goal == "agreement"]
        return max(values, default=None)


def coverage(
    certificate: Certificate | None,
    scoring: dict[str, Any],
    scoring_fingerprint: str,
    thresholds: Sequence[float],
    corpus: Corpus,
    label_threshold: float | None = None,
) -> Coverage:
    """Whether a certificate holds for a run.

    Args:
      certificate: the cascade's; None without.
      scoring: all that moves a score in the run, by name.
      scoring_fingerprint: its fingerprint, which decides.
      thresholds: of every tier but the last, in the run.
      corpus: that the run reads.
      label_threshold: in the run, of rows that a filter's first tier calls the label.
    """
    if certificate is None:
        return Coverage()
    differs = _scores(certificate, scoring, scoring_fingerprint)
    differs += _thresholds(certificate, thresholds, label_threshold)
    status = SCORES_DIFFER
    if not differs:
        differs = _corpora(certificate.corpus, corpus)
        status = OTHER_CORPUS if differs else COVERED
    return Coverage(
        status,
        tuple(differs),
        certificate.signed,
        certificate.delta,
        certificate.scoring_fingerprint,
        certificate.made,
    )


def _scores(certificate: Certificate, now: dict[str, Any], fingerprint: str) -> list[str]:
    """Everything that moves a score, where it is not as it was certified."""
    if certificate.scoring_fingerprint == fingerprint:
        return []
    before = certificate.scoring or {}
    differs = [
        # Hashes of weights mean nothing to people.
        name
        if name == "weights"
        else f"{name}: certified {before.get(name)}, found {now.get(name)}"
        for name in dict.fromkeys([*now, *before])
        if before.get(name) != now.get(name)
    ]
    return differs or [
        f"scoring fingerprint: certified {certificate.scoring_fingerprint}, found {fingerprint}"
    ]


def _thresholds(
    certificate: Certificate, thresholds: Sequence[float], label_threshold: float | None
) -> list[str]:
    certified, found = [*certificate.thresholds], [float(value) for value in thresholds]
    safer = len(found) == 1 and all(one.goal in _SAFER_ABOVE for one in certificate.signed)
    if certificate.filter is not None and len(found) == 1:
        for sides, label in (certified, certificate.label_threshold), (found, label_threshold):
            sides.append(sides[0] if label is None else label)
    if found == certified or (safer and all(map(operator.ge, found, certified))):
        return []
    return [f"threshold: certified {certified}, found {found}"]


_LIMITED = "--limit: not as it was certified, which makes another corpus of the same files"


def _corpora(before: Corpus, now: Corpus) -> list[str]:
    differs = []
    if before.columns != now.columns:
        differs.append(f"columns: certified {list(before.columns)}, found {list(now.columns)}")
    if before.cut != now.cut:
        differs.append(_LIMITED)
    first, second = (_names(corpus.files) for corpus in (before, now))
    # The same file with other rows in it: those of Parquet are counted behind the limit.
    cut = [(name, size) for name, size, _ in first - second]
    cut = [one for one in cut if one in [(name, size) for name, size, _ in second - first]]
    if cut and _LIMITED not in differs:
        differs.append(_LIMITED)
    gone, new = (
        sorted(one for one in left.elements() if one[:2] not in cut)
        for left in (first - second, second - first)
    )
    if gone or new:
        differs.append(f"files: {len(gone)} of the certified are missing, {len(new)} others found")
        differs += [f"missing: {name}, {size:,} bytes" for name, size, _ in gone[:3]]
        differs += [f"found: {name}, {size:,} bytes" for name, size, _ in new[:3]]
    return differs


def _names(files: Sequence[CorpusFile]) -> Counter[tuple[str, int, int]]:
    # A corpus that is moved as it is stays the same corpus.
    return Counter((PurePosixPath(file.path).name, file.size, file.rows or 0) for file in files)
