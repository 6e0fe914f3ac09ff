"""Codecs: a short clip is made in each format and read back through the same door that `chat` uses.

A list of codec names would not do: builds exist that name a decoder and cannot use it.
"""

from __future__ import annotations

import math
import os
import tempfile
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

from unifusion.cli.checks.finding import Finding
from unifusion.errors import UniFusionError

__all__ = ["FORMATS", "make_clip", "really_decode"]

FORMATS = {
    "H.264 + AAC (mp4)": ("clip.mp4", "libx264", "aac"),
    "HEVC + AAC (mp4)": ("clip.hevc.mp4", "libx265", "aac"),
    "VP9 + Opus (webm)": ("clip.webm", "libvpx-vp9", "libopus"),
    "AV1 (mkv)": ("clip.mkv", "libsvtav1", ""),
    "MP3": ("clip.mp3", "", "libmp3lame"),
    "FLAC": ("clip.flac", "", "flac"),
    "WAV": ("clip.wav", "", "pcm_s16le"),
}
"""What people's clips come in: file name, encoder of the picture, encoder of the sound."""

SIDE_PX, FRAMES, RATE_HZ, SHADE, SOUND_HZ, TONE_HZ, SECONDS = 128, 10, 10, 20, 48_000, 440, 1.0
NEEDED = ("H.264 + AAC (mp4)", "WAV")


def make_clip(path: Path, video: str, audio: str) -> None:
    """Write one second of a grey ramp and a 440 Hz tone.

    Raises:
        OSError, ValueError: this build of FFmpeg has no such encoder, or refuses the settings.
    """
    import av

    os.environ.setdefault("SVT_LOG", "0")
    quiet = {"x265-params": "log-level=none"} if video == "libx265" else {}
    with av.open(str(path), "w") as container:
        picture: Any = container.add_stream(video, rate=RATE_HZ, options=quiet) if video else None
        sound: Any = container.add_stream(audio, rate=SOUND_HZ, layout="mono") if audio else None
        if picture is not None:
            picture.width = picture.height = SIDE_PX
            picture.pix_fmt = "yuv420p"
            container.mux([packet for frame in ramp() for packet in picture.encode(frame)] + picture.encode())
        if sound is not None:
            container.mux(sound.encode(tone()) + sound.encode())


def ramp() -> Iterator[Any]:
    """Yield the frames: frame k is grey at k times SHADE."""
    import av
    import numpy as np

    for index in range(FRAMES):
        frame = av.VideoFrame.from_ndarray(np.full((SIDE_PX, SIDE_PX, 3), SHADE * index, np.uint8), format="rgb24")
        frame.pts, frame.time_base = index, Fraction(1, RATE_HZ)
        yield frame


def tone() -> Any:
    """Return a steady tone as an audio frame."""
    import av
    import numpy as np

    wave_N = 0.3 * np.sin(2 * math.pi * TONE_HZ * np.arange(int(SECONDS * SOUND_HZ)) / SOUND_HZ)
    frame = av.AudioFrame.from_ndarray((wave_N * 32767).astype(np.int16)[None], format="s16", layout="mono")
    frame.sample_rate, frame.pts, frame.time_base = SOUND_HZ, 0, Fraction(1, SOUND_HZ)
    return frame


def really_decode() -> Iterator[Finding]:
    """Make and decode a clip of each format."""
    with tempfile.TemporaryDirectory(prefix="unifusion-doctor-") as folder:
        for label, (name, video, audio) in FORMATS.items():
            path = Path(folder) / name
            remedy = "pip install -c constraints.txt --force-reinstall av (its wheels carry the codecs)"
            state = "fail" if label in NEEDED else "warn"
            try:
                make_clip(path, video, audio)
            except (OSError, ValueError) as error:
                yield Finding(f"codec {label}", "warn", f"not tried, no test clip could be made: {error}")
                continue
            try:
                shortfall = decode_and_compare(path, picture=bool(video), sound=bool(audio))
            except UniFusionError as error:
                shortfall = str(error)
            if shortfall:
                yield Finding(f"codec {label}", "fail" if state == "fail" else "warn", shortfall, remedy)
            else:
                yield Finding(f"codec {label}", "ok", "decodes")


def decode_and_compare(path: Path, *, picture: bool, sound: bool) -> str:
    """Return what is wrong with what came back, empty when the ramp and the tone did."""
    import numpy as np

    from unifusion.media import Sampling, read_clip

    clip = read_clip(str(path), video=Sampling(count=FRAMES) if picture else None, audio=sound)
    if picture:
        if clip.frames_THWC is None or len(clip.frames_THWC) != FRAMES:
            return f"{0 if clip.frames_THWC is None else len(clip.frames_THWC)} of {FRAMES} frames came back"
        levels_T = clip.frames_THWC.mean(axis=(1, 2, 3))
        if np.abs(levels_T - SHADE * np.arange(FRAMES)).max() > 12:
            return "the frames that came back are not those written"
    if sound:
        if clip.waveform_N is None or len(clip.waveform_N) < 0.8 * SECONDS * clip.sampling_rate_hz:
            return f"{0 if clip.waveform_N is None else len(clip.waveform_N)} samples of sound came back"
        spectrum = np.abs(np.fft.rfft(clip.waveform_N))
        peak_hz = float(np.argmax(spectrum)) * clip.sampling_rate_hz / len(clip.waveform_N)
        if abs(peak_hz - TONE_HZ) > 10:
            return f"a tone of {TONE_HZ} Hz came back as {peak_hz:.0f} Hz"
    return ""
