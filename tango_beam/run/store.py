"""The output directory on any fsspec URL: files appear whole or not at all."""

from __future__ import annotations

import contextlib
import json
import os
import threading
import uuid
from pathlib import Path
from typing import Any, BinaryIO

import fsspec
from fsspec.implementations.local import LocalFileSystem

from tango_beam.errors import RefusedError
from tango_beam.run import layout
from tango_beam.run.layout import FAILURE, LEASE, MANIFEST, RUN_FILE, TEMPORARY

_abandoned: set[str] = set()
_publishing = threading.Lock()
# On these a file appears when it is closed, whole; elsewhere it is written aside and renamed.
_WHOLE_ON_CLOSE = {"s3", "s3a", "gs", "gcs", "abfs", "abfss", "az", "adl", "oss", "memory"}


class Store:
    """A directory in which files are published whole.

    Args:
      url: path or fsspec URL of the directory.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        self._fs, self._root = fsspec.core.url_to_fs(url)
        self._root = self._root.rstrip("/")
        self._local = isinstance(self._fs, LocalFileSystem)
        protocol = self._fs.protocol
        names = {protocol} if isinstance(protocol, str) else set(protocol)
        self._aside = self._local or not names & _WHOLE_ON_CLOSE

    def holds(self, url: str) -> bool:
        """Whether another path lies in the directory."""
        system, path = fsspec.core.url_to_fs(url)
        return type(system) is type(self._fs) and f"{path}/".startswith(f"{self._root}/")

    def path(self, name: str = "") -> str:
        """Full path of a file in the directory."""
        return f"{self._root}/{name}" if name else self._root

    @property
    def address(self) -> str:
        """The directory's full path, or its full URL."""
        return self._root if self._local else str(self._fs.unstrip_protocol(self._root))

    def abandon(self) -> None:
        """Lets nothing of this process begin or publish a file there any more; clears up.

        A pipeline that was interrupted goes on in its threads until the process ends. A file that
        it published meanwhile would break off the clearing of the folder that it came from.
        """
        with _publishing:
            _abandoned.add(self._root)
        with contextlib.suppress(OSError):
            self.drop_folder(TEMPORARY)

    def create(self, name: str) -> Publication:
        """Begins a file; it appears under its name when published."""
        with _publishing:
            self._refuse_abandoned()
            return self._create(name)

    def _refuse_abandoned(self) -> None:
        if self._root in _abandoned:
            raise OSError(f"{self.url}: the run that wrote here was stopped")

    def _create(self, name: str) -> Publication:
        if not self._aside:
            return Publication(self, name, self.path(name))
        aside = self.path(f"{TEMPORARY}/{uuid.uuid4().hex}-{name.rsplit('/', 1)[-1]}")
        self._fs.makedirs(self.path(TEMPORARY), exist_ok=True)
        return Publication(self, name, aside)

    def put_json(self, name: str, content: Any) -> None:
        """Writes a small JSON file over itself; it may be seen half."""
        self._fs.makedirs(self._root, exist_ok=True)
        self._fs.pipe_file(self.path(name), json.dumps(content).encode())

    def write_json(self, name: str, content: Any) -> None:
        """Publishes a JSON file, indented."""
        self.write_text(name, json.dumps(content, indent=2, ensure_ascii=False) + "\n")

    def write_text(self, name: str, text: str) -> None:
        """Publishes a text, in UTF-8."""
        publication = self.create(name)
        publication.file.write(text.encode())
        publication.publish()

    def read_json(self, name: str) -> Any:
        """Reads a JSON file; None if there is no such file."""
        try:
            return json.loads(self._fs.cat_file(self.path(name)))
        except FileNotFoundError:
            return None

    def open_input(self, name: str) -> BinaryIO:
        """Opens a file for reading.

        Raises:
          FileNotFoundError: it is not there.
        """
        return self._fs.open(self.path(name), "rb")

    def size(self, name: str) -> int:
        """Bytes of a file."""
        return int(self._fs.size(self.path(name)))

    def exists(self, name: str) -> bool:
        """Whether a file is there."""
        self._fs.invalidate_cache()
        return self._fs.exists(self.path(name))

    def has_ended(self) -> bool:
        """Whether the run in it has ended, complete or with too many dead rows."""
        return self.exists(MANIFEST) or self.exists(FAILURE)

    def names(self, folder: str = "") -> list[str]:
        """Names of all files below a folder, relative to the directory."""
        self._fs.invalidate_cache()
        base = self.path(folder)
        if not self._fs.isdir(base):
            return []
        cut = len(self._root) + 1
        return sorted(path[cut:] for path in self._fs.find(base))

    def delete(self, names: list[str]) -> None:
        """Deletes files, those that are gone already included."""
        for name in names:
            try:
                self._fs.rm_file(self.path(name))
            except FileNotFoundError:
                continue

    def drop_folder(self, name: str) -> None:
        """Deletes a folder with all that is in it, if it is there."""
        if self._fs.isdir(self.path(name)):
            self._fs.rm(self.path(name), recursive=True)

    def prepare(self, overwrite: bool) -> None:
        """Makes the directory, or empties it.

        Raises:
          RefusedError: it holds files and `overwrite` is off, or it holds files of another kind
            than a run's, or it cannot be written.
        """
        names = self.refuse_what_is_there(overwrite)
        _abandoned.discard(self._root)
        try:
            # The manifest goes first, since it claims that all is there; `_run.json` last, since it
            # says whose directory this is if the clean-up is cut short.
            order = {MANIFEST: 0, RUN_FILE: 2}
            self.delete(sorted(names, key=lambda name: order.get(name, 1)))
            for folder in layout.FOLDERS:
                self.drop_folder(folder)
            self._fs.makedirs(self._root, exist_ok=True)
            self.write_json(RUN_FILE, {})
        except OSError as error:
            raise RefusedError(
                f"--output {self.url}: expected a directory to write in, found {error}"
            ) from error

    def refuse_what_is_there(self, overwrite: bool) -> list[str]:
        """Names of the files of an earlier run that may be replaced; see `prepare`."""
        names = [name for name in self.names() if name != LEASE]
        if names and not overwrite:
            raise RefusedError(
                f"--output {self.url}: expected an empty directory, found {_some(names)}; "
                "--overwrite replaces an earlier run, --resume goes on with one that was cut short"
            )
        foreign = [name for name in names if not layout.is_of_a_run(name)]
        if names and not set(names) & set(layout.MARKS):
            foreign = names  # part files alone may be anybody's
        if foreign:
            raise RefusedError(
                f"--output {self.url}: --overwrite replaces an earlier run and nothing else, "
                f"found {_some(foreign)}"
            )
        return names

    def reopen(self) -> None:
        """Makes ready to go on with a run that was cut short."""
        _abandoned.discard(self._root)
        self.drop_folder(TEMPORARY)

    def publish(self, publication: Publication) -> None:
        """Puts a finished file under its name."""
        with _publishing:
            self._refuse_abandoned()
            self._publish(publication)

    def _publish(self, publication: Publication) -> None:
        target = self.path(publication.name)
        if self._local:
            Path(target).parent.mkdir(parents=True, exist_ok=True)
            Path(publication.written_to).replace(target)
        elif self._aside:
            self._fs.makedirs(target.rsplit("/", 1)[0], exist_ok=True)
            self._fs.mv(publication.written_to, target)

    def open(self, path: str) -> BinaryIO:
        """Opens a full path for writing."""
        if self._local:
            return Path(path).open("wb")
        return self._fs.open(path, "wb")

    def flush(self, file: BinaryIO) -> None:
        """Makes sure that what was written outlives the machine's power."""
        if self._local:
            file.flush()
            os.fsync(file.fileno())


class Publication:
    """A file being written.

    Attributes:
      name: where it will appear.
      written_to: full path where it is written until then.
      file: open for writing bytes.
    """

    def __init__(self, store: Store, name: str, written_to: str) -> None:
        self._store, self.name, self.written_to = store, name, written_to
        self.file = store.open(written_to)

    def publish(self) -> int:
        """Closes the file and lets it appear; returns its bytes."""
        size = self.file.tell()
        self._store.flush(self.file)
        self.file.close()
        self._store.publish(self)
        return int(size)


def _some(names: list[str]) -> str:
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return ", ".join(names[:3]) + more
