"""Mutations of media files, each a function of a seed: bit flips, cuts, header edits."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

Mutation = Callable[[bytearray, np.random.Generator], bytearray]


def _payload(data: bytearray) -> tuple[int, int]:
    """Where the compressed data lies: the mdat of an mp4, else all but the first 600 bytes."""
    at = data.find(b"mdat")
    moov = data.find(b"moov")
    if at >= 0:
        return at + 4, moov - 4 if moov > at else len(data)
    return min(600, len(data) // 3), len(data)


def flip_one(data: bytearray, rng: np.random.Generator) -> bytearray:
    """One bit of the payload."""
    low, high = _payload(data)
    data[int(rng.integers(low, high))] ^= 1 << int(rng.integers(8))
    return data


def flip_many(data: bytearray, rng: np.random.Generator) -> bytearray:
    """Thirty bytes of the payload."""
    low, high = _payload(data)
    for at in rng.integers(low, high, 30):
        data[int(at)] = int(rng.integers(256))
    return data


def flip_anywhere(data: bytearray, rng: np.random.Generator) -> bytearray:
    """Ten bits anywhere."""
    for at in rng.integers(0, len(data), 10):
        data[int(at)] ^= 1 << int(rng.integers(8))
    return data


def blank(data: bytearray, rng: np.random.Generator) -> bytearray:
    """Zeros over up to 700 bytes of the payload."""
    low, high = _payload(data)
    at, size = int(rng.integers(low, high)), int(rng.integers(16, 700))
    data[at : min(high, at + size)] = bytes(min(high, at + size) - at)
    return data


def truncate(data: bytearray, rng: np.random.Generator) -> bytearray:
    """Cut off after a random byte."""
    return data[: int(rng.integers(1, len(data)))]


def remove(data: bytearray, rng: np.random.Generator) -> bytearray:
    """Take a piece out, so that all that follows moves."""
    at, size = int(rng.integers(0, len(data))), int(rng.integers(1, 400))
    return data[:at] + data[at + size :]


def repeat(data: bytearray, rng: np.random.Generator) -> bytearray:
    """Put a piece in twice."""
    at, size = int(rng.integers(0, len(data))), int(rng.integers(1, 400))
    return data[: at + size] + data[at : at + size] + data[at + size :]


def edit_header(data: bytearray, rng: np.random.Generator) -> bytearray:
    """Up to six random bytes in the first 400, or in an mp4's moov."""
    at = data.find(b"moov")
    low, high = (at, len(data)) if at > 0 else (4, min(400, len(data)))
    for _ in range(int(rng.integers(1, 7))):
        data[int(rng.integers(low, high))] = int(rng.integers(256))
    return data


def edit_field(data: bytearray, rng: np.random.Generator) -> bytearray:
    """A 32-bit number of the header becomes 0, 1, all ones, or huge."""
    at = data.find(b"moov")
    low, high = (at, len(data) - 4) if at > 0 else (4, max(5, min(400, len(data) - 4)))
    value = [b"\x00\x00\x00\x00", b"\x00\x00\x00\x01", b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff"][int(rng.integers(4))]
    at = int(rng.integers(low, high))
    data[at : at + 4] = value
    return data


MUTATIONS: dict[str, Mutation] = {
    f.__name__: f for f in (flip_one, flip_many, flip_anywhere, blank, truncate, remove, repeat, edit_header, edit_field)
}


def mutate(data: bytes, name: str, seed: int) -> bytes:
    """Apply one mutation."""
    return bytes(MUTATIONS[name](bytearray(data), np.random.default_rng(seed)))
