"""Asks about a script: picks families, words their questions, checks answers, and measures how far answers are balanced.

Families live in `families_*.py`; each is built so that its answers are near-uniform over a run of clips, by what the sampler
stratifies and by leaving questions out at known rates, never by looking at other clips.
"""

from __future__ import annotations

import dataclasses
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache

from unifusion.errors import ConfigError, nearest
from unifusion.world import families_all, families_both, families_picture, families_sound, families_time
from unifusion.world.draw import Draw
from unifusion.world.question import Draft, Family, Question
from unifusion.world.script import Script
from unifusion.world.world_file import phrasings

__all__ = ["FAMILIES", "Prior", "Question", "ask", "check", "family_priors"]

FAMILIES: dict[str, Family] = {
    **families_picture.FAMILIES, **families_sound.FAMILIES, **families_both.FAMILIES, **families_time.FAMILIES, **families_all.FAMILIES,
}  # fmt: skip
"""Name -> family, in a fixed order."""

_TIME = re.compile(r"^(?:at )?(\d+(?:\.\d+)?) ?(?:s|sec|second|seconds)?$")
_NUMBER = re.compile(r"-?\d+(?:\.\d+)?")
_WORDS = {w: str(i) for i, w in enumerate("zero one two three four five six seven eight nine ten".split())}
_FREE_F1 = 0.7


def ask(
    script: Script,
    *,
    per_clip: int | None = None,
    families: Sequence[str] | None = None,
    seed: int = 0,
    held_out_wording: bool = False,
    speak: Callable[[Script], Script] | None = None,
) -> list[Question]:
    """Return questions about one clip, each of another family: a pure function of the script and the arguments.

    Args:
        script: the clip.
        per_clip: how many; None for all that the clip gives. Fewer come back where the clip has no more.
        families: names to choose from; None for all.
        seed: another seed asks other questions in other words.
        held_out_wording: use the wordings kept apart from training.
        speak: fills in the times of words (`render.with_words`); called at most once, and only for a family that needs them.
            Without it such families are asked only of scripts whose words are filled in already.

    Raises:
        ConfigError: an unknown family.
    """
    chosen = list(FAMILIES) if families is None else list(families)
    for name in chosen:
        if name not in FAMILIES:
            raise ConfigError(f"no question family {name!r} in clip world;", remedy=nearest(name, list(FAMILIES)))
    keys = (seed, script.seed, script.split, script.index, script.profile.get("turn", ""))
    order = Draw("order", *keys)
    chosen.sort(key=lambda name: order.unit(name) ** (1 / FAMILIES[name].weight), reverse=True)
    found: list[Question] = []
    for name in chosen:
        if per_clip is not None and len(found) >= per_clip:
            break
        if FAMILIES[name].timed and script.utterance is not None and not script.utterance.words:
            if speak is None:
                continue
            script = speak(script)
        question = _question(script, name, Draw("ask", *keys, name), held_out_wording)
        if question is not None:
            found.append(question)
    return found


def _question(script: Script, name: str, draw: Draw, held_out: bool) -> Question | None:
    """One family's question, a refusal where what it is about is missing, or None."""
    family = FAMILIES[name]
    there = {"picture": script.has_picture, "face": script.identity is not None}
    there |= {"sound": script.has_sound, "voice": script.utterance is not None}
    missing = next((part for part in family.requires if not there[part]), "")
    if missing and not family.refuses:
        return None
    draft = Draft(answer=phrasings()["missing"][missing], checker="exact") if missing else family.build(script, draw)
    if draft is None:
        return None
    wording = draw.pick("wording", phrasings()["questions"][name]["held_out" if held_out else "train"])
    labels = {**draft.labels, "refusal": True} if missing else draft.labels
    return Question(
        family=name, needs=family.needs, stream_needs=draft.stream_needs or family.streams, text=wording.format(**draft.slots),
        answer=draft.answer, options=draft.options, checker=draft.checker or family.checker, tolerance=draft.tolerance,
        labels=labels, texts=draft.texts,
    )  # fmt: skip


def _plain(text: str) -> str:
    """Lower case, one space, no full stop at the end."""
    return re.sub(r"\s+", " ", text.strip().lower()).rstrip(".").strip()


def _numbers(text: str) -> list[float]:
    return [float(n) for n in _NUMBER.findall(" ".join(_WORDS.get(w, w) for w in _plain(text).split()))]


def check(question: Question, answer: str) -> bool:
    """Return whether `answer` is right. Parsing is strict: an answer in another form than asked for is wrong."""
    said, truth = _plain(answer), _plain(question.answer)
    if question.checker == "set":
        split = re.compile(r",| and ")
        return sorted(p.strip() for p in split.split(said)) == sorted(p.strip() for p in split.split(truth))
    if question.checker == "number":
        a, b = _numbers(answer), _numbers(question.answer)
        words = [re.sub(r"[-\d.]+", "#", _plain(" ".join(_WORDS.get(w, w) for w in t.split()))) for t in (said, truth)]
        return words[0] == words[1] and len(a) == len(b) and all(abs(x - y) <= question.tolerance + 1e-6 for x, y in zip(a, b, strict=True))
    if question.checker == "time":
        found, wanted = _TIME.match(said), _TIME.match(truth)
        return bool(found and wanted and abs(float(found[1]) - float(wanted[1])) <= question.tolerance + 1e-6)
    if question.checker == "free":
        return _overlap(said, truth) >= _FREE_F1
    return said == truth


def _overlap(said: str, truth: str) -> float:
    """F1 of words."""
    a, b = (Counter(re.findall(r"[\w'-]+", t)) for t in (said, truth))
    common = sum((a & b).values())
    return 2 * common / max(sum(a.values()) + sum(b.values()), 1)


@dataclass(frozen=True, kw_only=True)
class Prior:
    """What a family gives away before looking or listening."""

    n: int
    chance: float
    """Expected accuracy of the best answer that does not depend on the clip, were answers exactly uniform."""
    majority: float
    """Measured accuracy of the best constant answer."""
    answers: Counter[str]


def family_priors(questions: Iterable[Question]) -> dict[str, Prior]:
    """Return chance and majority rate per family over many questions; refusals are left out."""
    groups: dict[str, list[Question]] = defaultdict(list)
    for question in questions:
        if not question.labels.get("refusal"):
            groups[question.family].append(question)
    return {name: _prior(group) for name, group in groups.items()}


def _prior(group: list[Question]) -> Prior:
    answers = Counter(q.answer for q in group)
    majority = _best_constant(group[0], answers)
    return Prior(n=len(group), chance=sum(_chance(q, majority) for q in group) / len(group), majority=majority, answers=answers)


def _best_constant(question: Question, answers: Counter[str]) -> float:
    """The share of the questions that the best of the 20 most common answers gets right, by the family's checker."""
    guesses = [guess for guess, _ in answers.most_common(20)]
    if question.checker in ("exact", "set") or (question.checker == "number" and not question.tolerance):
        return answers[guesses[0]] / answers.total()
    truths = [(dataclasses.replace(question, answer=answer), n) for answer, n in answers.most_common(200)]
    return max(sum(n for truth, n in truths if check(truth, guess)) for guess in guesses) / answers.total()


def _chance(question: Question, majority: float) -> float:
    """Chance of one question: uniform over options, over a grid of times, or over the space of answers it names."""
    if question.options:
        return 1 / len(question.options)
    if question.labels.get("grid"):
        return _grid_chance(tuple(question.labels["grid"]), question.tolerance)
    space = question.labels.get("space")
    return 1 / space if space else majority


@lru_cache(maxsize=256)
def _grid_chance(grid: tuple[str, ...], tolerance: float) -> float:
    """The share of a grid of times that the best guess is near to."""
    uniform = Question(family="", needs="time", stream_needs=(), text="", answer="", checker="time", tolerance=tolerance)
    return max(sum(check(dataclasses.replace(uniform, answer=truth), guess) for truth in grid) for guess in grid) / len(grid)
