"""Turns scripts into clips: arrays, files, and the reference strings that stand for a clip until somebody opens it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, cast
from urllib.parse import parse_qsl, urlsplit

import numpy as np

from unifusion.conversation import Clip
from unifusion.errors import ConfigError, nearest
from unifusion.world.picture import render_frames
from unifusion.world.sample import sample_script
from unifusion.world.script import Script, Split
from unifusion.world.sound import RATE_HZ, mouth_opening, render_sound, voice_track

__all__ = ["SCHEME", "frame_times", "parse_reference", "reference", "render", "with_words", "write_mp4", "write_wav"]

SCHEME = "clip-world://"
_DEFAULTS = {"split": "train", "size": "112", "duration": "6", "turn": ""}


def frame_times(script: Script) -> np.ndarray:
    """Return the presentation times (T,) of all frames at the script's rate."""
    return np.arange(round(script.duration_s * script.rate_hz)) / script.rate_hz


def render(
    script: Script, *, times_s: Sequence[float] | np.ndarray | None = None, picture: bool = True, sound: bool = True
) -> tuple[Clip, Script]:
    """Return the clip as arrays and the script with the utterance's end and words filled in.

    Args:
        script: what happens.
        times_s: (T,) times of the frames wanted; None for all frames at the script's rate.
        picture: False leaves the picture undrawn (its frames are None, as if muted).
        sound: False leaves the sound out of the clip.
    """
    waveform_N, spoken = render_sound(script) if sound else (np.zeros(0, dtype=np.float32), script)
    frames = times_T = None
    if script.has_picture and picture:
        times_T = np.asarray(frame_times(script) if times_s is None else times_s, dtype=np.float64)
        speaking = script.has_sound and script.identity is not None and script.utterance is not None
        mouth_T = mouth_opening(voice_track(script), times_T) if speaking else None
        frames = render_frames(script, times_T, mouth_T)
    clip = Clip(
        frames_THWC=frames, frame_times_s=times_T, waveform_N=waveform_N if script.has_sound and sound else None,
        sampling_rate_hz=RATE_HZ, duration_s=script.duration_s,
    )  # fmt: skip
    return clip, spoken


def with_words(script: Script) -> Script:
    """Return the script with the utterance's end and words filled in, without drawing or keeping sound."""
    if script.utterance is None or not script.has_sound:
        return script
    alone = replace(script, sounds=(), background=None)
    return replace(script, utterance=render_sound(alone)[1].utterance)


def reference(script: Script) -> str:
    """Return the string that `parse_reference` turns back into this script (words not filled in)."""
    text = f"{SCHEME}{script.seed}/{script.index}?split={script.split}&size={script.size_px}&duration={script.duration_s:g}"
    return text + (f"&turn={script.profile['turn']}" if "turn" in script.profile else "")


def parse_reference(text: str) -> Script:
    """Return the script of `clip-world://SEED/INDEX?split=train&size=112&duration=6` (of a talk's turn with `&turn=K`).

    Raises:
        ConfigError: not such a string, or it asks for what clip world does not have.
    """
    parts = urlsplit(text)
    options = {**_DEFAULTS, **dict(parse_qsl(parts.query))}
    unknown = sorted(set(options) - set(_DEFAULTS))
    if unknown:
        raise ConfigError(f"{text!r} has an option {unknown[0]!r};", remedy=nearest(unknown[0], list(_DEFAULTS)))
    try:
        if not text.startswith(SCHEME):
            raise ValueError("another scheme")
        seed, index = int(parts.netloc), int(parts.path.lstrip("/"))
        size_px, duration_s = int(options["size"]), float(options["duration"])
        turn = int(options["turn"]) if options["turn"] else None
    except ValueError as error:
        remedy = f"write {SCHEME}SEED/INDEX?split=train&size=112&duration=6."
        raise ConfigError(f"{text!r} is no reference to a clip: {error};", remedy=remedy) from error
    split = cast(Split, options["split"])
    if turn is None:
        return sample_script(seed, index, split=split, duration_s=duration_s, size_px=size_px)
    from unifusion.world.talks import talk

    scripts = talk(seed, index, split=split, duration_s=duration_s, size_px=size_px).scripts
    if not 0 <= turn < len(scripts):
        raise ConfigError(f"{text!r} asks for turn {turn};", remedy=f"this talk has turns 0 to {len(scripts) - 1}.")
    return scripts[turn]


def write_mp4(path: str | Path, clip: Clip, script: Script, *, form: str = "mp4") -> None:
    """Write H.264 and AAC into an mp4 (or an `flv`) at the script's rate; a stream that the clip lacks is not in the file.

    Raises:
        ConfigError: the clip has neither picture nor sound, or its frames are not those of the script's rate.
    """
    import av

    if clip.frames_THWC is None and clip.waveform_N is None:
        raise ConfigError(f"clip {script.seed}/{script.index} has neither picture nor sound;", remedy="render it with one of them.")
    if clip.frames_THWC is not None and len(clip.frames_THWC) != len(frame_times(script)):
        found, wanted = len(clip.frames_THWC), len(frame_times(script))
        remedy = f"render all {wanted} (times_s=None)."
        raise ConfigError(f"{found} frames for {script.duration_s} s at {script.rate_hz} Hz;", remedy=remedy)
    with av.open(str(path), "w", format=form) as container:
        video = None if clip.frames_THWC is None else _video_stream(container, clip.frames_THWC, script)
        audio = container.add_stream("aac", rate=RATE_HZ, layout="mono") if clip.waveform_N is not None else None
        if video is not None and clip.frames_THWC is not None:
            for frame_HWC in clip.frames_THWC:
                container.mux(video.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(frame_HWC), format="rgb24")))
            container.mux(video.encode())
        if audio is not None and clip.waveform_N is not None:
            _write_sound(container, audio, clip.waveform_N)


def _video_stream(container: Any, frames_THWC: np.ndarray, script: Script) -> Any:
    """An H.264 stream of the frames' size; odd sizes keep full chroma, which H.264 cannot halve."""
    from fractions import Fraction

    height, width = frames_THWC.shape[1:3]
    rate = Fraction(script.rate_hz).limit_denominator(1000)
    stream = container.add_stream("libx264", rate=rate, options={"preset": "veryfast", "crf": "18"})
    stream.width, stream.height = width, height
    stream.pix_fmt = "yuv444p" if height % 2 or width % 2 else "yuv420p"
    stream.codec_context.thread_count = 1
    return stream


def _write_sound(container: Any, stream: Any, waveform_N: np.ndarray) -> None:
    """Encode the waveform in pieces of the codec's frame size."""
    import av

    step = 1024
    for start in range(0, len(waveform_N), step):
        frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(waveform_N[None, start : start + step]), format="fltp", layout="mono")
        frame.sample_rate, frame.pts = RATE_HZ, start
        container.mux(stream.encode(frame))
    container.mux(stream.encode())


def write_wav(path: str | Path, clip: Clip) -> None:
    """Write the sound alone as 16-bit PCM.

    Raises:
        ConfigError: the clip has no sound.
    """
    import wave

    if clip.waveform_N is None:
        raise ConfigError(f"no sound to write to {path};", remedy="choose a clip with sound.")
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(clip.sampling_rate_hz)
        file.writeframes((np.clip(clip.waveform_N, -1, 1) * 32767).astype("<i2").tobytes())
