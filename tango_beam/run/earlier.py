"""A corpus that grows: which of its files earlier outputs have answered (`--after`)."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from tango_beam.errors import RefusedError
from tango_beam.io.files import InputFile
from tango_beam.run.layout import MANIFEST, RUN_FILE
from tango_beam.run.manifest import After, Earlier, Manifest, Superseded, read_manifest
from tango_beam.run.store import Store

logger = logging.getLogger(__name__)

# Options that decide what a row is asked, and which answers are written.
_SAME = ("text_column", "text_pair_column", "keep")
_SHOWN = 3
_WARNED = 20


@dataclass(frozen=True)
class Output:
    """A complete output that was written before.

    Attributes:
      address: full path or URL.
      manifest: that lies there.
    """

    address: str
    manifest: Manifest


@dataclass(frozen=True)
class Division:
    """The input's files, divided by what earlier outputs say of them.

    Attributes:
      new: to be read: named by no earlier output as they are now.
      after: what the manifest says of the others.
      notes: for the user.
    """

    new: tuple[InputFile, ...]
    after: After
    notes: tuple[str, ...]


def follow(named: Sequence[str], output: str) -> list[Output]:
    """Earlier outputs and those that they came after themselves, in the order of their ends.

    Args:
      named: what `--after` names.
      output: of the run that comes after them.

    Raises:
      RefusedError: one is not complete, is gone, or is the output itself.
    """
    own = Store(output).address
    found = {one.address: one for one in map(_read, named)}
    moved = {one.manifest.id: one.address for one in found.values() if one.manifest.id}
    later = [*found.values()]
    while later:
        one = later.pop(0)
        for earlier in one.manifest.after.outputs if one.manifest.after else ():
            address = moved.get(earlier.id, earlier.output)
            if address not in found:
                found[address] = _read(address, f" ({one.address} came after it)")
                later.append(found[address])
    if own in found:
        raise RefusedError(
            f"--output {output}: expected another directory than the earlier outputs', which hold "
            f"rows of the corpus, found one of them; name a new one"
        )
    return sorted(found.values(), key=lambda one: one.manifest.finished)


def _read(address: str, why: str = "") -> Output:
    where = f"--after {address}{why}: expected a complete output"
    try:
        store = Store(address)
        manifest, failed = read_manifest(store)
        begun = manifest is None and store.exists(RUN_FILE)
    except (OSError, ValueError, TypeError, ImportError) as error:
        raise RefusedError(f"{where}, found {error}") from error
    if begun:
        raise RefusedError(
            f"{where}, found one without {MANIFEST}; finish it first, with its own options and "
            "--resume"
        )
    if failed:
        raise RefusedError(
            f"{where}, found one with too many dead rows; repeat that run with --overwrite and a "
            "higher --max_dead_fraction, or leave it out"
        )
    if manifest is None:
        gone = "; name the place where it lies now with one more --after" if why else ""
        raise RefusedError(f"{where}, found no {MANIFEST}{gone}")
    return Output(store.address, manifest)


def refuse_others(
    outputs: Iterable[Output], cascade: dict[str, Any], options: dict[str, Any]
) -> None:
    """Raises RefusedError for an output that another cascade made, or of other texts.

    Args:
      outputs: earlier ones.
      cascade: of this run, as `_run.json` has it.
      options: of this run, those that change a result.
    """
    for one in outputs:
        differs = _differences(one.manifest, cascade, options)
        if differs:
            raise RefusedError(
                f"--after {one.address}: expected answers to the same question by the same "
                f"cascade, found {'; '.join(differs)}. --force passes over its files all the "
                "same; without this --after they are read anew"
            )


def _differences(manifest: Manifest, cascade: dict[str, Any], options: dict[str, Any]) -> list[str]:
    made, differs = manifest.cascade, []
    if made.fingerprint != cascade["fingerprint"]:
        pairs = {
            "threshold": ([*made.thresholds], [*cascade["thresholds"]]),
            "threshold of the label": ([*made.label_thresholds], [*cascade["label_thresholds"]]),
            "scoring fingerprint": (made.scoring_fingerprint, cascade["scoring_fingerprint"]),
        }
        parts = [f"{name} {a} there, {b} here" for name, (a, b) in pairs.items() if a != b]
        differs.append(f"cascade {made.name} there, {cascade['name']} here ({', '.join(parts)})")
    for name in _SAME:
        before, now = (given.get(name) or None for given in (manifest.options, options))
        if isinstance(before, list | tuple) or isinstance(now, list | tuple):
            before, now = sorted(before or ()), sorted(now or ())
        if before != now:
            differs.append(f"--{name} {before or 'none'} there, {now or 'none'} here")
    return differs


def divide(files: Sequence[InputFile], outputs: Sequence[Output]) -> Division:
    """Divides input files into those to be read and those that earlier outputs have answered.

    A file is answered where an output names it with its present size and its present time or etag.
    Where several do, the last of them counts; rows of it in the other outputs are superseded. A
    file that is not in the input any more counts where it was read last.

    Args:
      files: of the input, as they are now.
      outputs: earlier ones, in the order of their ends.
    """
    present = {file.path: file for file in files}
    holders: dict[str, list[tuple[Output, bool]]] = {}
    for one in outputs:
        for entry in _entries(one.manifest):
            file = present.get(entry["path"])
            same = file is None or _is_same(entry, file)
            holders.setdefault(entry["path"], []).append((one, same))
    current: dict[str, str] = {}
    superseded = []
    for path, held in holders.items():
        whole = [one.address for one, same in held if same]
        if whole:
            current[path] = whole[-1]
        superseded += [
            Superseded(path, one.address) for one, _ in held if one.address != current.get(path)
        ]
    new = [file for file in files if file.path not in current]
    if all(file.size == 0 and not file.forward for file in new):
        new = []  # nothing that could be looked at: empty files alone
    passed = Counter(current[path] for path in present.keys() & current.keys())
    holding = {*current.values()}
    kept = tuple(
        Earlier(one.address, one.manifest.id, passed[one.address])
        for one in outputs
        if one.address in holding
    )
    # Nobody reads an output any more all of whose rows are superseded.
    after = After(kept, tuple(one for one in superseded if one.output in holding))
    return Division(tuple(new), after, _notes(files, holders, current, after, outputs))


def _entries(manifest: Manifest) -> list[dict[str, Any]]:
    """Files that a run read; `cut` says of one that it may not have been read to its end."""
    entries = [*manifest.inputs]
    if entries and manifest.options.get("limit") is not None:
        entries[-1] = {**entries[-1], "cut": True}
    return entries


def _is_same(entry: dict[str, Any], file: InputFile) -> bool:
    """Whether a file is as it was; a file system that tells no time and no etag does not say so."""
    before = entry.get("size"), entry.get("modified")
    return bool(file.modified) and before == (file.size, file.modified) and "cut" not in entry


def _notes(
    files: Sequence[InputFile],
    holders: dict[str, list[tuple[Output, bool]]],
    current: dict[str, str],
    after: After,
    outputs: Sequence[Output],
) -> tuple[str, ...]:
    passed = sum(one.files for one in after.outputs)
    by = ", ".join(f"{one.files:,} by {one.output}" for one in after.outputs if one.files)
    notes = [
        f"passed over {passed:,} of {len(files):,} input files that earlier outputs have answered"
        f"{f' ({by})' if by else ''}"
    ]
    anew = [file for file in files if file.path in holders and file.path not in current]
    if anew:
        notes.append(f"{len(anew):,} input files are read anew ({_some(one.path for one in anew)})")
    untold = [file.path for file in anew if not file.modified]
    if untold:
        notes.append(
            f"of {len(untold):,} of these nobody says when they were written ({_some(untold)})"
        )
    present = {file.path for file in files}
    gone = [path for path in current if path not in present]
    if gone:
        notes.append(
            f"{len(gone):,} files of earlier outputs are not in the input any more, and their rows "
            f"stay ({_some(gone)})"
        )
    broken = [
        entry["path"]
        for one in outputs
        for entry in one.manifest.broken_files
        if current.get(entry["path"]) == one.address and entry["path"] in present
    ]
    if broken:
        notes.append(
            f"{len(broken):,} of the files that are passed over broke midway and have not changed "
            f"since; what was not read of them stays unread ({_some(broken)})"
        )
    return tuple(notes)


def _some(paths: Iterable[str]) -> str:
    listed = [*paths]
    return ", ".join([*listed[:_SHOWN], *(["..."] if len(listed) > _SHOWN else [])])


def warn(division: Division, outputs: Collection[Output]) -> None:
    """Warns of files that are read anew while earlier outputs hold rows of them."""
    reread = {file.path for file in division.new}
    lines = [
        f"{path}: its size, time or etag differs, so it is read anew as a whole; its rows in "
        f"{one.address} are superseded{_untold(one.manifest)}"
        for one in outputs
        for path in dict.fromkeys(entry["path"] for entry in one.manifest.inputs)
        if path in reread
    ]
    for line in lines[:_WARNED]:
        logger.warning("%s", line)
    if len(lines) > _WARNED:
        logger.warning(
            "and %d more; %s lists them (after.superseded)", len(lines) - _WARNED, MANIFEST
        )


def _untold(manifest: Manifest) -> str:
    name = manifest.options.get("answer_prefix", "") + "source_file"
    if any(column["name"] == name for column in manifest.schema):
        return ""
    return ", and only a key of yours tells them apart there, since it has no --source_columns"
