"""Encoding by actors of Ray, on this machine or a cluster that shares the folder of the store.

An actor holds the encoders; a piece of work is a few batches of clips, written as one shard a stream when it is done. A piece whose
actor dies is given to another one, which first looks what is stored: whatever the moment of death, nothing is lost and nothing is
stored twice.
"""

from __future__ import annotations

import contextlib
import logging
import os
import socket
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

from unifusion.conversation import Media
from unifusion.errors import ConfigError, MediaError, UniFusionError
from unifusion.features.encode import Encoded, EncodeOptions, Todo, encode_todo
from unifusion.features.job import EncodeJob, counted
from unifusion.features.opener import StoredOpener
from unifusion.features.source import EncoderSource
from unifusion.quarantine import Quarantine

__all__ = ["EncodeWorker", "absolute", "encode_on_ray", "hand_out", "maker", "started"]

log = logging.getLogger(__name__)
_BATCHES = 4
_DEATHS = 3
"""Actors that may die of one piece before it is taken to be the cause."""
_FOREVER_S = float("inf")

Done = tuple[Encoded, list[tuple[str, MediaError]]]
T = TypeVar("T")


class EncodeWorker:
    """What an actor is made of: encoders and the stores they fill.

    Args:
        source: the encoders, loaded where the actor runs.
        out: folder of the store, as it is seen there.
        options: batches and threads.
    """

    def __init__(self, source: EncoderSource, out: Path, options: EncodeOptions) -> None:
        self._encoders = source.load()
        self._stored = self._encoders.stores(out)
        # A piece is one shard a stream, whose name follows from its keys: done twice by two actors, it is one file.
        self._options = replace(options, flush_s=_FOREVER_S)

    def where(self) -> tuple[str, int]:
        """The machine's name and the process."""
        return socket.gethostname(), os.getpid()

    def encode(self, piece: Sequence[Todo]) -> Done:
        """Encode what of a piece is not stored; return what was done, and the bad clips with their reasons."""
        self._stored.again()
        bad: list[tuple[str, MediaError]] = []
        todo = [(media, keys) for media, keys in piece if self._stored.missing(keys)]

        def leave_out(media: Media, error: MediaError) -> None:
            bad.append((media.name, error))

        return encode_todo(self._encoders, self._encoders.open, todo, self._stored, self._options, on_bad=leave_out), bad


def encode_on_ray(
    job: EncodeJob, todo: Sequence[Todo], stored: StoredOpener, bad: Quarantine, on_done: Callable[[int], None]
) -> Encoded:  # fmt: skip
    """Encode clips by `job.workers` actors; returns what was done.

    Args:
        job: encoders, store and options.
        todo: the clips.
        stored: the stores, to see in the end that all is there.
        bad: told of clips that cannot be opened.
        on_done: told of each piece's number of clips.

    Raises:
        ConfigError: Ray is not installed.
        MediaError: a bad clip, or too many of them.
        UniFusionError: actors die of one piece again and again.
    """
    before = bad.count
    size = job.options.batch_size * _BATCHES
    placed = [(_placed(media), keys) for media, keys in todo]
    pieces = [placed[i : i + size] for i in range(0, len(placed), size)]
    source = replace(job.source, model=absolute(job.source.model), weights=job.source.weights and absolute(job.source.weights))
    done = Encoded()

    def count(result: Done, piece: Sequence[Todo]) -> None:
        """Add what a piece gave."""
        _count(*result, piece, done, bad)
        on_done(len(piece))

    with started(job.workers) as ray:
        make = maker(ray, EncodeWorker, (source, job.out.resolve(), job.options), job.source.device, min(job.workers, len(pieces)))
        hand_out(
            ray, make, pieces, min(job.workers, len(pieces)), lambda actor, piece: actor.encode.remote(piece), count,
            lambda piece: str(piece[0][0].name),
        )  # fmt: skip
    return counted(done, todo, stored, bad.count - before)


def hand_out(
    ray: Any, make: Callable[[], Any], pieces: Sequence[Sequence[T]], workers: int, begin: Callable[[Any, Sequence[T]], Any],
    done: Callable[[Any, Sequence[T]], None], name: Callable[[Sequence[T]], str],
) -> None:  # fmt: skip
    """Hand out pieces of work to idle actors until all are done; the piece of an actor that dies is given to another one.

    Args:
        ray: the library, connected.
        make: makes an actor, which has a method `where`.
        pieces: clips that go together.
        workers: actors.
        begin: (actor, piece) -> the reference to its result.
        done: told of each result.
        name: what a piece's first clip is called.

    Raises:
        UniFusionError: what an actor raised; or actors die of one piece again and again.
    """
    waiting = deque((piece, 0) for piece in pieces)
    running: dict[Any, tuple[Any, Sequence[T], int]] = {}
    actors = [make() for _ in range(workers)]
    idle = deque(actors)
    try:
        _wait_for(ray, actors)
        while waiting or running:
            while waiting and idle:
                actor, (piece, deaths) = idle.popleft(), waiting.popleft()
                running[begin(actor, piece)] = (actor, piece, deaths)
            (ready, *_), _ = ray.wait(list(running), num_returns=1)
            actor, piece, deaths = running.pop(ready)
            try:
                result = ray.get(ready)
            except ray.exceptions.RayActorError as error:
                waiting.appendleft((piece, _survived(len(piece), name(piece), deaths + 1, error)))
                actors.append(make())
                idle.append(actors[-1])
                _wait_for(ray, actors[-1:])
                continue
            except ray.exceptions.RayTaskError as error:
                cause = error.cause if isinstance(getattr(error, "cause", None), UniFusionError) else error
                raise cause from error
            idle.append(actor)
            done(result, piece)
    finally:
        for actor in actors:
            ray.kill(actor)


def _count(part: Encoded, found: Sequence[tuple[str, MediaError]], piece: Sequence[Todo], done: Encoded, bad: Quarantine) -> None:
    """Add what a piece gave, and note its bad clips."""
    done.add(part)
    for name, error in found:
        bad.add(name, error)
    bad.tried += len(piece)
    bad.hold()


def _survived(count: int, name: str, deaths: int, error: Exception) -> int:
    """The number of actors that died of a piece, which is given to another one.

    Raises:
        UniFusionError: they are too many.
    """
    if deaths >= _DEATHS:
        raise UniFusionError(
            f"{deaths} workers died, one after the other, of the same {count} clips from {name} on ({error});",
            remedy="give the workers more memory, or try these clips alone with --isolate.",
        ) from error
    log.warning("a worker died; its %d clips are given to another one", count)
    return deaths


@contextlib.contextmanager
def started(workers: int) -> Iterator[Any]:
    """Ray, connected to the cluster that RAY_ADDRESS names, or started on this machine and ended afterwards.

    Raises:
        ConfigError: it is not installed.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        import ray
    except ImportError as error:
        raise ConfigError("--engine ray needs Ray;", remedy="pip install 'unifusion-x[ray]'.") from error
    ours = not ray.is_initialized()
    if ours:
        quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
        if "RAY_ADDRESS" not in os.environ:
            quiet |= {"include_dashboard": False, "num_cpus": max(workers, len(os.sched_getaffinity(0)))}
        ray.init(**quiet)
    try:
        yield ray
    finally:
        if ours:
            ray.shutdown()


def maker(ray: Any, kind: Any, given: tuple[Any, ...], device: str, workers: int) -> Callable[[], Any]:
    """What makes an actor of a class, with its share of the cluster's cores and GPUs.

    Raises:
        ConfigError: the cluster has no room for so many.
    """
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    cores = [int(node.get("CPU", 0)) for node in nodes]
    each = next((k for k in range(max(cores), 0, -1) if sum(c // k for c in cores) >= workers), 0)
    gpus = sum(node.get("GPU", 0.0) for node in nodes) if device != "cpu" else None
    if not each or gpus == 0:
        raise ConfigError(
            f"{workers} workers on {device} do not fit a cluster of {sum(cores)} cores and {gpus or 0:g} GPUs;",
            remedy="take fewer --workers, or another --device.",
        )
    remote = ray.remote(num_cpus=each, num_gpus=0 if gpus is None else min(1.0, gpus / workers))(kind)

    def make() -> Any:
        """One more actor."""
        return remote.remote(*given)

    return make


def absolute(path: str) -> str:
    """A path that is one from here, in full; a name stays a name. Actors have another working directory."""
    return str(Path(path).resolve()) if path and Path(path).exists() else path


def _placed(media: Media) -> Media:
    """A clip under the full path of its file."""
    return replace(media, source=absolute(media.source)) if isinstance(media.source, str) else media


def _wait_for(ray: Any, actors: Sequence[Any]) -> None:
    """Return when actors have loaded their encoders, and log where they run.

    Raises:
        UniFusionError: one could not be made.
    """
    try:
        for host, process in ray.get([actor.where.remote() for actor in actors]):
            log.info("a worker is process %d of %s", process, host)
    except ray.exceptions.RayActorError as error:
        raise UniFusionError(
            f"a worker could not start ({str(error).strip().splitlines()[-1]});", remedy="its machine must see checkpoint, clips and store."
        ) from error
