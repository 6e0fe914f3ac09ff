"""Decode in a child process that is killed when it takes too long, and dies alone when a file breaks the decoder.

Children are kept between calls (starting one takes about 0.3 s: numpy and PyAV, no torch) and replaced when they die.
"""

from __future__ import annotations

import atexit
import math
import os
import subprocess
import sys
import threading
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

import unifusion
from unifusion.conversation import Clip
from unifusion.errors import ConfigError, LimitError, MediaError
from unifusion.limits import Limits
from unifusion.media.info import MediaInfo
from unifusion.media.reader import Span
from unifusion.media.sampling import Sampling
from unifusion.media.source import describe, open_source
from unifusion.media.worker import ARRAYS, receive, send

__all__ = ["probe_in_child", "read_in_child"]

_ERRORS = {kind.__name__: kind for kind in (MediaError, LimitError, ConfigError)}
_START_S = 60.0
_MOST_IDLE = 2
_HOSTILE = "the file is damaged or hostile: convert it again."


class _Child:
    """One worker process; `ask` is one request and its answer."""

    def __init__(self) -> None:
        here = str(Path(unifusion.__file__).resolve().parent.parent)
        paths = [here, *filter(None, [os.environ.get("PYTHONPATH")])]
        threads = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
        self._process = subprocess.Popen(
            [sys.executable, "-m", "unifusion.media.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={**os.environ, **threads, "PYTHONPATH": os.pathsep.join(paths)},
        )
        self.timed_out = False
        if self._guarded(lambda: receive(self._out, 1 << 16), _START_S) is None:
            raise MediaError("the decoding process does not start;", remedy=f"run {sys.executable} -m unifusion.media.worker to see why.")

    @property
    def _out(self) -> Any:
        return self._process.stdout

    @property
    def alive(self) -> bool:
        """Whether it can take another request."""
        return self._process.poll() is None

    def ask(
        self, message: dict[str, Any], payloads: list[bytes | memoryview], limits: Limits
    ) -> tuple[dict[str, Any], list[bytearray]] | None:
        """Send a request and wait for the answer; None when the child died or was killed."""

        def exchange() -> tuple[dict[str, Any], list[bytearray]] | None:
            send(self._process.stdin, message, payloads)  # type: ignore[arg-type]
            return receive(self._out, limits.decode_memory_bytes)

        return self._guarded(exchange, limits.decode_timeout_s)

    def _guarded(self, work: Any, seconds: float) -> tuple[dict[str, Any], list[bytearray]] | None:
        """Run a blocking exchange; killing the child ends it, since its pipes close."""
        timer = threading.Timer(seconds, self._expire)
        timer.daemon = True
        timer.start()
        try:
            answer: tuple[dict[str, Any], list[bytearray]] | None = work()
        except (OSError, ValueError, KeyError, TypeError):  # the pipe broke, or what came is no message
            answer = None
        except BaseException:  # interrupted: half an answer is still in the pipe, so this child cannot be asked again
            self.end()
            raise
        finally:
            timer.cancel()
        if answer is None:
            self.kill()
        return answer

    def _expire(self) -> None:
        """Time is up."""
        self.timed_out = True
        self._process.kill()

    def end(self) -> None:
        """Stop an idle child at once."""
        self._process.kill()
        self.kill()

    def kill(self) -> int:
        """End the child and return its exit status."""
        try:
            status = self._process.wait(timeout=0.2)  # one that dies by itself is about to: its status says how
        except subprocess.TimeoutExpired:
            self._process.kill()
            status = self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            try:
                if pipe is not None:
                    pipe.close()
            except OSError:
                continue  # data for a dead child
        return status


class _Pool:
    """Idle children of this process."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._idle: list[_Child] = []

    def take(self) -> _Child:
        """Return an idle child, or a new one."""
        with self._lock:
            while self._idle:
                child = self._idle.pop()
                if child.alive:
                    return child
                child.end()
        return _Child()

    def give_back(self, child: _Child) -> None:
        """Keep a child for the next call, or end it."""
        with self._lock:
            if child.alive and len(self._idle) < _MOST_IDLE:
                self._idle.append(child)
                return
        child.end()

    def close(self) -> None:
        """End all idle children."""
        with self._lock:
            idle, self._idle = self._idle, []
        for child in idle:
            child.end()

    def forget(self) -> None:
        """After a fork: the children belong to the parent process."""
        self._lock, self._idle = threading.Lock(), []


_POOL = _Pool()
atexit.register(_POOL.close)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_POOL.forget)


def read_in_child(source: str | Path | bytes, span: Span, video: Sampling | None, limits: Limits, strict: bool, backend: str) -> Clip:
    """Do what `read_clip` does, in a child.

    Raises:
        MediaError: as `read_clip`; also when the child died on this file.
        LimitError: the time or memory limit was reached.
    """
    call = {
        "start_s": span.start_s,
        "end_s": None if math.isinf(span.end_s) else span.end_s,
        "video": None if video is None else asdict(video),
        "audio": span.audio,
        "sampling_rate_hz": span.rate_hz,
        "strict": strict,
        "backend": backend,
    }
    header, payloads = _ask(source, limits, call)
    return _clip(header, payloads, describe(source))


def probe_in_child(source: str | Path | bytes, limits: Limits) -> MediaInfo:
    """Do what `probe` does, in a child; raises as `read_in_child`."""
    header, _ = _ask(source, limits, None)
    try:
        return MediaInfo(**header["info"])
    except (KeyError, TypeError) as error:
        raise MediaError(f"{describe(source)}: the decoding process sent no header ({error});", remedy=_HOSTILE) from error


def _ask(source: str | Path | bytes, limits: Limits, call: dict[str, Any] | None) -> tuple[dict[str, Any], list[bytearray]]:
    """Send one request to a child and return its answer, or raise the error it answered with."""
    with open_source(source, limits):
        pass  # what is wrong with the name or the kind of file is said here, with the name as it was given
    data = source if isinstance(source, bytes) else None
    path = None if isinstance(source, bytes) else os.path.abspath(source)
    child = _POOL.take()
    try:
        answer = child.ask({"path": path, "limits": asdict(limits), "read": call}, [] if data is None else [data], limits)
        if answer is None:
            raise _death(child, describe(source), limits)
    finally:
        _POOL.give_back(child)
    if "error" in answer[0]:
        raise _ERRORS.get(answer[0]["error"], MediaError)(str(answer[0]["found"]), remedy=str(answer[0]["remedy"]))
    return answer


def _death(child: _Child, name: str, limits: Limits) -> MediaError:
    """Say what ended the child."""
    status = child.kill()
    if child.timed_out:
        return LimitError(
            f"{name}: not decoded within {limits.decode_timeout_s:g} s, the decoder was stopped;",
            remedy="give a shorter span, fewer frames, or raise limits.decode_timeout_s.",
        )
    return MediaError(f"{name}: the decoder died on this file (status {status});", remedy=_HOSTILE)


def _clip(header: dict[str, Any], payloads: list[bytearray], name: str) -> Clip:
    """Rebuild the clip; only our own arrays, of the types they must have."""
    try:
        arrays = {
            key: np.frombuffer(payload, ARRAYS[key]).reshape(shape)
            for (key, shape), payload in zip(header["arrays"].items(), payloads, strict=True)
        }
        plain = {**header["clip"], "notes": tuple(header["clip"]["notes"])}
        fields: dict[str, Any] = {**arrays, **plain}
        return Clip(**fields)
    except (KeyError, ValueError, TypeError) as error:
        raise MediaError(f"{name}: the decoding process sent no clip ({error});", remedy=_HOSTILE) from error
