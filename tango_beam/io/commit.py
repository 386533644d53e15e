"""The last step: what counts is added up, what does not is deleted, the manifest is written."""

from __future__ import annotations

import platform
from collections import Counter
from datetime import UTC, datetime
from importlib import metadata
from typing import Any

import apache_beam as beam

from tango_beam import audit
from tango_beam.errors import JobError
from tango_beam.io import plan, receipts
from tango_beam.io.receipts import READ, Receipt
from tango_beam.io.run import Run, describe_schema, load_run
from tango_beam.io.store import TEMPORARY, Store
from tango_beam.io.write import DEAD_FOLDER

MANIFEST = "_manifest.json"
FAILURE = "_failure.json"
KEYED = tuple[int, int]
_PACKAGES = ("tango-beam", "apache-beam", "pyarrow", "torch", "transformers", "tokenizers")


class Commit(beam.PTransform):
    """Receipt names of all sinks in; after the last of them, commits the run.

    Args:
      output: the run's output directory.
    """

    def __init__(self, output: str) -> None:
        super().__init__()
        self._output = output

    def expand(self, names: tuple[beam.PCollection, ...]) -> beam.PCollection:
        output = self._output
        # One element that is always there, so that a run without any row is committed too.
        always = names[0].pipeline | "Always" >> beam.Impulse()
        # Keyed ahead of the Flatten: Flink's runner loses track of a Flatten that joins an Impulse
        # with outputs of another stage and goes on in a ParDo.
        keyed = [
            ends | f"ToOneKey{number}" >> beam.Map(lambda _: (0, 0)).with_output_types(KEYED)
            for number, ends in enumerate((*names, always))
        ]
        return (
            keyed
            | "Receipts" >> beam.Flatten()
            | "AfterAll" >> beam.GroupByKey()
            | "Commit" >> beam.Map(lambda _: commit(Store(output))).with_output_types(None)
        )


def commit(store: Store) -> None:
    """Checks that all input is accounted for, and writes the manifest; may run twice.

    When too many rows are dead, `_failure.json` is written in its place.

    Raises:
      JobError: a checkpoint is missing, or the sums do not match.
    """
    if store.exists(MANIFEST) or store.exists(FAILURE):
        _clean(store)
        return
    run = load_run(store)
    names = store.names(receipts.FOLDER)
    attempts = receipts.committed(names)
    found = receipts.load(store, receipts.of_attempts(names, attempts))
    _refuse_gaps(run, found)
    manifest = summarize(run, found)
    _drop_uncommitted(store, manifest)
    rows = manifest["rows"]
    if rows["read"] and rows["dead"] / rows["read"] > run.max_dead_fraction:
        store.write_json(FAILURE, manifest)
    else:
        store.write_json(MANIFEST, manifest)
    _clean(store)


def _clean(store: Store) -> None:
    store.drop_folder(receipts.FOLDER)
    store.drop_folder(TEMPORARY)


def _refuse_gaps(run: Run, found: list[Receipt]) -> None:
    """Raises unless every checkpoint of the plan was read, each once."""
    last = {receipt.checkpoint: receipt.last for receipt in found if receipt.step == READ}
    missing = []
    for index, item in enumerate(run.items()):
        part = 0
        while last.get(plan.number(index, part)) is False:
            part += 1
        if item.stream or part == 0:
            # An extra, empty checkpoint may follow a stream's last.
            missing += [] if plan.number(index, part) in last else [(index, part)]
    if missing:
        raise JobError(
            f"expected every checkpoint to be committed, found {len(missing)} that are not; the "
            f"first is number {missing[0][1]} of item {missing[0][0]}"
        )


def summarize(run: Run, found: list[Receipt]) -> dict[str, Any]:
    """The manifest: rows by fate, files, schema, cascade, seconds, versions, options.

    Raises:
      JobError: rows read are not rows accepted, escalated and dead.
    """
    rows: Counter[str] = Counter()
    seconds: dict[str, float] = {}
    errors: Counter[str] = Counter()
    tokens: dict[str, list[int]] = {}
    models: dict[str, list[float]] = {}
    for receipt in found:
        rows[receipt.step] += receipt.rows
        for stage, spent in receipt.seconds.items():
            seconds[stage] = seconds.get(stage, 0.0) + spent
        errors.update(receipt.errors)
        for tier, counts in receipt.tokens.items():
            receipts.add(tokens, tier, counts)
        for tier, spent_there in receipt.models.items():
            receipts.add(models, tier, spent_there)
    if rows["read"] != sum(rows[kind] for kind in ("accepted", "audited", "escalated", "dead")):
        raise JobError(f"expected rows read to be accepted, escalated or dead, found {dict(rows)}")
    rows["accepted"] += rows["audited"]
    files = sorted((entry for r in found for entry in r.files), key=lambda entry: entry["name"])
    broken = [*run.broken, *(entry for receipt in found for entry in receipt.broken)]
    kinds = ("read", "accepted", "escalated", "audited", "dead")
    return {
        "version": 1,
        "finished": datetime.now(UTC).isoformat(timespec="seconds"),
        "rows": {kind: rows[kind] for kind in kinds},
        "files": [entry for entry in files if not entry["name"].startswith("_")],
        "dead_letters": {
            "files": [entry for entry in files if entry["name"].startswith(DEAD_FOLDER)],
            "reasons": dict(errors.most_common(50)),
        },
        "audit": _audit(run, rows, found, files),
        "broken_files": broken,
        "inputs": [plan.to_json(planned) for planned in run.files],
        "schema": describe_schema(run.output_schema),
        "cascade": run.cascade,
        "seconds": {stage: round(value, 3) for stage, value in seconds.items()},
        "tokens": {
            tier: {"real": real, "padded": padded} for tier, (real, padded) in tokens.items()
        },
        "models": {
            tier: {"seconds": round(spent, 3), "operations": operations}
            for tier, (spent, operations) in models.items()
        },
        "versions": versions(),
        "options": run.options,
    }


def _audit(
    run: Run, rows: Counter[str], found: list[Receipt], files: list[dict[str, Any]]
) -> dict[str, Any] | None:
    """What the audit found; None where none was asked for."""
    if not run.audit_rate:
        return None
    checked, disagreements = (sum(receipt.audit[index] for receipt in found) for index in (0, 1))
    answered = rows["accepted"] + rows["escalated"]
    goal = audit.certified_goal(run.cascade.get("certificate", {}))
    return {
        **audit.conclude(checked, disagreements, rows["accepted"], answered, goal),
        "rate": run.audit_rate,
        "files": [entry for entry in files if entry["name"].startswith(audit.FOLDER)],
    }


def versions() -> dict[str, str]:
    """Versions of what moves a result."""
    found = {"python": platform.python_version()}
    for package in _PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found


def _drop_uncommitted(store: Store, manifest: dict[str, Any]) -> None:
    """Deletes part files of attempts that do not count."""
    kept = {entry["name"] for entry in manifest["files"]}
    kept |= {entry["name"] for entry in manifest["dead_letters"]["files"]}
    kept |= {entry["name"] for entry in (manifest["audit"] or {"files": []})["files"]}
    parts = [name for name in store.names() if "part-" in name.rsplit("/", 1)[-1]]
    store.delete([name for name in parts if name not in kept and not name.startswith("_receipts")])
