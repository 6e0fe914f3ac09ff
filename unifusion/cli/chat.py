"""`unifusion chat`: one question about clips, or a conversation at the prompt, streamed as it is written."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any

import typer

from unifusion.cli import common

if TYPE_CHECKING:
    from unifusion.engine import Session

__all__ = ["chat"]

HELP = "Ask anything. /add FILE adds a clip, /report shows what was seen and heard, /quit ends; Ctrl-C stops an answer."
Question = Annotated[str | None, typer.Option("-q", "--question", metavar="TEXT", help="Ask this and stop.", show_default=False)]
NewTokens = Annotated[int, typer.Option("--max-new-tokens", metavar="N", min=1, help="Longest answer in tokens.")]


def chat(
    clips: common.Clips,
    question: Question = None,
    json: common.Json = False,
    start: common.Start = None,
    end: common.End = None,
    transcript: common.Transcript = None,
    subtitles: common.Subtitles = None,
    transcribe: common.Transcribe = None,
    language: common.Language = None,
    model: common.Model = common.DEFAULT_MODEL,
    max_new_tokens: NewTokens = 128,
    no_picture: common.NoPicture = False,
    no_sound: common.NoSound = False,
    isolate: common.Isolate = False,
    lenient: common.Lenient = False,
    features: common.Features = None,
    device: common.Device = "",
) -> None:
    """Answer questions about clips. One with -q; else a conversation at the prompt, or one question per line of stdin."""
    words = common.Words.asked(subtitles, transcribe, language, device=device, isolate=isolate, lenient=lenient)
    span: dict[str, Any] = {"start_s": start, "end_s": end, "no_picture": no_picture, "no_sound": no_sound}
    media = common.open_media(clips, **span, transcript=transcript, words=words)
    with common.quiet_stdout():
        session = common.load_engine(model, isolate=isolate, lenient=lenient, features=features, device=device).session()
        for item in media:
            session.add(item)
    if question is None and sys.stdin.isatty():
        common.note(HELP)
    for text in [question] if question is not None else _typed(session):
        if json:
            with common.quiet_stdout():
                answer = session.ask(text, max_new_tokens=max_new_tokens)
            common.print_json(answer.to_dict())
        else:
            _stream(session, text, max_new_tokens)


def _typed(session: Session) -> Iterator[str]:
    """Questions from the prompt (or lines of stdin), with the commands that begin with a slash carried out."""
    while True:
        try:
            line = input("> " if sys.stdin.isatty() else "").strip()
        except EOFError:
            return
        if line in ("/quit", "/exit"):
            return
        if line.startswith("/"):
            _command(session, line)
        elif line:
            yield line


def _command(session: Session, line: str) -> None:
    """Carry out one command of the prompt; a mistake in it is told and the conversation goes on."""
    from unifusion.errors import UniFusionError

    word, _, rest = line.partition(" ")
    if word == "/add" and rest:
        try:
            session.add(common.open_media([rest.strip()])[0])
        except UniFusionError as error:
            common.note(str(error))
    elif word == "/report":
        answer = session.answer
        common.note(answer.report.summary() if answer is not None else "nothing was asked yet")
    else:
        common.note(HELP)


def _stream(session: Session, text: str, max_new_tokens: int) -> None:
    """Print the answer as it is written, then what was seen and heard."""
    cancel = threading.Event()
    with common.interrupt_sets(cancel):
        for delta in session.stream(text, max_new_tokens=max_new_tokens, cancel=cancel):
            print(common.visible(delta), end="", flush=True)
    print(flush=True)
    answer = session.answer
    if answer is not None:
        first, total = answer.timing.get("first_token_s", 0.0), answer.timing["total_s"]
        ended = ", stopped" if answer.cancelled else "" if answer.stopped else ", cut at --max-new-tokens"
        common.note(f"[{answer.report.summary()}; first word after {first:.1f} s, all after {total:.1f} s{ended}]")
