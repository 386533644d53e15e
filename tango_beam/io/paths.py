"""Paths, globs and folders on any fsspec URL, and the files that they stand for."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Any

import fsspec

from tango_beam.errors import RefusedError

# What fsspec asks for, in words.
_PACKAGES = ("s3fs", "gcsfs", "huggingface_hub", "adlfs", "aiohttp")


class Way(Enum):
    """How the user came to name a file."""

    NAMED = "by its own name"
    GLOB = "by a pattern"
    FOLDER = "by a folder above it"


@dataclass(frozen=True)
class Match:
    """A file that a pattern stands for.

    Attributes:
      path: as fsspec opens it, with its protocol unless local.
      size: bytes as stored; None where the server does not say.
      modified: what the file system says of its time or version; empty where it says nothing.
      way: how it was named.
      inside: its path within the folder that was named; its own name where none was.
      real: the path behind links.
    """

    path: str
    size: int | None
    modified: str
    way: Way
    inside: str
    real: str


@dataclass
class Matches:
    """What a pattern stands for.

    Attributes:
      files: in no order.
      hidden: files in a folder whose names or folders begin with `_` or `.`.
      lost: links in a folder that lead nowhere, and what else is no file.
    """

    files: list[Match] = field(default_factory=list)
    hidden: list[str] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)


def match(pattern: str, option: str) -> Matches:
    """Files that a path, glob or folder stands for; a path that exists means itself.

    Raises:
      RefusedError: the file system does not answer, or there is none for such a URL.
    """
    found = Matches()
    try:
        system, path = resolve(pattern)
        if not _add(found, pattern, system, path, Way.NAMED) and glob.has_magic(path):
            for name in system.glob(_with_folders_as_they_are(system, path)):
                # What lies in a folder matches ** itself.
                inside = "**" in path and system.isdir(name)
                if not inside and not _add(found, pattern, system, name, Way.GLOB):
                    found.lost.append(name.rsplit("/", 1)[-1])
    except RefusedError:
        raise
    except Exception as error:
        said = " ".join(f"{type(error).__name__}: {error}".split())
        hint = f"; pip install '{_package(error)}'" if isinstance(error, ImportError) else ""
        raise RefusedError(
            f"{option} {pattern}: expected a readable path, found {said}{hint}"
        ) from error
    return found


def _package(error: ImportError) -> str:
    """The package that fsspec asks for: in its message, or behind the error that it hides."""
    named = [name for name in _PACKAGES if name in str(error)]
    return named[0] if named else (error.name or "fsspec[full]")


def resolve(pattern: str) -> tuple[Any, str]:
    """The file system that a pattern names, and the path there."""
    # Without a protocol, or where it exists, a path is local as it stands: fsspec would take
    # :: for two file systems.
    if "://" not in pattern or os.path.lexists(pattern):
        return fsspec.filesystem("file"), absolute(pattern)
    return fsspec.core.url_to_fs(pattern)


def absolute(path: str) -> str:
    """A local path from the root on, `a/../b` as `b`; a URL stays as it is."""
    if "://" in path and not os.path.lexists(path):
        return path
    whole = str(Path(path).expanduser().absolute())
    plain = os.path.normpath(whole)
    # Behind a link to a folder, `..` is not the folder in which the link lies.
    return plain if os.path.realpath(plain) == os.path.realpath(whole) else whole


def _with_folders_as_they_are(system: Any, path: str) -> str:
    """A glob in which the folders ahead that exist under such a name mean themselves."""
    parts = path.split("/")
    for count in range(len(parts) - 1, 0, -1):
        folder = "/".join(parts[:count])
        if glob.has_magic(folder) and system.isdir(folder):
            return "/".join([glob.escape(folder), *parts[count:]])
    return path


def _add(found: Matches, pattern: str, system: Any, path: str, way: Way) -> bool:
    """Adds the file or the folder of that path; returns whether there is one."""
    info = _info(system, path, glob.has_magic(path))
    if info is None:
        return False
    if info["type"] == "directory":
        _add_folder(found, pattern, system, path.rstrip("/"))
    elif way is Way.GLOB and path.rsplit("/", 1)[-1].startswith("._"):
        found.hidden.append(path.rsplit("/", 1)[-1])  # what macOS stores beside a file
    elif info["type"] == "file":
        inside = path.rsplit("/", 1)[-1]
        found.files.append(_match(pattern, system, path, info, way, inside))
    else:
        found.lost.append(path)
    return True


def _info(system: Any, path: str, may_be_pattern: bool) -> dict[str, Any] | None:
    """What the file system says of a path, None where there is no such; links are followed."""
    if _is_local(system):
        return _local_info(Path(path)) if Path(path).exists() else None
    try:
        return system.info(path)
    except FileNotFoundError as error:
        if error.__cause__ is not None and not may_be_pattern:
            raise error.__cause__ from None  # such as a refused connection
        return None
    except Exception:
        if may_be_pattern:
            return None  # the search for files will tell
        raise


def _add_folder(found: Matches, pattern: str, system: Any, root: str) -> None:
    listed = (
        _walk(Path(root)) if _is_local(system) else iter(system.find(root, detail=True).items())
    )
    for path, info in listed:
        inside = path[len(root) :].strip("/")
        if any(part.startswith(("_", ".")) for part in inside.split("/")):
            found.hidden.append(inside)
        elif info is None:
            found.lost.append(inside)
        elif info["type"] == "file":
            found.files.append(_match(pattern, system, path, info, Way.FOLDER, inside))


def _walk(root: Path) -> Iterator[tuple[str, dict[str, Any] | None]]:
    """Files under a local folder, links followed, each folder once; None for what is none."""
    seen: set[Path] = set()
    # Links come last, so that what they lead to has its own name where it is in the folder too.
    later = [root]
    while later:
        top = later.pop(0)
        if not top.is_dir():
            yield str(top), _local_info(top) if top.is_file() else None
            continue
        for name, folders, files in os.walk(top, onerror=_raise):
            folder = Path(name)
            real = folder.resolve()
            if real in seen:
                folders.clear()
                continue
            seen.add(real)
            later += [folder / name for name in sorted(folders) if (folder / name).is_symlink()]
            for path in (folder / name for name in sorted(files)):
                if path.is_symlink():
                    later.append(path)
                else:
                    yield str(path), _local_info(path) if path.is_file() else None


def _local_info(path: Path) -> dict[str, Any]:
    kind = "directory" if path.is_dir() else "file" if path.is_file() else "other"
    stat = path.stat()
    return {"type": kind, "size": stat.st_size, "mtime": stat.st_mtime}


def _raise(error: OSError) -> None:
    raise error


def _is_local(system: Any) -> bool:
    protocols = [system.protocol] if isinstance(system.protocol, str) else system.protocol
    return "file" in protocols


def _match(
    pattern: str, system: Any, path: str, info: dict[str, Any], way: Way, inside: str
) -> Match:
    stamps = (info.get(key) for key in ("mtime", "ETag", "etag", "LastModified", "last_modified"))
    modified = next((str(stamp) for stamp in stamps if stamp is not None), "")
    size = None if info.get("size") is None else int(info["size"])
    real = str(Path(path).resolve()) if _is_local(system) else path
    return Match(_url(pattern, system, path), size, modified, way, inside, real)


def _url(pattern: str, system: Any, path: str) -> str:
    if _is_local(system):
        return path
    first, chained, rest = pattern.partition("::")
    if not chained:
        return system.unstrip_protocol(path)
    if "://" in first:  # zip://name::archive
        return f"{first.split('://')[0]}://{path}::{rest}"
    return f"{first}::{_url(rest, system.fs, path)}"  # simplecache::where it comes from
