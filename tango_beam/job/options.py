"""What `pipelines.classify` can be told."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from functools import partial
from typing import Any, Literal

from tango_beam.command_line import Size, names_of, option
from tango_beam.errors import RefusedError
from tango_beam.options import (
    CHECKPOINT_BYTES,
    EndpointOptions,
    InputOptions,
    TierOptions,
    refuse_outside,
)

_placement = partial(option, group="placement")
_reading = partial(option, group="reading")
_writing = partial(option, group="writing")


@dataclass(frozen=True, kw_only=True)
class ClassifyOptions(EndpointOptions, TierOptions, InputOptions):
    """What `pipelines.classify` can be told; the names are those of the command line."""

    columns: tuple[str, ...] | None = _reading(
        "pass only these columns through (the texts always)", None, metavar="A,B", separator=","
    )
    schema: str | None = _reading(
        'JSON and CSV: {"column": "type"}; by default JSON goes by its first 10,000 rows, and the '
        "columns of a CSV are strings",
        None,
        metavar="FILE",
        resumed="spelled",
    )
    unknown_keys: Literal["keep", "drop", "dead"] = _reading(
        "JSON: what becomes of keys that no column bears and of values that their column cannot "
        "hold: keep puts them into a column _extra, as JSON; dead makes the row a dead letter",
        "keep",
    )
    limit: int | None = _reading("only the first N rows", None, resumed="spelled")
    after: tuple[str, ...] = _reading(
        "an earlier output, and those that it came after: pass over the files that they have "
        "answered and that have not changed since; may be given more than once",
        (),
        metavar="OUTPUT",
        resumed="spelled",
    )
    force: bool = _reading(
        "--after: go by outputs of another cascade, or of other texts, too", False, resumed="free"
    )
    allow_broken_files: bool = _reading(
        "go on past a file that breaks midway, and list it in the manifest", False
    )
    output: str = _writing("empty, or not there yet", metavar="DIR", resumed="spelled")
    output_format: Literal["auto", "parquet", "jsonl"] = _writing(
        "auto is Parquet", "auto", resumed="spelled"
    )
    overwrite: bool = _writing("replace an earlier run", False, resumed="free")
    resume: bool = _writing(
        "go on with a run that was cut short (a kill, a full disk), or begin one",
        False,
        resumed="free",
    )
    report: bool = _writing(
        "write _report.html into the output: how the run went, for a browser", False, resumed="free"
    )
    scores: bool = _writing("add every label's probability", False)
    source_columns: bool = _writing("add each row's file and position", False)
    answer_prefix: str = _writing("before the added columns' names", "", metavar="PREFIX")
    max_dead_fraction: float = _writing("fail when more of the rows are dead", 0.01, metavar="0..1")
    keep: tuple[str, ...] = _writing(
        "write only rows whose prediction is LABEL, and count the others as filtered; may be given "
        "more than once",
        (),
        metavar="LABEL",
    )
    audit_rows: int | None = _writing(
        "have the last tier check about N of the rows that it is spared, or that left it at an "
        "exit; both answers go to "
        "_audit/, and the exit code says if they contradict the cascade's certificate",
        None,
        resumed="spelled",
    )
    audit_rate: float | None = _writing(
        "the same, as a share of the rows", None, metavar="0..1", resumed="spelled"
    )
    checkpoint_bytes: Size = _writing(  # noqa: RUF009 - a field
        "input that is read, scored and stored at a time: bytes, or 64MiB, 1GB, ...",
        Size(CHECKPOINT_BYTES),
        metavar="SIZE",
        resumed="spelled",
    )
    part_bytes: Size | None = _writing(  # noqa: RUF009 - a field
        "join part files at the end until they are of about this size, such as 512MB (default: one "
        "or a few for each checkpoint)",
        None,
        metavar="SIZE",
    )
    workers: int | None = option(
        "micro-batches that a process scores at once, a core each (default: every core)",
        None,
        resumed="free",
    )
    placement: Literal["auto", "together", "apart"] = _placement(
        "together: both tiers in every worker, no row is shuffled; apart: rows for the second tier "
        "are shuffled to where it runs; auto is apart on Dataflow, together elsewhere",
        "auto",
        resumed="free",
    )
    second_tier_ram: str | None = _placement(
        "apart: memory that the second tier's workers need, such as 16GB (a resource hint)",
        None,
        metavar="SIZE",
        resumed="free",
    )
    second_tier_accelerator: str | None = _placement(
        "apart: such as 'type:nvidia-l4;count:1;install-nvidia-driver' (a resource hint)",
        None,
        metavar="HINT",
        resumed="free",
    )

    def __post_init__(self) -> None:
        TierOptions.__post_init__(self)
        EndpointOptions.__post_init__(self)
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
        if self.placement == "together" and (self.second_tier_ram or self.second_tier_accelerator):
            raise RefusedError(
                "--second_tier_ram, --second_tier_accelerator: expected --placement apart, found "
                "together"
            )
        refuse_outside(self, 1, "limit", "checkpoint_bytes", "part_bytes", "audit_rows", "workers")
        if self.force and not self.after:
            raise RefusedError("--force: expected --after OUTPUT with it, found none")

    def of_results(self, device: str, precision: str) -> dict[str, Any]:
        """Every option that changes a result, as JSON holds it, device and precision settled."""
        stored = {**asdict(self), "device": device, "precision": precision}
        free = names_of(ClassifyOptions, "free")
        return {name: value for name, value in stored.items() if name not in free}
