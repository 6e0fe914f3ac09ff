"""Words for feelings in empathetic dialogues, and the seven classes of this project they belong to."""

from __future__ import annotations

from collections.abc import Mapping

__all__ = ["CLASSES", "WORDS", "class_of"]

CLASSES: dict[str, tuple[str, ...]] = {
    "angry": ("angry", "annoyed", "furious", "jealous"),
    "disgust": ("disgusted",),
    "fear": ("afraid", "anxious", "apprehensive", "terrified"),
    "happy": (
        "anticipating", "caring", "confident", "content", "excited", "faithful", "grateful", "hopeful", "impressed", "joyful", "proud",
        "trusting",
    ),
    "neutral": ("prepared",),
    "sad": ("ashamed", "devastated", "disappointed", "embarrassed", "guilty", "lonely", "nostalgic", "sad", "sentimental"),
    "surprise": ("surprised",),
}  # fmt: skip
"""Class -> words of EmpatheticDialogues (Rashkin et al., 2019), all 32. Grouped as GoEmotions groups its own (Demszky et al., 2020):
approval, optimism, admiration, caring and gratitude are joy, remorse, embarrassment and disappointment sadness, nervousness fear, annoyance
anger. Jealousy, which they lack, stands by anger (Shaver et al., 1987, put it there), nostalgia and sentiment by sadness; being prepared
is no basic emotion."""

_BESIDE: dict[str, tuple[str, ...]] = {
    "angry": ("anger", "frustrated", "frustration", "irritated", "irritation", "resentful", "resentment", "outraged", "jealousy"),
    "disgust": ("disgust", "disgusting", "repulsed", "revolted"),
    "fear": (
        "fear", "fearful", "anxiety", "worried", "worry", "nervous", "nervousness", "uneasy", "stressed", "stress", "concerned", "concern",
        "overwhelmed", "overwhelm", "scared", "vulnerable", "vulnerability", "insecure", "panicked", "tense",
    ),
    "happy": (
        "happy", "happiness", "joy", "excitement", "gratitude", "thankful", "pride", "hope", "optimistic", "relieved", "relief", "amused",
        "enthusiastic", "delighted", "thrilled", "love", "cheerful", "peaceful", "satisfied", "inspired",
    ),
    "neutral": ("neutral", "calm", "curious", "thoughtful", "reflective", "pensive"),
    "sad": (
        "sadness", "disappointment", "exhausted", "exhaustion", "tired", "tiredness", "fatigue", "weary", "lost", "loneliness", "upset",
        "fragile", "melancholy", "melancholic", "heavy-hearted", "regret", "regretful", "helpless", "helplessness", "hopeless", "grief",
        "grieving", "heartbroken", "hurt", "inadequacy", "guilt", "shame", "nostalgia", "burdened", "discouraged", "depressed",
    ),
    "surprise": ("surprise", "shocked", "shock", "amazed", "astonished"),
}  # fmt: skip
"""Words that writers of annotations put in the place of the 32."""

WORDS: dict[str, str] = {w: name for table in (_BESIDE, CLASSES) for name, words in table.items() for w in words}
"""Word -> class."""


def class_of(word: str, further: Mapping[str, str]) -> str:
    """The class of a word in any spelling of case, or an empty string; `further` goes first."""
    plain = " ".join(word.lower().split())
    return further.get(plain) or WORDS.get(plain, "")
