"""Whether a run that was cut short can go on: what decides its result must be what it was."""

from __future__ import annotations

import json
from typing import Any

from tango_beam.io.run import Run

# Named in `_run.json` for people; what they stand for is compared by itself.
_SPELLINGS = {
    "input", "output", "cascade", "first_tier", "second_tier", "schema", "device", "limit",
    "resume", "audit_rows", "audit_rate",
}  # fmt: skip


def differences(stored: dict[str, Any], fresh: Run) -> list[str]:
    """What differs between a run as it was begun and the one that is asked for now.

    Args:
      stored: `_run.json`.
      fresh: what the options give today.

    Returns:
      A line for each difference: what was begun and what was found.
    """
    now = json.loads(json.dumps(fresh.to_json()))  # tuples come back as lists
    found = _files(stored.get("inputs", []), now["inputs"])
    if stored.get("version") != now["version"]:
        found.append(f"version: begun with {stored.get('version')}, found {now['version']}")
    before, after = stored.get("cascade", {}), now["cascade"]
    for name in ("scoring_fingerprint", "thresholds", "labels"):
        if before.get(name) != after[name]:
            found.append(f"cascade, {name}: begun with {before.get(name)}, found {after[name]}")
    same = ("text_columns", "output_format", "checkpoint_bytes", "audit_rate", "schema")
    for name in same:
        if stored.get(name) != now[name]:
            found.append(f"{name}: begun with {stored.get(name)}, found {now[name]}")
    options = stored.get("options", {})
    for name in sorted(set(options) | set(now["options"])):
        before, after = options.get(name), now["options"].get(name)
        if name not in _SPELLINGS | set(same) and before != after:
            found.append(f"--{name}: begun with {before}, found {after}")
    return found


def _files(before: list[dict[str, Any]], after: list[dict[str, Any]]) -> list[str]:
    first, second = ({file["path"]: file for file in files} for files in (before, after))
    found = [f"input: {path} is gone" for path in first if path not in second]
    found += [f"input: {path} is new" for path in second if path not in first]
    for path in first.keys() & second.keys():
        for name in sorted(first[path].keys() | second[path].keys()):
            if first[path].get(name) != second[path].get(name):
                found.append(f"input: {path} has changed ({name})")
                break
    return sorted(found)
