"""What a model's chat template writes around clips, found once by rendering probes; no text of a user is ever rendered."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from unifusion.errors import CheckpointError, ConfigError
from unifusion.models.existing.family import Wrap
from unifusion.processor import ChatFormat

__all__ = ["Template"]

_MARK = "zqtextqz"


class Template:
    """Control strings of a conversation (`format`) and of its clips (`wrap`).

    Args:
        tokenizer: holds the chat template.
        placeholders: kind -> the token that stands for a clip of it in rendered text.

    Raises:
        ConfigError: the template does not keep texts in order.
        CheckpointError: there is no template, or it does not show clips before the text.
    """

    def __init__(self, tokenizer: Any, placeholders: Mapping[str, str]) -> None:
        if not tokenizer.chat_template:
            raise CheckpointError("the model has no chat template;", remedy="use its instruction-tuned version.")
        self.tokenizer = tokenizer
        self.placeholders = dict(placeholders)
        self._known: dict[tuple[str, int], str] = {}
        try:
            bare = ChatFormat.from_tokenizer(tokenizer, parts=True)
        except ConfigError:  # some templates take lists of parts from users only
            bare = ChatFormat.from_tokenizer(tokenizer)
        before_text = self._before_text()
        cut = {k: getattr(bare, k).removesuffix(before_text) for k in ("first", "next_user", "system_to_user")}
        self.format = replace(bare, **cut, before_text=before_text)
        for kind in self.placeholders:
            self.wrap(kind)

    def wrap(self, kind: str, number: int = 1) -> Wrap:
        """What stands around the placeholder of the `number`-th clip of a kind in its conversation.

        Raises:
            CheckpointError: the template does not show it.
        """
        shown = self._shown(kind, number).removeprefix(self._shown(kind, number - 1))
        before, found, after = shown.partition(self.placeholders[kind])
        if not found or self.placeholders[kind] in after:
            raise CheckpointError(
                f"the model's chat template writes {shown!r} for a clip of kind {kind!r}, which has not one {self.placeholders[kind]!r};",
                remedy="copy chat_template.jinja again, or use the version that the model was published with.",
            )
        return Wrap(before=before, after=after)

    def _before_text(self) -> str:
        """What the template writes before a user's text wherever it stands, behind the clips."""
        plain, found = self._start("", 0), set()
        for kind in self.placeholders:
            shown = self._start(kind, 1)
            shared = next((n for n, (a, b) in enumerate(zip(plain, shown, strict=False)) if a != b), len(plain))
            tail = plain[shared:]
            if not shown.endswith(tail):
                raise CheckpointError(
                    f"the model's chat template does not show a clip of kind {kind!r} before the text;", remedy="copy it again."
                )
            found.add(tail)
        if len(found) != 1:
            raise CheckpointError("the model's chat template treats kinds of clips differently;", remedy="copy it again.")
        return found.pop()

    def _shown(self, kind: str, count: int) -> str:
        """What the template writes for `count` clips of one kind."""
        key = (kind, count)
        if key not in self._known:
            plain = self._start("", 0)
            begun = plain.removesuffix(self.format.before_text)
            self._known[key] = self._start(kind, count)[len(begun) :].removesuffix(self.format.before_text) if count else ""
        return self._known[key]

    def _start(self, kind: str, count: int) -> str:
        """A first user's turn with clips, up to its text."""
        parts: list[dict[str, str]] = [{"type": kind, kind: "clip"} for _ in range(count)]
        talk = [{"role": "user", "content": [*parts, {"type": "text", "text": _MARK}]}]
        text = str(self.tokenizer.apply_chat_template(talk, tokenize=False))
        return text.partition(_MARK)[0]
