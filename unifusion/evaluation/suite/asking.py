"""Asking: every row of a part under every condition and scoring, in batches of like length, each answer written as soon as it is there."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, is_dataclass, replace
from itertools import product
from string import ascii_uppercase
from typing import Any

from tqdm.auto import tqdm

from unifusion.conversation import Conversation, Example, Media
from unifusion.engine import Answer, LabelScores
from unifusion.errors import UniFusionError
from unifusion.evaluation.outfile import OutFile
from unifusion.evaluation.predict import ask
from unifusion.evaluation.suite.conditions import CONDITIONS, Donors, under
from unifusion.evaluation.suite.lengths import length_of
from unifusion.evaluation.suite.parts import Part
from unifusion.evaluation.suite.system import System
from unifusion.tasks.task import OptionTask, Score

__all__ = ["SCORINGS", "Question", "ask_part", "first_scoring", "questions_of", "rotated"]

SCORINGS = ("likelihood", "generation", "rotated")
"""The likeliest of the closed set; what is said in words; the same question once for each order that turning its options gives."""
_DIGITS = 4
"""Of probabilities; further ones depend on how rows were batched."""


@dataclass(frozen=True, kw_only=True)
class Question:
    """One row under one condition and scoring.

    Attributes:
        id: part, condition, scoring and row.
        part: it is of.
        row: as the set has it.
        shown: as it is asked: one, or one for each turn of its options.
        condition, scoring: see CONDITIONS and SCORINGS.
        mark: hash of all that is asked.
    """

    id: str
    part: Part
    row: Example
    shown: tuple[Example, ...]
    condition: str
    scoring: str
    mark: str
    lender: str = ""
    """Id of the row that lent a sound, a picture or its clip."""

    @property
    def conversations(self) -> list[Conversation]:
        """What is asked."""
        return [_asked_by(self.part, example) for example in self.shown]


def ask_part(system: System, part: Part, sink: OutFile, conditions: Sequence[str], *, batch_size: int, seed: int = 0) -> None:
    """Ask what is not answered yet, a batch of rows under all conditions at a time, so that a clip is opened once.

    Shows a progress bar on a terminal.
    """
    donors = Donors(part.rows, part.meant, seed=seed)
    rows = sorted(part.rows, key=lambda row: (length_of(row), row.id))
    with tqdm(total=len(rows), desc=part.name, unit="row", disable=None) as bar:
        for start in range(0, len(rows), batch_size):
            some = rows[start : start + batch_size]
            waiting = sink.waiting([q for row in some for q in questions_of(part, row, conditions, donors, can_score=system.can_score)])
            for batch in _alike(waiting):
                sink.write(_asked(system, part, batch, batch_size))
            system.forget()
            bar.update(len(some))


def first_scoring(part: Part, *, can_score: bool) -> str:
    """The scoring by which a part is judged: likelihood where all its rows choose among a closed set, else generation."""
    return "likelihood" if can_score and part.closed else "generation"


def questions_of(part: Part, row: Example, conditions: Sequence[str], donors: Donors, *, can_score: bool) -> Iterator[Question]:
    """What is asked about a row: under `all` by every scoring that fits it, else by the first one."""
    first = first_scoring(part, can_score=can_score)
    for condition in conditions:
        found = under(condition, row, donors)
        if found is None:
            continue
        shown = found.row
        for scoring in SCORINGS if condition == "all" else (first,):
            closed = bool(part.task.choices(shown))
            if scoring == "likelihood" and not (closed and can_score):
                continue
            if scoring == "rotated" and not isinstance(part.task, OptionTask):
                continue
            turns = rotated(part.task, shown) if scoring == "rotated" else (shown,)  # type: ignore[arg-type]
            yield Question(
                id="/".join((part.name, condition, scoring, row.id)), part=part, row=row, shown=turns, condition=condition, scoring=scoring,
                mark=_mark(part, row, turns, scoring), lender=found.lender.id if found.lender is not None else "",
            )  # fmt: skip


def rotated(task: OptionTask, example: Example) -> tuple[Example, ...]:
    """The example with its options turned by 0, 1, 2 .. places, each right one where it went (CircularEval; MMBench, Liu et al. 2024)."""
    options, right = task.options(example), task.target(example)
    key = next(k for k in task.option_keys if example.labels.get(k) is not None)
    out = []
    for turn in range(len(options)):
        labels = {**example.labels, key: (*options[turn:], *options[:turn]), "option": (right - turn) % len(options)}
        out.append(replace(example, labels=labels))
    return tuple(out)


def _asked_by(part: Part, example: Example) -> Conversation:
    """The task's own words: a row's question stands in them, or is another task's."""
    if "question" not in part.task.template.source.fields:
        example = replace(example, texts={k: v for k, v in example.texts.items() if k != "question"})
    return ask(part.task, example)


def _mark(part: Part, row: Example, shown: Sequence[Example], scoring: str) -> str:
    """A short hash of what is asked, and of what is right."""
    told: list[Any] = [scoring, part.max_new_tokens, list(part.labels or ()), part.truth(row)]
    for example in shown:
        conversation = _asked_by(part, example)
        told.append([[_words(conversation)], [_media(m) for m in conversation.media], list(part.task.choices(example))])
    return hashlib.sha256(json.dumps(told, sort_keys=True, ensure_ascii=False).encode("utf-8", "surrogatepass")).hexdigest()[:12]


def _media(media: Media) -> list[Any]:
    """What a clip is called and which span and streams of it are shown; arrays and bytes have no name of their own."""
    return [media.kind, media.name, media.start_s, media.end_s, list(media.mute), media.transcript]


def _words(conversation: Conversation) -> str:
    """The turns as text, clips as [video], [audio], [image]."""
    turns = [(m.role, "".join(p if isinstance(p, str) else f"[{p.kind}]\n" for p in m.parts)) for m in conversation.messages]
    return "\n".join(f"{role}: {text}" for role, text in turns) if len(turns) > 1 else turns[0][1]


def _alike(questions: Sequence[Question]) -> Iterator[list[Question]]:
    """Questions of one condition and scoring together, in the same order whichever of them are answered already."""
    kinds = ([q for q in questions if (q.condition, q.scoring) == kind] for kind in product(CONDITIONS, SCORINGS))
    return (some for some in kinds if some)


def _asked(system: System, part: Part, batch: Sequence[Question], batch_size: int) -> list[dict[str, Any]]:
    """Records of questions of one condition and scoring."""
    talks = [(q, example, talk) for q in batch for example, talk in zip(q.shown, q.conversations, strict=True)]
    by_likelihood = system.can_score and batch[0].scoring != "generation"
    said: dict[int, Answer | LabelScores | UniFusionError] = {}
    for kind in ("", "text_"):  # what was fitted on clips does not hold for words alone
        own = [i for i, (_, _, talk) in enumerate(talks) if bool(talk.media) == (not kind)]
        if not own:
            continue
        asked = [talks[i][2] for i in own]
        if by_likelihood:
            labels = [part.task.choices(talks[i][1]) for i in own]
            scores = system.score_labels(asked, labels, task=kind + part.task.prompt, batch_size=batch_size)
            said |= dict(zip(own, scores, strict=True))
        else:
            answers = system.answer(asked, max_new_tokens=part.max_new_tokens, batch_size=batch_size)
            said |= dict(zip(own, answers, strict=True))
    found: dict[str, list[tuple[Example, Conversation, Any]]] = {}
    for i, (question, example, talk) in enumerate(talks):
        found.setdefault(question.id, []).append((example, talk, said[i]))
    return [_record(question, found[question.id]) for question in batch]


def _record(question: Question, told: Sequence[tuple[Example, Conversation, Any]]) -> dict[str, Any]:
    """The line of one question."""
    part = question.part
    head = {
        "id": question.id, "part": part.name, "row": question.row.id, "group": question.row.group, "condition": question.condition,
        "scoring": question.scoring, "question": question.row.texts.get("question", ""), "prompt": _words(told[0][1]),
        "truth": part.truth(question.row), **({"lender": question.lender} if question.lender else {}),
    }  # fmt: skip
    bad = next((s for _, _, s in told if isinstance(s, UniFusionError)), None)
    if bad is not None:
        return {**head, "error": str(bad), "error_kind": type(bad).__name__, "mark": question.mark}
    turns = [_turn(part, example, s) for example, _, s in told]
    if question.scoring == "rotated":
        originals = [_unturned(t["parsed"], i, len(turns)) for i, t in enumerate(turns)]
        each = [{"answer": t["answer"], "parsed": letter, "score": t["score"]} for t, letter in zip(turns, originals, strict=True)]
        body: dict[str, Any] = {"answer": [t["answer"] for t in turns], "score": sum(t["score"] for t in turns) / len(turns), "turns": each}
    else:
        body = turns[0]
    return {**head, **body, "report": told[0][2].report.to_dict(), "mark": question.mark}


def _turn(part: Part, example: Example, said: Answer | LabelScores) -> dict[str, Any]:
    """One answer, what is read in it, and what it earns."""
    answer = said.best if isinstance(said, LabelScores) else said.text
    score = part.task.score(answer, example)
    shares: dict[str, Any] = {}
    if isinstance(said, LabelScores):
        shares = {"probabilities": {k: round(p, _DIGITS) for k, p in zip(said.labels, said.probabilities, strict=True)}}
    return {"answer": answer, "parsed": _plain(score), "score": round(score.value, 6), **shares}


def _plain(score: Score) -> Any:
    """What was read, as JSON holds it."""
    parsed = score.parsed
    plain = asdict(parsed) if is_dataclass(parsed) and not isinstance(parsed, type) else parsed
    return json.loads(json.dumps(plain, default=str))


def _unturned(letter: Any, turn: int, count: int) -> Any:
    """The letter that an option had before its question was turned."""
    if not isinstance(letter, str) or letter not in ascii_uppercase[:count]:
        return None
    return ascii_uppercase[(ascii_uppercase.index(letter) + turn) % count]
