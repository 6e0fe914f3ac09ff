"""The rows of one clip: its words, shots, pauses and sounds, and the windows that follow from them."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from unifusion.conversation import Clip, Line, Media
from unifusion.engine.recording import read_pieces
from unifusion.engine.sounds import SoundTagger
from unifusion.engine.speech import Transcriber
from unifusion.engine.spoken import AUTO, SpokenWords, beside
from unifusion.evaluation.outfile import weights_of
from unifusion.evaluation.windows.cut import cut_windows
from unifusion.features.keys import media_key
from unifusion.limits import Limits
from unifusion.media import probe
from unifusion.media.levels import levels_db, quiet_spans
from unifusion.media.shots import RATE_HZ, shot_finder
from unifusion.media.subtitles import as_rows, said_between
from unifusion.processor.opening import decode

__all__ = ["WindowChoices", "WindowMaker"]

_VERSION = 2
_SOUND_HZ = 16_000

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class WindowChoices:
    """What rows depend on beside the clips.

    Attributes:
        window_s: length wanted; see `cut_windows`.
        subtitles: `auto`, or "" to read none.
        asr: recogniser of what no subtitles tell, by folder or hub name; "" for none.
        language: of the recogniser.
        shots: `histogram`, `pyscenedetect`, or "" to look for none.
        tags: classifier or embedding model that names sounds; "" for none.
        tag_names: what an embedding model is asked for; empty for its own list.
        top, least: how many sounds are told at most, and the score that they need.
        device: where to compute.
        isolate: decode in a killable child process.
        strict: a damaged frame is an error.
    """

    window_s: float = 10.0
    subtitles: str = AUTO
    asr: str = ""
    language: str = ""
    shots: str = ""
    tags: str = ""
    tag_names: tuple[str, ...] = ()
    top: int = 3
    least: float = 0.1
    device: str = "cpu"
    isolate: bool = False
    strict: bool = True

    def mark(self) -> str:
        """A hash of all that rows depend on: models by name and, where they lie in a folder, by their files."""
        told = {k: v for k, v in asdict(self).items() if k not in ("device", "isolate")}
        weights = {k: weights_of(told[k]) for k in ("asr", "tags") if told[k]}
        for name in weights:
            told[name] = Path(told[name]).name if Path(told[name]).exists() else told[name]
        return hashlib.sha256(json.dumps([_VERSION, told, weights], sort_keys=True).encode()).hexdigest()


def _of_clip(lines: Sequence[Line], length_s: float, name: str) -> list[Line]:
    """Lines that begin in a clip, none longer than it; how many begin later, as those of another recording do, is told."""
    late = sum(line.start_s >= length_s for line in lines)
    if late:
        log.warning("%s: %d of %d lines begin after its %.2f s: are they those of this clip?", name, late, len(lines), length_s)
    return [replace(line, end_s=min(line.end_s, length_s)) for line in lines if line.start_s < length_s]


class WindowMaker:
    """Makes rows; holds the models.

    Args:
        choices: see there.

    Raises:
        CheckpointError: a model cannot be read.
        ConfigError: a choice that does not exist.
    """

    def __init__(self, choices: WindowChoices) -> None:
        self.choices = choices
        if choices.shots:
            shot_finder(choices.shots)
        reading: dict[str, Any] = {"isolate": choices.isolate, "strict": choices.strict}
        transcriber = Transcriber.load(choices.asr, device=choices.device, language=choices.language or None) if choices.asr else None
        self.words = SpokenWords(subtitles=choices.subtitles, transcriber=transcriber, **reading)
        self.tagger = (
            SoundTagger.load(choices.tags, names=choices.tag_names, device=choices.device, top=choices.top, least=choices.least)
            if choices.tags else None
        )  # fmt: skip
        self._reading = {"limits": Limits(), **reading}

    def rows(self, media: Media) -> list[dict[str, Any]]:
        """The windows of a clip, without what it is called.

        Raises:
            MediaError: it, or its subtitles, cannot be read.
        """
        info = probe(str(media.source), limits=Limits(), isolate=self.choices.isolate)
        lines, origin = (media.subtitles, media.words_from) if media.subtitles else self.words.find(media)
        levels_K, heard_to_s = self._levels(media) if info.has_audio else (np.zeros(0), 0.0)
        shots, seen_to_s = self._shots(media) if self.choices.shots and info.has_video and media.kind == "video" else ([], 0.0)
        begin_s = media.start_s or 0.0
        length_s = info.duration_s or max(heard_to_s, seen_to_s)
        end_s = length_s if media.end_s is None else min(media.end_s, info.duration_s or media.end_s)
        lines = [x for x in _of_clip(lines, length_s, media.name) if begin_s <= (x.start_s + x.end_s) / 2 < end_s]
        pauses = [(a + begin_s, b + begin_s) for a, b in quiet_spans(levels_K)]
        cuts = cut_windows((begin_s, end_s), lines, window_s=self.choices.window_s, shots=shots, pauses=pauses)
        return [self._row(media, span, lines, origin, shots, heard=span[0] < heard_to_s) for span in cuts]

    def _row(
        self, media: Media, span: tuple[float, float], lines: list[Line], origin: str, shots: list[float], *, heard: bool
    ) -> dict[str, Any]:  # fmt: skip
        """One window; what is not known of it has no key."""
        row: dict[str, Any] = {"start_s": span[0], "end_s": span[1]}
        own = [x for x in lines if span[0] <= (x.start_s + x.end_s) / 2 < span[1]]
        if own:
            row |= {"transcript": said_between(own, *span), "subtitles": list(as_rows(own)), "words_from": origin}
        if self.choices.shots:
            row["shot"] = sum(shot <= span[0] + 1e-6 for shot in shots)
        if self.tagger is not None and heard:
            found = self._sounds(self.tagger, media, span)
            row |= {"sounds": [name for name, _ in found], "sound_scores": [score for _, score in found]}
        return row

    def _levels(self, media: Media) -> tuple[np.ndarray, float]:
        """Levels of the sound (K,) from the span's start, and its last second."""
        levels, end_s = [], 0.0
        for piece in self._pieces(media, sampling_rate_hz=_SOUND_HZ):
            wave_N = piece.waveform_N if piece.waveform_N is not None else np.zeros(0, np.float32)
            whole = np.zeros(round(piece.duration_s * _SOUND_HZ), np.float32)
            first = round(piece.waveform_start_s * _SOUND_HZ)
            whole[first : first + len(wave_N)] = wave_N[: max(0, len(whole) - first)]
            levels.append(levels_db(whole, _SOUND_HZ))
            end_s = piece.start_s + piece.duration_s
        return (np.concatenate(levels) if levels else np.zeros(0)), end_s

    def _shots(self, media: Media) -> tuple[list[float], float]:
        """Seconds at which shots begin, and the last second that was seen."""
        finder, end_s = shot_finder(self.choices.shots), 0.0
        for piece in self._pieces(media, rate_hz=RATE_HZ):
            if piece.frames_THWC is not None and piece.frame_times_s is not None:
                finder.add(piece.frames_THWC, np.asarray(piece.frame_times_s) + piece.start_s)
            end_s = piece.start_s + piece.duration_s
        return finder.cuts, end_s

    def _sounds(self, tagger: SoundTagger, media: Media, span: tuple[float, float]) -> list[tuple[str, float]]:
        """Names of what is heard in a window."""
        clip, _ = decode(
            replace(media, start_s=span[0], end_s=span[1]), rate_hz=None, audio=True, max_seconds=span[1] - span[0] + 1.0,
            sampling_rate_hz=tagger.rate_hz, **self._reading,
        )  # fmt: skip
        return tagger.tags(clip.waveform_N) if clip.waveform_N is not None else []

    def _pieces(self, media: Media, **rates: Any) -> Iterator[Clip]:
        """The recording, piece by piece."""
        return read_pieces(media, **{"rate_hz": None, "sampling_rate_hz": None, **rates}, **self._reading)

    @staticmethod
    def key(media: Media, mark: str, subtitles: str) -> str:
        """Hash of what the rows of a clip depend on: its bytes and span, the subtitles beside it, the choices.

        Raises:
            MediaError: it cannot be read.
        """
        file = beside(str(media.source)) if subtitles == AUTO else None
        words = file.read_bytes() if file is not None else b""
        told = [media_key(media, Limits()), hashlib.sha256(words).hexdigest(), file.name if file is not None else "", mark]
        return hashlib.sha256(json.dumps(told).encode()).hexdigest()
