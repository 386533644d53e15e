"""A cascade, its tiers and how they compute, as frozen values; and their fingerprints."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tango_beam import checkpoint_files, machine, routing
from tango_beam.answers import Decoder, Task
from tango_beam.answers.task import LABELS, SCORE
from tango_beam.arrays import Bool, Float32, Int64
from tango_beam.endpoints.settings import Endpoint, Limits
from tango_beam.errors import RefusedError
from tango_beam.guarantees.certificate import Certificate
from tango_beam.guarantees.tier_answers import TierAnswers
from tango_beam.record_columns import AnswerShape

PRECISIONS = ("fp32", "bf16", "int8")
BACKENDS = ("torch", "onnx")
# Raise it by hand when a change of the code moves scores by more than rounding: certificates that
# were signed before it then cover no run. Since 2, segments, positions, padding and the side on
# which a text is cut are those of tokenizer and network; since 3, MPNet in int8 has a scale for
# each token.
COMPUTATION = 3


@dataclass(frozen=True)
class TierConfig:
    """One tier of a cascade.

    Attributes:
      source: folder of the checkpoint, here or on an fsspec URL, or a Hugging Face id; or
        `openai:URL`, or `handler:package.module:function`, for what is given texts.
      threshold: confidence below which a row goes on to the next tier; None for the last tier.
      temperature: divides the logits before the softmax.
      max_length: tokens read of a text; None for as many as the checkpoint allows.
      tokenizer: folder of the tokenizer, where it is not `source`.
      batch_rows: rows scored together, from which the micro-batches are cut.
      confidence: how sure the tier is: `max_softmax` (the paper's), `margin` or `entropy`.
      fits: slope and intercept of each decision's margin (see `answers.margins`); none: as it is.
      stride: tokens of a context that two neighbouring windows share, where spans are answered;
        None for a third of a window.
      revision: commit of a Hugging Face id, or hash of what lies on a URL; settled at launch, so
        that all workers load one.
      precision: `fp32`, `bf16` or `int8`, where the tier has one of its own; None for the run's.
      batch_tokens: padded tokens in a micro-batch; None for what suits the family.
      backend: `torch`, the default, or `onnx` (transformers on a processor).
      threads: for torch to score one micro-batch with, on a processor; None for one.
      label_threshold: in a filter, the threshold of rows that the tier calls the filter's label;
        None where `threshold` is that of all rows.
      exit_thresholds: of an encoder that has exits behind its layers, one for all of them or one
        for each: a row leaves at the first whose confidence (of the kind `entropy`) reaches it.
        None at all: a row goes through the whole of it.
      kept_tokens: share of a text's tokens that an encoder trained for it keeps behind each layer
        but the last; none at all: it keeps all of them.
      endpoint: what is asked, where `source` is an endpoint; None else.
      labels: that a handler may answer with; none of other sources, which say so themselves.
    """

    source: str
    threshold: float | None = None
    temperature: float = 1.0
    max_length: int | None = None
    tokenizer: str | None = None
    batch_rows: int = 8192
    confidence: str = "max_softmax"
    revision: str | None = None
    fits: tuple[tuple[float, float], ...] = ()
    stride: int | None = None
    precision: str | None = None
    batch_tokens: int | None = None
    backend: str | None = None
    threads: int | None = None
    label_threshold: float | None = None
    exit_thresholds: tuple[float, ...] = ()
    kept_tokens: tuple[float, ...] = ()
    endpoint: Endpoint | None = None
    labels: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        self._refuse_shares()
        if (self.endpoint is None) == self.source.startswith(checkpoint_files.ENDPOINT):
            self._refuse("an endpoint's model and prompt with openai:URL, and with nothing else")
        for name in ("threshold", "label_threshold"):
            value = getattr(self, name)
            if value is not None and not 0 <= value <= 1:
                self._refuse(f"a {name} of 0 to 1, found {value}")
        if not self.temperature > 0:
            self._refuse(f"a temperature above 0, found {self.temperature}")
        for name, least in (
            ("max_length", 3),
            ("batch_rows", 1),
            ("batch_tokens", 1),
            ("threads", 1),
        ):
            value = getattr(self, name)
            if value is not None and value < least:
                self._refuse(f"{name} of at least {least}, found {value}")
        for name, known in (
            ("confidence", routing.CONFIDENCES),
            ("precision", (None, *PRECISIONS)),
            ("backend", (None, *BACKENDS)),
        ):
            value = getattr(self, name)
            if value not in known:
                names = ", ".join(filter(None, known))
                self._refuse(f"a {name} of {names}, found {value!r}")

    @property
    def is_asked(self) -> bool:
        """Whether it is given texts (an endpoint, a handler) and not tokens of a checkpoint."""
        return checkpoint_files.is_asked(self.source)

    def _refuse_shares(self) -> None:
        for name in ("exit_thresholds", "kept_tokens"):
            shares = getattr(self, name)
            if not all(0 <= value <= 1 for value in shares):
                self._refuse(f"{name} of 0 to 1, found {[*shares]}")
        if self.exit_thresholds and self.kept_tokens:
            self._refuse("exit_thresholds or kept_tokens, found both")

    def _refuse(self, complaint: str) -> None:
        raise RefusedError(f"tier {self.source}: expected {complaint}")


@dataclass(frozen=True)
class CascadeConfig:
    """A list of tiers, cheapest first.

    Attributes:
      tiers: one or more; all but the last have a threshold.
      labels: the labels' names, sorted; every tier gives the same set. A span has none.
      name: what people call it.
      pair: whether it was trained on pairs of texts; None where it is not known.
      certificate: what `pipelines.calibrate` signed for; None without.
      task: which kind of answer it gives.
      filter: what it is to find, where it is a filter: a label, or a bucket of a score that is to
        be reached. Every tier but the last then goes by the probability of that. None else.
    """

    tiers: tuple[TierConfig, ...]
    labels: tuple[str, ...]
    name: str = ""
    pair: bool | None = None
    certificate: Certificate | None = field(default=None, hash=False)
    task: Task = Task()  # noqa: RUF009 - frozen
    filter: str | None = None

    def __post_init__(self) -> None:
        if not self.tiers:
            raise RefusedError(f"cascade {self.name}: expected at least one tier, found none")
        for tier in self.tiers[:-1]:
            if tier.threshold is None:
                raise RefusedError(f"tier {tier.source}: expected a threshold, found none")
        if self.tiers[-1].threshold is not None:
            raise RefusedError(
                f"tier {self.tiers[-1].source}: expected no threshold on the last tier, found "
                f"{self.tiers[-1].threshold}"
            )

        found = self.task.calls(self.labels)
        if self.filter is not None and self.filter not in found:
            raise RefusedError(
                f"cascade {self.name}: expected a filter on one of "
                f"{', '.join(found) or 'nothing'}, found {self.filter!r}"
            )
        sided = [t for t in self.tiers if t.label_threshold is not None]
        if sided and (self.filter is None or sided[-1] is self.tiers[-1]):
            raise RefusedError(
                f"tier {sided[-1].source}: expected a label_threshold in a filter alone, and none "
                f"on its last tier, found {sided[-1].label_threshold}"
            )

    def decoder(self, tier: TierConfig) -> Decoder:
        """Makes answers of a tier's outputs; the last tier of a filter goes by its own answer."""
        usual = self.task.decoder(self.labels, tier.temperature, tier.confidence, tier.fits)
        if self.filter is None or tier.threshold is None:
            return usual
        return usual.filtering(self.filter, self.labels)

    @property
    def shape(self) -> AnswerShape:
        """Which columns its answers have."""
        return self.decoder(self.tiers[-1]).shape(self.labels)

    def answers(
        self,
        outputs: Sequence[Float32],
        truth: Int64 | None = None,
        contexts: pa.Array | None = None,
    ) -> TierAnswers:
        """What every tier says of rows, as codes that are equal where answers agree.

        Args:
          outputs: of every tier, shape [rows, outputs] each, columns in the order of `labels`.
          truth: code of the right answer, shape [rows]; None without.
          contexts: the second text of each row, for answers that are spans of it.
        """
        decoders = [self.decoder(tier) for tier in self.tiers]
        made = [
            decoder(rows, self.labels, contexts)
            for decoder, rows in zip(decoders, outputs, strict=True)
        ]
        said = [*zip(decoders, (one.columns() for one in made), strict=True)]
        keys = [decoder.keys(columns) for decoder, columns in said]
        # The code of a label is its place, that of a bucket its number.
        known = pa.chunked_array(keys).unique().sort()
        if self.task.kind == LABELS:
            known = pa.array(self.labels, pa.string())
        elif self.task.kind == SCORE:
            known = pa.array(range(len(self.task.cuts) + 1), pa.int8())
        codes = [pc.index_in(key, known).to_numpy().astype(np.int64) for key in keys]
        if self.task.tolerance is not None:
            # Scores may agree across a cut: those that do get the last tier's bucket, others none.
            alike = (decoders[-1].agrees(columns, said[-1][1]) for _, columns in said)
            codes = [np.where(agrees, codes[-1], -1) for agrees in alike]
        called: tuple[Bool, ...] = ()
        if self.filter is not None:
            calls = [decoder.calls(columns, self.filter) for decoder, columns in said]
            called = tuple(one.to_numpy(zero_copy_only=False) for one in calls)
        return TierAnswers(
            tuple(one.confidences for one in made[:-1]),
            tuple(codes),
            truth,
            called,
        )

    @property
    def label_thresholds(self) -> tuple[float | None, ...]:
        """Of every tier but the last; none at all where no tier has one."""
        given = tuple(tier.label_threshold for tier in self.tiers[:-1])
        return given if any(value is not None for value in given) else ()

    @property
    def threshold(self) -> float:
        """The first tier's threshold; 0 where there is one tier only."""
        return self.tiers[0].threshold or 0.0

    def with_first_threshold(self, threshold: float) -> CascadeConfig:
        """The same cascade with another threshold on its first tier, for all rows."""
        first = replace(self.tiers[0], threshold=threshold, label_threshold=None)
        return replace(self, tiers=(first, *self.tiers[1:]))

    def with_max_length(self, max_length: int) -> CascadeConfig:
        """The same cascade, with a limit on the tokens that each tier reads."""
        tiers = tuple(
            tier
            if tier.is_asked
            else replace(tier, max_length=min(max_length, tier.max_length or max_length))
            for tier in self.tiers
        )
        return replace(self, tiers=tiers)

    def without_precisions(self) -> CascadeConfig:
        """The same cascade, every tier computed by torch in the run's precision.

        Batch sizes and threads that were tuned for another precision go with it.
        """
        own = {"precision": None, "backend": None, "batch_tokens": None, "threads": None}
        tiers = tuple(
            TierConfig(**{**vars(tier), **own}) if tier.precision or tier.backend else tier
            for tier in self.tiers
        )
        return replace(self, tiers=tiers)

    def scoring(self, precision: str) -> dict[str, Any]:
        """All that moves a score, by name; what `scoring_fingerprint` is taken of."""
        own = [tier.precision for tier in self.tiers]
        stated: dict[str, Any] = {"precisions": own} if any(own) else {}
        backends = [tier.backend or "torch" for tier in self.tiers]
        if {*backends} != {"torch"}:
            stated["backends"] = backends
        if "int8" in (precision, *own):
            stated["int8"] = machine.int8_features()
        if self.task != Task():
            stated["task"] = self.task.to_json()
            stated["fits"] = [tier.fits for tier in self.tiers]
            stated["stride"] = [tier.stride for tier in self.tiers]
        if self.filter is not None:
            stated["filter"] = self.filter
        if any(tier.exit_thresholds for tier in self.tiers):
            stated["exit_thresholds"] = [tier.exit_thresholds for tier in self.tiers]
        if any(tier.kept_tokens for tier in self.tiers):
            stated["kept_tokens"] = [tier.kept_tokens for tier in self.tiers]
        return {
            **stated,
            "computation": COMPUTATION,
            "precision": precision,
            "labels": list(self.labels),
            "weights": [
                [checkpoint_files.digest(source, tier.revision) for source in _folders(tier)]
                for tier in self.tiers
            ],
            "temperature": [tier.temperature for tier in self.tiers],
            "max_length": [tier.max_length for tier in self.tiers],
            "confidence": [tier.confidence for tier in self.tiers],
        }

    def scoring_fingerprint(self, precision: str) -> str:
        """Sixteen hexadecimal digits over all that moves a score; thresholds are left out."""
        return _fingerprint(self.scoring(precision))

    def fingerprint(self, precision: str) -> str:
        """Sixteen hexadecimal digits over weights, config and thresholds."""
        thresholds = [tier.threshold for tier in self.tiers]
        sides = [[*self.label_thresholds]] if self.label_thresholds else []
        return _fingerprint([self.scoring_fingerprint(precision), thresholds, *sides])


def _fingerprint(stated: Any) -> str:
    return hashlib.sha256(json.dumps(stated, sort_keys=True).encode()).hexdigest()[:16]


def _folders(tier: TierConfig) -> list[str]:
    return list(dict.fromkeys([tier.source, tier.tokenizer or tier.source]))


@dataclass(frozen=True)
class Compute:
    """Where and how models compute.

    Attributes:
      device: `auto`, `cpu` or `cuda`.
      precision: `auto`, `fp32`, `bf16` or `int8`, for tiers that have none of their own.
      workers: micro-batches scored at once in a process; None for one on each core.
      limits: how a process may ask an endpoint.
      answers_cache: folder of answers of endpoints, which are not asked for twice; None without.
    """

    device: str = "auto"
    precision: str = "auto"
    workers: int | None = None
    limits: Limits = Limits()  # noqa: RUF009 - frozen
    answers_cache: str | None = None
