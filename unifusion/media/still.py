"""Picture files through Pillow: stills and animated GIF, WebP, PNG, AVIF. Pillow's readers are named one by one, never guessed."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import av
import av.error
import numpy as np

from unifusion.errors import LimitError, MediaError
from unifusion.limits import Limits
from unifusion.media.container import STRICT, typed_errors
from unifusion.media.info import MediaInfo
from unifusion.media.painter import scaled
from unifusion.media.picture import Picture, bound_frames
from unifusion.media.remedies import LENIENT
from unifusion.media.sampling import Sampling
from unifusion.media.source import Source

if TYPE_CHECKING:
    from PIL.Image import Image

__all__ = ["describe_still", "read_still"]

_DEFAULT_SECONDS = 0.1
"""How long a frame of an animation without a time is shown; browsers do the same."""
_SHORTEST_SECONDS = 0.011
_TURNED = {5, 6, 7, 8}
_EXIF_ORIENTATION = 0x0112


@contextmanager
def _picture_errors(name: str, doing: str) -> Iterator[None]:
    """As `typed_errors`, with what Pillow's readers raise besides on damaged files."""
    with typed_errors(name, doing):
        try:
            yield
        except (SyntaxError, TypeError, AttributeError, struct.error, zlib.error) as error:
            raise ValueError(str(error)) from error


def _damage(source: Source) -> str:
    """Say what is damaged, for the formats where that can be told; Pillow decodes damaged JPEG and PNG without a word.

    PNG: the checksums of all chunks. JPEG: FFmpeg's decoder, strict (it noticed 101 of 112 damaged pictures that came out
    wrong). GIF, BMP and lossy WebP carry nothing to check.
    """
    from PIL import Image as Pillow

    source.handle.seek(0)
    if source.kind.name == "png":
        try:
            Pillow.open(source.handle, formats=["PNG"]).verify()
        except (SyntaxError, OSError, ValueError) as error:
            return str(error)
    if source.kind.name == "jpeg":
        decoder = av.CodecContext.create("mjpeg", "r")
        decoder.options, decoder.thread_count = dict(STRICT), 1
        try:
            decoded = [*decoder.decode(av.Packet(source.handle.read())), *decoder.decode(None)]
        except av.error.InvalidDataError as error:
            return str(error.strerror)
        except av.error.FFmpegError:  # a kind of JPEG that FFmpeg does not know; Pillow has the say
            return ""
        return "the decoder marked it as corrupt" if any(frame.is_corrupt for frame in decoded) else ""
    return ""


def _open(source: Source, limits: Limits) -> Image:
    """Open the header with the one reader that was sniffed and hold it to the limits."""
    from PIL import Image as Pillow

    source.handle.seek(0)
    try:
        with _picture_errors(source.name, "reading the header"):
            image = Pillow.open(source.handle, formats=[source.kind.name.upper()])
    except (Pillow.DecompressionBombError, Pillow.DecompressionBombWarning) as error:
        raise LimitError(f"{source.name}: {error};", remedy=f"at most {limits.max_pixels} pixels are read.") from error
    if image.width * image.height > limits.max_pixels:
        raise LimitError(
            f"{source.name}: {image.width * image.height} pixels ({image.width}x{image.height}), at most {limits.max_pixels} are read;",
            remedy="scale it down or raise limits.max_pixels.",
        )
    return image


def describe_still(source: Source, limits: Limits) -> MediaInfo:
    """Return the header of a picture file."""
    image = _open(source, limits)
    with _picture_errors(source.name, "reading the header"):
        turn = image.getexif().get(_EXIF_ORIENTATION, 1)
        size = image.size[::-1] if turn in _TURNED else image.size
        seconds = sum(_durations(image, source.name, limits)) if getattr(image, "is_animated", False) else 0.0
    return MediaInfo(
        name=source.name,
        container=source.kind.name,
        n_bytes=source.n_bytes,
        n_streams=1,
        duration_s=seconds,
        has_video=True,
        width=size[0],
        height=size[1],
        rotation={3: 180, 6: 270, 8: 90}.get(turn, 0),
        video_codec=source.kind.name,
        is_image=True,
    )


def read_still(source: Source, sampling: Sampling, span: tuple[float, float], limits: Limits, strict: bool) -> Picture:
    """Decode a still (one frame at time 0) or the chosen frames of an animation; lenient flags a damaged one.

    Raises:
        MediaError: a damaged or truncated picture.
        LimitError: more pixels or frames than a limit.
    """
    image = _open(source, limits)
    bound_frames(source.name, 1, image.size, sampling, limits)
    damage = _damage(source)
    if damage and strict:
        raise MediaError(f"{source.name}: damaged picture ({damage});", remedy=LENIENT)
    image = _open(source, limits)
    with _picture_errors(source.name, "decoding the picture"):
        if not getattr(image, "is_animated", False):
            return Picture(paint(image, sampling.max_side_px)[None], np.zeros(1), np.full(1, bool(damage)), 0.0)
        seconds = np.asarray(_durations(image, source.name, limits))
        times_T = np.concatenate([[0.0], np.cumsum(seconds)[:-1]])
        end_s = float(seconds.sum())
        indices, notes = sampling.choose(times_T, end_s, span)
        bound_frames(source.name, len(indices), image.size, sampling, limits)
        pictures: dict[int, np.ndarray] = {}
        for index in np.unique(indices).tolist():
            image.seek(index)
            pictures[index] = paint(image, sampling.max_side_px)
    if not len(indices):
        return Picture(np.zeros((0, 0, 0, 3), np.uint8), np.zeros(0), np.zeros(0, bool), end_s, notes)
    stacked = np.stack([pictures[i] for i in indices.tolist()])
    return Picture(stacked, times_T[indices], np.full(len(indices), bool(damage)), end_s, notes)


def _durations(image: Image, name: str, limits: Limits) -> list[float]:
    """Seconds each frame is shown."""
    count = getattr(image, "n_frames", 1)
    if count > limits.max_decoded_frames:
        raise LimitError(f"{name}: {count} frames of animation, at most {limits.max_decoded_frames};", remedy="shorten it.")
    seconds = []
    for index in range(count):
        image.seek(index)
        if image.format in ("WEBP", "AVIF"):
            image.load()  # these know a frame's time only once it is decoded
        shown = float(image.info.get("duration", 0) or 0) / 1000.0
        seconds.append(shown if shown >= _SHORTEST_SECONDS else _DEFAULT_SECONDS)
    image.seek(0)
    return seconds


def paint(image: Image, max_side_px: int | None) -> np.ndarray:
    """Upright RGB (H,W,3); what is transparent is shown on white."""
    from PIL import Image as Pillow
    from PIL import ImageOps

    upright = ImageOps.exif_transpose(image)
    if upright.mode in ("RGBA", "LA", "PA") or "transparency" in upright.info:
        layer = upright.convert("RGBA")
        upright = Pillow.alpha_composite(Pillow.new("RGBA", layer.size, "white"), layer)
    if upright.mode.startswith("I"):  # 16 bit grey: Pillow would clip instead of scale
        upright = Pillow.fromarray((np.asarray(upright, np.float64) / 257.0).clip(0, 255).astype(np.uint8))
    size = scaled(*upright.size, max_side_px)
    picture = upright.convert("RGB")
    return np.asarray(picture if size == picture.size else picture.resize(size, Pillow.Resampling.BICUBIC)).copy()
