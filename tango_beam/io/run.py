"""`_run.json`: everything that decides a run's result, written before any work, read by workers."""

from __future__ import annotations

import base64
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

from tango_beam.io import plan
from tango_beam.io.plan import Item, PlannedFile
from tango_beam.io.store import Store

RUN_FILE = "_run.json"
VERSION = 1


@dataclass(frozen=True)
class Run:
    """One run of the job.

    Attributes:
      files: the input.
      row_schema: every column that a row may have.
      input_schema: the columns that pass through.
      output_schema: the columns that are written.
      text_columns: one, or two for pairs.
      output_format: `parquet` or `jsonl`.
      checkpoint_bytes: uncompressed input in a checkpoint.
      allow_broken_files: a file that breaks midway is listed instead of failing the job.
      max_dead_fraction: the share of dead rows past which the job fails.
      cascade: fingerprint, thresholds and certificate, for the manifest.
      audit_rate: share of rows drawn for the audit.
      options: every option that changes a result, as given.
      broken: files that could not be opened at launch.
    """

    files: tuple[PlannedFile, ...]
    row_schema: pa.Schema
    input_schema: pa.Schema
    output_schema: pa.Schema
    text_columns: tuple[str, ...]
    output_format: str = "parquet"
    checkpoint_bytes: int = plan.CHECKPOINT_BYTES
    allow_broken_files: bool = False
    max_dead_fraction: float = 0.01
    cascade: dict[str, Any] = field(default_factory=dict)
    audit_rate: float = 0.0
    options: dict[str, Any] = field(default_factory=dict)
    broken: tuple[dict[str, Any], ...] = ()

    def items(self) -> list[Item]:
        """The grid of checkpoints; the same for every worker and every run over this input."""
        return plan.plan_items(self.files, self.checkpoint_bytes)

    def save(self, store: Store) -> None:
        """Writes `_run.json`."""
        store.write_json(RUN_FILE, self.to_json())

    def to_json(self) -> dict[str, Any]:
        """What `_run.json` says."""
        return {
            "version": VERSION,
            "inputs": [plan.to_json(planned) for planned in self.files],
            "schema": describe_schema(self.output_schema),
            "row_schema_ipc": _to_text(self.row_schema),
            "input_schema_ipc": _to_text(self.input_schema),
            "output_schema_ipc": _to_text(self.output_schema),
            "text_columns": list(self.text_columns),
            "output_format": self.output_format,
            "checkpoint_bytes": self.checkpoint_bytes,
            "allow_broken_files": self.allow_broken_files,
            "max_dead_fraction": self.max_dead_fraction,
            "cascade": self.cascade,
            "audit_rate": self.audit_rate,
            "options": self.options,
            "broken": list(self.broken),
        }


def load_run(store: Store) -> Run:
    """Reads `_run.json`.

    Raises:
      FileNotFoundError: there is none; ValueError: it is of another version.
    """
    stored = store.read_json(RUN_FILE)
    if stored is None:
        raise FileNotFoundError(store.path(RUN_FILE))
    if stored.get("version") != VERSION:
        raise ValueError(
            f"{store.path(RUN_FILE)}: expected version {VERSION}, found {stored.get('version')}"
        )
    return Run(
        files=tuple(plan.from_json(entry) for entry in stored["inputs"]),
        row_schema=_from_text(stored["row_schema_ipc"]),
        input_schema=_from_text(stored["input_schema_ipc"]),
        output_schema=_from_text(stored["output_schema_ipc"]),
        text_columns=tuple(stored["text_columns"]),
        output_format=stored["output_format"],
        checkpoint_bytes=stored["checkpoint_bytes"],
        allow_broken_files=stored["allow_broken_files"],
        max_dead_fraction=stored["max_dead_fraction"],
        cascade=stored["cascade"],
        audit_rate=stored["audit_rate"],
        options=stored["options"],
        broken=tuple(stored["broken"]),
    )


def describe_schema(schema: pa.Schema) -> list[dict[str, str]]:
    """Names and types, for people and for the manifest."""
    return [{"name": entry.name, "type": str(entry.type)} for entry in schema]


def _to_text(schema: pa.Schema) -> str:
    return base64.b64encode(schema.serialize().to_pybytes()).decode()


def _from_text(text: str) -> pa.Schema:
    return pa.ipc.read_schema(pa.py_buffer(base64.b64decode(text)))
