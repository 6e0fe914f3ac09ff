"""Frames by torchcodec (optional). Needs FFmpeg's libraries on the system; 0.13 is the last that works beside a CPU torch."""

from __future__ import annotations

import io

import numpy as np

from unifusion.errors import ConfigError

__all__ = ["frames"]


def frames(source: str | io.BytesIO, ordinals: list[int], size: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Return frames (T,H,W,3) uint8 RGB, upright, and their times (T,) on the file's own clock.

    Args:
        source: a path or bytes that were sniffed before: torchcodec opens whatever it is given.
        ordinals: which frames, counted in order of presentation.
        size: width and height to scale to, before rotation.

    Raises:
        ConfigError: torchcodec is not installed or does not load.
    """
    try:
        from torchcodec.decoders import VideoDecoder
    except (ImportError, RuntimeError, OSError) as error:
        remedy = "pip install 'unifusion-x[torchcodec]' and FFmpeg's libraries."
        raise ConfigError(f"the back end torchcodec does not load ({str(error).splitlines()[0]});", remedy=remedy) from error
    batch = VideoDecoder(source.getvalue() if isinstance(source, io.BytesIO) else source, seek_mode="exact").get_frames_at(ordinals)
    pictures: np.ndarray = batch.data.permute(0, 2, 3, 1).numpy()
    turned = (pictures.shape[2] > pictures.shape[1]) != (size[0] > size[1])
    width, height = size[::-1] if turned else size
    if pictures.shape[1:3] != (height, width):
        pictures = _resized(pictures, width, height)
    return np.ascontiguousarray(pictures), batch.pts_seconds.numpy().astype(np.float64)


def _resized(pictures: np.ndarray, width: int, height: int) -> np.ndarray:
    """Scale (T,H,W,3) with Pillow's bicubic, which is what the other paths look like."""
    from PIL import Image

    return np.stack([np.asarray(Image.fromarray(p).resize((width, height), Image.Resampling.BICUBIC)) for p in pictures])
