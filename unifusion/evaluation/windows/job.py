"""A run over many clips: each clip's rows are a file of their own under a name that follows from its content, and are put together last.

So a run can be killed at any moment and gone on with, shared out by `--shard` or to actors of Ray, and repeated when clips were added;
whatever the way, the same clips give the same bytes.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from unifusion.atomic import sync, write_text
from unifusion.conversation import Media
from unifusion.errors import ConfigError, MediaError
from unifusion.evaluation.windows.maker import WindowChoices, WindowMaker
from unifusion.features.job import ClipsJob, Named
from unifusion.quarantine import Quarantine
from unifusion.rows import name_from

__all__ = ["WindowJob", "WindowSummary", "WindowWorker", "make_windows"]

log = logging.getLogger(__name__)
_PIECE = 4
"""Clips that an actor is given at once."""


@dataclass(frozen=True, kw_only=True)
class WindowJob(ClipsJob):
    """What rows to make, where to (a JSONL file), and how.

    Attributes:
        choices: what the rows hold.
    """

    choices: WindowChoices

    @property
    def folder(self) -> Path:
        """Where each clip's rows lie as a file of their own."""
        return self.out.with_name(self.out.name + ".parts")


@dataclass(kw_only=True)
class WindowSummary:
    """How a run went."""

    clips: int = 0
    """Cut by this run."""
    there: int = 0
    """Cut already."""
    bad: int = 0
    waiting: int = 0
    """Left to the other parts; while there are any, the file is not written."""
    stills: int = 0
    """Pictures, which have no windows, passed over."""
    rows: int = 0
    """Of the file."""
    spoken: int = 0
    """Rows with words."""

    def told(self) -> str:
        """One line for people."""
        more = "".join(f", {n} {what}" for n, what in ((self.bad, "bad"), (self.stills, "stills passed over")) if n)
        if self.waiting:
            return f"{self.clips} clips cut, {self.there} were there already{more}; {self.waiting} are left to other parts"
        return f"{self.rows} windows ({self.spoken} with words); {self.clips} clips cut, {self.there} were there already{more}"


@dataclass(frozen=True, kw_only=True)
class _Clip:
    """A clip with the file of its rows."""

    name: str
    media: Media
    file: Path
    key: str


class WindowWorker:
    """What an actor of Ray is made of.

    Args:
        choices: what rows hold.
    """

    def __init__(self, choices: WindowChoices) -> None:
        self._maker = WindowMaker(choices)

    def where(self) -> tuple[str, int]:
        """The machine's name and the process."""
        import socket

        return socket.gethostname(), os.getpid()

    def make(self, clips: Sequence[tuple[Media, Path]]) -> list[tuple[int, MediaError]]:
        """Write the rows of some clips; returns the numbers of those that cannot be read, with the reason."""
        bad: list[tuple[int, MediaError]] = []
        for number, (media, file) in enumerate(clips):
            if not file.is_file():
                try:
                    _write(file, self._maker.rows(media))
                except MediaError as error:
                    bad.append((number, error))
        return bad


def make_windows(clips: Sequence[Named], job: WindowJob) -> WindowSummary:
    """Cut clips into windows; what an earlier run has done stays. Shows a progress bar on a terminal.

    The rows stand in the order of the clips: `{"id", "path" (of a sound "audio"), "group", "start_s", "end_s", ..}`; clips below the
    file's own folder are named from there, others by their whole path.

    Raises:
        MediaError: a bad clip, or too many of them.
        ConfigError: a choice that does not exist, or a folder in the place of the file.
        CheckpointError: a model cannot be read.
    """
    from tqdm import tqdm

    if job.out.is_dir():
        raise ConfigError(f"{job.out} is a folder;", remedy="name the file of the windows, such as windows.jsonl in it.")
    summary = WindowSummary()
    bad = job.quarantine()
    found = list(_found(clips, job, bad, summary))
    mine = {c.file: c for c in found if job.is_mine(c.key)}
    todo = [c for c in mine.values() if not c.file.is_file()]
    summary.there = len(mine) - len(todo)
    job.folder.mkdir(parents=True, exist_ok=True)
    bad.begin()
    with tqdm(total=len(todo), unit="clip", disable=None) as bar:
        if todo:
            (_on_ray if job.engine == "ray" else _here)(job, todo, bad, bar.update)
    summary.bad = bad.count
    summary.clips = sum(c.file.is_file() for c in todo)
    _put_together(found, job, bad, summary)
    return summary


def _found(clips: Sequence[Named], job: WindowJob, bad: Quarantine, summary: WindowSummary) -> Iterator[_Clip]:
    """The clips that can be opened, each once."""
    mark, met = job.choices.mark(), set()
    for name, make in clips:
        try:
            media = make()
            key = WindowMaker.key(media, mark, job.choices.subtitles)
        except MediaError as error:
            # What cannot be read has no content; its name says whose it is.
            if job.is_mine(hashlib.sha256(os.fsencode(name)).hexdigest()):
                bad.add(name, error)
                bad.tried += 1
                bad.hold()
            continue
        bad.tried += job.is_mine(key)
        if media.kind == "image":
            summary.stills += 1
        elif (name, media.start_s, media.end_s) not in met:
            met.add((name, media.start_s, media.end_s))
            yield _Clip(name=name, media=media, file=job.folder / key[:2] / f"{key}.jsonl", key=key)


def _here(job: WindowJob, todo: Sequence[_Clip], bad: Quarantine, on_done: Callable[[int], Any]) -> None:
    """Cut clips in this process."""
    worker = WindowWorker(job.choices)
    for clip in todo:
        _note(worker.make([(clip.media, clip.file)]), [clip], bad, on_done)


def _on_ray(job: WindowJob, todo: Sequence[_Clip], bad: Quarantine, on_done: Callable[[int], Any]) -> None:
    """Cut clips by actors, which must see the folder of the file."""
    from unifusion.features.on_ray import absolute, hand_out, maker, started

    choices = replace(job.choices, asr=absolute(job.choices.asr), tags=absolute(job.choices.tags))
    pieces = [todo[i : i + _PIECE] for i in range(0, len(todo), _PIECE)]
    workers = min(job.workers, len(pieces))

    def begin(actor: Any, piece: Sequence[_Clip]) -> Any:
        """Hand out a piece."""
        placed = [(replace(c.media, source=absolute(str(c.media.source))), c.file.resolve()) for c in piece]
        return actor.make.remote(placed)

    with started(job.workers) as ray:
        make = maker(ray, WindowWorker, (choices,), job.choices.device, workers)
        hand_out(ray, make, pieces, workers, begin, lambda found, piece: _note(found, piece, bad, on_done), lambda piece: piece[0].name)


def _note(found: Sequence[tuple[int, MediaError]], piece: Sequence[_Clip], bad: Quarantine, on_done: Callable[[int], Any]) -> None:
    """Note the bad clips of a piece."""
    for number, error in found:
        bad.add(piece[number].name, error)
    bad.tried += len(piece)
    bad.hold()
    on_done(len(piece))


def _put_together(found: Sequence[_Clip], job: WindowJob, bad: Quarantine, summary: WindowSummary) -> None:
    """Write the file, once every clip has its rows or is known to be bad."""
    known = {json.loads(line)["name"] for line in bad.path.read_text(encoding="utf-8").splitlines()} if bad.path.is_file() else set()
    summary.waiting = sum(not c.file.is_file() and c.name not in known for c in found)
    if summary.waiting:
        return
    rows = [row for clip in found if clip.file.is_file() for row in _named(clip, job.out.parent)]
    summary.rows, summary.spoken = len(rows), sum("transcript" in row for row in rows)
    _write(job.out, rows)


def _named(clip: _Clip, base: Path) -> Iterator[dict[str, Any]]:
    """The rows of a clip with its name: from the file's own folder where it lies below it, else the whole path."""
    path = name_from(base, clip.name)
    key = "audio" if clip.media.kind == "audio" else "path"
    for number, line in enumerate(clip.file.read_text(encoding="utf-8").splitlines()):
        row = json.loads(line)
        yield {"id": f"{path}#{row['start_s']:.3f}" if number or row["start_s"] else path, key: path, "group": path, **row}


def _write(path: Path, rows: Sequence[dict[str, Any]]) -> None:
    """Put rows in the place of a file as one step."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text(path, "".join(json.dumps(row, ensure_ascii=False, allow_nan=False) + "\n" for row in rows))
    sync(path.parent)
