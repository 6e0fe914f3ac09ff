"""How well a model does on held-out clips of clip world: per need, with streams muted, beside the most frequent answer."""

from __future__ import annotations

import copy
import json
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from unifusion.batch import StreamReport
from unifusion.conversation import Conversation, Media, Message
from unifusion.engine import Answer, Engine
from unifusion.processor import OpenedMedia
from unifusion.world.questions import Question, ask, check
from unifusion.world.render import reference, with_words
from unifusion.world.sample import sample_script
from unifusion.world.script import Split

__all__ = ["CONDITIONS", "Asked", "Kept", "evaluate_world", "held_out_questions", "table"]

CONDITIONS: dict[str, tuple[str, ...]] = {
    "all": (),
    "picture muted": ("video",),
    "sound muted": ("audio",),
    "both muted": ("video", "audio"),
}
_NEW_TOKENS = {"dense_description": 220, "emotion_rationale": 160, "caption": 96}


@dataclass(frozen=True, kw_only=True)
class Asked:
    """A question and its clip."""

    id: str
    media: Media
    question: Question


def held_out_questions(
    *,
    count: int,
    seed: int = 1000,
    split: Split = "test_iid",
    per_clip: int = 4,
    families: Sequence[str] | None = None,
    files: Path | None = None,
) -> list[Asked]:
    """Questions about clips of a seed and split that training never drew, in wordings it may have met.

    Args:
        count: questions.
        seed: of the world.
        split: pools, see `world.sample`.
        per_clip: questions a clip.
        families: ask only these.
        files: write each clip as mp4 (or wav) here and ask about the file, so that decoding is part of what is measured.
    """
    out: list[Asked] = []
    index = 0
    while len(out) < count:
        script = sample_script(seed, index, split=split)
        source = _written(script, files) if files is not None else reference(script)
        for question in ask(script, per_clip=per_clip, families=families, seed=seed, speak=with_words):
            if not question.labels.get("refusal"):
                out.append(Asked(id=f"{split}/{index}/{question.family}", media=Media(kind="video", source=source), question=question))
        index += 1
    return out[:count]


def _written(script: Any, folder: Path) -> Path:
    """Write one clip as a person's file would be: mp4, or wav where there is no picture."""
    from unifusion.world.render import render, write_mp4, write_wav

    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{script.split}-{script.seed}-{script.index}.{'mp4' if script.has_picture else 'wav'}"
    if not path.is_file():
        clip, spoken = render(script)
        work = path.with_name(f".{path.name}")
        if script.has_picture:
            write_mp4(work, clip, spoken)
        else:
            write_wav(work, clip)
        work.replace(path)
    return path


class Kept:
    """Opens each clip once, whatever is asked about it and whichever streams are muted.

    Args:
        opens: gives a clip as the model takes it, encoded where it can be.
    """

    def __init__(self, opens: Callable[[Media], OpenedMedia]) -> None:
        self.opens = opens
        self.clips: dict[Media, OpenedMedia] = {}

    @classmethod
    def of(cls, engine: Engine) -> Kept:
        """Clips as an engine opens and encodes them."""
        return cls(lambda media: engine.open(media)[0])

    def open(self, media: Media) -> OpenedMedia:
        """The clip with its features, without the muted streams."""
        whole = replace(media, mute=())
        if whole not in self.clips:
            self.clips[whole] = self.opens(whole)
        opened = self.clips[whole]
        muted = {n for n, r in opened.reports.items() if r.modality in media.mute}
        absent = {n: StreamReport(modality=opened.reports[n].modality, present=False, reason="muted on request") for n in muted}
        streams = {n: s for n, s in opened.streams.items() if n not in muted}
        return replace(opened, media=media, streams=streams, reports={n: absent.get(n, r) for n, r in opened.reports.items()})


def evaluate_world(
    engine: Engine, asked: Sequence[Asked], *, conditions: Sequence[str] = tuple(CONDITIONS), batch_size: int = 16
) -> dict[str, Any]:
    """Ask everything under every condition, greedily; strict parsing (`world.questions.check`).

    Returns:
        `needs` and `families`: accuracy per condition, number of questions, and the accuracy of the family's most frequent answer;
        `predictions`: one record per question.
    """
    kept = Kept.of(engine)
    engine = copy.copy(engine)
    engine.processor = engine.processor.with_opener(kept)
    records: list[dict[str, Any]] = [
        {
            "id": a.id,
            "family": a.question.family,
            "needs": a.question.needs,
            "streams": list(a.question.stream_needs),
            "question": a.question.text,
            "truth": a.question.answer,
        }
        for a in asked
    ]
    for condition in conditions:
        for record, said in zip(records, _answers(engine, asked, CONDITIONS[condition], batch_size), strict=True):
            record[condition] = said
    for a, record in zip(asked, records, strict=True):
        record["right"] = {c: check(a.question, record[c]) for c in conditions}
    return {
        "needs": _summary(asked, records, "needs", conditions), "families": _summary(asked, records, "family", conditions),
        "questions": len(asked), "predictions": records,
    }  # fmt: skip


def _answers(engine: Engine, asked: Sequence[Asked], mute: tuple[str, ...], batch_size: int) -> list[str]:
    """One answer per question; families with long answers are asked together."""
    out = [""] * len(asked)
    groups: dict[int, list[int]] = defaultdict(list)
    for i, a in enumerate(asked):
        groups[_NEW_TOKENS.get(a.question.family, 24)].append(i)
    for tokens, members in groups.items():
        talks = [
            Conversation(
                id=asked[i].id, messages=(Message(role="user", parts=(replace(asked[i].media, mute=mute), asked[i].question.text)),)
            )
            for i in members
        ]
        for i, answer in zip(members, engine.answer(talks, max_new_tokens=tokens, batch_size=batch_size), strict=True):
            out[i] = answer.text if isinstance(answer, Answer) else f"error: {answer}"
    return out


def _summary(asked: Sequence[Asked], records: Sequence[dict[str, Any]], key: str, conditions: Sequence[str]) -> dict[str, Any]:
    """Accuracy by `key`; the most frequent answer is taken per family, as a blind answerer would."""
    frequent = {
        f: Counter(a.question.answer for a in asked if a.question.family == f).most_common(1)[0][0]
        for f in {a.question.family for a in asked}
    }
    out: dict[str, Any] = {}
    for name in sorted({r[key] for r in records}):
        rows = [(a, r) for a, r in zip(asked, records, strict=True) if r[key] == name]
        out[name] = {
            "n": len(rows), **{c: sum(r["right"][c] for _, r in rows) / len(rows) for c in conditions},
            "most frequent answer": sum(check(a.question, frequent[a.question.family]) for a, _ in rows) / len(rows),
        }  # fmt: skip
    return out


def table(results: dict[str, Any], by: str = "needs") -> str:
    """A Markdown table of accuracies."""
    rows = results[by]
    columns = list(next(iter(rows.values())))
    lines = [f"| {by} | " + " | ".join(columns) + " |", "|---|" + "---|" * len(columns)]
    for name, values in rows.items():
        lines.append(f"| {name} | " + " | ".join(str(v) if isinstance(v, int) else f"{v:.3f}" for v in values.values()) + " |")
    return "\n".join(lines)


def write_results(results: dict[str, Any], folder: Path) -> None:
    """`results.json` for machines, `predictions.jsonl` with every answer, `results.md` for people."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "results.json").write_text(json.dumps({k: v for k, v in results.items() if k != "predictions"}, indent=1), encoding="utf-8")
    (folder / "predictions.jsonl").write_text("".join(json.dumps(r) + "\n" for r in results["predictions"]), encoding="utf-8")
    (folder / "results.md").write_text(table(results) + "\n\n" + table(results, "families") + "\n", encoding="utf-8")
