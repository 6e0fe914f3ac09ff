"""How far texts may be changed, and the change of one text: a function of its key alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Self

from unifusion.errors import ConfigError, nearest
from unifusion.media.augment.choices import drawn
from unifusion.media.augment.text import SYNONYMS, TEMPLATES, delete_span, drop_words, paraphrase, replace_synonyms

__all__ = ["TextAugmentation", "augmented_text"]

_PARTS = ("paraphrase", "synonyms", "span", "span_p", "drop", "drop_p")


@dataclass(frozen=True, kw_only=True)
class TextAugmentation:
    """How far a text may be changed; the defaults change nothing. Words of `text.KEPT` and of `keep` are never left out.

    Templates and synonyms are English, and few; give others for other texts.
    """

    paraphrase: float = 0.0
    """Probability that the sentences that fit a template are said by another of its group."""
    synonyms: float = 0.0
    """Probability of each word of a group that another of the group stands for it."""
    span: float = 0.0
    """Largest part of the words that is left out in one run."""
    span_p: float = 1.0
    """Probability of it."""
    drop: float = 0.0
    """Probability of each word that it is left out."""
    drop_p: float = 1.0
    """Probability of a text that words of it are left out."""
    keep: tuple[str, ...] = ()
    """Words that stay as they are: what a label hangs on."""
    templates: tuple[tuple[str, ...], ...] = TEMPLATES
    """Groups of sentences with {slots} that say the same."""
    synonym_groups: tuple[tuple[str, ...], ...] = SYNONYMS
    """Groups of words that may stand for one another."""

    def __post_init__(self) -> None:
        """Refuse what cannot be meant."""
        for name in _PARTS:
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1:
                raise ConfigError(f"text augmentation {name}={value!r};", remedy="give a number in [0, 1].")
        for name, deep in (("keep", False), ("templates", True), ("synonym_groups", True)):
            if not _words(getattr(self, name), deep):
                raise ConfigError(f"text augmentation {name}={getattr(self, name)!r};", remedy="give words, or groups of words, in a list.")

    @classmethod
    def from_dict(cls, raw: Mapping[str, Any]) -> Self:
        """Read choices as a YAML or JSON file has them.

        Raises:
            ConfigError: an unknown key, with the nearest match, or a value that cannot be meant.
        """
        known = [f.name for f in fields(cls)]
        for key in raw:
            if key not in known:
                raise ConfigError(f"text augmentation has no choice {key!r};", remedy=nearest(key, known))
        return cls(**{k: _frozen(v) for k, v in raw.items()})


def _words(value: object, deep: bool) -> bool:
    """Whether it is a tuple of words, or of such tuples."""
    return isinstance(value, tuple) and all(_words(v, False) if deep else isinstance(v, str) for v in value)


def _frozen(value: Any) -> Any:
    """Lists as tuples."""
    return tuple(_frozen(v) for v in value) if isinstance(value, list | tuple) else value


def augmented_text(text: str, choices: TextAugmentation, *, key: str) -> str:
    """Return a changed text, in this order: another wording, synonyms, a run left out, words left out.

    Args:
        text: what is said of a clip, or in it. A text without a word comes back as it is.
        choices: how far it may be changed.
        key: "seed/id/epoch"; equal keys are equal draws.
    """
    if not text.split():
        return text
    if drawn(key, "paraphrase").random() < choices.paraphrase:
        text = paraphrase(text, drawn(key, "wording"), templates=choices.templates)
    if choices.synonyms:
        text = replace_synonyms(text, choices.synonyms, drawn(key, "synonyms"), synonyms=choices.synonym_groups, keep=choices.keep)
    happens, part, where = drawn(key, "span").random(3).tolist()
    if choices.span and happens < choices.span_p:
        text = delete_span(text, choices.span * part, where, keep=choices.keep)
    if choices.drop and drawn(key, "drop_p").random() < choices.drop_p:
        text = drop_words(text, choices.drop, drawn(key, "drop"), keep=choices.keep)
    return text
