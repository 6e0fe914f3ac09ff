"""Frames by decord (optional). Picture only: its sound comes out shifted by 6 to 27 samples, so it is never used for sound."""

from __future__ import annotations

import io

import numpy as np

from unifusion.errors import ConfigError

__all__ = ["frames"]


def frames(source: str | io.BytesIO, ordinals: list[int], size: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Return frames (T,H,W,3) uint8 RGB, upright, and their times (T,) from the first frame of the file.

    Args:
        source: a path or bytes that were sniffed before: decord opens whatever it is given.
        ordinals: which frames, counted in order of presentation.
        size: width and height to scale to, before rotation.

    Raises:
        ConfigError: decord is not installed.
        RuntimeError: it cannot read the file.
    """
    try:
        import decord
    except ImportError as error:
        raise ConfigError("the back end decord is not installed;", remedy="pip install 'unifusion-x[decord]'.") from error
    try:
        reader = decord.VideoReader(source, ctx=decord.cpu(0), width=size[0], height=size[1], num_threads=2)
        pictures: np.ndarray = reader.get_batch(ordinals).asnumpy()
        return pictures, np.asarray(reader.get_frame_timestamp(ordinals), np.float64)[:, 0]
    except decord.DECORDError as error:
        raise RuntimeError(str(error).splitlines()[0]) from error
