"""Answers of an OpenAI-compatible server: words of the passages, and where it is allowed their pictures and sounds."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from unifusion.batch import ModalityReport
from unifusion.conversation import Clip, Conversation
from unifusion.errors import ConfigError, MediaError, nearest
from unifusion.limits import Limits
from unifusion.media.written import jpegs, wav
from unifusion.retrieval.asked import Said
from unifusion.retrieval.live import Live
from unifusion.retrieval.llm_answers import Describes, words_report
from unifusion.retrieval.passages import Passage, defused
from unifusion.retrieval.shown import looked_at, opened
from unifusion.retrieval.wording import claims_of, put
from unifusion.wire import EndpointError, Wire, answer_of

__all__ = ["SENDS", "EndpointAnswers"]

SENDS = ("image", "audio")


@dataclass(frozen=True, kw_only=True)
class EndpointAnswers:
    """A model behind `POST /chat/completions`.

    Attributes:
        wire: the server.
        model: its name there.
        sends: `image` (a few pictures of each passage, JPEG), `audio` (its sound, WAV): what may leave this machine beside words.
        max_new_tokens: longest answer.
        describes: writes what is seen and heard; None sends the known words alone.
        longest_s: longest passage.
        frames: most pictures of a passage.
        max_bytes: of pictures and sounds of one question; passages above it are told in words alone, the least relevant first.
        limits, isolate: of decoding.
    """

    wire: Wire
    model: str
    sends: tuple[str, ...] = ()
    max_new_tokens: int = 512
    describes: Describes | None = None
    longest_s: float = 60.0
    frames: int = 4
    max_bytes: int = 16 * 1024**2
    limits: Limits = Limits()
    isolate: bool = False

    def __post_init__(self) -> None:
        if unknown := sorted(set(self.sends) - set(SENDS)):
            raise ConfigError(f"cannot send {unknown[0]!r};", remedy=nearest(unknown[0], list(SENDS)))
        if not self.model:
            raise ConfigError("the model of the endpoint is not named;", remedy="--endpoint-model NAME")

    @property
    def name(self) -> str:
        """What to call it."""
        return f"{self.model} at {self.wire.host}"

    def answer(self, question: str, passages: Sequence[Passage], live: Live | None = None) -> Said:
        """Answer from what may be sent. `live` hears the answer when it is whole.

        Raises:
            EndpointError: the server does not answer.
        """
        told, reports = self.describes(passages) if self.describes is not None else ({}, {})
        talk = put(question, passages, described=told, clean=defused)
        media, shown, notes = self._media(passages)
        reply = self.wire.post("/chat/completions", self._body(talk, media))
        text, ended = self._text(reply)
        if live is not None:
            live.hears(0, text, True)
        notes += [] if ended else ["the answer was cut at the longest that was allowed"]
        report = words_report(passages, told)
        if shown:
            report = ModalityReport(streams=_sum(shown), notes=report.notes[1:])
        return Said(claims=claims_of(text), report=report, reports={**reports, **shown}, notes=notes)

    def _body(self, talk: Conversation, media: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        """The request. Without pictures and sounds the content is plain text, which every server takes."""
        messages: list[dict[str, Any]] = [{"role": m.role, "content": m.text} for m in talk.messages]
        if media:
            messages[-1]["content"] = [*media, {"type": "text", "text": talk.messages[-1].text}]
        return {"model": self.model, "messages": messages, "max_tokens": self.max_new_tokens, "temperature": 0, "stream": False}

    def _media(self, passages: Sequence[Passage]) -> tuple[list[dict[str, Any]], dict[int, ModalityReport], list[str]]:
        """Content parts of the passages, what of each is in them, and what is wrong with the others."""
        parts: list[dict[str, Any]] = []
        reports: dict[int, ModalityReport] = {}
        notes: list[str] = []
        left = self.max_bytes
        for passage in passages if self.sends else ():
            try:
                clip = self._opened(passage)
            except MediaError as error:
                notes.append(f"window {passage.number} was told in words alone: {error}")
                continue
            pictures = jpegs(clip, self.frames) if "image" in self.sends else []
            sound = wav(clip) if "audio" in self.sends else None
            size = sum(map(len, pictures)) + len(sound or b"")
            if size > left:
                notes.append(f"window {passage.number} was told in words alone: its media are above the {self.max_bytes} bytes allowed")
                continue
            left -= size
            parts += _parts(passage.number, pictures, sound)
            reports[passage.number] = looked_at(clip, len(pictures), sound is not None)
        return parts, reports, notes

    def _opened(self, passage: Passage) -> Clip:
        """Decode a passage."""
        return opened(
            passage.media(limits=self.limits, isolate=self.isolate), pictures="image" in self.sends, sound="audio" in self.sends,
            rate_hz=2.0, max_seconds=self.longest_s, limits=self.limits, isolate=self.isolate,
        )  # fmt: skip

    def _text(self, reply: Mapping[str, Any]) -> tuple[str, bool]:
        """The answer, and whether it ended by itself.

        Raises:
            EndpointError: there is none.
        """
        text, ended = answer_of(reply, self.name)
        if not claims_of(text):
            raise EndpointError(f"{self.name} says nothing;", remedy="allow a longer answer: --max-new-tokens.")
        return text, ended


def _parts(number: int, pictures: Sequence[bytes], sound: bytes | None) -> list[dict[str, Any]]:
    """One passage as content parts, its number before them."""
    if not pictures and sound is None:
        return []
    parts: list[dict[str, Any]] = [{"type": "text", "text": f"[{number}]"}]
    for picture in pictures:
        parts.append({"type": "image_url", "image_url": {"url": f"data:image/jpeg;base64,{_base64(picture)}"}})
    if sound is not None:
        parts.append({"type": "input_audio", "input_audio": {"data": _base64(sound), "format": "wav"}})
    return parts


def _base64(data: bytes) -> str:
    """As it stands in JSON."""
    return base64.b64encode(data).decode("ascii")


def _sum(reports: Mapping[int, ModalityReport]) -> dict[str, Any]:
    """Streams of all passages together."""
    total: dict[str, Any] = {}
    for report in reports.values():
        for name, stream in report.streams.items():
            if name not in total:
                total[name] = replace(stream)
                continue
            for key in ("seconds", "frames", "samples"):
                setattr(total[name], key, getattr(total[name], key) + getattr(stream, key))
            if stream.present:
                total[name].present, total[name].reason = True, ""
    return total
