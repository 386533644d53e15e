"""What a certificate says, and whether it covers a run."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import PurePosixPath
from typing import Any

from tango_beam.config import CascadeConfig
from tango_beam.io.plan import PlannedFile

COVERED = "covered"
OTHER_CORPUS = "same cascade, other corpus: not covered"
SCORES_DIFFER = "scores differ: not covered"
NONE = "none"


def describe_corpus(
    files: Sequence[PlannedFile], text_columns: Sequence[str], rows: int | None = None
) -> dict[str, Any]:
    """Files, sizes, rows and columns; rows are those of the footers where there are any."""
    counted = [sum(rows for rows, _ in planned.row_groups) for planned in files]
    return {
        "files": [
            {"path": planned.file.path, "size": planned.file.size, "rows": count or None}
            for planned, count in zip(files, counted, strict=True)
        ],
        "cut": any(planned.stop is not None for planned in files),
        "rows": sum(counted) or rows,
        "columns": list(text_columns),
    }


def coverage(
    cascade: CascadeConfig, precision: str, files: Sequence[PlannedFile], columns: Sequence[str]
) -> dict[str, Any]:
    """Whether a cascade's certificate holds for a run over these files.

    Returns:
      `status`, one of `COVERED`, `OTHER_CORPUS`, `SCORES_DIFFER` and `NONE`; `differs`, a line for
      each difference; and the certificate's promises.
    """
    certificate = cascade.certificate
    if certificate is None:
        return {"status": NONE}
    status, differs = COVERED, _scores(cascade, precision, certificate)
    if differs:
        status = SCORES_DIFFER
    else:
        differs = _corpora(certificate["corpus"], describe_corpus(files, columns))
        status = OTHER_CORPUS if differs else COVERED
    kept = ("signed", "delta", "scoring_fingerprint", "made")
    return {"status": status, "differs": differs, **{name: certificate[name] for name in kept}}


def _scores(cascade: CascadeConfig, precision: str, certificate: dict[str, Any]) -> list[str]:
    """Everything that moves a score or a route, where it is not as it was certified."""
    differs = []
    before, now = certificate["scoring"], cascade.scoring(precision)
    names = (
        "precision",
        "precisions",
        "int8",
        "weights",
        "temperature",
        "max_length",
        "confidence",
    )
    for name in names:
        if before.get(name) != now.get(name):
            shown = f": certified {before.get(name)}, found {now.get(name)}"
            differs.append(name if name == "weights" else name + shown)
    certified = [float(value) for value in certificate["thresholds"]]
    thresholds = [float(tier.threshold or 0.0) for tier in cascade.tiers[:-1]]
    # Of two tiers, a higher threshold only agrees more with the second.
    safer = len(thresholds) == 1 and thresholds >= certified
    safer &= all("agreement" in signed["goal"] for signed in certificate["signed"])
    if thresholds != certified and not safer:
        differs.append(f"threshold: certified {certified}, found {thresholds}")
    return differs


def _corpora(before: dict[str, Any], now: dict[str, Any]) -> list[str]:
    differs = []
    if before["columns"] != now["columns"]:
        differs.append(f"columns: certified {before['columns']}, found {now['columns']}")
    if before["cut"] != now["cut"]:
        differs.append("--limit: not as it was certified")
    first, second = (_names(corpus["files"]) for corpus in (before, now))
    if first != second:
        gone, new = sorted((first - second).elements()), sorted((second - first).elements())
        differs.append(f"files: {len(gone)} of the certified are missing, {len(new)} others found")
        differs += [f"missing: {name}, {size:,} bytes" for name, size, _ in gone[:3]]
        differs += [f"found: {name}, {size:,} bytes" for name, size, _ in new[:3]]
    return differs


def _names(files: list[dict[str, Any]]) -> Counter[tuple[str, int, int]]:
    # A corpus that is moved as it is stays the same corpus.
    return Counter(
        (PurePosixPath(file["path"]).name, file["size"], file["rows"] or 0) for file in files
    )
