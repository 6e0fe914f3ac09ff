"""Recordings whose every part is known: written with PyAV, nothing stored."""

from fractions import Fraction

import av
import numpy as np

RATE, SOUND_HZ, SIDE = 8, 16_000, 32


def frames(seconds, *, blank=False, seed=0):
    """Pictures (T, 32, 32, 3): a pattern that moves, or black."""
    rng = np.random.default_rng(seed)
    pattern = rng.integers(0, 255, (4, 4, 3), dtype=np.uint8).repeat(8, 0).repeat(8, 1)
    return [np.zeros_like(pattern) if blank else np.roll(pattern, 2 * i, axis=1) for i in range(round(seconds * RATE))]


def noise(seconds, *, silent=False, seed=0):
    """Samples (N,) of noise, or of silence."""
    count = round(seconds * SOUND_HZ)
    return np.zeros(count, "<i2") if silent else (np.random.default_rng(seed).normal(0, 3000, count)).astype("<i2")


def write(path, shown=(), heard=()):
    """Write pictures and sound as a file; what is empty is no stream of it."""
    with av.open(str(path), "w") as out:
        video = out.add_stream("libx264", rate=RATE) if len(shown) else None
        audio = out.add_stream("pcm_s16le" if path.suffix == ".wav" else "aac", rate=SOUND_HZ, layout="mono") if len(heard) else None
        if video is not None:
            video.width = video.height = SIDE
            video.pix_fmt = "yuv420p"
            for number, pixels in enumerate(shown):
                frame = av.VideoFrame.from_ndarray(pixels, "rgb24")
                frame.pts, frame.time_base = number, Fraction(1, RATE)
                out.mux(video.encode(frame))
            out.mux(video.encode())
        for start in range(0, len(heard) if audio is not None else 0, 1024):
            frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(heard[start : start + 1024])[None], "s16", "mono")
            frame.sample_rate, frame.pts, frame.time_base = SOUND_HZ, start, Fraction(1, SOUND_HZ)
            out.mux(audio.encode(frame))
        if audio is not None:
            out.mux(audio.encode())
    return path
