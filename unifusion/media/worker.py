"""The killable child that decodes: `python -m unifusion.media.worker`, spoken to over its stdin and stdout.

A message is a length (8 bytes), a JSON object, and then the raw bytes it announces. Nothing is unpickled on either side, so
a decoder taken over by a hostile file can send the parent wrong pictures, but no code.
"""

from __future__ import annotations

import json
import os
import sys
from dataclasses import asdict
from typing import Any, BinaryIO

from unifusion.errors import UniFusionError
from unifusion.limits import Limits
from unifusion.media.remedies import SHORTER
from unifusion.media.sampling import Sampling

__all__ = ["ARRAYS", "main", "receive", "send"]

ARRAYS = {"frames_THWC": "uint8", "frame_times_s": "float64", "corrupt_T": "bool", "waveform_N": "float32"}
_PLAIN = ("sampling_rate_hz", "waveform_start_s", "duration_s", "start_s", "notes")
_LENGTH_BYTES = 8
_MOST_BYTES = 1 << 40


def send(stream: BinaryIO, message: dict[str, Any], payloads: list[bytes | memoryview]) -> None:
    """Write one message."""
    body = json.dumps({**message, "payloads": [len(p) for p in payloads]}).encode()
    stream.write(len(body).to_bytes(_LENGTH_BYTES, "little"))
    stream.write(body)
    for payload in payloads:
        stream.write(payload)
    stream.flush()


def receive(stream: BinaryIO, most_bytes: int) -> tuple[dict[str, Any], list[bytearray]] | None:
    """Read one message; None at the end of the stream.

    Raises:
        ValueError: a message that is cut off, is not JSON, or announces more than `most_bytes`.
    """
    head = stream.read(_LENGTH_BYTES)
    if not head:
        return None
    message = json.loads(_exactly(stream, int.from_bytes(head, "little"), most_bytes))
    sizes = message.pop("payloads")
    if sum(sizes) > most_bytes or min(sizes, default=0) < 0:
        raise ValueError(f"a message of {sum(sizes)} bytes, at most {most_bytes}")
    return message, [_exactly(stream, size, most_bytes) for size in sizes]


def _exactly(stream: BinaryIO, size: int, most_bytes: int) -> bytearray:
    """Read so many bytes."""
    if size > most_bytes:
        raise ValueError(f"a message of {size} bytes, at most {most_bytes}")
    data = bytearray(size)
    view, filled = memoryview(data), 0
    while filled < size:
        count = stream.readinto(view[filled:])  # type: ignore[attr-defined]
        if not count:
            raise ValueError("the message is cut off")
        filled += count
    return data


def _limit_memory(n_bytes: int) -> None:
    """Bound the address space; a soft limit, so that the next request may have another."""
    import resource

    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    soft = n_bytes if hard == resource.RLIM_INFINITY else min(n_bytes, hard)
    resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


def _answer(message: dict[str, Any], payloads: list[bytearray]) -> tuple[dict[str, Any], list[bytes | memoryview]]:
    """Do what a request asks: a clip, or only the header."""
    from unifusion.media.probing import probe
    from unifusion.media.read import read_clip

    limits = Limits(**message["limits"])
    _limit_memory(limits.decode_memory_bytes)
    source = message["path"] if message["path"] is not None else bytes(payloads[0])
    call = message["read"]
    if call is None:
        return {"info": asdict(probe(source, limits=limits))}, []
    if call["video"] is not None:
        times = call["video"]["times_s"]
        call["video"] = Sampling(**{**call["video"], "times_s": None if times is None else tuple(times)})
    clip = read_clip(source, limits=limits, **call)
    arrays = {name: getattr(clip, name) for name in ARRAYS if getattr(clip, name) is not None}
    answer = {"clip": {name: getattr(clip, name) for name in _PLAIN}, "arrays": {name: list(a.shape) for name, a in arrays.items()}}
    return answer, [a.astype(ARRAYS[name], copy=False).reshape(-1).view("uint8").data for name, a in arrays.items()]


def _error(kind: str, found: str, remedy: str) -> tuple[dict[str, Any], list[bytes | memoryview]]:
    """An error as a message."""
    return {"error": kind, "found": found, "remedy": remedy}, []


def main() -> None:
    """Serve requests until stdin ends."""
    import unifusion.media.read  # noqa: F401 - here, so that the first request does not pay for it

    source, sink = sys.stdin.buffer, os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # what a library prints must not mix with the answers
    send(sink, {"ready": True}, [])
    while (received := receive(source, _MOST_BYTES)) is not None:
        name = received[0]["path"] or f"<{len(received[1][0])} bytes>"
        try:
            answer = _answer(*received)
        except UniFusionError as error:
            answer = _error(type(error).__name__, error.found, error.remedy)
        except MemoryError:
            answer = _error("LimitError", f"{name}: decoding needs more memory than limits.decode_memory_bytes;", SHORTER)
        send(sink, *answer)


if __name__ == "__main__":
    main()
