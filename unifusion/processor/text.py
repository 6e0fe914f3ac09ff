"""Tokenising control strings and user text so that the second can never become the first."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from unifusion.errors import ConfigError

__all__ = ["TextEncoder"]

_SHORT, _MOST_KNOWN = 200, 20_000
"""Characters of a text whose ids are remembered, and how many are."""


class TextEncoder:
    """Turns segments of text into ids.

    `control` parses special tokens; `user` never does: a typed `<|video|>` is split like any other text. `split_special_tokens`
    covers tokens flagged special; other added tokens (`<think>` ..) are broken apart here, so no added id comes from a user. Runs
    of spaces and single characters, which some tokenizers (Phi, GPT-NeoX) also add, are text and stay whole.

    Args:
        tokenizer: any tokenizer of transformers.
        reserved: further token strings that users must not be able to write (media placeholders).
    """

    def __init__(self, tokenizer: Any, reserved: Iterable[str] = ()) -> None:
        self.tokenizer, reserved = tokenizer, tuple(reserved)
        added = {str(t): i for i, t in tokenizer.added_tokens_decoder.items()}
        special = dict(zip(tokenizer.all_special_tokens, tokenizer.all_special_ids, strict=True))
        if tokenizer.unk_token_id not in (tokenizer.eos_token_id, tokenizer.bos_token_id, tokenizer.pad_token_id):
            added.pop(tokenizer.unk_token, None)  # what a vocabulary without bytes says of a character it lacks
            special.pop(tokenizer.unk_token, None)
        typed = {name: i for name, i in added.items() if len(name) > 1 and name.strip()}
        typed.update({name: int(tokenizer.convert_tokens_to_ids(name)) for name in reserved})
        unknown = {tokenizer.unk_token} - {tokenizer.eos_token, tokenizer.bos_token, tokenizer.pad_token}
        self._control = sorted({*special, *reserved} - unknown, key=len, reverse=True)
        self._literals = sorted({*typed, *special, tokenizer.unk_token or ""} - {""}, key=len, reverse=True)
        self.reserved_ids = frozenset({*typed.values(), *special.values()})
        self._known: dict[tuple[str, bool], list[int]] = {}

    def control(self, text: str) -> list[int]:
        """Ids of a control string; special tokens in it become their ids."""
        return self._remembered(text, True) if text else []

    def user(self, text: str) -> list[int]:
        """Ids of text from outside; none of them is reserved.

        Raises:
            ConfigError: a single character is itself a control token of this tokenizer.
        """
        return self._remembered(text, False)

    def control_in(self, text: str) -> str | None:
        """The first control token or placeholder that a text spells out, None where it is plain; as text from outside it stays text."""
        return next((token for token in self._control if len(token) > 1 and token in text), None)

    def _remembered(self, text: str, control: bool) -> list[int]:
        """Ids of a short text, made once: training asks the same questions over and over, and a call to the tokenizer takes 0.3 ms."""
        key = (text, control)
        found = self._known.get(key)  # one look: another thread may clear the table
        if found is not None:
            return list(found)
        ids = list(self.tokenizer.encode(text, add_special_tokens=False)) if control else self._user(text)
        if len(text) <= _SHORT:
            if len(self._known) >= _MOST_KNOWN:
                self._known.clear()
            self._known[key] = ids
        return list(ids)

    def _user(self, text: str) -> list[int]:
        """Ids of text from outside."""
        ids: list[int] = []
        # Broken at the literals; then, for tokenizers that fold case or accents before they look for tokens, at every character.
        for pieces in ([text], self._broken(text), list(text)):
            ids = [i for piece in pieces for i in self._plain(piece)]
            if not self.reserved_ids.intersection(ids):
                return ids
        raise ConfigError(
            f"the text {text[:40]!r} cannot be told from a control token;", remedy="leave that character out, or use another tokenizer."
        )

    def _plain(self, text: str) -> list[int]:
        """Ids with special tokens split like text."""
        return list(self.tokenizer(text, add_special_tokens=False, split_special_tokens=True)["input_ids"]) if text else []

    def _broken(self, text: str) -> list[str]:
        """Cut `text` so that no piece holds the whole of any reserved literal."""
        pieces = [text]
        for literal in self._literals:
            pieces = [cut for piece in pieces for cut in _cut(piece, literal)]
        return pieces


def _cut(piece: str, literal: str) -> Iterator[str]:
    """Cut behind the first character of every occurrence of `literal`, overlapping ones included."""
    while len(literal) > 1 and (at := piece.find(literal)) >= 0:
        yield piece[: at + 1]
        piece = piece[at + 1 :]
    yield piece
