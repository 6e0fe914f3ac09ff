"""A JSONL file that grows row by row and survives a kill: no row lost, none twice."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, BinaryIO, Protocol, TextIO, TypeVar

from unifusion.errors import ConfigError, DatasetError
from unifusion.share import resolve_checkpoint

__all__ = ["Marked", "Noted", "OutFile", "Run", "weights_of"]


class Marked(Protocol):
    """What is answered: a name, and a short hash of what its answer is to."""

    @property
    def id(self) -> str:
        """Its name."""

    @property
    def mark(self) -> str:
        """The hash; "" where there is none."""


class Noted(Protocol):
    """What a run's answers depend on."""

    def to_json(self) -> str:
        """One line, equal for equal runs."""


M = TypeVar("M", bound=Marked)


@dataclass(frozen=True, kw_only=True)
class Run:
    """What answers depend on. Written beside the file, so that two different runs are never mixed in one."""

    task: str
    labels: Sequence[str]
    model: str
    seed: int
    max_new_tokens: int
    abstain: bool = False
    lenient: bool = False
    weights: str = ""
    """Of the model's files; see `weights_of`."""
    stored: bool = False
    """Whether features came from a store, which rounds them."""
    words: str = ""
    """Where timed words come from that rows do not tell themselves."""

    def to_json(self) -> str:
        """One line, equal for equal runs."""
        told = {key: value for key, value in asdict(self).items() if value or key not in ("stored", "words")}
        return json.dumps({**told, "labels": list(self.labels)}, sort_keys=True)


def weights_of(model: str) -> str:
    """A short hash of a checkpoint's weight files by name, size and time: one trained again is another. "" for a name on the hub."""
    files = sorted(resolve_checkpoint(model).glob("*.safetensors"))
    told = [(file.name, file.stat().st_size, file.stat().st_mtime_ns) for file in files]
    return hashlib.sha256(json.dumps(told).encode()).hexdigest()[:16] if told else ""


class OutFile:
    """Appends rows and knows which are there already. Use `OutFile.open`.

    Args:
        handle: positioned at the end of the last whole line.
        path: what it is called.
        rows: the rows that are there, by id: whether the row holds an error, and the mark of the line it answers.
    """

    def __init__(self, handle: BinaryIO, path: Path, rows: Mapping[str, tuple[bool, str]]) -> None:
        self._handle = handle
        self._path = path
        self._rows = dict(rows)

    @property
    def done(self) -> frozenset[str]:
        """Ids that have their row."""
        return frozenset(self._rows)

    @property
    def errors(self) -> int:
        """Rows that hold an error."""
        return sum(failed for failed, _ in self._rows.values())

    @classmethod
    @contextmanager
    def open(cls, path: Path, run: Noted, *, overwrite: bool = False, retry_errors: bool = False) -> Iterator[OutFile]:
        """Open `path` to go on with it, alone.

        A last line that a kill cut off is dropped. `<path>.run.json` says of which run the rows are, and is the lock.

        Raises:
            ConfigError: another process writes this file, or its rows are of another run.
            DatasetError: the file holds a line that no run has written.
        """
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.with_name(path.name + ".run.json").open("a+", encoding="utf-8") as record:
            try:
                fcntl.flock(record, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                raise ConfigError(f"another process writes {path};", remedy="wait for it, or choose another --out.") from error
            lines = [] if overwrite or not path.exists() else path.read_bytes().splitlines(keepends=True)
            rows, kept = _whole_rows(lines, path, retry_errors)
            if overwrite:  # before the new run is noted: a kill between the two must not leave old rows under its name
                _replace(path, b"")
            _same_run(record, run, path, fresh=not lines)
            if kept != lines:
                _replace(path, b"".join(kept))
            with path.open("ab") as handle:
                yield cls(handle, path, rows)

    def waiting(self, rows: Sequence[M]) -> list[M]:
        """Those of `rows` that have no answer yet.

        Raises:
            ConfigError: what is there under a row's id is an answer to something else.
        """
        for row in rows:
            _, mark = self._rows.get(row.id, (False, ""))
            if mark and row.mark and mark != row.mark:
                raise ConfigError(
                    f"{self._path} holds an answer to another row {row.id!r} than the manifest does now;",
                    remedy="choose another --out, or --overwrite; rows with an id of their own may be added anywhere.",
                )
        done = self.done
        return [row for row in rows if row.id not in done]

    def write(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Append rows and bring them to the disk."""
        text = "".join(json.dumps(row, ensure_ascii=False, allow_nan=False) + "\n" for row in rows)
        self._handle.write(text.encode("utf-8"))
        self._handle.flush()
        os.fsync(self._handle.fileno())
        self._rows.update({row["id"]: _told(row) for row in rows})


def _told(row: Mapping[str, Any]) -> tuple[bool, str]:
    """Whether a row holds an error, and the mark of the line it answers."""
    return "error" in row, str(row.get("mark", ""))


def _whole_rows(lines: Sequence[bytes], path: Path, retry_errors: bool) -> tuple[dict[str, tuple[bool, str]], list[bytes]]:
    """Return the rows by id and their lines, without a torn last one and, on request, without errors."""
    rows: dict[str, tuple[bool, str]] = {}
    kept: list[bytes] = []
    for number, line in enumerate(lines, 1):
        if not line.endswith(b"\n"):
            break
        try:
            row = json.loads(line)
            identity, told = str(row["id"]), _told(row)
        except (ValueError, TypeError, KeyError) as error:
            raise DatasetError(f"{path}:{number}: not a row of predictions;", remedy="choose another --out, or --overwrite.") from error
        if identity not in rows and not (told[0] and retry_errors):
            rows[identity] = told
            kept.append(line)
    return rows, kept


def _replace(path: Path, content: bytes) -> None:
    """Put `content` in the place of the file as one step, so that a kill leaves the old or the new."""
    temporary = path.with_name(path.name + ".tmp")
    with temporary.open("wb") as handle:
        handle.write(content)
        handle.flush()
        os.fsync(handle.fileno())
    temporary.replace(path)


def _same_run(record: TextIO, run: Noted, path: Path, *, fresh: bool) -> None:
    """Note of which run the rows are; refuse to mix two."""
    record.seek(0)
    noted = record.read().strip()
    if not fresh and noted != run.to_json():
        raise ConfigError(f"the rows in {path} are of another run ({noted or 'unknown'});", remedy="choose another --out, or --overwrite.")
    if noted != run.to_json():
        record.truncate(0)
        record.write(run.to_json() + "\n")
        record.flush()
