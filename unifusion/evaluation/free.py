"""Questions about real clips in words that no template has: asked, answered in words, and scored by what the row's labels say."""

from __future__ import annotations

import copy
import hashlib
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from unifusion.conversation import Conversation, Example, Message
from unifusion.datasets._files import json_lines, value
from unifusion.datasets.mixture import Mixture
from unifusion.engine import Answer, Engine
from unifusion.errors import DatasetError
from unifusion.evaluation.world import Kept
from unifusion.media.prosody import Prosody
from unifusion.metrics.bootstrap import bootstrap
from unifusion.prompts import LabelAnswer, load_template
from unifusion.training.facts import DIGITS, MIDDLE, PLACES, facts_of
from unifusion.training.known import THIRDS
from unifusion.training.real_talks import measured_prosody

__all__ = ["FreeQuestion", "evaluate_free", "free_table", "read_free", "right"]

_EMOTIONS = tuple(PLACES)
_SAME = {
    "quiet": "soft", "low-pitched": "low", "deep": "low", "high-pitched": "high", "quick": "fast", "male": "man", "female": "woman",
    "negative": "unpleasant", "positive": "pleasant", "bad": "unpleasant", "good": "pleasant", "agitated": "excited", "slowly": "slow",
    "loudly": "loud", "softly": "soft", "quickly": "fast", "kid": "kids", "dog": "dogs", "children": "kids",
}  # fmt: skip
"""Other words for the same answer."""


Teller = Callable[[Example, Prosody | None], str | None]
"""What a row answers, from its labels or what was measured of its voice; None where it cannot be asked."""


@dataclass(frozen=True, kw_only=True)
class FreeQuestion:
    """A question, what it is about, and which rows it can be asked of.

    Attributes:
        id: of the question.
        family: kind of question.
        sets: datasets whose rows fit.
        answer: what of a row is the answer: emotion, sound, digit, no sound, no picture, face_emotion, voice_emotion, agreement,
            loudness, pitch, tempo, valence, arousal, subject, language, gender.
        text: the question; `{line}` stands for a row's own words.
    """

    id: str
    family: str
    sets: tuple[str, ...]
    answer: str
    text: str


def read_free(path: str | Path) -> list[FreeQuestion]:
    """Read questions, one JSON object a line: id, family, set (several by commas), answer, question.

    Raises:
        DatasetError: a line lacks one of them, or asks for an answer nobody knows.
    """
    file, found = Path(path), []
    for line, raw in json_lines(file):
        told = {key: str(value(raw, key, file, line)) for key in ("id", "family", "set", "answer", "question")}
        if told["answer"] not in ANSWERS:
            raise DatasetError(f"{file}, line {line}: answer {told['answer']!r};", remedy=f"one of {', '.join(ANSWERS)}.")
        sets = tuple(name.strip() for name in told["set"].split(","))
        found.append(FreeQuestion(id=told["id"], family=told["family"], sets=sets, answer=told["answer"], text=told["question"]))
    return found


def _third(key: str) -> Teller:
    """The third of a measure that a row's voice is in."""

    def told(row: Example, prosody: Prosody | None) -> str | None:
        """Its word."""
        third = facts_of(row, prosody).thirds.get(key)
        return None if third is None else {"low": THIRDS[key][0], "middle": MIDDLE[key], "high": THIRDS[key][1]}[third]

    return told


def _sign(axis: int, words: tuple[str, str, str]) -> Teller:
    """On which side of valence or arousal a row's emotion is."""

    def told(row: Example, prosody: Prosody | None) -> str | None:
        """Its word."""
        del prosody
        emotion = facts_of(row).emotion
        if not emotion:
            return None
        place = PLACES[emotion][axis]
        return words[0] if place > 0.1 else words[2] if place < -0.1 else words[1]

    return told


def _label(*keys: str) -> Teller:
    """The first of some labels that a row has."""
    return lambda row, prosody: next((str(row.labels[k]) for k in keys if k in row.labels), None)


def _subject(row: Example, prosody: Prosody | None) -> str | None:
    """Who one of RAVDESS's sentences is about."""
    del prosody
    return next((w for w in ("kids", "dogs") if w in row.texts.get("transcript", "").lower()), None)


ANSWERS: dict[str, tuple[Teller, tuple[str, ...]]] = {
    "emotion": (_label("emotion"), _EMOTIONS),
    "face_emotion": (_label("face_emotion"), _EMOTIONS),
    "voice_emotion": (_label("voice_emotion"), _EMOTIONS),
    "sound": (_label("sound"), ()),
    "digit": (_label("digit"), DIGITS),
    "no sound": (lambda row, prosody: "no sound", ("no sound",)),
    "no picture": (lambda row, prosody: "no picture", ("no picture",)),
    "agreement": (_label("agreement"), ("yes", "no")),
    "loudness": (_third("level_db"), ("soft", "normal", "loud")),
    "pitch": (_third("pitch_hz"), ("low", "medium", "high")),
    "tempo": (_third("rate_hz"), ("slow", "normal", "fast")),
    "valence": (_sign(0, ("pleasant", "neither", "unpleasant")), ("pleasant", "neither", "unpleasant")),
    "arousal": (_sign(1, ("excited", "calm", "calm")), ("excited", "calm")),
    "subject": (_subject, ("kids", "dogs")),
    "language": (_label("language"), ("english", "german")),
    "gender": (lambda row, prosody: {"male": "man", "female": "woman"}.get(str(row.labels.get("gender"))), ("man", "woman")),
}
"""Answer of a question -> how a row tells it, and the closed set of answers (those of the set, where none is given)."""


def right(answer: str, truth: str, choices: Sequence[str]) -> bool:
    """Whether an answer in words names the true choice and no other one; strict: naming two is wrong, naming none is wrong."""
    return named(answer, choices) == {truth}


def named(answer: str, choices: Sequence[str]) -> set[str]:
    """The choices that an answer in words names."""
    said = answer.lower()
    if set(choices) <= set(_EMOTIONS):
        parsed = load_template("emotion").parse(answer, choices=tuple(choices))
        return {parsed.label} if isinstance(parsed, LabelAnswer) else set()
    for other, word in _SAME.items():
        said = re.sub(rf"\b{other}\b", word, said) if word in choices else said
    spans = [(*m.span(), c) for c in choices for m in re.finditer(rf"\b{re.escape(c)}\b", said)]
    longer = [(a, b) for a, b, _ in spans]  # what is said inside a longer choice is not said by itself
    return {c for a, b, c in spans if not any(x <= a and b <= y and (x, y) != (a, b) for x, y in longer)}


def evaluate_free(
    engine: Engine, questions: Sequence[FreeQuestion], mixture: Mixture, *, per_question: int = 3, batch_size: int = 16
) -> dict[str, Any]:
    """Ask each question of some rows of the sets it fits, greedily.

    Returns:
        `accuracy` with a 95 % interval (`low`, `high`: questions drawn, then rows within), `n`, `unclear` (answers that name none or
        several), `unasked` (ids of questions that fit no row of the mixture), `families` (accuracy of each), `constant` (always the
        most frequent answer of each family), `failures` (the first few) and `predictions`.
    """
    rows = list(mixture.every())
    voices = {row.id: measured_prosody(row) for row in rows if "thirds" in row.labels}
    asked = [(q, row, truth) for q in questions for row, truth in _rows(q, rows, voices, per_question)]
    kept = Kept.of(engine)
    engine = copy.copy(engine)
    engine.processor = engine.processor.with_opener(kept)
    talks = [Conversation(id=f"{q.id}/{row.id}", messages=(Message(role="user", parts=_parts(q, row)),)) for q, row, _ in asked]
    sounds = tuple(sorted({t for q, _, t in asked if q.answer == "sound"}))
    records: list[dict[str, Any]] = []
    for (q, row, truth), said in zip(asked, engine.answer(talks, max_new_tokens=32, batch_size=batch_size), strict=True):
        text = said.text if isinstance(said, Answer) else f"error: {said}"
        choices = ANSWERS[q.answer][1] or sounds
        told = {"right": right(text, truth, choices), "clear": len(named(text, choices)) == 1}
        records.append({"id": q.id, "family": q.family, "row": row.id, "question": q.text, "truth": truth, "answer": text, **told})
    if not records:
        raise DatasetError("no free question fits a row of the mixture;", remedy="give a mixture with the sets that the questions name.")
    families = {f: [r for r in records if r["family"] == f] for f in dict.fromkeys(r["family"] for r in records)}
    interval = bootstrap([float(r["right"]) for r in records], [r["id"] for r in records], within=True)
    constant = {f: Counter(r["truth"] for r in rows).most_common(1)[0][1] / len(rows) for f, rows in families.items()}
    return {
        "accuracy": interval.estimate, "low": interval.low, "high": interval.high, "n": len(records),
        "unclear": sum(not r["clear"] for r in records), "unasked": [q.id for q in questions if q.id not in {r["id"] for r in records}],
        "families": {f: sum(r["right"] for r in v) / len(v) for f, v in families.items()},
        "constant": constant, "failures": [r for r in records if not r["right"]][:10], "predictions": records,
    }  # fmt: skip


def _parts(question: FreeQuestion, row: Example) -> tuple[Any, ...]:
    """The clip, and the question with the row's own words in it."""
    return (*row.media, question.text.replace("{line}", row.texts.get("transcript", "")))


def _rows(
    question: FreeQuestion, rows: Sequence[Example], voices: Mapping[str, Prosody | None], count: int
) -> list[tuple[Example, str]]:  # fmt: skip
    """Some rows a question fits, with their answers: by a hash of question and row, each answer about as often as the others."""
    tell, _ = ANSWERS[question.answer]
    fits: dict[str, list[tuple[str, Example]]] = {}
    for row in rows:
        if row.id.partition("/")[0] in question.sets and (truth := tell(row, voices.get(row.id))) is not None:
            key = hashlib.sha256(f"{question.id}/{row.id}".encode()).hexdigest()
            fits.setdefault(truth, []).append((key, row))
    turns = []
    for truth, own in fits.items():
        turns += [(turn, key, row, truth) for turn, (key, row) in enumerate(sorted(own, key=lambda r: r[0])[:count])]
    return [(row, truth) for _, _, row, truth in sorted(turns, key=lambda t: t[:2])[:count]]


def free_table(results: Mapping[str, Any]) -> str:
    """Accuracy, a line a family, and the first few wrong answers as Markdown."""
    lines = [
        f"{results['n']} questions, {results['accuracy']:.3f} right (95 % interval {results['low']:.3f} to {results['high']:.3f}); "
        f"{results['unclear']} answers name none of the choices or several, and count as wrong.",
        "", "| family | right | best constant |", "|---|---|---|",
    ]  # fmt: skip
    if results.get("unasked"):
        lines[0] += f" {len(results['unasked'])} questions fit no row and were not asked: {', '.join(results['unasked'][:5])}."
    lines += [f"| {family} | {value:.2f} | {results['constant'][family]:.2f} |" for family, value in results["families"].items()]
    wrong = [f'"{r["question"]}" is {r["truth"]}, answered "{r["answer"]}"' for r in results["failures"][:3]]
    return "\n".join([*lines, "", f"Some mistakes: {'; '.join(wrong)}."] if wrong else lines)
