"""The directory of a cascade: cascade.json, and a folder of weights for each tier beside it."""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import Any

from tango_beam import checkpoint_files
from tango_beam.answers import Task
from tango_beam.checkpoint_files import EMBEDDED
from tango_beam.config import CascadeConfig, TierConfig
from tango_beam.endpoints.settings import Endpoint
from tango_beam.errors import RefusedError
from tango_beam.guarantees.certificate import Certificate

CASCADE_FILE = "cascade.json"
# Where a tier's answers come from: one of these stands in its entry.
_SOURCES = ("path", "hub", "endpoint", "handler")


def embedded_cascades() -> list[str]:
    """Names of the cascades that the package carries."""
    return sorted(path.parent.name for path in EMBEDDED.glob(f"*/{CASCADE_FILE}"))


def load_cascade(name: str) -> CascadeConfig:
    """Loads a cascade directory, on any fsspec URL, or an embedded cascade by its name.

    Paths in it stay inside it; a tier may name a Hugging Face id with `hub` in place of `path`.

    Raises:
      RefusedError: no such directory or name, or a cascade.json that does not fit its schema.
    """
    folder = name.rstrip("/") if checkpoint_files.is_url(name) else str(_cascade_folder(name))
    path = f"{folder}/{CASCADE_FILE}"
    try:
        stored = json.loads(checkpoint_files.read_text(path))
        known = {"name", "labels", "tiers", "pair", "filter", "certificate", "task"}
        unknown = sorted(set(stored) - known)
        if unknown:
            raise RefusedError(f"{path}: expected what its schema names, found {unknown}")
        tiers = tuple(
            _read_tier(folder, entry, tuple(stored["labels"])) for entry in stored["tiers"]
        )
        certificate = stored.get("certificate")
        return CascadeConfig(
            tiers=tiers,
            labels=tuple(stored["labels"]),
            name=stored.get("name", folder.rsplit("/", 1)[-1]),
            pair=stored.get("pair"),
            filter=stored.get("filter"),
            certificate=Certificate.from_json(certificate) if certificate else None,
            task=Task.from_json(stored.get("task", {})),
        )
    except (KeyError, TypeError, json.JSONDecodeError) as error:
        raise RefusedError(
            f"{path}: expected what schemas/cascade.schema.json says, found {error!r}"
        ) from error


def _cascade_folder(name: str) -> Path:
    folder = Path(name)
    if (folder / CASCADE_FILE).is_file():
        return folder
    if folder.is_dir() or name not in embedded_cascades():
        raise RefusedError(
            f"cascade {name}: expected a folder with {CASCADE_FILE} or one of "
            f"{', '.join(embedded_cascades()) or 'no embedded names'}, found {_instead(folder)}"
        )
    return EMBEDDED / name


def _instead(folder: Path) -> str:
    """What lies where a cascade was looked for, and which option takes it."""
    if not folder.exists():
        return "no such folder"
    if not folder.is_dir():
        return "a file"
    if (folder / "config.json").is_file():
        return (
            f"a checkpoint; pipelines.build --second_tier {folder} makes a cascade for it, and "
            "--first_tier with --second_tier and --threshold takes any two"
        )
    names = sorted(path.name for path in folder.iterdir())[:5]
    return f"a folder with {', '.join(names) or 'nothing'}"


def _read_tier(folder: str, entry: dict[str, Any], labels: tuple[str, ...]) -> TierConfig:
    known = {field.name for field in fields(TierConfig)} - {
        "source",
        "tokenizer",
        "endpoint",
        "labels",
    }
    unknown = set(entry) - known - {*_SOURCES, "tokenizer"}
    if unknown or len({*_SOURCES} & set(entry)) != 1:
        raise RefusedError(
            f"{folder}/{CASCADE_FILE}: expected a tier with one of {', '.join(_SOURCES)}, and "
            f"{', '.join(sorted(known | {'tokenizer'}))}, found {sorted(entry)}"
        )
    endpoint: Endpoint | None = None
    said: tuple[str, ...] = ()
    if "endpoint" in entry:
        endpoint = Endpoint(**{"labels": labels, **entry["endpoint"]})
        endpoint = replace(endpoint, labels=tuple(endpoint.labels))
        source = endpoint.name
    elif "handler" in entry:
        source, said = checkpoint_files.HANDLER + entry["handler"], labels
    else:
        source = entry["hub"] if "hub" in entry else _inside(folder, entry["path"])
    tokenizer = _inside(folder, entry["tokenizer"]) if entry.get("tokenizer") else None
    options = {name: entry[name] for name in known & set(entry)}
    options["fits"] = tuple(tuple(one) for one in entry.get("fits", ()))
    for name in ("exit_thresholds", "kept_tokens"):
        options[name] = tuple(entry.get(name, ()))
    return TierConfig(source=source, tokenizer=tokenizer, endpoint=endpoint, labels=said, **options)


def _inside(folder: str, relative: str) -> str:
    """A path within a cascade directory, absolute; one that leaves it is refused."""
    if checkpoint_files.is_url(folder):
        # A store has no links: names alone say where they lead.
        root, path = Path("/"), Path("/", relative)
        inside = ".." not in path.parts and not relative.startswith("/") and relative
        place = f"{folder}/{path.relative_to(root).as_posix()}" if inside else ""
    else:
        root = Path(folder).resolve()
        path = (root / relative).resolve()
        place = str(path) if path.is_relative_to(root) else ""
    if not place:
        raise RefusedError(
            f"{folder}/{CASCADE_FILE}: expected paths inside the directory, found {relative!r}"
        )
    return place


def save_cascade(cascade: CascadeConfig, folder: Path) -> None:
    """Writes cascade.json; tiers that lie inside `folder` are named relative to it.

    Raises:
      RefusedError: a tier's folder lies elsewhere.
    """
    entries = [_entry(tier, folder) for tier in cascade.tiers]
    stored: dict[str, Any] = {
        "name": cascade.name,
        "labels": list(cascade.labels),
        "tiers": entries,
    }
    if cascade.task != Task():
        stored["task"] = cascade.task.to_json()
    if cascade.pair is not None:
        stored["pair"] = cascade.pair
    if cascade.filter is not None:
        stored["filter"] = cascade.filter
    if cascade.certificate is not None:
        stored["certificate"] = cascade.certificate.to_json()
    (folder / CASCADE_FILE).write_text(json.dumps(stored, indent=2) + "\n")


def _entry(tier: TierConfig, folder: Path) -> dict[str, Any]:
    """A tier as cascade.json has it."""
    entry: dict[str, Any] = {
        key: value for key, value in asdict(tier).items() if value not in (None, ())
    }
    source = entry.pop("source")
    if tier.endpoint is not None:
        entry.pop("revision", None)
        return {"endpoint": entry.pop("endpoint"), **entry}
    if tier.tokenizer:
        entry["tokenizer"] = _relative(folder, tier.tokenizer)
    if tier.is_asked:
        entry = {name: entry[name] for name in entry.keys() - {"revision", "labels"}}
        return {"handler": source.removeprefix(checkpoint_files.HANDLER), **entry}
    if Path(source).is_dir():
        return {"path": _relative(folder, source), **entry}
    return {"hub": source, **entry}


def _relative(folder: Path, path: str) -> str:
    resolved = Path(path).resolve()
    if not resolved.is_relative_to(folder.resolve()):
        raise RefusedError(f"{folder}: expected its tiers inside it, found {path}")
    return str(resolved.relative_to(folder.resolve()))


def fetched(cascade: CascadeConfig) -> CascadeConfig:
    """The same cascade; the tiers that lie on URLs lie in folders of this machine."""
    tiers = tuple(
        replace(
            tier,
            source=checkpoint_files.local(tier.source) or tier.source,
            tokenizer=checkpoint_files.local(tier.tokenizer),
            revision=None if checkpoint_files.is_url(tier.source) else tier.revision,
        )
        for tier in cascade.tiers
    )
    return replace(cascade, tiers=tiers)


def link_checkpoints(cascade: CascadeConfig, folder: Path) -> CascadeConfig:
    """Links (or copies) a cascade's checkpoints into a directory; the cascade as it is there.

    Args:
      cascade: its tiers lie anywhere; hub ids stay what they are.
      folder: holds no checkpoint yet.
    """
    places: dict[str, str] = {}
    tiers = [
        replace(tier, source=_link_folder(tier.source, folder / f"tier_{number}", places))
        for number, tier in enumerate(cascade.tiers, start=1)
    ]
    for number, tier in enumerate(tiers, start=1):
        if tier.tokenizer:
            place = _link_folder(tier.tokenizer, folder / f"tokenizer_{number}", places)
            tiers[number - 1] = replace(tier, tokenizer=place)
    return replace(cascade, tiers=tuple(tiers))


def _link_folder(source: str, target: Path, places: dict[str, str]) -> str:
    """Links (or copies) a checkpoint folder into the cascade directory; a hub id stays one."""
    origin = Path(source)
    if not origin.is_dir():
        return source
    if source not in places:
        # A hard link costs no space, and stays when the original is deleted.
        shutil.copytree(origin, target, copy_function=_link_file)
        places[source] = str(target)
    return places[source]


def _link_file(source: str, target: str) -> None:
    try:
        os.link(Path(source).resolve(), target)  # hub caches hold symbolic links
    except OSError:
        shutil.copy2(source, target)
