"""A whole encoding run: which clips are this run's, what is there already, bad files, and how it went."""

from __future__ import annotations

import hashlib
import logging
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from unifusion.conversation import Media
from unifusion.errors import ConfigError, MediaError
from unifusion.features.encode import Encoded, EncodeOptions, Todo, encode_todo
from unifusion.features.opener import StoredOpener
from unifusion.features.source import EncoderSource
from unifusion.quarantine import Quarantine

__all__ = ["ClipsJob", "EncodeJob", "Named", "Summary", "part_of", "run_job"]

log = logging.getLogger(__name__)
Named = tuple[str, Callable[[], Media]]
"""What a clip is called, and what makes the reference to it (which may have to look into its file)."""
_Looked = tuple[Media, str] | MediaError


@dataclass(frozen=True, kw_only=True)
class ClipsJob:
    """A run over many clips: where its output goes, which of them are its own, and who works.

    Attributes:
        out: of the output.
        part: (i, n): of n runs that share the clips this is the i-th, from 0.
        workers: processes of engine ray.
        engine: here, or as actors of Ray.
        on_bad: end at the first clip that cannot be read, or note it in `quarantine.jsonl` and go on.
        max_bad: share of bad clips among those tried above which a run that skips them ends all the same.
    """

    out: Path
    part: tuple[int, int] = (0, 1)
    workers: int = 2
    engine: Literal["local", "ray"] = "local"
    on_bad: Literal["stop", "skip"] = "stop"
    max_bad: float = 0.05

    @property
    def folder(self) -> Path:
        """Where `quarantine.jsonl` lies."""
        return self.out

    def quarantine(self) -> Quarantine:
        """The account of bad clips, which other parts of the run share."""
        path = self.folder / "quarantine.jsonl"
        return Quarantine(path, skip=self.on_bad == "skip", most=self.max_bad, what="clips", kind=MediaError)

    def is_mine(self, key: str) -> bool:
        """Whether a clip of that key belongs to this part; keys are hashes, so the parts are of about one size."""
        index, count = self.part
        return int(key[:15], 16) % count == index


@dataclass(frozen=True, kw_only=True)
class EncodeJob(ClipsJob):
    """What to encode with, where to (the folder of the store), and how.

    Attributes:
        source: the encoders.
        options: batches, threads, flushing.
    """

    source: EncoderSource
    options: EncodeOptions = EncodeOptions()  # noqa: RUF009 - frozen


@dataclass(kw_only=True)
class Summary:
    """How a run went; `clips` of one content count once."""

    clips: int = 0
    """Encoded by this run."""
    there: int = 0
    """Stored already."""
    bad: int = 0
    elsewhere: int = 0
    """Left to the other parts."""
    media_s: float = 0.0
    n_bytes: int = 0
    """Written."""
    seconds: float = 0.0
    """Of the clock, from the first clip opened to the last one stored."""
    swept: int = 0
    """Leftovers of killed runs that were removed."""
    streams: dict[str, str] = field(default_factory=dict)
    """Stream -> folder of its features."""

    def to_dict(self) -> dict[str, Any]:
        """The JSON form."""
        rate = self.clips / self.seconds if self.seconds else 0.0
        told = {k: round(v, 3) if isinstance(v, float) else v for k, v in asdict(self).items()}
        return {**told, "clips_per_s": round(rate, 3)}

    def told(self) -> str:
        """One line for people."""
        numbers = self.to_dict()
        more = "".join(f", {n} {what}" for n, what in ((self.bad, "bad"), (self.elsewhere, "left to other parts")) if n)
        return (
            f"{self.clips} clips encoded ({self.media_s:.1f} s of media, {self.n_bytes / 1e6:.1f} MB, "
            f"{numbers['clips_per_s']:.2f} clips/s), {self.there} were there already{more}"
        )


def part_of(text: str) -> tuple[int, int]:
    """Read `i/n`, as of a job array that counts from 0.

    Raises:
        ConfigError: it is not of that form, or i is not below n.
    """
    first, _, last = text.partition("/")
    if not (first.isdigit() and last.isdigit() and int(first) < int(last)):
        raise ConfigError(f"the shard {text!r} is none of 0/n to n-1/n;", remedy="count from 0: --shard 0/4 to --shard 3/4.")
    return int(first), int(last)


def run_job(clips: Sequence[Named], job: EncodeJob) -> Summary:
    """Encode what is not stored yet; a run that was killed is gone on with by the same call.

    Shows progress bars on a terminal.

    Args:
        clips: all of them, whatever the part.
        job: see there.

    Raises:
        MediaError: a bad clip, or too many of them.
    """
    encoders = job.source.load()
    stored = encoders.stores(job.out)
    summary = Summary(swept=sum(s.sweep() for s in stored.stores.values()), streams={n: s.folder.name for n, s in stored.stores.items()})
    bad = job.quarantine()
    todo = _todo(clips, job, stored, bad, summary)
    bad.begin()
    began = time.monotonic()
    with _Bar(len(todo), "encode") as bar:
        if job.engine == "ray" and todo:
            from unifusion.features.on_ray import encode_on_ray

            done = encode_on_ray(job, todo, stored, bad, bar.update)
        else:
            done = encode_todo(
                encoders, encoders.open, todo, stored, job.options,
                progress=lambda steps: _watched(steps, bar, bad, job.options.batch_size, len(todo)),
                on_bad=lambda media, error: bad.add(media.name, error),
            )  # fmt: skip
    summary.seconds, summary.bad = time.monotonic() - began, bad.count
    summary.clips, summary.media_s, summary.n_bytes = done.clips, done.media_s, done.n_bytes
    return summary


def _todo(clips: Sequence[Named], job: EncodeJob, stored: StoredOpener, bad: Quarantine, summary: Summary) -> list[Todo]:
    """This run's clips that are not stored, each content once; the rest is counted."""

    def look(named: Named) -> _Looked:
        """A clip's reference and the hash of its content."""
        try:
            media = named[1]()
            return media, stored.content(media)
        except MediaError as error:
            return error

    met: set[str] = set()
    todo: list[Todo] = []
    with ThreadPoolExecutor(max(1, job.options.workers)) as pool, _Bar(len(clips), "look") as bar:
        try:
            for (name, _), found in zip(clips, _ahead(pool, look, clips), strict=True):
                bar.update(1)
                # What cannot be read has no content; its name says whose it is.
                content = hashlib.sha256(name.encode()).hexdigest() if isinstance(found, MediaError) else found[1]
                mine = job.is_mine(content)
                bad.tried += mine
                if isinstance(found, MediaError):
                    if mine:
                        bad.add(name, found)
                        bad.hold()
                    continue
                if content in met:
                    continue
                met.add(content)
                media, keys = found[0], stored.keys_of(content)
                there = not stored.missing(keys)
                summary.elsewhere += not mine
                summary.there += mine and there
                if mine and not there:
                    todo.append((media, keys))
        finally:
            pool.shutdown(cancel_futures=True)
    return todo


def _ahead(pool: ThreadPoolExecutor, look: Callable[[Named], _Looked], clips: Sequence[Named]) -> Iterator[_Looked]:
    """`look` at clips some blocks ahead: a pool that is given all at once could not be stopped."""
    size = 256
    for start in range(0, len(clips), size):
        yield from pool.map(look, clips[start : start + size])


class _Bar:
    """A progress bar of clips with their rate; nothing where there is no terminal."""

    def __init__(self, total: int, what: str) -> None:
        from tqdm import tqdm

        self._bar = tqdm(total=total, unit="clip", desc=what, disable=None)

    def __enter__(self) -> _Bar:
        return self

    def __exit__(self, *_error: object) -> None:
        self._bar.close()

    def update(self, count: int) -> None:
        """Go on by `count` clips."""
        self._bar.update(count)


def _watched(steps: Iterator[int], bar: _Bar, bad: Quarantine, size: int, total: int) -> Iterator[int]:
    """Steps that move the bar, and end a run of too many bad clips."""
    for step in steps:
        yield step
        count = min(size, total - step)
        bar.update(count)
        bad.tried += count
        bad.hold()


def counted(done: Encoded, todo: Sequence[Todo], stored: StoredOpener, bad: int) -> Encoded:
    """`done` with its clips counted by what is stored in the end, where those who did them may have died before they told.

    Raises:
        ConfigError: a clip is neither stored nor bad.
    """
    stored.again()
    there = sum(not stored.missing(keys) for _, keys in todo)
    if there + bad < len(todo):
        raise ConfigError(
            f"{len(todo) - there - bad} of {len(todo)} clips are not in the store though all were done;",
            remedy="workers on other machines must see the folder of the store.",
        )
    done.clips = there
    return done
