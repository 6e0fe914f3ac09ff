"""Decoded audio frames of one span -> one 16 kHz mono waveform on the span's clock."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import av
import numpy as np

from unifusion.errors import LimitError, MediaError
from unifusion.media.remedies import CONVERT, LENIENT, SHORTER

if TYPE_CHECKING:
    from av.audio.frame import AudioFrame

__all__ = ["SAMPLING_RATE_HZ", "Sound", "resampled"]

SAMPLING_RATE_HZ = 16_000
GAP_S = 0.04
"""Stamps that disagree with the count of samples by less are jitter (Matroska rounds to 1 ms); by more, a hole."""
_LOUD = 2.0
_PADDING_S = 0.3
"""Longer than any codec's frame: a larger difference is not padding."""


class Sound:
    """Collects frames; a hole in the stamps stays a hole (silence, with a note), so sound never shifts against the picture.

    Args:
        name: what messages call the file.
        start_s: start of the span; earlier samples are dropped.
        end_s: end of the span, may be infinite; later samples are dropped.
        max_s: most seconds that may come out.
        strict: refuse NaN and infinity; else they become 0, with a note.
        rate_hz: samples per second that come out.
    """

    def __init__(
        self, name: str, *, start_s: float, end_s: float, max_s: float, strict: bool, rate_hz: int = SAMPLING_RATE_HZ
    ) -> None:  # fmt: skip
        self.rate_hz = rate_hz
        self.name, self.start_s, self.end_s, self.max_s, self.strict = name, start_s, end_s, max_s, strict
        self.notes: list[str] = []
        self.first_s: float | None = None
        self.until_s: float | None = None
        """Where the container says the sound ends: AAC pads its last frame, and mp4 stores only the true length."""
        self._segments: list[tuple[float, list[np.ndarray]]] = []
        self._resampler: av.AudioResampler | None = None
        self._format = ("", "", 0)
        self._next_s = 0.0
        self._bad = self._values = 0

    def add(self, frame: AudioFrame, time_s: float | None) -> None:
        """Take one decoded frame that begins at `time_s` on the span's clock (None: it follows the last)."""
        time_s = self._next_s if time_s is None else time_s
        self.first_s = time_s if self.first_s is None else self.first_s
        seconds = frame.samples / frame.sample_rate
        if time_s >= self.end_s or not frame.samples:
            return
        if min(time_s + seconds, self.end_s) - self.start_s > self.max_s + 1.0:
            raise LimitError(f"{self.name}: more than {self.max_s:g} s of sound from {self.start_s:g} s on;", remedy=SHORTER)
        kind = (frame.format.name, frame.layout.name, frame.sample_rate)
        if self._resampler is None or kind != self._format or abs(time_s - self._next_s) > GAP_S:
            self._close()
            # FFmpeg's own way from stereo to mono adds 0.71 of each side, which clips loud music: the mean is taken below.
            layout = "mono" if frame.layout.nb_channels == 1 else "stereo"
            self._resampler = av.AudioResampler(format="fltp", layout=layout, rate=self.rate_hz)
            self._format, self._next_s = kind, time_s
            self._segments.append((time_s, []))
        self._next_s += seconds
        self._take(self._resampler.resample(self._finite(frame)))

    def finish(self) -> tuple[np.ndarray | None, float]:
        """Return the waveform (float32 (N,) in [-1, 1], None if nothing came) and when it begins, from the span's start."""
        self._close()
        if self._bad and self._bad == self._values:
            raise MediaError(f"{self.name}: not one sample of the sound is a number;", remedy=CONVERT)
        pieces = [(t, np.concatenate(chunks)) for t, chunks in self._segments if chunks]
        pieces = [(t, x) for t, x in pieces if t + len(x) / self.rate_hz > self.start_s]
        if not pieces:
            return None, 0.0
        first = max(self.start_s, min(t for t, _ in pieces))
        last = min(self.end_s, max(t + len(x) / self.rate_hz for t, x in pieces))
        if self.until_s is not None and first < self.until_s < last < self.until_s + _PADDING_S:
            last = self.until_s
        waveform_N = np.zeros(max(0, round((last - first) * self.rate_hz)), np.float32)
        filled_s = first
        for time_s, piece_N in pieces:
            if time_s - filled_s > GAP_S:
                hole = f"{filled_s - self.start_s:.2f} s to {time_s - self.start_s:.2f} s"
                self.notes.append(f"no sound from {hole}: a hole in the track, kept as silence")
            at = round((time_s - first) * self.rate_hz)
            piece_N = piece_N[max(0, -at) :]
            at = max(0, at)
            piece_N = piece_N[: max(0, len(waveform_N) - at)]
            waveform_N[at : at + len(piece_N)] = piece_N
            filled_s = max(filled_s, time_s + len(piece_N) / self.rate_hz)
        if not len(waveform_N):
            return None, 0.0
        return self._bounded(waveform_N), first - self.start_s

    def _close(self) -> None:
        """End the running segment."""
        if self._resampler is not None:
            self._take(self._resampler.resample(None))
            self._resampler = None

    def _take(self, frames: list[AudioFrame]) -> None:
        """Append resampled samples to the running segment."""
        self._segments[-1][1].extend(frame.to_ndarray().mean(0, dtype=np.float32) for frame in frames)

    def _finite(self, frame: AudioFrame) -> AudioFrame:
        """Return the frame without NaN and infinity, or refuse it. Integer formats cannot hold them."""
        if not frame.format.name.startswith(("flt", "dbl")):
            return frame
        samples = frame.to_ndarray()
        self._values += samples.size
        good = np.isfinite(samples)
        if good.all():
            return frame
        bad = int(good.size - good.sum())
        if self.strict:
            raise MediaError(f"{self.name}: {bad} samples of the sound are not numbers;", remedy=LENIENT)
        self._bad += bad
        finite: Any = np.where(good, samples, 0).astype(samples.dtype)
        clean = av.AudioFrame.from_ndarray(finite, format=frame.format.name, layout=frame.layout.name)
        clean.sample_rate, clean.pts, clean.time_base = frame.sample_rate, frame.pts, frame.time_base
        return clean

    def _bounded(self, waveform_N: np.ndarray) -> np.ndarray:
        """Clip to [-1, 1]; say so where it is more than a codec's usual overshoot."""
        if self._bad:
            self.notes.append(f"{self._bad} samples that were not numbers were set to 0")
        peak = float(np.abs(waveform_N).max())
        if peak > _LOUD:
            self.notes.append(f"the sound was clipped: its peak is {peak:.3g}, full scale is 1")
        return waveform_N.clip(-1.0, 1.0)


def resampled(waveform_N: np.ndarray, rate_hz: int, wanted_hz: int) -> np.ndarray:
    """Return mono float32 sound at another rate, by the resampler that files are read with."""
    if rate_hz == wanted_hz or not len(waveform_N):
        return waveform_N
    resampler = av.AudioResampler(format="fltp", layout="mono", rate=wanted_hz)
    frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(waveform_N, np.float32)[None], format="fltp", layout="mono")
    frame.sample_rate = rate_hz
    pieces = [piece.to_ndarray()[0] for piece in (*resampler.resample(frame), *resampler.resample(None))]
    out_N = np.concatenate([np.zeros(0, np.float32), *pieces])[: round(len(waveform_N) * wanted_hz / rate_hz)]
    return np.ascontiguousarray(out_N)
