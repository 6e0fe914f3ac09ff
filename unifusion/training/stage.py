"""One stage of a chain: skipped when it was done with the same choices, refused when the folder holds other ones."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
import time
from collections.abc import Iterator
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
def stage(out: str | Path, choices: Any, *, made: str | Path | None = None) -> Iterator[bool]:
    """Yield whether there is anything to do; when the block ends well the stage is marked done beside `out`.

    `<out>.choices.json` holds the resolved choices from the start, `<out>.done.json` those, the commit and the seconds when it is done: of
    all attempts, one that was killed up to the last file it wrote in `out` or `<out>.fit`. An attempt that failed before it had written
    any of that leaves no choices behind.

    Args:
        out: the folder that the stage makes, or the name its files are called after.
        choices: a dataclass.
        made: what is there when the stage is done; `out` when it is not given. A stage whose result was removed is done again.

    Raises:
        ConfigError: `out` was begun with other choices, or checkpoints of an unknown run lie beside it.
    """
    level = logging.INFO if is_first() else logging.WARNING
    logging.basicConfig(level=level, format="%(asctime)s %(name)s: %(message)s", stream=sys.stderr)
    for noisy in ("httpx", "filelock", "matplotlib", "PIL"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    target = Path(out)
    target.parent.mkdir(parents=True, exist_ok=True)
    begun, done, work = (target.with_name(target.name + end) for end in (".choices.json", ".done.json", ".fit"))
    wanted = json.loads(json.dumps(as_dict(choices)))
    for path in (begun, done):
        if path.is_file():
            found = json.loads(path.read_text(encoding="utf-8"))["choices"]
            differ = sorted(k for k in {*found, *wanted} if found.get(k) != wanted.get(k))
            if differ:
                there = ", ".join(str(p) for p in (target, work, begun, done) if p.exists())
                raise ConfigError(
                    f"{target} was made with other choices ({', '.join(differ)} differ);",
                    remedy=f"name another folder for it, or remove {there}.",
                )
    if done.is_file() and Path(made or target).exists():
        log.info("%s is done already", target)
        yield False
        return
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
