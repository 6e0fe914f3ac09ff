"""One stage of a chain: skipped when it was done with the same choices, refused when the folder holds other ones."""

from __future__ import annotations

import fcntl
import json
import logging
import os
import socket
import subprocess
import sys
import time
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from unifusion import atomic
from unifusion.errors import ConfigError
from unifusion.training.choices import as_dict
from unifusion.training.launch import is_first

__all__ = ["commit", "stage"]

log = logging.getLogger(__name__)


@contextmanager
def stage(out: str | Path, choices: Any, *, made: str | Path | None = None, free: Collection[str] = ()) -> Iterator[bool]:
    """Yield whether there is anything to do; when the block ends well the stage is marked done beside `out`.

    `<out>.choices.json` holds the resolved choices from the start, `<out>.done.json` those, the commit and the seconds when it is done: of
    all attempts, one that was killed up to the last file it wrote in `out` or `<out>.fit`. An attempt that failed before it had written
    any of that leaves no choices behind. `<out>.lock` keeps a second run away while the first goes on.

    Args:
        out: the folder that the stage makes, or the name its files are called after.
        choices: a dataclass.
        made: what is there when the stage is done; `out` when it is not given. A stage whose result was removed is done again.
        free: choices that may be others when a run goes on, since they do not change what is learned.

    Raises:
        ConfigError: `out` was begun with other choices, another run is at it, checkpoints of an unknown run lie beside it, or its folder
            cannot be written.
    """
    level = logging.INFO if is_first() else logging.WARNING
    logging.basicConfig(level=level, format="%(asctime)s %(name)s: %(message)s", stream=sys.stderr)
    for noisy in ("httpx", "filelock", "matplotlib", "PIL"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    target = Path(out)
    begun, done, work = (target.with_name(target.name + end) for end in (".choices.json", ".done.json", ".fit"))
    wanted = json.loads(json.dumps(as_dict(choices)))
    if done.is_file() and Path(made or target).exists():
        _hold_to(wanted, target, free)
        log.info("%s is done already", target)
        yield False
        return
    with _alone(target):
        _hold_to(wanted, target, free)
        if not begun.is_file() and _checkpoints(work):
            raise ConfigError(f"nobody knows with which choices {work} was trained;", remedy="remove it, or name another folder.")
        before = _spent(target, begun)
        _write(begun, {"choices": wanted, "seconds": before})
        began = time.perf_counter()
        try:
            yield True
        except Exception:
            if is_first() and not target.exists() and not _checkpoints(work):
                begun.unlink(missing_ok=True)
            raise
        seconds = round(before + time.perf_counter() - began, 1)
        _write(done, {"choices": wanted, "seconds": seconds, "commit": commit()})
        log.info("%s done in %.0f s", target, seconds)


def _hold_to(wanted: dict[str, Any], target: Path, free: Collection[str]) -> None:
    """Refuse choices other than those that a stage was begun or done with."""
    begun, done, work = (target.with_name(target.name + end) for end in (".choices.json", ".done.json", ".fit"))
    for path in (begun, done):
        if not path.is_file():
            continue
        found = json.loads(path.read_text(encoding="utf-8"))["choices"]
        differ = sorted(k for k in {*found, *wanted} - {*free} if found.get(k) != wanted.get(k))
        if differ:
            there = ", ".join(str(p) for p in (target, work, begun, done) if p.exists())
            told = ", ".join(f"{k}: {_short(found.get(k))} then, {_short(wanted.get(k))} now" for k in differ[:4])
            raise ConfigError(
                f"{target} was made with other choices ({', '.join(differ)} differ: {told});",
                remedy=f"name another folder for it, or remove {there}.",
            )


def _short(value: Any) -> str:
    """A value that may be long."""
    text = json.dumps(value)
    return text if len(text) <= 60 else f"{text[:57]}.."


@contextmanager
def _alone(target: Path) -> Iterator[None]:
    """Keep other runs away from a stage; the first of several processes does.

    A record lock: it goes with its process however that ends, and workers that were forked do not hold it on.

    Raises:
        ConfigError: another run is at it, or its folder cannot be written.
    """
    if not is_first():
        yield
        return
    path = target.with_name(f"{target.name}.lock")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        file = path.open("a+", encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"{target.parent} cannot be written: {error.strerror};", remedy="name another folder with --out.") from error
    with file:
        try:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except (BlockingIOError, PermissionError) as error:
            file.seek(0)
            raise ConfigError(
                f"another run is at {target} ({file.read().strip() or 'it has just begun'});", remedy="wait for it, or name another folder."
            ) from error
        except OSError as error:  # a file system that knows no locks
            log.warning("%s cannot be locked (%s): see that no other run writes there", path, error.strerror)
        file.truncate(0)
        file.write(f"process {os.getpid()} on {socket.gethostname()}\n")
        file.flush()
        try:
            yield
        finally:
            path.unlink(missing_ok=True)


def commit() -> str:
    """The commit of the sources, or "unknown" outside a checkout."""
    try:
        found = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, check=True, cwd=Path(__file__).parent)
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return found.stdout.strip()


def _checkpoints(work: Path) -> list[Path]:
    """What a training has saved there."""
    return list(work.glob("checkpoint-*"))


def _spent(target: Path, begun: Path) -> float:
    """Seconds of earlier attempts: `begun` is written as one starts."""
    if not begun.is_file():
        return 0.0
    written = [path.stat().st_mtime for folder in (target, target.with_name(target.name + ".fit")) for path in folder.rglob("*")]
    earlier = float(json.loads(begun.read_text(encoding="utf-8")).get("seconds", 0.0))
    return round(earlier + max(0.0, max(written, default=0.0) - begun.stat().st_mtime), 1)


def _write(path: Path, record: dict[str, Any]) -> None:
    """Write JSON whole or not at all; the first of several processes does."""
    if is_first():
        atomic.write_text(path, json.dumps(record, indent=1))
