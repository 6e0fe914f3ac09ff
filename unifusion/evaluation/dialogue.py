"""A talk, turn by turn: the emotion of each with what was said before it, and a reply where one is wanted. Later turns are never seen."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from unifusion import catalog
from unifusion.conversation import Conversation, Example, Media
from unifusion.engine import EmotionAnswer, Engine
from unifusion.engine.affect import AffectEngine
from unifusion.errors import ConfigError, DatasetError, UniFusionError, nearest
from unifusion.evaluation.manifest import Row, read_lines, row_of
from unifusion.evaluation.outfile import OutFile
from unifusion.models.opened_rows import words_media

__all__ = ["Turn", "feel_turns", "read_talks", "told_turns", "turns_of"]

_SAME = {"transcript": "text", "start": "start_s", "end": "end_s"}
_REPLY_TOKENS = 96


@dataclass(frozen=True, kw_only=True)
class Turn:
    """One turn of a talk.

    Attributes:
        id: its own.
        speaker: who says it; "" where nobody told.
        text: what is said; "" where nobody told.
        media: its clips, or the row of a file that names them.
        history: the turns before it, `{"speaker", "text"}`, the oldest first.
        metadata: what is known of the people and the talk.
        mark: a short hash of all that its answer depends on.
    """

    id: str
    speaker: str = ""
    text: str = ""
    media: tuple[Media, ...] | Row = ()
    history: tuple[Mapping[str, str], ...] = ()
    metadata: Mapping[str, Any] = field(default_factory=dict)
    mark: str = ""

    def clips(self) -> tuple[Media, ...]:
        """Its clips, the first with what is said.

        Raises:
            MediaError: a file is missing or its header cannot be read.
        """
        found = self.media.media() if isinstance(self.media, Row) else self.media
        return (replace(found[0], transcript=found[0].transcript or self.text or None), *found[1:]) if found else ()


def read_talks(path: Path) -> list[Turn]:
    """Read turns, one a line, in their order; lines with another `dialogue` are another talk.

    A line is `{"speaker", "text"}`, with `path` (or video, audio, image), `start`, `end`, `metadata`, `dialogue` and `id` where it has
    them; paths follow the file. A line with a `history` of its own, as rows of data sets have one, is told with that.

    Raises:
        DatasetError: a line is not so, or its id stands twice.
    """
    turns: dict[str, Turn] = {}
    said: dict[str, list[Mapping[str, str]]] = {}
    for number, raw in read_lines(path):
        where = f"{path}:{number}"
        raw = {_SAME.get(k, k): v for k, v in raw.items()}
        talk, own = str(raw.pop("dialogue", "")), raw.pop("history", None)
        before = said.setdefault(talk, [])
        speaker, text, metadata = raw.pop("speaker", ""), raw.pop("text", ""), raw.pop("metadata", {})
        if not isinstance(speaker, str) or not isinstance(text, str) or not isinstance(metadata, dict):
            raise DatasetError(f"{where}: speaker and text are words, metadata an object;", remedy='{"speaker": "A", "text": "Hello"}')
        row = row_of({**raw, **({"transcript": text} if text else {})}, where, number, path.parent)
        if row.id in turns:
            raise DatasetError(f"{where}: the id {row.id!r} stands twice;", remedy="answers are told apart by it.")
        history = _history(own, where) if own is not None else tuple(before)
        told = json.dumps([row.mark, speaker, history, metadata], sort_keys=True)
        turns[row.id] = Turn(
            id=row.id, speaker=speaker, text=text, media=row if row.clips.files else (), history=history,
            metadata={"turn": len(history), **({"role": speaker.lower()} if speaker else {}), **metadata},
            mark=hashlib.sha256(told.encode()).hexdigest()[:12],
        )  # fmt: skip
        if text:
            before.append({"speaker": speaker, "text": text})
    if not turns:
        raise DatasetError(f"{path} holds no turns;", remedy='write lines like {"speaker": "A", "text": "Hello", "path": "a.mp4"}.')
    return list(turns.values())


def _history(own: Any, where: str) -> tuple[Mapping[str, str], ...]:
    """What a line says was said before it."""
    if not isinstance(own, list) or not all(isinstance(t, dict) and {"speaker", "text"} <= set(t) for t in own):
        raise DatasetError(f"{where}: history is {own!r};", remedy="a list of turns with speaker and text.")
    return tuple(own)


def turns_of(path: Path, dataset: str, split: str) -> list[Turn]:
    """The rows of a data set's split (avamerg, meld ..) as turns, with their own history and metadata.

    Raises:
        ConfigError: no such reader.
        DatasetError: it cannot be read, or the split is empty.
    """
    if dataset not in catalog.names("datasets"):
        raise ConfigError(f"no reader {dataset!r};", remedy=nearest(dataset, catalog.names("datasets")))
    turns = [_turn(row) for row in catalog.load("datasets", dataset)(path, split=split)]
    if not turns:
        raise DatasetError(f"{path} has no rows of split {split};", remedy="name another with --split.")
    return turns


def _turn(row: Example) -> Turn:
    """A row as a turn."""
    known, text = dict(row.labels.get("metadata") or {}), row.texts.get("transcript", "")
    speaker, history = str(row.labels.get("speaker") or known.get("role") or ""), tuple(row.labels.get("history") or ())
    told = json.dumps([row.id, speaker, text, history, known, [str(m.source) for m in row.media]], sort_keys=True, default=str)
    mark = hashlib.sha256(told.encode()).hexdigest()[:12]
    return Turn(id=row.id, speaker=speaker, text=text, media=row.media, metadata=known, history=history, mark=mark)


def told_turns(
    engine: Engine | AffectEngine, turns: Sequence[Turn], labels: Sequence[str] | None = None, *, reply: bool = False, batch_size: int = 8
) -> Iterator[tuple[Turn, dict[str, Any]]]:
    """Tell each turn from its clip or words and the turns before it; one that fails holds its error.

    Args:
        engine: a chat model reads history in its prompt; a fusion by a stream that reads it, and metadata where it takes some.
        turns: of one talk or several.
        labels: to choose among.
        reply: let the chat model answer each turn, given its clip, the talk and the emotion it was told with.
        batch_size: turns told at once.

    Raises:
        ConfigError: a fusion was asked for replies, or does not know a label.
    """
    if reply and isinstance(engine, AffectEngine):
        raise ConfigError("a fusion has no words to reply with;", remedy="take a chat model, or leave --reply out.")
    for first in range(0, len(turns), batch_size):
        some = turns[first : first + batch_size]
        clips = [_tried(turn) for turn in some]
        good = [(t, c) for t, c in zip(some, clips, strict=True) if not isinstance(c, UniFusionError)]
        answers = iter(_answers(engine, good, labels))
        found = [(t, c, c if isinstance(c, UniFusionError) else next(answers)) for t, c in zip(some, clips, strict=True)]
        asked = [_reply_to(t, c, a) for t, c, a in found if isinstance(a, EmotionAnswer) and not isinstance(c, UniFusionError)]
        can_talk = reply and isinstance(engine, Engine)
        replies = iter(engine.answer(asked, max_new_tokens=_REPLY_TOKENS, batch_size=batch_size) if can_talk else ())  # type: ignore[union-attr]
        for turn, _, answer in found:
            if not isinstance(answer, EmotionAnswer):
                yield turn, {"error": str(answer), "error_kind": type(answer).__name__}
                continue
            yield turn, {
                "speaker": turn.speaker, "text": turn.text, "turns_before": len(turn.history), **answer.to_dict(),
                **(_replied(next(replies)) if reply else {}),
            }  # fmt: skip


def feel_turns(
    engine: Any, turns: Sequence[Any], labels: Sequence[str] | None, sink: OutFile, *, reply: bool, batch_size: int
) -> None:  # fmt: skip
    """Tell turns and write each as soon as it is there."""
    for turn, told in told_turns(engine, turns, labels, reply=reply, batch_size=batch_size):
        sink.write([{"id": turn.id, **told, "mark": turn.mark}])


def _tried(turn: Turn) -> tuple[Media, ...] | UniFusionError:
    """A turn's clips, or what is wrong with one."""
    try:
        return turn.clips()
    except UniFusionError as error:
        return error


def _answers(
    engine: Engine | AffectEngine, good: Sequence[tuple[Turn, tuple[Media, ...]]], labels: Sequence[str] | None
) -> list[EmotionAnswer | UniFusionError]:
    """The emotions of some turns together."""
    history = [turn.history for turn, _ in good]
    if isinstance(engine, AffectEngine):
        clips = [list(media or (words_media(turn.text),)) for turn, media in good]
        return engine.emotions(clips, labels=labels, history=history, metadata=[t.metadata for t, _ in good], batch_size=max(len(good), 1))
    said = ["" if media else turn.text for turn, media in good]
    return engine.emotions([media for _, media in good], labels=labels, history=history, said=said, batch_size=max(len(good), 1))


def _reply_to(turn: Turn, clips: tuple[Media, ...], answer: EmotionAnswer) -> Conversation:
    """The chat model's task to reply."""
    now = ({"speaker": turn.speaker or "Somebody", "text": turn.text},) if turn.text else ()
    example = Example(id=turn.id, media=clips, texts={"felt": answer.label}, labels={"history": (*turn.history, *now)})
    conversation: Conversation = catalog.load("tasks", "dialogue_reply")().conversation(example)
    return conversation


def _replied(found: Any) -> dict[str, Any]:
    """A reply, or why there is none."""
    return {"reply": None, "reply_error": str(found)} if isinstance(found, UniFusionError) else {"reply": found.text}
