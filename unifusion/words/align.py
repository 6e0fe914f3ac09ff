"""Known words laid over the sound they are spoken in (forced alignment), without a model to fetch.

The words are read out by espeak-ng, which tells when each begins and ends; dynamic time warping finds where that reading lies in the
sound, and word boundaries are taken across along the path, as aeneas does (Pettarin, 2015). Nothing here recognises speech: words that
are not said are laid over something all the same, with a low score.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from unifusion.conversation import Altered, Clip, Media, Mix
from unifusion.errors import ConfigError, LimitError, MediaError
from unifusion.limits import Limits
from unifusion.losses.dtw import dtw
from unifusion.media.cepstra import HOP_S, as_heard_in, cepstra, log_mels
from unifusion.words.warping import cosine_costs, map_times
from unifusion.world.speakers import READERS

__all__ = ["Alignment", "TimedWord", "align_sound", "align_words", "to_srt"]

_RATE_HZ = 16_000
_RATES_WPM = (100, 125, 155, 195, 245)
_EDGE = 10
"""Frames of silence before and after what is read out, for the slopes at its ends; they are not matched."""
_PAUSE = 2
"""Frames of silence put between words that are read out: people pause where espeak-ng does not."""
_WAIT, _LONG_S = 0.05, 0.5
"""What a frame between two words costs at most, so that whatever is heard in a long pause can be passed over, and from when a pause is
long. Where none is found the words are aligned as if there were none, which is surer. Of three sentences in a row with other sounds between
them the median error fell from 0.5 s to 0.01 s."""
_NEAR_S = 0.001
_LEAST_S = 0.1
_MOST_WORDS = 400
_SILENT = 1e-5
_CUE_CHARS, _CUE_GAP_S = 42, 0.7
_LIMITS = Limits()


@dataclass(frozen=True, kw_only=True)
class TimedWord:
    """A word, its seconds from the start of the file, and how like the reading it sounds: mean cosine of cepstra, 0 to 1."""

    word: str
    start_s: float
    end_s: float
    score: float


@dataclass(frozen=True, kw_only=True)
class Alignment:
    """Words of a clip in order.

    Attributes:
        words: each with its time.
        language: that they were read in.
        score: mean over all frames of the words; docs/aligning_words.md tells what to expect.
        voice: of the reading that fits best.
        rate_wpm: its words a minute.
    """

    words: tuple[TimedWord, ...]
    language: str
    score: float
    voice: str
    rate_wpm: int

    @property
    def start_s(self) -> float:
        """When the first word begins."""
        return self.words[0].start_s

    @property
    def end_s(self) -> float:
        """When the last word ends."""
        return self.words[-1].end_s

    def to_dict(self) -> dict[str, Any]:
        """The JSON form."""
        return {"start_s": self.start_s, "end_s": self.end_s, **asdict(self), "words": [asdict(w) for w in self.words]}


def align_words(
    media: Media | Clip | str | Path, words: str, *, language: str = "english", limits: Limits = _LIMITS, strict: bool = True
) -> Alignment:
    """Return when each of the words is said in a clip.

    Args:
        media: a file, a span of one, a `clip-world://` reference, or arrays.
        words: all that is said in it, in order; sounds, noise and pauses may be beside and between them.
        language: english, german, spanish, french, or a code of espeak-ng (it, nl, pt-BR ..).
        limits: bounds for this door.
        strict: damaged sound is an error.

    Returns:
        Times counted from the start of the file, also where `media` is a span.

    Raises:
        MediaError: the file cannot be read, or has no sound, or silence alone.
        ConfigError: no words, a language that espeak-ng lacks, or the extra `world` is not installed.
        LimitError: more words or seconds than fit (about a minute against a minute; take spans).
    """
    _check_words(words)
    name, clip = _sound(media, limits, strict)
    if clip.waveform_N is None or not len(clip.waveform_N):
        raise MediaError(f"{name}: there is no sound;", remedy="words are aligned to sound; give a clip that has some.")
    loudest = float(np.abs(clip.waveform_N).max())
    if loudest < _SILENT or len(clip.waveform_N) < _LEAST_S * clip.sampling_rate_hz:
        found = f"{len(clip.waveform_N) / clip.sampling_rate_hz:.2f} s of sound, its peak is {loudest:.1g};"
        raise MediaError(f"{name}: {found}", remedy="give a clip in which somebody speaks.")
    from_s = clip.start_s + clip.waveform_start_s
    return align_sound(clip.waveform_N, words, rate_hz=clip.sampling_rate_hz, language=language, from_s=from_s)


def _check_words(words: str) -> None:
    """Refuse what cannot be read out."""
    count = len(words.split())
    if not any(c.isalnum() for c in words):
        raise ConfigError(f"no words in {words!r};", remedy="give what is said.")
    if count > _MOST_WORDS:
        raise LimitError(f"{count} words at once, the limit is {_MOST_WORDS};", remedy="align shorter spans (start and end).")


def _sound(media: Media | Clip | str | Path, limits: Limits, strict: bool) -> tuple[str, Clip]:
    """What it is called, and its decoded sound."""
    given = media if isinstance(media, Media) else Media(kind="audio", source=media)
    if isinstance(given.source, Mix | Altered) or (isinstance(given.source, Clip) and (given.start_s or given.end_s)):
        raise ConfigError(f"{given.name}: a mix, an altered clip, or a span of arrays;", remedy="decode it and give the Clip of the span.")
    if isinstance(given.source, Clip):
        return given.name, given.source
    if isinstance(given.source, str) and given.source.startswith("clip-world://"):
        return given.name, _rendered(given.source, given.start_s, given.end_s)
    from unifusion.media.read import read_audio

    return given.name, read_audio(given.source, start_s=given.start_s, end_s=given.end_s, limits=limits, strict=strict)


def _rendered(reference: str, start_s: float | None, end_s: float | None) -> Clip:
    """The sound of a clip of clip world."""
    from unifusion.world.render import parse_reference, render

    clip = render(parse_reference(reference), picture=False)[0]
    first, last = (None if s is None else round(s * clip.sampling_rate_hz) for s in (start_s, end_s))
    heard_N = None if clip.waveform_N is None else clip.waveform_N[first:last]
    return Clip(waveform_N=heard_N, sampling_rate_hz=clip.sampling_rate_hz, start_s=start_s or 0.0)


def align_sound(
    waveform_N: np.ndarray, words: str, *, rate_hz: int = _RATE_HZ, language: str = "english", voices: Sequence[str] = tuple(READERS),
    from_s: float = 0.0,
) -> Alignment:  # fmt: skip
    """Return when each of the words is said in a sound: `align_words` for samples.

    Every voice reads the words out at five rates; what lies at least cost in the sound is taken. 0.1 s for 6 s of sound on one core.

    Args:
        waveform_N: (N,) float32 mono.
        words: as for `align_words`.
        rate_hz: samples a second.
        language: as for `align_words`.
        voices: of `world.speakers`, that read out.
        from_s: seconds of the first sample.

    Raises:
        ConfigError, LimitError: as for `align_words`.
    """
    _check_words(words)
    if rate_hz != _RATE_HZ:
        from unifusion.media.sound import resampled

        waveform_N = resampled(waveform_N, rate_hz, _RATE_HZ)
    mels_TF = log_mels(waveform_N)
    found = [(*_laid(words, language, v, r, mels_TF), v, r) for v, r in _readings(words, language, voices, len(mels_TF))]
    if not found:
        raise ConfigError("no voice to read the words out;", remedy="leave voices out, or name one.")
    _, path_P2, voice, rate_wpm = min(found, key=lambda f: f[0])
    said_TF, times_K2, between_T = _read_out(words, language, voice, rate_wpm)
    costs = _costs(said_TF, mels_TF)
    names = [w.text for w in _spoken(words, language, voice, rate_wpm).words]
    placed = _across(names, times_K2, path_P2, costs, from_s)
    if all(after.start_s - word.end_s < _LONG_S for word, after in pairwise(placed)):
        path_P2, _ = dtw(costs, subsequence=True)
        placed = _across(names, times_K2, path_P2, costs, from_s)
    at_P = path_P2[~between_T[path_P2[:, 0]]]
    score = float((1 - costs[at_P[:, 0], at_P[:, 1]]).clip(0, 1).mean())
    return Alignment(words=placed, language=language, voice=voice, rate_wpm=rate_wpm, score=round(score, 3))


def _costs(said_TF: np.ndarray, mels_TF: np.ndarray) -> np.ndarray:
    """How unlike each frame of a reading (without its ends) and each of a clip are."""
    said_TF, heard_SF = as_heard_in(said_TF, mels_TF)
    return cosine_costs(cepstra(said_TF)[_EDGE:-_EDGE], cepstra(heard_SF))


def _laid(words: str, language: str, voice: str, rate_wpm: int, mels_TF: np.ndarray) -> tuple[float, np.ndarray]:
    """Cost of a reading a frame, and where it lies when people may wait between words."""
    said_TF, _, between_T = _read_out(words, language, voice, rate_wpm)
    costs = _costs(said_TF, mels_TF)
    costs[between_T] = np.minimum(costs[between_T], _WAIT)
    path_P2, total = dtw(costs, subsequence=True)
    return total / len(costs), path_P2


def _readings(words: str, language: str, voices: Sequence[str], frames: int) -> list[tuple[str, int]]:
    """Voices and rates that are tried: a reading much longer than the clip is not, unless it is the fastest."""
    fastest_s = len(_spoken(words, language, voices[0], _RATES_WPM[-1]).waveform_N) / _RATE_HZ if voices else 0.0
    rates = [r for r in _RATES_WPM if r == _RATES_WPM[-1] or fastest_s * _RATES_WPM[-1] / r <= 1.25 * frames * HOP_S]
    return [(voice, rate) for voice in voices for rate in rates]


def _spoken(words: str, language: str, voice: str, rate_wpm: int) -> Any:
    """The words as espeak-ng says them."""
    from unifusion.world.voice import speak

    return speak(" ".join(words.split()), language, voice, 50, 50, rate_wpm)


@lru_cache(maxsize=32)
def _read_out(words: str, language: str, voice: str, rate_wpm: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Log-mels (T, 40) of a reading with silence at its ends and between its words.

    Counted without the ends: seconds (K, 2) of each word, and which frames are between words.
    """
    spoken = _spoken(words, language, voice, rate_wpm)
    hop = round(HOP_S * _RATE_HZ)
    edge_N, pause_N = np.zeros(_EDGE * hop, np.float32), np.zeros(_PAUSE * hop, np.float32)
    starts = [round(w.start_s * _RATE_HZ) for w in spoken.words]
    pieces, times, moved = [edge_N], [], 0
    for number, word in enumerate(spoken.words):
        first, last = (starts[number], len(spoken.waveform_N)) if number + 1 == len(starts) else (starts[number], starts[number + 1])
        times.append((word.start_s + moved / _RATE_HZ, word.end_s + moved / _RATE_HZ))
        pieces += [spoken.waveform_N[first:last], pause_N if number + 1 < len(starts) else edge_N]
        moved += len(pause_N)
    mels_TF, times_K2 = log_mels(np.concatenate(pieces)), np.asarray(times)
    frames_s = HOP_S * np.arange(len(mels_TF) - 2 * _EDGE)[:, None]
    between_TK = (frames_s >= times_K2[:-1, 1] - _NEAR_S) & (frames_s <= times_K2[1:, 0] + _NEAR_S)
    return mels_TF, times_K2, np.asarray(between_TK.any(axis=1))


def _across(names: Sequence[str], times_K2: np.ndarray, path_P2: np.ndarray, costs: np.ndarray, from_s: float) -> tuple[TimedWord, ...]:
    """The words at the times that the path takes them to."""
    costs_P, rows_P = costs[path_P2[:, 0], path_P2[:, 1]], path_P2[:, 0]
    found_K2, scores = np.empty_like(times_K2), []
    for number, span_2 in enumerate(times_K2):
        first, last = int(np.ceil(span_2[0] / HOP_S - _NEAR_S)), int(span_2[1] / HOP_S + _NEAR_S)
        # By the word's own frames: those between words are taken to the middle of a pause, however long it is.
        own_P = (rows_P >= min(first, last)) & (rows_P <= last)
        inside_2 = span_2.clip(first * HOP_S, last * HOP_S)
        found_K2[number] = map_times(inside_2, path_P2[own_P] * HOP_S) + span_2 - inside_2
        scores.append(round(float((1 - costs_P[own_P]).clip(0, 1).mean()), 3))
    ends = np.maximum.accumulate(found_K2.ravel()).clip(0.0, (costs.shape[1] - 1) * HOP_S).reshape(-1, 2) + from_s
    return tuple(
        TimedWord(word=name, start_s=round(float(start_s), 3), end_s=round(float(end_s), 3), score=score)
        for name, (start_s, end_s), score in zip(names, ends, scores, strict=True)
    )


def to_srt(words: Sequence[TimedWord]) -> str:
    """Return subtitles (SubRip): lines of at most 42 characters, a new one after a pause of 0.7 s."""
    lines: list[list[TimedWord]] = []
    for word in words:
        last = lines[-1] if lines else []
        fits = last and len(" ".join(w.word for w in [*last, word])) <= _CUE_CHARS and word.start_s - last[-1].end_s < _CUE_GAP_S
        lines = [*lines[:-1], [*last, word]] if fits else [*lines, [word]]
    cues = [
        f"{number}\n{_stamp(line[0].start_s)} --> {_stamp(line[-1].end_s)}\n{' '.join(w.word for w in line)}\n"
        for number, line in enumerate(lines, 1)
    ]
    return "\n".join(cues)


def _stamp(seconds: float) -> str:
    """`00:01:02,345`."""
    whole = round(1000 * seconds)
    return f"{whole // 3_600_000:02d}:{whole // 60_000 % 60:02d}:{whole // 1000 % 60:02d},{whole % 1000:03d}"
