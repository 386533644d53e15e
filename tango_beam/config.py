"""A cascade, its tiers and how they compute, as frozen values; and their fingerprints."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field, replace
from typing import Any

from tango_beam import checkpoint_files, machine, routing
from tango_beam.answers import Decoder, Task
from tango_beam.errors import RefusedError
from tango_beam.guarantees.certificate import Certificate
from tango_beam.record_columns import AnswerShape

PRECISIONS = ("fp32", "bf16", "int8")
BACKENDS = ("torch", "onnx")
# Raise it by hand when a change of the code moves scores by more than rounding: certificates that
# were signed before it then cover no run. Since 2, segments, positions, padding and the side on
# which a text is cut are those of tokenizer and network.
COMPUTATION = 2


@dataclass(frozen=True)
class TierConfig:
    """One tier of a cascade.

    Attributes:
      source: folder of the checkpoint, here or on an fsspec URL, or a Hugging Face id.
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

    def __post_init__(self) -> None:
        if self.threshold is not None and not 0 <= self.threshold <= 1:
            self._refuse(f"a threshold of 0 to 1, found {self.threshold}")
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
    """

    tiers: tuple[TierConfig, ...]
    labels: tuple[str, ...]
    name: str = ""
    pair: bool | None = None
    certificate: Certificate | None = field(default=None, hash=False)
    task: Task = Task()  # noqa: RUF009 - frozen

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

    def decoder(self, tier: TierConfig) -> Decoder:
        """Makes answers of a tier's outputs."""
        return self.task.decoder(self.labels, tier.temperature, tier.confidence, tier.fits)

    @property
    def shape(self) -> AnswerShape:
        """Which columns its answers have."""
        return self.decoder(self.tiers[-1]).shape(self.labels)

    @property
    def threshold(self) -> float:
        """The first tier's threshold; 0 where there is one tier only."""
        return self.tiers[0].threshold or 0.0

    def with_first_threshold(self, threshold: float) -> CascadeConfig:
        """The same cascade with another threshold on its first tier."""
        first = replace(self.tiers[0], threshold=threshold)
        return replace(self, tiers=(first, *self.tiers[1:]))

    def with_max_length(self, max_length: int) -> CascadeConfig:
        """The same cascade, with a limit on the tokens that each tier reads."""
        tiers = tuple(
            replace(tier, max_length=min(max_length, tier.max_length or max_length))
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
        return _fingerprint([self.scoring_fingerprint(precision), thresholds])


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
    """

    device: str = "auto"
    precision: str = "auto"
    workers: int | None = None
