"""Where a checkpoint's files lie: in a folder, in this package, or on an fsspec URL; their digest.

What lies on a URL is fetched to this machine once, whole, and used from there.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import logging
import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache, lru_cache
from pathlib import Path

import fsspec

from tango_beam.errors import RefusedError

logger = logging.getLogger(__name__)

EMBEDDED = Path(__file__).parent / "cascades"
# Sources that are no checkpoints.
ENDPOINT, HANDLER = "openai:", "handler:"
_TRIES = 3
# What moves a score: weights, configuration, tokenizer. Cards and training logs do not.
_SCORING_SUFFIXES = (".safetensors", ".json", ".txt", ".model")
_NOT_SCORING = ("training.json", "README.md")


def is_url(source: str) -> bool:
    """Whether a source lies behind fsspec (`s3://...`) and not in a folder or on a hub."""
    return "://" in source and not is_asked(source)


def is_asked(source: str) -> bool:
    """Whether a source is no checkpoint, but an endpoint or a handler that is given texts."""
    return source.startswith((ENDPOINT, HANDLER))


def local(source: str | None) -> str | None:
    """Where a checkpoint lies on this machine; a Hugging Face id comes back as it is.

    What lies on a URL is fetched. Of an embedded cascade, the driver names a folder of its own
    installation, and a worker elsewhere may have another.
    """
    if source is not None and is_url(source):
        return str(fetch(source))
    if source is None or Path(source).exists():
        return source
    parts = Path(source).parts
    if EMBEDDED.name in parts[:-1]:
        within = parts[len(parts) - parts[::-1].index(EMBEDDED.name) :]
        here = EMBEDDED.joinpath(*within)
        if parts[-len(within) - 2] == EMBEDDED.parent.name and here.is_dir():
            return str(here)
    return source


def digest(source: str, revision: str | None = None) -> str:
    """Hash over the scoring files of a checkpoint folder; of a hub id, its name and commit.

    Of an endpoint or a handler, its name and what is known of it: its weights are out of sight.
    """
    folder = Path(local(source) or source)
    if not folder.is_dir():
        return f"{source}@{revision}"
    total = hashlib.sha256()
    for path in sorted(folder.iterdir()):
        if path.suffix in _SCORING_SUFFIXES and path.name not in _NOT_SCORING:
            status = path.stat()
            total.update(path.name.encode() + b"\0")
            total.update(_file_digest(path, status.st_size, status.st_mtime_ns))
    return total.hexdigest()


@lru_cache
def _file_digest(path: Path, size: int, modified: int) -> bytes:
    """Hash of a file; size and time only tell the cache when it has changed."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").digest()


def cache_folder() -> Path:
    """Where copies are kept: `TANGO_BEAM_CACHE`, or `tango-beam` in the user's cache folder."""
    own = os.environ.get("TANGO_BEAM_CACHE")
    if own:
        return Path(own)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "tango-beam"


def read_text(url: str) -> str:
    """The text of one file.

    Raises:
      RefusedError: it cannot be read.
    """
    try:
        with fsspec.open(url, "rb") as file:
            return file.read().decode()
    except (OSError, ValueError, ImportError) as error:
        raise RefusedError(f"{url}: expected a file that can be read, found {error!r}") from error


@cache
def fetch(url: str) -> Path:
    """A copy of a folder on this machine, made where there is none; asked for once a process.

    A copy is known by the URL and by the names, sizes and versions of what lies there, so that a
    folder that has changed is copied anew. Processes that want the same one wait for the first.

    Raises:
      RefusedError: nothing there, or nothing that can be read.
    """
    try:
        system, root = fsspec.core.url_to_fs(url)
        files = {
            os.path.relpath(path, root): info
            for path, info in system.find(root, detail=True).items()
        }
    except (OSError, ValueError, ImportError) as error:
        raise RefusedError(f"{url}: expected a folder that can be read, found {error!r}") from error
    if not files or any(name.startswith(("..", "/")) for name in files):
        raise RefusedError(f"{url}: expected a folder with a checkpoint, found {list(files)[:5]}")
    place = cache_folder() / _key(url, files)
    with _alone(place):
        if not place.is_dir():
            _copy(system, root, {name: int(info["size"]) for name, info in files.items()}, place)
    return place


def _key(url: str, files: dict[str, dict]) -> str:
    versions = ("ETag", "etag", "md5Hash", "generation", "mtime", "created", "LastModified")
    stated = [
        [name, info["size"], *(str(info[key]) for key in versions if info.get(key) is not None)]
        for name, info in sorted(files.items())
    ]
    return hashlib.sha256(json.dumps([url, stated]).encode()).hexdigest()[:24]


@contextmanager
def _alone(place: Path) -> Iterator[None]:
    """Holds a lock among the processes of this machine; it ends with the process that holds it."""
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        with place.with_suffix(".lock").open("a") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield
    except OSError as error:
        raise RefusedError(
            f"{place.parent}: expected a folder for copies of checkpoints (TANGO_BEAM_CACHE names "
            f"another), found {error}"
        ) from error


def _copy(system: fsspec.AbstractFileSystem, root: str, sizes: dict[str, int], place: Path) -> None:
    begun = place.with_name(f"{place.name}.{uuid.uuid4().hex[:8]}")
    try:
        for name, size in sizes.items():
            target = begun / name
            target.parent.mkdir(parents=True, exist_ok=True)
            _copy_file(system, f"{root.rstrip('/')}/{name}", size, target)
        begun.rename(place)
    finally:
        shutil.rmtree(begun, ignore_errors=True)
    logger.info("fetched %s (%s bytes) to %s", root, f"{sum(sizes.values()):,}", place)


def _copy_file(system: fsspec.AbstractFileSystem, path: str, size: int, target: Path) -> None:
    for left in reversed(range(_TRIES)):
        try:
            system.get_file(path, str(target))
            if target.stat().st_size != size:
                raise OSError(f"expected {size:,} bytes, found {target.stat().st_size:,}")
            return
        except OSError as error:
            if not left:
                raise RefusedError(f"{path}: could not be copied: {error}") from error
            logger.warning("copying %s: %s; trying again", path, error)
