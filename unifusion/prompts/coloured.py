"""A printer that shows what is trained on: supervised text in green, the rest plain, media in brackets."""

from __future__ import annotations

from unifusion.conversation import Conversation, Media

__all__ = ["coloured"]

_DIM, _GREEN, _CYAN, _RESET = "\x1b[2m", "\x1b[32m", "\x1b[36m", "\x1b[0m"


def coloured(conversation: Conversation) -> str:
    """Return the conversation for a terminal, one message a line, with ANSI colours.

    Control characters inside texts are shown as escapes, so that no text can steer the terminal.
    """
    lines = [f"{_DIM}# {_visible(conversation.id)}{_RESET}"] if conversation.id else []
    for message in conversation.messages:
        shown = "".join(_media(p) if isinstance(p, Media) else _visible(p) for p in message.parts)
        body = f"{_GREEN}{shown}{_RESET}" if message.supervised else shown
        lines.append(f"{_DIM}{message.role}:{_RESET} {body}")
    return "\n".join(lines)


def _media(media: Media) -> str:
    """A span of a clip as "[video NAME 0.0-2.5 s, without audio]"."""
    begin, end = media.start_s, media.end_s
    span = "" if begin is None and end is None else f" {begin or 0.0:.1f}-{'' if end is None else f'{end:.1f}'} s"
    mute = f", without {' and '.join(media.mute)}" if media.mute else ""
    return f"{_CYAN}[{media.kind} {_visible(media.name)}{span}{mute}]{_RESET}"


def _visible(text: str) -> str:
    """Text with control characters other than a new line written out."""
    return "".join(c if c == "\n" or c.isprintable() else c.encode("unicode_escape").decode() for c in text)
