"""Every name in a run's output directory.

part-*.parquet (or .jsonl)        the data set
_dead_letters/part-*.jsonl        rows without an answer
_audit/part-*.parquet             both tiers' answers to the rows that were checked
_run.json                         what was asked for; written first
_receipts/*.json                  what each step has stored; gone when the run is complete
_joins.json                       which pieces make a part file; gone when the run is complete
_lease.json                       who is writing here
_tmp/                             files that are being written
_manifest.json, _failure.json     how the run ended; one of them is written last
_report.html                      the same for people, with --report
"""

from __future__ import annotations

RUN_FILE = "_run.json"
MANIFEST = "_manifest.json"
FAILURE = "_failure.json"
REPORT = "_report.html"
JOINS = "_joins.json"
LEASE = "_lease.json"
RECEIPTS = "_receipts"
DEAD_LETTERS = "_dead_letters"
AUDIT = "_audit"
TEMPORARY = "_tmp"
PART = "part-"

FOLDERS = (TEMPORARY, RECEIPTS, DEAD_LETTERS, AUDIT)
# One of these says that a directory holds a run; part files alone may be anybody's.
MARKS = (RUN_FILE, MANIFEST, FAILURE)


def is_part(name: str) -> bool:
    """Whether a name is that of a part file: of the data set, dead letters or an audit."""
    return name.rsplit("/", 1)[-1].startswith(PART) and not name.startswith(RECEIPTS)


def is_of_a_run(name: str) -> bool:
    """Whether a run may have written a file of this name (the lease apart)."""
    top, _, below = name.partition("/")
    marks = (*MARKS, REPORT, JOINS)
    return top in FOLDERS or name in marks or (not below and top.startswith(PART))
