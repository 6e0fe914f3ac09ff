"""Speech by espeak-ng, through the library inside the pip package `espeakng-loader` (extra `world`).

espeak-ng keeps its state in C globals. Each utterance therefore starts the library anew, in a throw-away folder that
holds links to the language data and the one speaker's variant file, under a lock: the samples then depend on the
arguments alone, in any order of calls, any thread, and any forked or spawned process (0.5-1 ms for the restart).
"""

from __future__ import annotations

import ctypes
import os
import shutil
import tempfile
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from unifusion.errors import ConfigError, nearest
from unifusion.world.script import LANGUAGES, Word
from unifusion.world.signal import RATE_HZ, resample
from unifusion.world.speakers import speaker

__all__ = ["Contour", "Spoken", "pitch_setting", "speak"]

Contour = tuple[tuple[float, float], ...]
"""Breakpoints (position in the sentence 0..1, semitones), applied word by word with the formants untouched."""

ESPEAK_RATE_HZ = 22_050
DATA_FILES = {
    "english": ("gmw/en-US", "en_dict"),
    "german": ("gmw/de", "de_dict"),
    "spanish": ("roa/es", "es_dict"),
    "french": ("roa/fr", "fr_dict"),
}
"""Language -> its voice file under `lang/` and its dictionary; only these are linked. Clip world speaks these; any other of espeak-ng's
goes by its own code (`it`, `pt-BR`)."""
COMMON_FILES = ("phontab", "phonindex", "phondata", "intonations", "en_dict")
"""What every language needs; espeak-ng starts with English, whatever it speaks afterwards."""
PUNCTUATION = '.,;:!?¿¡"«»()…-–'

_RATE, _VOLUME, _PITCH, _RANGE = 1, 2, 3, 4
_SYNCHRONOUS, _DONT_EXIT, _UTF8, _WORD_EVENT = 2, 0x8000, 1, 1
_lock = threading.Lock()


@dataclass(frozen=True, eq=False)
class Spoken:
    """One utterance: float32 samples at 16 kHz and its words, timed from the first sample."""

    waveform_N: np.ndarray
    words: tuple[Word, ...]


class _EventId(ctypes.Union):
    """The union at the end of `espeak_EVENT`."""

    _fields_ = (("number", ctypes.c_int), ("name", ctypes.c_char_p), ("string", ctypes.c_char * 8))


class _Event(ctypes.Structure):
    """`espeak_EVENT` of espeak-ng 1.52's speak_lib.h."""

    _fields_ = (
        ("type", ctypes.c_int), ("unique_identifier", ctypes.c_uint), ("text_position", ctypes.c_int), ("length", ctypes.c_int),
        ("audio_position", ctypes.c_int), ("sample", ctypes.c_int), ("user_data", ctypes.c_void_p), ("id", _EventId),
    )  # fmt: skip


_Callback = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.POINTER(_Event))


class _Espeak:
    """The loaded C library and what its callback has collected."""

    def __init__(self, library_path: str, data_path: str) -> None:
        self.library = ctypes.CDLL(library_path)
        self.data = Path(data_path)
        self.pieces: list[np.ndarray] = []
        self.word_events: list[tuple[int, int]] = []
        self.callback = _Callback(self._collect)

    def _collect(self, samples: Any, count: int, events: Any) -> int:
        """Copy out samples and (character position, sample) of each word; 0 asks for more."""
        if samples and count > 0:
            self.pieces.append(np.ctypeslib.as_array(samples, (count,)).copy())
        index = 0
        while events[index].type != 0:
            if events[index].type == _WORD_EVENT:
                self.word_events.append((events[index].text_position - 1, events[index].sample))
            index += 1
        return 0

    def files(self, language: str) -> tuple[str, str, str]:
        """Voice file and dictionary of a language, and espeak-ng's name of it.

        Raises:
            ConfigError: espeak-ng does not speak it.
        """
        if language in DATA_FILES:
            return *DATA_FILES[language], LANGUAGES[language]
        found = [p for p in (self.data / "lang").rglob("*") if p.is_file() and p.name == language]
        told: dict[str, str] = {}
        for line in (text for path in found for text in path.read_text(encoding="utf-8").splitlines()):
            told.setdefault(*[*line.split(), "", ""][:2])
        dictionary = f"{told.get('dictionary') or told.get('language', '').split('-')[0]}_dict"
        if not (self.data / dictionary).is_file():
            remedy = f"{nearest(language, list(DATA_FILES))}, or another of espeak-ng's by its code, such as it, nl, pt-BR."
            raise ConfigError(f"espeak-ng speaks no {language!r};", remedy=remedy)
        return found[0].relative_to(self.data / "lang").as_posix(), dictionary, language

    def folder(self, root: Path, language: str, variant: str) -> None:
        """Lay out a data folder for one language and one speaker."""
        voice_file, dictionary, own_name = self.files(language)
        (root / "voices" / "!v").mkdir(parents=True)
        (root / "voices" / "!v" / variant).write_text(speaker(variant).variant_file(variant), encoding="utf-8")
        (root / "lang").mkdir()
        for source, target in [(self.data / name, root / name) for name in {*COMMON_FILES, dictionary}] + [
            (self.data / "lang" / voice_file, root / "lang" / own_name)
        ]:
            try:
                os.symlink(source, target)
            except (OSError, NotImplementedError):  # no right to make links (Windows): a copy does the same
                shutil.copyfile(source, target)

    def run(self, text: str, language: str, variant: str, settings: dict[int, int]) -> tuple[np.ndarray, list[tuple[int, int]]]:
        """Speak `text` from a fresh start; returns float32 samples at 22.05 kHz and the word events."""
        self.pieces.clear()
        self.word_events.clear()
        with tempfile.TemporaryDirectory(prefix="unifusion-voice-") as root:
            self.folder(Path(root), language, variant)
            self.library.espeak_Terminate()
            rate = self.library.espeak_Initialize(_SYNCHRONOUS, 0, root.encode(), _DONT_EXIT)
            if rate != ESPEAK_RATE_HZ:
                raise ConfigError(f"espeak-ng started with {rate}, wanted {ESPEAK_RATE_HZ} Hz;", remedy="reinstall espeakng-loader.")
            self.library.espeak_SetSynthCallback(self.callback)
            name = f"{self.files(language)[2]}+{variant}".encode()
            if self.library.espeak_SetVoiceByName(name) != 0:
                raise ConfigError(f"espeak-ng has no voice {name.decode()!r};", remedy="reinstall espeakng-loader.")
            for parameter, value in settings.items():
                self.library.espeak_SetParameter(parameter, value, 0)
            raw = text.encode()
            status = self.library.espeak_Synth(raw, len(raw) + 1, 0, 1, 0, _UTF8, None, None)
            self.library.espeak_Synchronize()
        if status != 0 or not self.pieces:
            raise ConfigError(f"espeak-ng gave no sound for {text!r} (status {status});", remedy="give a sentence with words in it.")
        return np.concatenate(self.pieces).astype(np.float32) / 32768.0, list(self.word_events)


@lru_cache(maxsize=1)
def _espeak() -> _Espeak:
    """Load the library once per process image; a forked child may go on with its parent's, it restarts it anyway."""
    try:
        import espeakng_loader
    except ImportError as error:
        raise ConfigError("clip world's voices need the package espeakng-loader;", remedy="pip install 'unifusion-x[world]'.") from error
    return _Espeak(espeakng_loader.get_library_path(), espeakng_loader.get_data_path())


def _fresh_lock() -> None:
    """A child forked while another thread spoke would wait for ever on the copied lock."""
    global _lock
    _lock = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_fresh_lock)


def pitch_setting(semitones: float) -> int:
    """Return espeak's pitch parameter (0-99, 50 in the middle, 50 per octave) for an offset from the speaker's own pitch.

    It moves the foot of the intonation curve; the curve's height stays the same in Hz, so the median F0 of a sentence moves
    by about 0.8 of it (measured).
    """
    return int(np.clip(round(50 + 50 * semitones / 12), 0, 99))


def _marked(tokens: Sequence[str], pitch: int, contour: Contour) -> tuple[str, list[int]]:
    """Put espeak's pitch command before each word; returns the text and where each word's mark begins (characters)."""
    text, starts = "", []
    for index, token in enumerate(tokens):
        place = index / max(1, len(tokens) - 1)
        shift = float(np.interp(place, [p for p, _ in contour], [s for _, s in contour])) if contour else 0.0
        starts.append(len(text))
        text += f"\x01{pitch_setting((pitch - 50) * 12 / 50 + shift)}P{token} "
    return text.rstrip(), starts


def _word_starts(starts: Sequence[int], lengths: Sequence[int], events: Sequence[tuple[int, int]], total: int) -> list[int]:
    """Sample at which each word begins.

    espeak-ng reports one event for words that it speaks as one ("of the"): the silent ones get their share, by letters,
    of the span up to the next event.
    """
    known: dict[int, int] = {}
    for position, sample in events:
        index = int(np.searchsorted(starts, position, side="right")) - 1
        if 0 <= index and index not in known:
            known[index] = sample
    known.setdefault(0, 0)
    letters = np.concatenate([[0], np.cumsum(lengths)])
    anchors = sorted(known)
    samples = np.maximum.accumulate([known[a] for a in anchors])
    return [int(s) for s in np.interp(letters[:-1], [*letters[anchors], letters[-1]], [*samples, max(total, int(samples[-1]))])]


def _timed_words(tokens: Sequence[str], starts: Sequence[int], waveform_N: np.ndarray) -> tuple[Word, ...]:
    """Words with starts and ends in seconds; silence before a word's first and after its last sound is cut off."""
    loud_N = np.abs(waveform_N) > 10 ** (-40 / 20) * float(np.abs(waveform_N).max())
    words = []
    for index, token in enumerate(tokens):
        first = starts[index]
        last = starts[index + 1] if index + 1 < len(starts) else len(waveform_N)
        heard = np.flatnonzero(loud_N[first:last])
        if len(heard):
            first, last = first + int(heard[0]), first + int(heard[-1]) + 1
        words.append(Word(text=token.strip(PUNCTUATION), start_s=first / ESPEAK_RATE_HZ, end_s=last / ESPEAK_RATE_HZ))
    return tuple(words)


@lru_cache(maxsize=128)
def speak(
    text: str, language: str, variant: str, pitch: int, pitch_range: int, rate_wpm: int, volume: int = 60, contour: Contour = ()
) -> Spoken:
    """Speak one sentence.

    Args:
        text: plain words; control characters are refused.
        language: a key of `script.LANGUAGES`, or a code of espeak-ng.
        variant: a speaker of `speakers.SPEAKERS`, or a reader.
        pitch: 0-99, 50 is the speaker's own, 50 per octave.
        pitch_range: 0-99, 50 is the speaker's own, 0 is monotone.
        rate_wpm: words per minute, 80-450.
        volume: 0-100; 60 leaves the head room that keeps espeak-ng from clipping.
        contour: semitones over the sentence.

    Returns:
        waveform_N float32 at 16 kHz without leading or trailing silence (cached: do not write into it), and the words.

    Raises:
        ConfigError: an unknown language or speaker, an empty text, or espeakng-loader is not installed.
    """
    speaker(variant)
    _espeak().files(language)
    tokens = [t for t in text.split() if t.strip(PUNCTUATION)]
    if not tokens or any(ord(c) < 32 for c in text):
        raise ConfigError(f"cannot speak {text!r};", remedy="give at least one word and no control characters.")
    marked, starts = _marked(tokens, pitch, contour)
    with _lock:
        raw_N, events = _espeak().run(marked, language, variant, {_RATE: rate_wpm, _VOLUME: volume, _PITCH: pitch, _RANGE: pitch_range})
    words = _timed_words(tokens, _word_starts(starts, [len(t) for t in tokens], events, len(raw_N)), raw_N)
    waveform_N = resample(raw_N, ESPEAK_RATE_HZ, RATE_HZ)
    lead_s = words[0].start_s
    waveform_N = waveform_N[int(lead_s * RATE_HZ) : int(np.ceil(words[-1].end_s * RATE_HZ))]
    waveform_N.setflags(write=False)
    return Spoken(waveform_N, tuple(Word(text=w.text, start_s=w.start_s - lead_s, end_s=w.end_s - lead_s) for w in words))
