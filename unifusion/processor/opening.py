"""From a reference to a clip to what each stream's encoder takes, and the report of what was found."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from torch import Tensor

from unifusion.batch import StreamReport, WordsReport
from unifusion.conversation import Altered, Clip, Line, Media, Mix, Take
from unifusion.errors import LimitError, MediaError, NoStreamError
from unifusion.limits import Limits
from unifusion.processor.altering import altered
from unifusion.processor.streams import StreamSpec

if TYPE_CHECKING:
    from unifusion.media import MediaInfo

__all__ = ["MediaOpener", "OpenedMedia", "StreamItem", "decode"]

_EPSILON_S = 1e-3
_MOMENT_S = 0.025
_NOTHING_DB = -90.0
_SILENT_S = 3.0
"""Length of a mix without a voice."""


@dataclass(frozen=True, kw_only=True)
class StreamItem:
    """One stream of one clip, ready for its encoder (`tensors`) or already encoded (`tokens_SD`).

    Attributes:
        times_S: float32 seconds of the encoder's tokens.
        mask_S: bool, which of them are real.
        tensors: the encoder's own input, each (C, ..).
        tokens_SD: features read from a store instead.
        token_times_Q: seconds of the tokens the adapter will give; their number is the number of placeholders.
    """

    times_S: Tensor
    mask_S: Tensor
    token_times_Q: Tensor
    tensors: Mapping[str, Tensor] = field(default_factory=dict)
    tokens_SD: Tensor | None = None
    windowed: bool = True


@dataclass(frozen=True, kw_only=True)
class OpenedMedia:
    """A clip after decoding and preprocessing. `streams` holds those that are there; `reports` every one."""

    media: Media
    streams: dict[str, StreamItem]
    reports: dict[str, StreamReport]
    duration_s: float
    notes: tuple[str, ...] = ()

    @property
    def lines(self) -> tuple[Line, ...]:
        """Timed words of what is shown, from its start."""
        return self.media.lines(self.duration_s)

    @property
    def shown_lines(self) -> tuple[Line, ...]:
        """Those that stand in the prompt: where a stream reads text, it has them."""
        return () if any(r.present and r.modality == "text" for r in self.reports.values()) else self.lines

    @property
    def words(self) -> WordsReport | None:
        """What became of the clip's timed words; None where it came with none, or they are muted."""
        if not self.media.subtitles or "text" in self.media.mute:
            return None
        lines, end_s, seconds = self.lines, 0.0, 0.0
        for line in sorted(lines, key=lambda x: x.start_s):
            seconds += max(0.0, line.end_s - max(line.start_s, end_s))
            end_s = max(end_s, line.end_s)
        place = "prompt" if self.shown_lines or not lines else "stream"
        return WordsReport(source=self.media.words_from, lines=len(lines), seconds=round(seconds, 3), place=place)


class MediaOpener:
    """Opens clips for a set of streams: one container pass, each encoder's own preprocessing.

    Args:
        specs: the model's streams by name.
        limits: bounds for this door.
        max_seconds: longest span shown to the model; the rest is cropped and reported.
        isolate: decode in a killable child process.
        strict: a damaged frame is an error; otherwise it is flagged in the notes.
        only: streams that are wanted; the others take part in how a clip is decoded, so that these come out as with all. A clip
            without them is opened, and its reports say that they are absent.
    """

    def __init__(
        self,
        specs: Mapping[str, StreamSpec],
        *,
        limits: Limits | None = None,
        max_seconds: float = 60.0,
        isolate: bool = False,
        strict: bool = True,
        only: Sequence[str] = (),
    ) -> None:
        self.specs = dict(specs)
        self.limits = limits or Limits()
        self.max_seconds = max_seconds
        self.isolate = isolate
        self.strict = strict
        self.wanted = {name: spec for name, spec in self.specs.items() if not only or name in only}

    @property
    def rates(self) -> tuple[float | None, int | None]:
        """Frames and samples a second that are decoded for the streams; None where none takes any."""
        each = [(s.modality, s.encoder_class.rate_hz(s.encoder_choices)) for s in self.specs.values()]
        video = max((rate for kind, rate in each if kind in ("video", "image")), default=None)
        return video, max((round(rate) for kind, rate in each if kind == "audio"), default=None)

    def open(self, media: Media, *, between: Callable[[Clip, Media], Clip] | None = None) -> OpenedMedia:
        """Decode the span of `media` and preprocess it for every stream.

        Args:
            media: the span.
            between: changes what was decoded before any stream takes it (augmentation); None leaves it as it is.

        Raises:
            MediaError: the file cannot be decoded, or holds nothing that any stream takes.
        """
        clip, notes, cropped_s = self._decode(media)
        if between is not None:
            clip = between(clip, media)
        streams: dict[str, StreamItem] = {}
        reports: dict[str, StreamReport] = {}
        for name, spec in self.wanted.items():
            reason = absence(spec.modality, media, clip)
            if reason:
                reports[name] = StreamReport(modality=spec.modality, present=False, reason=reason)
                continue
            try:
                streams[name], reports[name], more = self._stream(spec, clip)
            except MediaError as error:  # a few milliseconds of sound beside a good picture
                reports[name] = StreamReport(modality=spec.modality, present=False, reason=error.found.rstrip(";"))
                continue
            notes += more
            if cropped_s > _EPSILON_S and spec.modality != "text":  # words are read whole
                reports[name].cropped_s = round(cropped_s, 3)
                reports[name].reason = f"only the first {clip.duration_s:.1f} s are shown to the model; choose a span with start and end"
        if not streams and not media.mute and not clip.subtitles and len(self.wanted) == len(self.specs):
            found = "; ".join(f"{n}: {r.reason}" for n, r in reports.items())
            told = ", or say what is said in it" if any(s.modality == "text" for s in self.specs.values()) else ""
            raise NoStreamError(
                f"{media.name}: no stream of the model can use this file ({found});", remedy=f"give a clip with picture or sound{told}."
            )
        return OpenedMedia(media=media, streams=streams, reports=reports, duration_s=clip.duration_s, notes=tuple(notes))

    def _decode(self, media: Media) -> tuple[Clip, list[str], float]:
        """Decode the span, at most `max_seconds` of it; return the clip, its notes, and the seconds left out."""
        length = max(len(media.transcript or ""), sum(len(line.text) for line in media.lines(self.max_seconds)))
        if length > self.limits.max_text_chars:
            raise LimitError(
                f"{media.name}: a transcript of {length} characters, the limit is {self.limits.max_text_chars};",
                remedy="give that of a shorter span.",
            )
        read = {s.modality for s in self.wanted.values()} - set(media.mute)
        # Words are spread over what is decoded: so that they come out as with all streams, all are decoded.
        spread = "text" in read and (media.transcript or media.subtitles)
        wanted = {s.modality for s in self.specs.values()} - set(media.mute) if spread else read
        video, sound = self.rates
        picture, heard = bool(wanted & {"video", "image"}) and media.kind != "audio", "audio" in wanted and media.kind != "image"
        clip, cropped_s = decode(
            media, rate_hz=video if picture else None, audio=heard, sampling_rate_hz=sound or 16_000,
            max_seconds=self.max_seconds, limits=self.limits, isolate=self.isolate, strict=self.strict,
        )  # fmt: skip
        lines = media.lines(clip.duration_s)
        said = " ".join(line.text for line in lines) if lines else media.transcript or clip.transcript
        clip = raised(replace(clip, transcript=said, subtitles=lines), media.at_least_db)
        return clip, list(clip.notes), cropped_s

    def _stream(self, spec: StreamSpec, clip: Clip) -> tuple[StreamItem, StreamReport, list[str]]:
        """Preprocess one stream and say what it gave."""
        if spec.modality in ("video", "image"):
            clip = at_rate(clip, spec.encoder_class.rate_hz(spec.encoder_choices))
        elif spec.modality == "audio":
            clip = at_sampling_rate(clip, round(spec.encoder_class.rate_hz(spec.encoder_choices)))
        prepared = spec.encoder_class.preprocess(spec.opening_choices, clip)
        times = spec.adapter_class.token_times(spec.adapter_choices, prepared.times_S, prepared.mask_S)
        item = StreamItem(
            times_S=prepared.times_S,
            mask_S=prepared.mask_S,
            tensors=prepared.tensors,
            token_times_Q=times,
            windowed=spec.adapter_class.windowed,
        )
        report = StreamReport(
            modality=spec.modality,
            present=True,
            seconds=round(prepared.seconds, 3),
            frames=prepared.frames,
            samples=prepared.samples,
            tokens=len(times),
        )
        return item, report, list(prepared.notes)


def absence(modality: str, media: Media, clip: Clip) -> str:
    """Say why a modality is absent from a clip, or "" when it is there."""
    if modality in media.mute:
        return "muted on request"
    if modality == "text":
        return "" if clip.transcript and clip.transcript.strip() else "nobody told what is said (Media.transcript)"
    if modality == "audio":
        if media.kind == "image":
            return "a still has no sound"
        return "" if clip.waveform_N is not None and len(clip.waveform_N) else "the file has no sound in this span"
    if media.kind == "audio":
        return "only the sound was asked for"
    return "" if clip.frames_THWC is not None and len(clip.frames_THWC) else "the file has no picture in this span"


def raised(clip: Clip, at_least_db: float | None) -> Clip:
    """Raise soft sound until its loudest 25 ms have `at_least_db`, as far as nothing has to be cut off; a note says by how much.

    Half a second of digital silence stays what it is: below -90 dB there is nothing to raise.
    """
    if clip.waveform_N is None or at_least_db is None or not len(clip.waveform_N):
        return clip
    from unifusion.media.augment import level_db

    step = max(1, round(_MOMENT_S * clip.sampling_rate_hz))
    loudest_db = max(level_db(clip.waveform_N[i : i + step]) for i in range(0, max(1, len(clip.waveform_N) - step + 1), step))
    room_db = -20 * math.log10(float(np.abs(clip.waveform_N).max()) + 1e-9)
    gain_db = min(at_least_db - loudest_db, room_db)
    if gain_db <= 0 or loudest_db < _NOTHING_DB:
        return clip
    louder_N = (clip.waveform_N * np.float32(10 ** (gain_db / 20))).clip(-1.0, 1.0)
    return replace(clip, waveform_N=louder_N, notes=(*clip.notes, f"the sound was raised by {gain_db:.1f} dB"))


def at_rate(clip: Clip, rate_hz: float) -> Clip:
    """Thin the frames of `clip` to about `rate_hz`, as decoding a file does: the frame on screen at 0, 1/rate, 2/rate ..

    Frames that are already no denser are kept as they are.
    """
    if clip.frames_THWC is None or clip.frame_times_s is None or len(clip.frame_times_s) < 2:
        return clip
    times = np.asarray(clip.frame_times_s)
    if np.median(np.diff(times)) > 0.75 / rate_hz:
        return clip
    wanted = np.arange(times[0], times[-1] + _EPSILON_S, 1.0 / rate_hz)
    chosen = np.unique(np.searchsorted(times, wanted + _EPSILON_S, side="right") - 1)
    return replace(clip, frames_THWC=clip.frames_THWC[chosen], frame_times_s=times[chosen])


def at_sampling_rate(clip: Clip, wanted_hz: int) -> Clip:
    """Return `clip` with its sound at another rate."""
    if clip.waveform_N is None or clip.sampling_rate_hz == wanted_hz:
        return clip
    from unifusion.media.sound import resampled

    return replace(clip, waveform_N=resampled(clip.waveform_N, clip.sampling_rate_hz, wanted_hz), sampling_rate_hz=wanted_hz)


def decode(
    media: Media, *, rate_hz: float | None, audio: bool, max_seconds: float, limits: Limits, sampling_rate_hz: int = 16_000,
    isolate: bool = False, strict: bool = True,
) -> tuple[Clip, float]:  # fmt: skip
    """Return the arrays of one span, cropped to `max_seconds`, and the seconds that were left out.

    Arrays given as a `Clip`, `clip-world://` references and files come to the same type here; only files are read at another
    sampling rate, the rest keep theirs. Without `rate_hz` and `audio` a file is not decoded: the clip has the length that its header says.

    Raises:
        MediaError: the span is empty or cannot be decoded.
    """
    start_s = media.start_s or 0.0
    if media.end_s is not None and media.end_s <= start_s:
        raise MediaError(f"{media.name}: the span {start_s:g}-{media.end_s:g} s is empty;", remedy="give an end after the start.")
    if isinstance(media.source, Clip):
        return _cut(media.source, start_s, media.end_s, max_seconds)
    if isinstance(media.source, str) and media.source.startswith("clip-world://"):
        return _cut(_rendered(media.source, rate_hz), start_s, media.end_s, max_seconds)
    if isinstance(media.source, Mix):
        return _cut(_composed(media.source, rate_hz, limits), start_s, media.end_s, max_seconds)
    if isinstance(media.source, Altered):

        def read(one: Media, *, picture: bool, sound: bool) -> Clip:
            """Decode what is wanted of a clip, or of one that lends."""
            rates = {"rate_hz": rate_hz if picture else None, "audio": sound, "sampling_rate_hz": sampling_rate_hz}
            return decode(one, **rates, max_seconds=limits.max_span_seconds, limits=limits, isolate=isolate, strict=strict)[0]  # type: ignore[arg-type]

        return _cut(altered(media.source, read, picture=rate_hz is not None, sound=audio), start_s, media.end_s, max_seconds)
    from unifusion.media import Sampling, probe, read_clip

    info = probe(media.source, limits=limits, isolate=isolate)
    length_s = max((media.end_s if media.end_s is not None else info.duration_s or 0.0) - start_s, 0.0)
    if media.start_s is not None and info.duration_s and start_s >= info.duration_s:
        raise MediaError(
            f"{media.name}: the span starts at {start_s:g} s but the file is {info.duration_s:.2f} s long;",
            remedy="choose an earlier start.",
        )
    shown_s = min(length_s, max_seconds) if length_s else max_seconds
    if shown_s > limits.max_span_seconds:
        raise LimitError(
            f"{media.name}: a span of {shown_s:.0f} s is above the limit of {limits.max_span_seconds:.0f} s;", remedy="give a shorter span."
        )
    if rate_hz is None and not audio:
        there_s = min(length_s, max(info.duration_s - start_s, 0.0)) if info.duration_s else length_s
        return Clip(start_s=start_s, duration_s=min(there_s, max_seconds)), max(there_s - max_seconds, 0.0)
    side_px = fitting_side(info, shown_s, rate_hz, limits) if rate_hz else None
    whole = media.start_s is None and media.end_s is None and length_s <= max_seconds
    clip = read_clip(
        media.source,
        start_s=None if whole else start_s,
        end_s=None if whole else start_s + shown_s,
        video=Sampling(rate_hz=rate_hz, max_frames=limits.max_decoded_frames, max_side_px=side_px) if rate_hz else None,
        audio=audio, sampling_rate_hz=sampling_rate_hz, limits=limits, strict=strict, isolate=isolate,
    )  # fmt: skip
    if side_px is not None:
        clip = replace(clip, notes=(*clip.notes, f"the picture was scaled to {side_px} px while decoding, to fit in memory"))
    if media.end_s is not None and info.duration_s:
        length_s = min(length_s, max(info.duration_s - start_s, 0.0))
    return clip, max(length_s - shown_s, 0.0)


def fitting_side(info: MediaInfo, seconds: float, rate_hz: float, limits: Limits) -> int | None:
    """The longer side at which a span's frames take at most half of the memory allowed; None where they do as they are."""
    frames = min(seconds * rate_hz + 1.0, limits.max_decoded_frames)
    n_bytes, most = frames * info.width * info.height * 3, limits.decode_memory_bytes // 2
    return None if n_bytes <= most else int(max(info.width, info.height) * math.sqrt(most / n_bytes))


def _rendered(reference: str, rate_hz: float | None) -> Clip:
    """Render a clip of clip world, only the frames that are asked for."""
    from unifusion.world.render import parse_reference, render

    script = parse_reference(reference)
    times = None if rate_hz is None else np.arange(0.0, script.duration_s - _EPSILON_S, 1.0 / rate_hz)
    clip: Any = render(script, times_s=times)[0]
    return clip  # type: ignore[no-any-return]


def _composed(mix: Mix, rate_hz: float | None, limits: Limits) -> Clip:
    """Decode the parts of a mix and put them together."""
    from unifusion.media.augment import retake
    from unifusion.media.compose import compose

    def read(part: Media | None, *, rate_hz: float | None = None) -> Clip | None:
        seconds = limits.max_span_seconds
        return None if part is None else decode(part, rate_hz=rate_hz, audio=rate_hz is None, max_seconds=seconds, limits=limits)[0]

    still, voice, behind = read(mix.still, rate_hz=1.0), read(mix.voice), read(mix.background)
    frames = None if still is None else still.frames_THWC
    said = None if voice is None else voice.waveform_N
    if said is not None and voice is not None and mix.take != Take():
        said = retake(said, voice.sampling_rate_hz, mix.take)
    return compose(
        None if frames is None or rate_hz is None else frames[0],
        said,
        None if behind is None else behind.waveform_N,
        snr_db=mix.snr_db,
        duration_s=_SILENT_S if said is None or voice is None else len(said) / voice.sampling_rate_hz,
        rate_hz=rate_hz or 1.0,
        size_px=mix.size_px,
        seed=mix.seed,
    )


def _cut(clip: Clip, start_s: float, end_s: float | None, max_seconds: float) -> tuple[Clip, float]:
    """Cut a span out of decoded arrays."""
    stop_s = clip.duration_s if end_s is None else min(end_s, clip.duration_s)
    shown_to_s = min(stop_s, start_s + max_seconds)
    if start_s == 0.0 and shown_to_s >= clip.duration_s - _EPSILON_S:
        return clip, 0.0
    frames, times, sound = clip.frames_THWC, clip.frame_times_s, clip.waveform_N
    if frames is not None and times is not None:
        keep = (times >= start_s - _EPSILON_S) & (times < shown_to_s - _EPSILON_S)
        frames, times = frames[keep], times[keep] - start_s
    sound_start_s = clip.waveform_start_s
    if sound is not None:
        first = max(round((start_s - sound_start_s) * clip.sampling_rate_hz), 0)
        sound = sound[first : max(round((shown_to_s - sound_start_s) * clip.sampling_rate_hz), first)]
        sound_start_s = max(sound_start_s - start_s, 0.0)
    cut = replace(
        clip, frames_THWC=frames, frame_times_s=times, waveform_N=sound, waveform_start_s=sound_start_s,
        duration_s=max(shown_to_s - start_s, 0.0), start_s=clip.start_s + start_s,
    )  # fmt: skip
    return cut, max(stop_s - shown_to_s, 0.0)
