"""Checkpoints of a run: folders that are there whole or not at all, each with a manifest; a damaged one is passed over on resume."""

from __future__ import annotations

import hashlib
import json
import logging
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from unifusion.atomic import atomic_folder, swap, sync
from unifusion.errors import CheckpointError
from unifusion.training.launch import everyone_waits, is_first

__all__ = ["MANIFEST", "newest", "read_state", "shift", "step_of", "write_apart", "write_snapshot"]

log = logging.getLogger(__name__)
MANIFEST = "manifest.json"
_STATE = "state.json"


def step_of(checkpoint: Path) -> int:
    """How many steps a checkpoint has behind it."""
    return int(checkpoint.name.rpartition("-")[2])


def write_snapshot(folder: Path, step: int, write: Callable[[Path], None], state: dict[str, Any], *, keep: int) -> Path:
    """Save `folder/checkpoint-<step>`: into a temporary folder, synced, with a manifest of sizes and hashes, then renamed.

    Args:
        folder: of the run; on a file system that all processes share.
        step: steps taken.
        write: called in every process with the temporary folder; writes this process's files.
        state: further plain values, written to `state.json` beside `step`.
        keep: how many of the newest checkpoints stay.

    Raises:
        CheckpointError: it cannot be written; the older ones are as they were.
    """
    target = write_apart(folder / f"checkpoint-{step}", write, {**state, "step": step})
    if is_first():
        for old in _all(folder)[:-keep]:
            shutil.rmtree(old, ignore_errors=True)
    everyone_waits()
    return target


def write_apart(target: Path, write: Callable[[Path], None], state: dict[str, Any]) -> Path:
    """The same for one folder of any name, which takes the place of an older one.

    Raises:
        CheckpointError: it cannot be written.
    """
    work = target.with_name(f".{target.name}.tmp")
    if is_first():
        shutil.rmtree(work, ignore_errors=True)
        work.mkdir(parents=True)
    everyone_waits()
    try:
        write(work)
        everyone_waits()
        if is_first():
            (work / _STATE).write_text(json.dumps(state, indent=1), encoding="utf-8")
            _seal(work, state["step"])
            swap(work, target)
    except OSError as error:
        shutil.rmtree(work, ignore_errors=True)
        raise CheckpointError(
            f"cannot save {target}: {error};", remedy="make room or mend the disk; the checkpoints before it are whole, run again to go on."
        ) from error
    everyone_waits()
    return target


def shift(target: Path, keep: int) -> None:
    """Make room for a new folder `target`: what is there becomes `<target>-2`, that one `<target>-3`, up to `keep` of them.

    `target` itself stays, as a copy, until another takes its place.
    """
    if is_first() and keep > 1 and target.is_dir():
        for number in range(keep - 1, 1, -1):
            older = target.with_name(f"{target.name}-{number}")
            if older.is_dir():
                swap(older, target.with_name(f"{target.name}-{number + 1}"))
        with atomic_folder(target.with_name(f"{target.name}-2")) as work:
            shutil.copytree(target, work, dirs_exist_ok=True)
    everyone_waits()


def _seal(work: Path, step: int) -> None:
    """Sync every file and write the manifest, last."""
    files = {}
    for path in sorted(p for p in work.rglob("*") if p.is_file()):
        files[str(path.relative_to(work))] = {"bytes": path.stat().st_size, "sha256": _hash(path)}
        sync(path)
    manifest = work / MANIFEST
    manifest.write_text(json.dumps({"step": step, "files": files}, indent=1), encoding="utf-8")
    sync(manifest)
    for path in (p for p in [*work.rglob("*"), work] if p.is_dir()):
        sync(path)


def _hash(path: Path) -> str:
    """Sha256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _all(folder: Path) -> list[Path]:
    """Checkpoints by step."""
    return sorted((p for p in folder.glob("checkpoint-*") if p.name.rpartition("-")[2].isdigit()), key=step_of)


def _damage(checkpoint: Path) -> str:
    """What is wrong with a checkpoint; empty when it is whole."""
    try:
        files = json.loads((checkpoint / MANIFEST).read_text(encoding="utf-8"))["files"]
        for name, told in files.items():
            path = checkpoint / name
            if not path.is_file():
                return f"{name} is missing"
            if path.stat().st_size != told["bytes"]:
                return f"{name} has {path.stat().st_size} bytes, the manifest says {told['bytes']}"
            if _hash(path) != told["sha256"]:
                return f"{name} is not what was written"
    except (OSError, ValueError, KeyError, TypeError) as error:
        return f"no manifest that can be read ({error})"
    return ""


def newest(folder: Path) -> Path | None:
    """The newest checkpoint that is whole; damaged ones are named in the log and passed over.

    Raises:
        CheckpointError: there are checkpoints, and none of them is whole.
    """
    found = _all(folder)
    reasons = []
    for checkpoint in reversed(found):
        reason = _damage(checkpoint)
        if not reason:
            return checkpoint
        reasons.append(f"{checkpoint.name}: {reason}")
        log.warning("%s is passed over: %s", checkpoint, reason)
    if found:
        raise CheckpointError(
            f"none of the checkpoints in {folder} is whole ({'; '.join(reasons)});", remedy="remove the folder to begin from nothing."
        )
    return None


def read_state(checkpoint: Path) -> dict[str, Any]:
    """The plain values of a checkpoint."""
    found: dict[str, Any] = json.loads((checkpoint / _STATE).read_text(encoding="utf-8"))
    return found
