"""The types that travel between data, prompts and the processor: Media, Clip, Example, Message, Conversation.

Nothing here decodes or tokenises. Times are seconds.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    import numpy as np

__all__ = ["Altered", "Clip", "Conversation", "Example", "Line", "Media", "MediaKind", "Message", "Mix", "Part", "Role", "Take"]

MediaKind = Literal["video", "audio", "image"]
Role = Literal["system", "user", "assistant"]


@dataclass(frozen=True)
class Line:
    """Words with the time in which they are said (or shown, by a subtitle), in seconds from where the file's picture or sound begins."""

    start_s: float
    end_s: float
    text: str


@dataclass(frozen=True, kw_only=True, eq=False)
class Clip:
    """What decoding one span gave. A stream that was not found is None, never zeros.

    Times count from the start of the span, so a frame at the span's start has time 0.
    """

    frames_THWC: np.ndarray | None = None
    """uint8 RGB pictures, upright."""
    frame_times_s: np.ndarray | None = None
    """float64 (T,) presentation times, ascending."""
    corrupt_T: np.ndarray | None = None
    """bool (T,): the decoder flagged the frame as damaged (lenient mode only)."""
    waveform_N: np.ndarray | None = None
    """float32 mono in [-1, 1]; sample 0 is at `waveform_start_s`."""
    sampling_rate_hz: int = 16_000
    waveform_start_s: float = 0.0
    """Where the sound begins within the span: late sound is not shifted to 0."""
    duration_s: float = 0.0
    """Length of the span that was really decoded."""
    start_s: float = 0.0
    """Where the span begins in the file."""
    transcript: str | None = None
    """What is said, where somebody has told; nothing here recognises speech."""
    subtitles: tuple[Line, ...] = ()
    """The same with its times, from the start of the span. Filled in from `Media.subtitles` when a clip is opened."""
    notes: tuple[str, ...] = ()
    """What a person should know: cropped, rate reduced, sanitised, damaged .."""


@dataclass(frozen=True, kw_only=True)
class Media:
    """A reference to a span of a clip.

    `kind="video"` means the picture and the sound of the file, whichever are there; `audio` the sound only; `image` a still.
    """

    kind: MediaKind
    source: str | Path | bytes | Clip | Mix | Altered
    start_s: float | None = None
    end_s: float | None = None
    mute: tuple[str, ...] = ()
    """Modalities ("video", "audio", "text") left out on purpose; the report says so."""
    transcript: str | None = None
    """What is said in the span, for streams that read it."""
    subtitles: tuple[Line, ...] = ()
    """What is said with its times, in seconds of the file whatever the span: streams that read text get the lines of the span instead of
    `transcript`, and a model without such a stream is shown them in its prompt."""
    words_from: str = ""
    """Where `subtitles` come from: a file's name, `embedded`, or the model that heard them."""

    at_least_db: float | None = None
    """Softer sound is raised until its loudest 25 ms have this level (power in decibels of full scale); None leaves it as it is."""

    def muted(self, *modalities: str) -> Media:
        """Return the same span with further modalities left out."""
        return replace(self, mute=tuple(dict.fromkeys((*self.mute, *modalities))))

    def lines(self, duration_s: float) -> tuple[Line, ...]:
        """Lines whose middle lies in the first `duration_s` of the span, cut to it, with times from its start; none where text is muted."""
        start_s = self.start_s or 0.0
        shown = [] if "text" in self.mute else [Line(x.start_s - start_s, x.end_s - start_s, x.text) for x in self.subtitles]
        inside = [x for x in shown if 0 <= (x.start_s + x.end_s) / 2 < duration_s]
        return tuple(Line(max(x.start_s, 0.0), min(x.end_s, duration_s), x.text) for x in inside)

    @property
    def name(self) -> str:
        """What to call it in messages and reports."""
        if isinstance(self.source, str | Path):
            return str(self.source)
        if isinstance(self.source, Mix):
            return f"<{' with '.join(m.name for m in self.source.parts)}>"
        if isinstance(self.source, Altered):
            return f"<{self.source.base.name}, {self.source.how}>"
        return f"<{len(self.source)} bytes>" if isinstance(self.source, bytes) else "<arrays>"


@dataclass(frozen=True, kw_only=True)
class Take:
    """How a sound is heard in another recording of it: another player, another microphone.

    Attributes:
        speed: factor; pitch goes with it.
        tilt_db: decibels an octave, none at 1 kHz.
        bump_db: decibels around one pitch, an octave wide.
        bump_octave: that pitch, in octaves from 1 kHz.
        gain_db: level against the sound's own, as far as nothing has to be cut off.
    """

    speed: float = 1.0
    tilt_db: float = 0.0
    bump_db: float = 0.0
    bump_octave: float = 0.0
    gain_db: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Mix:
    """A clip that is put together when it is opened: a still that is moved a little, a voice, a sound behind it.

    It is as long as the voice, or 3 s without one.
    """

    still: Media | None = None
    voice: Media | None = None
    take: Take = Take()
    """Of the voice."""
    background: Media | None = None
    snr_db: float = 10.0
    """Power of the voice over that of the background."""
    size_px: int = 112
    seed: int = 0
    """Of motion, light and grain."""

    @property
    def parts(self) -> tuple[Media, ...]:
        """The parts that are there."""
        return tuple(m for m in (self.still, self.voice, self.background) if m is not None)


@dataclass(frozen=True, kw_only=True)
class Altered:
    """A clip that is tampered with when it is opened, to find out what an answer rests on. It is as long as it was.

    Attributes:
        base: the clip.
        picture: whose picture is seen in place of its own.
        sound: whose sound is heard in place of its own.
        shuffle: seed of the order its pictures are shown in; None leaves them in order.
    """

    base: Media
    picture: Media | None = None
    sound: Media | None = None
    shuffle: int | None = None

    @property
    def how(self) -> str:
        """What was done, in words."""
        lent = [f"{what} of {m.name}" for what, m in (("picture", self.picture), ("sound", self.sound)) if m is not None]
        return " and ".join([*lent, *(["pictures out of order"] if self.shuffle is not None else [])]) or "unchanged"


Part = str | Media


@dataclass(frozen=True, kw_only=True)
class Example:
    """One row of a dataset, nothing decoded.


    Of a talk, `labels["history"]` holds what was said before as `{"speaker", "text"}`, the oldest first, and `labels["metadata"]` what is
    known of the people and the talk: `speaker_age`, `_gender`, `_timbre`, `_personality`, the same of the `listener`, `topic`, `role`,
    `turn` (a number from 0), and as free words `scenario`, `cause`, `goal`. `labels["valence"]` and `labels["arousal"]` are in [-1, 1].
    """

    id: str
    media: tuple[Media, ...] = ()
    texts: Mapping[str, str] = field(default_factory=dict)
    labels: Mapping[str, Any] = field(default_factory=dict)
    group: str = ""
    """Speaker, conversation or source video: splits and intervals never cut through a group."""
    split: str = ""


@dataclass(frozen=True, kw_only=True)
class Message:
    """One turn. `parts` mixes texts and media in the order they are shown; `supervised` text is trained on."""

    role: Role
    parts: tuple[Part, ...]
    supervised: bool = False

    @property
    def text(self) -> str:
        """The text parts joined."""
        return "".join(p for p in self.parts if isinstance(p, str))


@dataclass(frozen=True, kw_only=True)
class Conversation:
    """Messages of one example, and the id that errors and reports name."""

    messages: tuple[Message, ...]
    id: str = ""

    @property
    def media(self) -> tuple[Media, ...]:
        """All media in the order they appear."""
        return tuple(p for m in self.messages for p in m.parts if isinstance(p, Media))
