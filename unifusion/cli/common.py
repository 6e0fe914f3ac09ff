"""What several commands share: options, media from what a person typed, the engine, JSON on stdout."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from types import FrameType
from typing import TYPE_CHECKING, Annotated, Any

import typer

from unifusion.limits import Limits

if TYPE_CHECKING:
    from unifusion.conversation import Media
    from unifusion.engine import Engine
    from unifusion.engine.affect import AffectEngine
    from unifusion.engine.spoken import SpokenWords

__all__ = [
    "DEFAULT_MODEL",
    "Clips",
    "Device",
    "End",
    "Features",
    "Isolate",
    "Json",
    "Language",
    "Lenient",
    "Model",
    "NoPicture",
    "NoSound",
    "Start",
    "Subtitles",
    "Transcribe",
    "Transcript",
    "Words",
    "device_of",
    "load_engine",
    "load_teller",
    "note",
    "open_media",
    "print_json",
    "quiet_libraries",
    "quiet_stdout",
    "term_interrupts",
    "visible",
]

DEFAULT_MODEL = "checkpoints/tiny-chat"
"""The model that ships with the project; found from any working directory."""

Clips = Annotated[list[str], typer.Argument(metavar="CLIP..", help="Video, sound or picture files.", show_default=False)]
_OF_MODEL = "Folder of a checkpoint, ours or an existing multimodal model's; one that ships; or a name on the hub."
Model = Annotated[str, typer.Option("--model", metavar="DIR", help=_OF_MODEL)]
Json = Annotated[bool, typer.Option("--json", help="Print JSON for machines, nothing else, on stdout.")]
Start = Annotated[float | None, typer.Option("--start", metavar="S", min=0.0, help="Second of the clip to begin at.", show_default=False)]
End = Annotated[float | None, typer.Option("--end", metavar="S", min=0.0, help="Second of the clip to end at.", show_default=False)]
Transcript = Annotated[
    str | None, typer.Option("--transcript", metavar="TEXT", help="What is said, for streams that read text.", show_default=False)
]
_SUBTITLES = "Words with times: a .srt or .vtt; auto: one beside the clip, else the clip's own."
Subtitles = Annotated[str | None, typer.Option("--subtitles", metavar="FILE", help=_SUBTITLES, show_default=False)]
_TRANSCRIBE = "Recogniser (a Whisper ..) of words that no subtitles tell; folder, or name on the hub."
Transcribe = Annotated[str | None, typer.Option("--transcribe", metavar="MODEL", help=_TRANSCRIBE, show_default=False)]
Language = Annotated[str | None, typer.Option("--language", metavar="NAME", help="Of --transcribe, such as en.", show_default=False)]
NoPicture = Annotated[bool, typer.Option("--no-picture", help="Leave the picture out.")]
NoSound = Annotated[bool, typer.Option("--no-sound", help="Leave the sound out.")]
Features = Annotated[
    str | None,
    typer.Option("--features", metavar="STORE", help="Clips that unifusion encode stored are not encoded again.", show_default=False),
]
Device = Annotated[str, typer.Option("--device", metavar="NAME", help="Such as cpu or cuda; a GPU where there is one.", show_default=False)]
Isolate = Annotated[bool, typer.Option("--isolate", help="Decode in a child process with limits of time and memory.")]
Lenient = Annotated[bool, typer.Option("--lenient", help="Take what can be read of a damaged file; the report says so.")]


def open_media(
    clips: Sequence[str], *, start_s: float | None = None, end_s: float | None = None, no_picture: bool = False, no_sound: bool = False,
    transcript: str | None = None, words: Words | None = None,
) -> list[Media]:  # fmt: skip
    """Return one Media for each file that a person named; what it is follows from its content, not from its name.

    A transcript, and timed words, are those of the first sound, or of the first file where none is a sound alone.

    Raises:
        typer.BadParameter: the span is empty, both streams are left out, or words are told twice.
        MediaError: a file is missing or its header cannot be read.
    """
    from unifusion.conversation import Media
    from unifusion.evaluation.manifest import kind_of
    from unifusion.rows import speaking

    if end_s is not None and end_s <= (start_s or 0.0):
        raise typer.BadParameter(f"--end {end_s:g} must come after --start {start_s or 0.0:g}.")
    if no_picture and no_sound:
        raise typer.BadParameter("--no-picture and --no-sound together leave nothing of the clip.")
    if transcript and words is not None:
        raise typer.BadParameter("--transcript tells words without times: leave it out with --subtitles and --transcribe.")
    mute = (("video",) if no_picture else ()) + (("audio",) if no_sound else ())
    kinds = [kind_of(clip) for clip in clips]
    said = {speaking(kinds): transcript or None}
    media = [
        Media(kind=kind, source=clip, start_s=start_s, end_s=end_s, mute=mute, transcript=said.get(n))
        for n, (kind, clip) in enumerate(zip(kinds, clips, strict=True))
    ]
    if words is not None:
        media[speaking(kinds)] = words.of(media[speaking(kinds)])
    return media


@dataclass(frozen=True, kw_only=True)
class Words:
    """Where timed words of clips come from, as the options have it; a recogniser is loaded for the first clip that needs it."""

    subtitles: str | None
    transcribe: str | None
    language: str | None
    device: str = ""
    isolate: bool = False
    lenient: bool = False

    @classmethod
    def asked(cls, subtitles: str | None, transcribe: str | None, language: str | None, **reading: Any) -> Words | None:
        """The choice, or None where nothing was chosen.

        Raises:
            typer.BadParameter: a language without a recogniser.
        """
        if language and not transcribe:
            raise typer.BadParameter("--language is that of --transcribe.")
        return cls(subtitles=subtitles, transcribe=transcribe, language=language, **reading) if subtitles or transcribe else None

    def of(self, media: Media) -> Media:
        """The clip with its words, or as it is, which is told, where there are none.

        Raises:
            MediaError: subtitles or sound cannot be read.
            CheckpointError: the recogniser cannot be loaded.
        """
        with quiet_stdout():
            found = self._finder.of(media)
        if not found.subtitles and media.kind != "image":
            note(f"{media.name}: no words were found")
        return found

    def mark(self) -> str:
        """By which answers with other words are told apart."""
        return json.dumps([self.subtitles, self.transcribe, self.language])

    @cached_property
    def _finder(self) -> SpokenWords:
        """Loads the recogniser."""
        quiet_libraries()
        from unifusion.engine.speech import Transcriber
        from unifusion.engine.spoken import SpokenWords

        transcriber = Transcriber.load(self.transcribe, device=device_of(self.device), language=self.language) if self.transcribe else None
        return SpokenWords(
            subtitles=self.subtitles or "", transcriber=transcriber, isolate=self.isolate, strict=not self.lenient
        )


def device_of(named: str) -> str:
    """The device that was named, or a GPU where there is one."""
    if named:
        return named
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


def load_engine(
    model: str, *, isolate: bool = False, lenient: bool = False, features: str | None = None, device: str = ""
) -> Engine:  # fmt: skip
    """Load the engine with the limits that every door shares.

    Raises:
        CheckpointError: the model cannot be loaded.
        ConfigError: the store `features` holds nothing of its encoders.
    """
    quiet_libraries()
    from unifusion.engine import Engine

    return Engine.from_pretrained(
        model, device=device_of(device), limits=Limits(), isolate=isolate, strict=not lenient, features=features
    )


def load_teller(
    model: str, *, isolate: bool = False, lenient: bool = False, features: str | None = None, device: str = ""
) -> Engine | AffectEngine:  # fmt: skip
    """Load what tells emotions: a chat model, or a fusion that `unifusion train emotion` made.

    Raises:
        CheckpointError: the model cannot be loaded.
    """
    quiet_libraries()
    from unifusion.engine.affect import AffectEngine
    from unifusion.models.affect_files import is_affect

    if is_affect(model):
        return AffectEngine.from_pretrained(model, device=device_of(device), isolate=isolate, strict=not lenient, features=features)
    return load_engine(model, isolate=isolate, lenient=lenient, features=features, device=device)


def quiet_libraries() -> None:
    """Let transformers tell errors alone, without bars of its own."""
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    from transformers.utils import logging

    logging.disable_progress_bar()


@contextlib.contextmanager
def quiet_stdout() -> Iterator[None]:
    """Send what libraries print to stderr, so that stdout holds the answer alone."""
    with contextlib.redirect_stdout(sys.stderr):
        yield


def print_json(value: Mapping[str, Any]) -> None:
    """Print one object on one line."""
    print(json.dumps(value, ensure_ascii=False, allow_nan=False), flush=True)


def visible(text: str) -> str:
    """Write control characters out: what a model or a file name says must not steer the terminal."""
    return "".join(c if c in "\n\t" or c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def note(text: str, *, end: str = "\n") -> None:
    """Say something beside the answer: on stderr, dimmed on a terminal."""
    text = visible(text)
    print(typer.style(text, dim=True) if sys.stderr.isatty() else text, end=end, file=sys.stderr, flush=True)


@contextlib.contextmanager
def term_interrupts() -> Iterator[None]:
    """Let SIGTERM, by which a scheduler ends a job, do what Ctrl-C does: what is encoded is stored first."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def interrupt(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


@contextlib.contextmanager
def interrupt_sets(cancel: threading.Event) -> Iterator[None]:
    """At a terminal the first Ctrl-C stops the answer and keeps what was said; the second ends the program."""
    if not sys.stdin.isatty() or threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.getsignal(signal.SIGINT)

    def once(number: int, frame: FrameType | None) -> None:
        cancel.set()
        signal.signal(signal.SIGINT, before)

    signal.signal(signal.SIGINT, once)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
