"""What is searched: a back end for each space, made from the segments, kept on disk, and made again where it is missing, old or broken.

`INDEX/backends/<space>-<last segment>-<token>/stamp.json` says of which segments it is, and holds size and hash of every file that the
back end wrote, which are compared before the back end sees them: one library crashed on an index that was cut short. A folder is never
written again, a newer one takes its place, so that a reader never sees files of two.
"""

from __future__ import annotations

import json
import logging
import re
import secrets
import shlex
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import numpy as np

from unifusion import catalog
from unifusion.atomic import atomic_folder, remove_folder
from unifusion.errors import CheckpointError, ConfigError, nearest
from unifusion.retrieval.backends.backend import Backend, Row
from unifusion.retrieval.entry import Entry, Window
from unifusion.retrieval.layout import BackendChoice
from unifusion.retrieval.segment import sha256_of
from unifusion.retrieval.snapshot import Snapshot

__all__ = ["Derived", "row_of"]

log = logging.getLogger(__name__)
FORMAT = "unifusion-backend"
VERSION = 1
_ADDED_AT_ONCE = 65_536
_ATTEMPTS = 8
_NAME = re.compile(r"[a-z][a-z0-9_]*-\d{8}-[0-9a-f]{8}")


def row_of(entry: Entry, window: Window) -> Row:
    """What a window can be filtered by: plain metadata of its clip, and where it is."""
    known = {k: v for k, v in entry.metadata.items() if isinstance(v, str | int | float | bool)}
    where = {"path": entry.path, "start_s": window.start_s, "end_s": window.end_s}
    folder = Path(entry.path).parent.name
    return {"kind": entry.kind, "folder": folder, "name": Path(entry.path).name, **known, **where}


class Derived:
    """The back ends of one snapshot.

    Args:
        snapshot: what they are made from.
        choice: which back end.
        writable: the writer's lock is held, so that a server may be written to.
    """

    def __init__(self, snapshot: Snapshot, choice: BackendChoice, *, writable: bool = False) -> None:
        self.snapshot, self.choice, self.writable = snapshot, choice, writable
        self._class: type[Backend] = catalog.load("backends", choice.name)
        self._held: dict[str, Backend] = {}
        self._fresh: set[str] = set()

    def backend(self, space: str) -> Backend:
        """The back end of a space, with all windows of the snapshot; nothing is written to disk.

        Raises:
            ConfigError: it may live in a server, and has to be filled by a writer.
            CheckpointError: it has to be made, and vectors are damaged.
        """
        if space not in self._held:
            self._held[space] = self._loaded(space) or self._built(space)
        return self._held[space]

    def save(self, *, anew: bool = False) -> None:
        """Write the back ends that are not on disk as they should be. The writer's lock is held.

        Args:
            anew: make all of them from the segments, whatever is on disk.
        """
        for space in self.snapshot.spaces:
            if anew:
                self._held[space] = self._built(space)
                self._fresh.discard(space)
            elif space not in self._held and self._is_fresh(space):
                continue
            backend = self.backend(space)
            if space not in self._fresh:
                self._write(space, backend)
            for folder in self._folders(space)[:-1]:
                remove_folder(folder)
        for folder in self._folders("*"):
            if folder.name.split("-")[0] not in self.snapshot.spaces:
                remove_folder(folder)

    def _write(self, space: str, backend: Backend) -> None:
        """Write a back end."""
        with atomic_folder(self._home / f"{space}-{self.snapshot.last:08}-{secrets.token_hex(4)}") as work:
            (work / "data").mkdir()
            backend.save(work / "data")
            files = {p.relative_to(work).as_posix(): sha256_of(p) for p in sorted((work / "data").rglob("*")) if p.is_file()}
            stamp = {**self._stamp(space), "count": len(backend), "files": files}
            (work / "stamp.json").write_text(json.dumps(stamp, indent=1) + "\n", encoding="utf-8")
        self._fresh.add(space)

    @property
    def _home(self) -> Path:
        """Where the back ends lie."""
        return self.snapshot.folder / "backends"

    def _folders(self, space: str) -> list[Path]:
        """Folders of back ends of a space, the newest last; there is more than one only while a newer one takes the place of an older."""
        found = [(p.name.split("-")[1], _changed_ns(p), p) for p in self._home.glob(f"{space}-*") if _NAME.fullmatch(p.name)]
        return [path for _, _, path in sorted(found)]

    def _stamp(self, space: str) -> dict[str, Any]:
        """What a back end on disk must say of itself."""
        manifest = self.snapshot.manifest
        return {
            "format": FORMAT, "version": VERSION, "library": manifest.id, "space": space, "width": manifest.embedder.width,
            "backend": {"name": self.choice.name, "config": dict(self.choice.config)}, "upto": self.snapshot.last,
        }  # fmt: skip

    def _read_stamp(self, space: str, folder: Path) -> dict[str, Any] | None:
        """The stamp of a folder if it is of this library and choice, however old; else None."""
        try:
            raw = json.loads((folder / "stamp.json").read_text(encoding="utf-8"))
            wanted = {k: v for k, v in self._stamp(space).items() if k != "upto"}
            same = {k: raw[k] for k in wanted} == wanted and type(raw["upto"]) is int and type(raw["count"]) is int
            return raw if same and isinstance(raw["files"], dict) else None
        except (OSError, ValueError, KeyError, TypeError, RecursionError):
            return None

    def _is_fresh(self, space: str) -> bool:
        """Whether what is on disk is of the last segment and none of its files has another size; nothing is read."""
        folders = self._folders(space)
        stamp = self._read_stamp(space, folders[-1]) if len(folders) == 1 else None
        if stamp is None or stamp["upto"] != self.snapshot.last:
            return False
        files = [(folders[0] / name, told) for name, told in stamp["files"].items()]
        return all(path.is_file() and isinstance(told, dict) and path.stat().st_size == told.get("bytes") for path, told in files)

    def _config(self, space: str) -> Any:
        """The back end's choices; a collection of a server is named after library and space, and holds nothing else.

        Raises:
            ConfigError: it has no such choice.
        """
        known = {f.name for f in fields(self._class.Config)}
        unknown = sorted(set(self.choice.config) - known)
        if unknown:
            raise ConfigError(f"the back end {self.choice.name} has no choice {unknown[0]!r};", remedy=nearest(unknown[0], sorted(known)))
        given = dict(self.choice.config)
        if {"collection", "replace"} <= known:
            default = asdict(self._class.Config())["collection"]
            given["collection"] = f"{given.get('collection', default)}-{self.snapshot.manifest.id[:12]}-{space}"
            given["replace"] = True
        try:
            return self._class.Config(**given)
        except (TypeError, ValueError) as error:
            raise ConfigError(f"choices of the back end {self.choice.name}: {error};", remedy="see its page in docs/search.md.") from error

    def _built(self, space: str) -> Backend:
        """A back end made from the segments.

        Raises:
            ConfigError: it may live in a server, which only a writer fills.
        """
        if not self.writable and "collection" in {f.name for f in fields(self._class.Config)}:
            raise ConfigError(
                f"the back end {self.choice.name} of {space} is missing or not as it was;",
                remedy=f"fill it again: unifusion index -o {shlex.quote(str(self.snapshot.folder))} --rebuild",
            )
        ids_M, vectors_MD = self.snapshot.vectors(space)
        backend = self._class(self.snapshot.manifest.embedder.width, self._config(space))
        self._add(backend, ids_M, vectors_MD)
        return backend

    def _add(self, backend: Backend, ids_M: np.ndarray, vectors_MD: np.ndarray) -> None:
        """Add windows with what they can be filtered by."""
        for start in range(0, len(ids_M), _ADDED_AT_ONCE):
            part = slice(start, start + _ADDED_AT_ONCE)
            windows = list(self.snapshot.windows(ids_M[part]))
            backend.add(ids_M[part], vectors_MD[part], [row_of(self.snapshot.entries[w.clip], w) for w in windows])

    def _loaded(self, space: str) -> Backend | None:
        """The back end that is on disk, brought up to the last segment; None where it is missing or broken (which is logged)."""
        for _ in range(_ATTEMPTS):
            folders = self._folders(space)
            stamp = self._read_stamp(space, folders[-1]) if folders else None
            if stamp is None:
                return None
            try:
                backend = self._opened(space, folders[-1], stamp)
                break
            except (CheckpointError, OSError) as error:
                if folders[-1].exists():
                    log.warning("the back end of %s is made again from the segments: %s", space, error)
                    return None
        else:
            return None
        if stamp["upto"] == self.snapshot.last:
            self._fresh.add(space)
            return backend
        if backend.remote and not self.writable:
            log.warning("the server's collection of %s is not what the index holds now; index again when its writer has ended", space)
            return backend
        return self._brought_up(backend, space, stamp["upto"])

    def _opened(self, space: str, folder: Path, stamp: dict[str, Any]) -> Backend:
        """The back end in a folder.

        Raises:
            CheckpointError: it is not what was written.
            OSError: files are missing.
        """
        for name, told in stamp["files"].items():
            if not name.startswith("data/") or ".." in name or sha256_of(folder / name) != told:
                raise CheckpointError(f"{folder / name} is not what was written;")
        backend = self._class.load(folder / "data", self.snapshot.manifest.embedder.width, self._config(space))
        if len(backend) != stamp["count"]:
            raise CheckpointError(f"{folder} holds {len(backend)} vectors, {stamp['count']} were written;")
        return backend

    def _brought_up(self, backend: Backend, space: str, upto: int) -> Backend | None:
        """An older back end with what came after its last segment; None where it has to be made again."""
        newer = [s for s in self.snapshot.segments if s.last > upto]
        if upto > self.snapshot.last or (newer and newer[0].first <= upto):
            return None
        known = {clip for s in newer for clip in (*s.gone, *(e.clip for e in s.entries))}
        dead = [clip for clip in known if clip not in self.snapshot.entries]
        backend.delete(self.snapshot.ids_of(dead))
        ids_M, vectors_MD = self.snapshot.vectors(space, self.snapshot.ids_of(clip for clip in known if clip in self.snapshot.entries))
        self._add(backend, ids_M, vectors_MD)
        return backend


def _changed_ns(folder: Path) -> int:
    """When files were last put into a folder; 0 where it is gone by now."""
    try:
        return folder.stat().st_mtime_ns
    except OSError:
        return 0
