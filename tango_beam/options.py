"""What `pipelines.classify` can be told."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any

from tango_beam import placement
from tango_beam.errors import RefusedError
from tango_beam.io.plan import CHECKPOINT_BYTES

# Options that may differ between a run and its resumption: they change no answer.
_FREE = (
    "overwrite", "resume", "workers", "placement", "second_tier_ram", "second_tier_accelerator",
)  # fmt: skip


@dataclass(frozen=True)
class Options:
    """What `pipelines.classify` can be told; the names are those of the command line."""

    input: tuple[str, ...]
    output: str
    cascade: str = "sst2"
    first_tier: str | None = None
    second_tier: str | None = None
    threshold: float | None = None
    text_column: str = "text"
    text_pair_column: str | None = None
    input_format: str = "auto"
    output_format: str = "auto"
    schema: str | None = None
    columns: tuple[str, ...] | None = None
    limit: int | None = None
    max_length: int | None = None
    max_dead_fraction: float = 0.01
    allow_broken_files: bool = False
    overwrite: bool = False
    resume: bool = False
    scores: bool = False
    source_columns: bool = False
    answer_prefix: str = ""
    device: str = "auto"
    precision: str = "auto"
    checkpoint_bytes: int = CHECKPOINT_BYTES
    audit_rows: int | None = None
    audit_rate: float | None = None
    workers: int | None = None
    placement: str = "auto"
    second_tier_ram: str | None = None
    second_tier_accelerator: str | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.max_dead_fraction <= 1:
            raise RefusedError(
                f"--max_dead_fraction: expected 0 to 1, found {self.max_dead_fraction}"
            )
        if self.resume and self.overwrite:
            raise RefusedError("expected --resume or --overwrite, found both")
        if self.audit_rows is not None and self.audit_rate is not None:
            raise RefusedError("expected --audit_rows or --audit_rate, found both")
        if self.audit_rate is not None and not 0 < self.audit_rate <= 1:
            raise RefusedError(f"--audit_rate: expected a share over 0, found {self.audit_rate}")
        if self.placement not in placement.CHOICES:
            raise RefusedError(
                f"--placement: expected one of {placement.CHOICES}, found {self.placement}"
            )
        if self.placement == placement.TOGETHER and (
            self.second_tier_ram or self.second_tier_accelerator
        ):
            raise RefusedError(
                "--second_tier_ram, --second_tier_accelerator: expected --placement apart, found "
                "together"
            )
        for name in ("limit", "checkpoint_bytes", "audit_rows", "workers"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise RefusedError(f"--{name}: expected at least 1, found {value}")
        if self.threshold is not None and not 0 <= self.threshold <= 1:
            raise RefusedError(f"--threshold: expected 0 to 1, found {self.threshold}")

    @property
    def text_columns(self) -> tuple[str, ...]:
        """One column, or two for pairs."""
        pair = (self.text_pair_column,) if self.text_pair_column else ()
        return (self.text_column, *pair)

    def of_results(self, device: str, precision: str) -> dict[str, Any]:
        """Every option that changes a result, as JSON holds it, device and precision settled."""
        stored = asdict(replace(self, device=device, precision=precision))
        return {name: value for name, value in stored.items() if name not in _FREE}
