"""Verdicts on disk: what was judged once is not asked, or paid for, again."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from unifusion.errors import ConfigError, DatasetError
from unifusion.evaluation.judge_prompt import Verdict

__all__ = ["VerdictCache", "key_of"]


def key_of(model: str, prompt_sha256: str, values: Mapping[str, str]) -> str:
    """Name of a verdict: a hash of the judge's name, its wording, and the texts that it is shown."""
    return hashlib.sha256(json.dumps([model, prompt_sha256, dict(values)], sort_keys=True).encode()).hexdigest()


class VerdictCache:
    """A file of JSON lines `{"key", "version", "reply", "verdict"}` that grows with each verdict. Use `VerdictCache.open`.

    Args:
        handle: at the end of the file; None keeps verdicts in memory alone.
        entries: what is there already.
    """

    def __init__(self, handle: BinaryIO | None = None, entries: Mapping[str, dict[str, Any]] | None = None) -> None:
        self._handle = handle
        self._entries = dict(entries or {})
        self._lock = threading.Lock()

    @classmethod
    @contextmanager
    def open(cls, path: Path) -> Iterator[VerdictCache]:
        """Open a file to go on with it, alone. A last line that a kill cut off is dropped.

        Raises:
            ConfigError: another process has it open.
            DatasetError: it holds something else.
        """
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a+b") as handle:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                raise ConfigError(f"another process judges with {path};", remedy="wait for it, or name another --cache.") from error
            handle.seek(0)
            whole, _, torn = handle.read().rpartition(b"\n")
            entries = dict(_entry(line, f"{path}, line {number}") for number, line in enumerate(whole.splitlines(), 1))
            if torn:
                handle.truncate(len(whole) + bool(whole))
            yield cls(handle, entries)

    def get(self, key: str) -> tuple[Verdict, str] | None:
        """The verdict of that name and the version of the judge that gave it."""
        entry = self._entries.get(key)
        return (Verdict(**entry["verdict"]), entry["version"]) if entry else None

    def put(self, key: str, verdict: Verdict, *, version: str, reply: str) -> None:
        """Keep a verdict; on disk before this returns."""
        entry = {"key": key, "version": version, "reply": reply, "verdict": verdict.to_dict()}
        with self._lock:
            self._entries[key] = entry
            if self._handle is not None:
                self._handle.write(json.dumps(entry, ensure_ascii=False).encode("utf-8", "replace") + b"\n")
                self._handle.flush()
                os.fsync(self._handle.fileno())


def _entry(line: bytes, where: str) -> tuple[str, dict[str, Any]]:
    """One line.

    Raises:
        DatasetError: it is none that `put` wrote.
    """
    try:
        entry: dict[str, Any] = json.loads(line)
        Verdict(**entry["verdict"])
        return str(entry["key"]), {**entry, "version": str(entry["version"])}
    except (ValueError, KeyError, TypeError) as error:
        raise DatasetError(f"{where}: no verdict of a judge;", remedy="name another --cache, or remove the line.") from error
