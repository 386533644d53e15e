"""How a run ended: `_manifest.json`, or `_failure.json` where too many rows are dead."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from tango_beam.guarantees.audit_verdict import AuditVerdict
from tango_beam.guarantees.certificate import Coverage
from tango_beam.json_record import JsonRecord
from tango_beam.run.answer_counts import AnswerCounts
from tango_beam.run.layout import FAILURE, MANIFEST
from tango_beam.run.receipts import Example, StoredFile
from tango_beam.run.store import Store


@dataclass(frozen=True)
class Rows(JsonRecord):
    """Rows by fate: read = accepted + escalated + dead.

    Audited rows are accepted ones, and escalated ones that a tier ahead of the last one answered.
    Filtered rows are accepted or escalated ones that `--keep` leaves out, so that the data set
    holds accepted + escalated - filtered rows.
    """

    read: int
    accepted: int
    escalated: int
    audited: int
    dead: int
    filtered: int = 0


@dataclass(frozen=True)
class DeadLetters(JsonRecord):
    """Files of dead letters; dead rows by stage and reason, most frequent first, and examples."""

    files: tuple[StoredFile, ...]
    reasons: dict[str, int]
    examples: dict[str, tuple[Example, ...]] = field(default_factory=dict)


@dataclass(frozen=True)
class Audit(AuditVerdict):
    """What an audit found: the share of rows that was drawn, and the files in `_audit/`.

    Rows on which the last tier `failed` keep their answer, unchecked.
    """

    rate: float = 0.0
    failed: int = 0
    files: tuple[StoredFile, ...] = ()


@dataclass(frozen=True)
class Cascade(JsonRecord):
    """The cascade that answered: fingerprints, labels, thresholds, tiers, task, certificate.

    A filter names its label; its `label_thresholds` are those of rows that a tier calls so.
    """

    name: str
    fingerprint: str
    scoring_fingerprint: str
    labels: tuple[str, ...]
    thresholds: tuple[float, ...]
    tiers: tuple[dict[str, Any], ...] = ()
    task: dict[str, Any] = field(default_factory=dict)
    filter: str | None = None
    label_thresholds: tuple[float | None, ...] = ()
    certificate: Coverage = Coverage()  # noqa: RUF009 - frozen

    def to_json(self) -> dict[str, Any]:
        """The JSON object."""
        return {**super().to_json(), "certificate": self.certificate.to_json()}


@dataclass(frozen=True)
class Tokens(JsonRecord):
    """Tokens that a tier computed: those of the texts, and with padding."""

    real: int
    padded: int


@dataclass(frozen=True)
class ModelWork(JsonRecord):
    """Seconds within a tier's model, and the floating-point operations that the texts needed."""

    seconds: float
    operations: float


@dataclass(frozen=True)
class Asked(JsonRecord):
    """What an endpoint was asked: calls, tokens of prompts and answers, and what they cost.

    Calls are those of the attempts that count; `price` is None where no `--price_in` was given.
    """

    calls: int
    tokens_in: int
    tokens_out: int
    price: float | None = None


@dataclass(frozen=True)
class Counts(JsonRecord):
    """Answered rows in bins, those that `--keep` leaves out too: accepted, and escalated."""

    accepted: AnswerCounts = field(default_factory=AnswerCounts)
    escalated: AnswerCounts = field(default_factory=AnswerCounts)


@dataclass(frozen=True)
class Earlier(JsonRecord):
    """An earlier output that holds rows of the corpus, and how many of the input's files.

    Its manifest bears the `id`, wherever it lies by now.
    """

    output: str
    id: str
    files: int


@dataclass(frozen=True)
class Superseded(JsonRecord):
    """An input file whose rows in an earlier output no longer count."""

    path: str
    output: str


@dataclass(frozen=True)
class After(JsonRecord):
    """What a run came after (`--after`).

    The corpus' rows are those of this output and of `outputs`, less those of `superseded` files.
    """

    outputs: tuple[Earlier, ...] = ()
    superseded: tuple[Superseded, ...] = ()


@dataclass(frozen=True)
class Manifest(JsonRecord):
    """What a run gave, and what it took.

    Attributes:
      version: of this form.
      finished: when, ISO 8601.
      rows: by fate.
      files: of the data set.
      dead_letters: rows without an answer.
      audit: None where none was asked for.
      broken_files: what could not be read (`--allow_broken_files`).
      inputs: files that were read.
      notes: what of the input was unified, passed over, or passes through in another form.
      schema: names and types of the output's columns.
      cascade: that answered.
      seconds: by stage.
      tokens: by tier.
      models: by tier.
      asked: by tier that is an endpoint.
      counts: rows by confidence, answer and length.
      versions: of the packages that scored.
      options: every option that changes a result.
      id: of the run; no other has it.
      after: the earlier outputs that hold the rest of the corpus; None without `--after`.
    """

    version: int
    finished: str
    rows: Rows
    files: tuple[StoredFile, ...]
    dead_letters: DeadLetters
    audit: Audit | None
    broken_files: tuple[dict[str, Any], ...]
    inputs: tuple[dict[str, Any], ...]
    schema: tuple[dict[str, str], ...]
    cascade: Cascade
    notes: tuple[str, ...] = ()
    seconds: dict[str, float] = field(default_factory=dict)
    tokens: dict[str, Tokens] = field(default_factory=dict)
    models: dict[str, ModelWork] = field(default_factory=dict)
    asked: dict[str, Asked] = field(default_factory=dict)
    counts: Counts = field(default_factory=Counts)
    versions: dict[str, str] = field(default_factory=dict)
    options: dict[str, Any] = field(default_factory=dict)
    id: str = ""
    after: After | None = None

    def to_json(self) -> dict[str, Any]:
        """The JSON object."""
        return {**super().to_json(), "cascade": self.cascade.to_json()}

    @property
    def stored(self) -> set[str]:
        """Names of all files that belong to the run's output."""
        audit = self.audit.files if self.audit else ()
        return {file.name for file in (*self.files, *self.dead_letters.files, *audit)}


def read_manifest(store: Store) -> tuple[Manifest | None, bool]:
    """How the run in an output directory ended, None before; and whether too many rows are dead."""
    for name in (MANIFEST, FAILURE):
        stored = store.read_json(name)
        if stored:
            return Manifest.from_json(stored), name == FAILURE
    return None, False
