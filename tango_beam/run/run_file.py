"""`_run.json`: everything that decides a run's result, written before any work, read by workers."""

from __future__ import annotations

import base64
import json
import uuid
from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

from tango_beam.io import plan, planned
from tango_beam.io.planned import Input, Item, LineColumns
from tango_beam.run.layout import RUN_FILE
from tango_beam.run.manifest import After
from tango_beam.run.store import Store

# 4: sinks count answered rows in bins.
VERSION = 4


@dataclass(frozen=True)
class Run:
    """One run of the job.

    Attributes:
      input: what is read, and how it is cut into checkpoints.
      output_schema: the columns that are written.
      output_format: `parquet` or `jsonl`.
      max_dead_fraction: the share of dead rows past which the job fails.
      cascade: fingerprint, thresholds and certificate, for the manifest.
      audit_rate: share of rows drawn for the audit.
      options: every option that changes a result, as given.
      id: random; no other run has it.
      after: the earlier outputs that hold the rest of the corpus; None without `--after`.
    """

    input: Input
    output_schema: pa.Schema
    output_format: str = "parquet"
    max_dead_fraction: float = 0.01
    cascade: dict[str, Any] = field(default_factory=dict)
    audit_rate: float = 0.0
    options: dict[str, Any] = field(default_factory=dict)
    id: str = field(default_factory=lambda: uuid.uuid4().hex)
    after: After | None = None

    @property
    def part_bytes(self) -> int | None:
        """The size that part files are to have; None for one of each sink and checkpoint."""
        return self.options.get("part_bytes")

    @property
    def prefix(self) -> str:
        """What goes before the names of the columns that are added."""
        return self.options.get("answer_prefix", "")

    def items(self) -> list[Item]:
        """The grid of checkpoints; the same for every worker and every run over this input."""
        return plan.plan_items(self.input.files, self.input.checkpoint_bytes)

    def save(self, store: Store) -> None:
        """Writes `_run.json`."""
        store.write_json(RUN_FILE, self.to_json())

    def to_json(self) -> dict[str, Any]:
        """What `_run.json` says."""
        given = self.input
        return {
            "version": VERSION,
            "inputs": [planned.to_json(file) for file in given.files],
            "schema": describe_schema(self.output_schema),
            "lines": None if given.lines is None else _describe_lines(given.lines),
            "notes": list(given.notes),
            "input_schema_ipc": _to_text(given.schema),
            "output_schema_ipc": _to_text(self.output_schema),
            "text_columns": list(given.text_columns),
            "checkpoint_bytes": given.checkpoint_bytes,
            "allow_broken_files": given.allow_broken_files,
            "broken": list(given.broken),
            "outside": list(given.outside),
            "id": self.id,
            "after": None if self.after is None else self.after.to_json(),
            **{name: getattr(self, name) for name in _PLAIN},
        }


_PLAIN = ("output_format", "max_dead_fraction", "cascade", "audit_rate", "options")


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
    given = Input(
        files=tuple(planned.from_json(entry) for entry in stored["inputs"]),
        schema=_from_text(stored["input_schema_ipc"]),
        lines=_read_lines(stored["lines"]),
        notes=tuple(stored["notes"]),
        text_columns=tuple(stored["text_columns"]),
        checkpoint_bytes=stored["checkpoint_bytes"],
        allow_broken_files=stored["allow_broken_files"],
        broken=tuple(stored["broken"]),
        outside=tuple(stored["outside"]),
    )
    output_schema = _from_text(stored["output_schema_ipc"])
    after = stored.get("after")
    return Run(
        given,
        output_schema,
        id=stored.get("id", ""),
        after=None if after is None else After.from_json(after),
        **{name: stored[name] for name in _PLAIN},
    )


def _describe_lines(lines: LineColumns) -> dict[str, Any]:
    return {**vars(lines), "typed": _to_text(lines.typed)}


def _read_lines(stored: dict[str, Any] | None) -> LineColumns | None:
    if stored is None:
        return None
    lists = {name: tuple(stored[name]) for name in ("as_json", "reserved", "replaced")}
    kept = None if stored["kept"] is None else tuple(stored["kept"])
    return LineColumns(**{**stored, **lists, "kept": kept, "typed": _from_text(stored["typed"])})


def describe_schema(schema: pa.Schema) -> list[dict[str, str]]:
    """Names and types, for people and for the manifest."""
    return [{"name": entry.name, "type": str(entry.type)} for entry in schema]


def _to_text(schema: pa.Schema) -> str:
    return base64.b64encode(schema.serialize().to_pybytes()).decode()


def _from_text(text: str) -> pa.Schema:
    return pa.ipc.read_schema(pa.py_buffer(base64.b64decode(text)))


def differences(stored: dict[str, Any], fresh: Run, spelled: Collection[str] = ()) -> list[str]:
    """What differs between a run as it was begun and the one that is asked for now.

    Args:
      stored: `_run.json`.
      fresh: what the options give today.
      spelled: options that may differ, since what they stand for is compared.

    Returns:
      A line for each difference: what was begun and what was found.
    """
    now = json.loads(json.dumps(fresh.to_json()))  # tuples come back as lists
    differs = _files(stored.get("inputs", []), now["inputs"])
    if stored.get("version") != now["version"]:
        differs.append(f"version: begun with {stored.get('version')}, found {now['version']}")
    before, after = stored.get("cascade", {}), now["cascade"]
    for name in ("scoring_fingerprint", "thresholds", "label_thresholds", "labels"):
        if (before.get(name) or None) != (after.get(name) or None):
            differs.append(f"cascade, {name}: begun with {before.get(name)}, found {after[name]}")
    same = ("text_columns", "output_format", "checkpoint_bytes", "audit_rate", "schema")
    for name in same:
        if stored.get(name) != now[name]:
            differs.append(f"{name}: begun with {stored.get(name)}, found {now[name]}")
    options = stored.get("options", {})
    for name in sorted(set(options) | set(now["options"])):
        before, after = options.get(name), now["options"].get(name)
        if name not in {*spelled, *same} and before != after:
            differs.append(f"--{name}: begun with {before}, found {after}")
    return differs


def _files(before: list[dict[str, Any]], after: list[dict[str, Any]]) -> list[str]:
    first, second = ({file["path"]: file for file in files} for files in (before, after))
    differs = [f"input: {path} is gone" for path in first if path not in second]
    differs += [f"input: {path} is new" for path in second if path not in first]
    for path in first.keys() & second.keys():
        for name in sorted(first[path].keys() | second[path].keys()):
            if first[path].get(name) != second[path].get(name):
                differs.append(f"input: {path} has changed ({name})")
                break
    return sorted(differs)
