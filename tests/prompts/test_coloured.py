"""The printer shows what is trained on and lets no text steer the terminal."""

from __future__ import annotations

from unifusion.conversation import Conversation, Media, Message
from unifusion.prompts import coloured


def test_only_supervised_text_is_green():
    media = Media(kind="video", source="a.mp4", start_s=1.0, end_s=2.5, mute=("audio",))
    turns = (Message(role="user", parts=(media, "What?")), Message(role="assistant", parts=("That.",), supervised=True))
    shown = coloured(Conversation(messages=turns, id="e1"))
    assert "[video a.mp4 1.0-2.5 s, without audio]" in shown
    assert "\x1b[32mThat.\x1b[0m" in shown and "\x1b[32mWhat?" not in shown and "e1" in shown


def test_control_characters_are_written_out():
    shown = coloured(Conversation(messages=(Message(role="user", parts=("a\x1b]0;x\x07b\nc",)),)))
    assert "\\x1b]0;x\\x07b\nc" in shown
