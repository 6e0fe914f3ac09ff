"""Speech to text with times, by any recogniser of transformers: Whisper, other encoder-decoders, and CTC networks.

A recording is cut into pieces no longer than the network takes, each at the softest moment of its last half, so that words are rarely
cut; pieces are recognised in batches, apart from each other. What is silent or as steady as noise is not shown to the network at all: a
recogniser writes words for that, too (Koenecke et al., "Careless Whisper", 2024).
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from unifusion.conversation import Clip, Line, Media
from unifusion.engine.recording import pieces_of_sound, read_pieces
from unifusion.errors import CheckpointError, ConfigError
from unifusion.limits import Limits
from unifusion.media.levels import can_be_speech

__all__ = ["Heard", "Transcriber"]

_LONGEST_S = 30.0
_REPEATED = 2.4
"""Text that zlib makes this much smaller says the same over and over, which speech does not (the threshold of Whisper's own code)."""
_LEAST_S = 0.1
_PAUSE_S = 0.6
_STAMP_S = 0.02
_SURE = -1.0
_TOKENS_PER_S = 10
"""More than anybody speaks: 6.5 is what the authors of Moonshine advise."""
_LEAST_STEP_S = 1.0
"""A Whisper that stops early listens again from there, in steps of at least this."""
_Piece = tuple[float, np.ndarray]


@dataclass(kw_only=True)
class Heard:
    """What was recognised in a recording.

    Attributes:
        lines: by start, in seconds of the recording.
        seconds: of sound that were there.
        silent_s, steady_s: of them not shown to the network, for being silent, or steady as noise.
        refused: lines of repeated words that were left out.
    """

    lines: list[Line] = field(default_factory=list)
    seconds: float = 0.0
    silent_s: float = 0.0
    steady_s: float = 0.0
    refused: int = 0


class Transcriber:
    """A recogniser with its tokenizer and preprocessing.

    Args:
        model: of transformers, put into eval mode.
        extractor: feature extractor of its sound.
        tokenizer: of its words.
        name: what to call it.
        language: for a recogniser of several (`en`, `german`); None lets it find out for each piece.
        batch_size: pieces at once, of a Whisper; others take one.
        no_speech: probability of "no speech" from which a Whisper's unsure words (mean log-probability below -1) are none.

    Raises:
        ConfigError: a language for a recogniser of one.
    """

    def __init__(
        self, model: Any, extractor: Any, tokenizer: Any, *, name: str, language: str | None = None, batch_size: int = 8,
        no_speech: float = 0.6,
    ) -> None:  # fmt: skip
        self.model, self.extractor, self.tokenizer = model.eval(), extractor, tokenizer
        self.name, self.language, self.batch_size, self.no_speech = name, language, batch_size, no_speech
        self.rate_hz = int(extractor.sampling_rate)
        self.whispers = model.config.model_type == "whisper"
        self.spells = not model.can_generate()
        if language is not None and not getattr(model.generation_config if not self.spells else None, "lang_to_id", None):
            raise ConfigError(f"{name} knows no languages to choose from;", remedy="leave the language out.")

    @classmethod
    def load(cls, source: str, *, device: str = "cpu", revision: str | None = None, **options: Any) -> Transcriber:
        """Read a recogniser from a folder or by its name on the hub; safetensors only.

        Raises:
            CheckpointError: it is none, or cannot be read.
        """
        from transformers import AutoConfig, AutoFeatureExtractor, AutoModelForCTC, AutoModelForSpeechSeq2Seq, AutoTokenizer
        from transformers.models.auto.modeling_auto import MODEL_FOR_CTC_MAPPING, MODEL_FOR_SPEECH_SEQ_2_SEQ_MAPPING

        where: dict[str, Any] = {"revision": revision, "trust_remote_code": False}
        try:
            config = AutoConfig.from_pretrained(source, **where)
            spells = type(config) in MODEL_FOR_CTC_MAPPING
            if not spells and type(config) not in MODEL_FOR_SPEECH_SEQ_2_SEQ_MAPPING:
                raise CheckpointError(f"{source!r} is a {config.model_type}, no recogniser of speech;", remedy="name a Whisper.")
            kind = AutoModelForCTC if spells else AutoModelForSpeechSeq2Seq
            model = kind.from_pretrained(source, use_safetensors=True, **where)
            extractor = AutoFeatureExtractor.from_pretrained(source, **where)
            tokenizer = AutoTokenizer.from_pretrained(source, **where)
        except (OSError, ValueError, KeyError) as error:
            raise CheckpointError(
                f"cannot read the recogniser {source!r}: {str(error).strip().splitlines()[0]};",
                remedy="give a folder of transformers, or download the name while online.",
            ) from error
        short = Path(source).name if Path(source).exists() else source
        return cls(model.to(device), extractor, tokenizer, name=f"{config.model_type} {short}", **options)

    @property
    def longest_s(self) -> float:
        """Seconds that are recognised at once."""
        if not self.whispers:
            return _LONGEST_S
        positions_s = 2 * int(self.model.config.max_source_positions) * float(self.extractor.hop_length) / self.rate_hz
        return min(float(self.extractor.chunk_length), positions_s)

    def hear(self, media: Media, *, limits: Limits | None = None, isolate: bool = False, strict: bool = True) -> Heard:
        """Recognise the speech of a file, or a span of it; times are those of the file. A clip without sound has no lines.

        Raises:
            MediaError: it cannot be decoded.
        """
        from unifusion.media import probe

        if media.kind == "image" or (isinstance(media.source, str | Path | bytes) and not _sounds(media, probe, limits, isolate)):
            return Heard()
        if isinstance(media.source, str | Path) and not str(media.source).startswith("clip-world://"):
            reading: dict[str, Any] = {"limits": limits, "isolate": isolate, "strict": strict}
            return self.hear_pieces(read_pieces(media, rate_hz=None, sampling_rate_hz=self.rate_hz, **reading))
        from unifusion.processor.opening import at_sampling_rate, decode

        limits = limits or Limits()
        clip, _ = decode(media, rate_hz=None, audio=True, max_seconds=limits.max_span_seconds, sampling_rate_hz=self.rate_hz, limits=limits)
        return self.hear_pieces([at_sampling_rate(clip, self.rate_hz)])

    @torch.inference_mode()
    def hear_pieces(self, clips: Iterable[Clip]) -> Heard:
        """Recognise sound that comes in pieces, each at `rate_hz` and with its second (`start_s`)."""
        heard = Heard()
        waiting: list[_Piece] = []
        size = self.batch_size if self.whispers else 1
        for piece in pieces_of_sound(clips, self.rate_hz, self.longest_s):
            heard.seconds += len(piece[1]) / self.rate_hz
            waiting += self._worth(piece, heard)
            while len(waiting) >= size:
                waiting = [*self._recognise(waiting[:size], heard), *waiting[size:]]
        while waiting:
            waiting = [*self._recognise(waiting[:size], heard), *waiting[size:]]
        heard.lines.sort(key=lambda line: (line.start_s, line.end_s))
        return heard

    def _worth(self, piece: _Piece, heard: Heard) -> list[_Piece]:
        """The piece, if it may be speech; otherwise its seconds are counted."""
        length_s = len(piece[1]) / self.rate_hz
        why = can_be_speech(piece[1], self.rate_hz) if length_s >= _LEAST_S else "silent"
        heard.silent_s += length_s * (why == "silent")
        heard.steady_s += length_s * (why == "steady")
        return [] if why else [piece]

    def _recognise(self, pieces: Sequence[_Piece], heard: Heard) -> list[_Piece]:
        """Add the lines of some pieces; return what of them a Whisper stopped before."""
        waves, rest = [waveform_N for _, waveform_N in pieces], []
        found = self._by_whisper(waves) if self.whispers else [self._spelled(waves[0]) if self.spells else self._written(waves[0])]
        for (at_s, waveform_N), (lines, done_s) in zip(pieces, found, strict=True):
            length_s = len(waveform_N) / self.rate_hz
            for line in lines:
                text, start_s, end_s = " ".join(line.text.split()), max(line.start_s, 0.0), min(line.end_s, length_s)
                if not text or end_s <= start_s:
                    continue
                if _repeats(text):
                    heard.refused += 1
                    continue
                heard.lines.append(Line(round(at_s + start_s, 3), round(at_s + end_s, 3), text))
            if _LEAST_STEP_S <= done_s < length_s - _LEAST_STEP_S:
                rest += self._worth((at_s + done_s, waveform_N[round(done_s * self.rate_hz) :]), heard)
        return rest

    def _by_whisper(self, waves: Sequence[np.ndarray]) -> list[tuple[list[Line], float]]:
        """Lines of each piece by the time stamps that a Whisper writes itself, and up to which second it has listened."""
        config = self.model.generation_config
        if not hasattr(config, "no_timestamps_token_id"):
            raise CheckpointError(f"{self.name} writes no time stamps;", remedy="its generation_config.json lacks no_timestamps_token_id.")
        given = self.extractor(list(waves), sampling_rate=self.rate_hz, return_tensors="pt")
        features = given["input_features"].to(self.model.device, self.model.dtype)
        language: dict[str, Any] = {"language": self.language} if self.language else {}
        try:
            # One call alone: transformers' own way goes on after the last stamp into the silence that fills a piece up, and for ever
            # after a stamp of 0; its threshold of no speech breaks off with an IndexError (5.23).
            out = self.model.generate(
                features, return_timestamps=True, force_unique_generate_call=True, return_dict_in_generate=True, output_scores=True,
                max_length=self.model.config.max_target_positions, num_beams=1, do_sample=False, **language,
            )  # fmt: skip
        except ValueError as error:
            if self.language and "language" in str(error).lower():
                raise ConfigError(f"{self.name}: {error};", remedy="name one that it knows, such as en or english.") from error
            raise
        first = int(config.no_timestamps_token_id) + 1
        found = []
        for row, wave in enumerate(waves):
            length_s = len(wave) / self.rate_hz
            written = out.sequences[row, -len(out.scores) :]
            nothing = self._unsure(out.scores, written, row) and self._nobody_speaks(features[row : row + 1], first - 2)
            found.append(([], length_s) if nothing else self._parted(written.tolist(), first, length_s))
        return found

    def _unsure(self, scores: Sequence[Tensor], written_S: Tensor, row: int) -> bool:
        """Whether the mean log-probability of what was written, its end included, is below -1."""
        end, total, count = self.model.generation_config.eos_token_id, 0.0, 0
        for step, token in zip(scores, written_S.tolist(), strict=True):
            total, count = total + float(step[row].float().log_softmax(-1)[token]), count + 1
            if token == end:
                break
        return total / max(1, count) < _SURE

    def _nobody_speaks(self, features: Tensor, token: int) -> bool:
        """Whether "no speech" is what should stand first."""
        start = torch.full((1, 1), int(self.model.generation_config.decoder_start_token_id), device=features.device)
        logits_V = self.model(input_features=features, decoder_input_ids=start).logits[0, 0]
        return float(logits_V.float().softmax(-1)[token]) > self.no_speech

    def _parted(self, ids: Sequence[int], first_stamp: int, length_s: float) -> tuple[list[Line], float]:
        """Lines of what a Whisper wrote: `<|0.00|> words <|1.20|>`, and up to which second it has listened."""
        lines: list[Line] = []
        start_s, words, closed = 0.0, list[int](), False
        for id in ids:
            if id < first_stamp:
                words.append(id)
                continue
            at_s = (id - first_stamp) * _STAMP_S
            closed = bool(words)
            if words:
                lines.append(Line(start_s, at_s, self._text(words)))
            start_s, words = at_s, []
        text = self._text(words)
        if text and not lines:
            return [Line(start_s, length_s, text)], length_s
        # One stamp at the end says that nobody speaks after it; two, or words without an end, that somebody does.
        return lines, length_s if not lines or (closed and not text) else start_s

    def _text(self, ids: Sequence[int]) -> str:
        """Words of ids, without control tokens."""
        return str(self.tokenizer.decode(list(ids), skip_special_tokens=True)).strip()

    def _spelled(self, waveform_N: np.ndarray) -> tuple[list[Line], float]:
        """Lines of a CTC network, parted where nothing is spelled for 0.6 s."""
        given = self.extractor(waveform_N, sampling_rate=self.rate_hz, return_tensors="pt")
        ids_T = self.model(**{k: v.to(self.model.device) for k, v in given.items()}).logits[0].argmax(-1).cpu().numpy()
        step_s = len(waveform_N) / self.rate_hz / max(1, len(ids_T))
        blank = self.tokenizer.pad_token_id if self.tokenizer.pad_token_id is not None else self.model.config.pad_token_id
        lines = []
        for first, last in _runs(ids_T != blank, round(_PAUSE_S / step_s)):
            lines.append(Line(first * step_s, last * step_s, self._text(ids_T[first:last].tolist())))
        return lines, len(waveform_N) / self.rate_hz

    def _written(self, waveform_N: np.ndarray) -> tuple[list[Line], float]:
        """The words of a recogniser that tells no times: one line as long as the piece."""
        given = self.extractor(waveform_N, sampling_rate=self.rate_hz, return_tensors="pt")
        length_s = len(waveform_N) / self.rate_hz
        room = 8 + round(_TOKENS_PER_S * length_s)
        sound = {k: v.to(self.model.device) for k, v in given.items()}
        ids = self.model.generate(**sound, num_beams=1, do_sample=False, max_new_tokens=room)
        return [Line(0.0, length_s, self._text(ids[0].tolist()))], length_s


def _sounds(media: Media, probe: Any, limits: Limits | None, isolate: bool) -> bool:
    """Whether a file has sound."""
    if str(media.source).startswith("clip-world://"):
        return True
    return bool(probe(media.source, limits=limits or Limits(), isolate=isolate).has_audio)


def _repeats(text: str) -> bool:
    """Whether a text says the same over and over."""
    raw = text.encode()
    return len(raw) / len(zlib.compress(raw)) > _REPEATED


def _runs(there_T: np.ndarray, gap: int) -> list[tuple[int, int]]:
    """First and behind the last place of runs of True, those less than `gap` apart joined."""
    edges = np.flatnonzero(np.diff(np.concatenate([[0], there_T.astype(np.int8), [0]]))).reshape(-1, 2)
    runs: list[tuple[int, int]] = []
    for first, last in edges.tolist():
        if runs and first - runs[-1][1] < gap:
            runs[-1] = (runs[-1][0], last)
        else:
            runs.append((first, last))
    return runs
