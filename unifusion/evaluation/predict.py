"""Answer one task for many rows: label scoring where the answers are a closed set, generation elsewhere.

Every row ends as one JSON object, `{"id", "answer", "label", "probabilities", "report", "mark"}` or
`{"id", "error", "error_kind", "mark"}`: a bad file spoils its own row only.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any

from unifusion.conversation import Conversation, Example, Media, Message
from unifusion.errors import DatasetError, UniFusionError
from unifusion.evaluation.manifest import Row, read_manifest
from unifusion.evaluation.outfile import OutFile, Run, weights_of
from unifusion.prompts import FreeAnswer, Unparsed
from unifusion.tasks.task import said_alone

if TYPE_CHECKING:
    from unifusion.engine import Answer, Engine, LabelScores
    from unifusion.tasks.task import Task

__all__ = ["OutFile", "Run", "answer_rows", "feel_rows", "predict_batch", "read_manifest", "weights_of"]


def answer_rows(engine: Engine, rows: Sequence[Row], task: Task, sink: OutFile, *, batch_size: int, run: Run) -> None:
    """Answer `rows` in their order and write each batch as soon as it is there.

    Shows a progress bar on a terminal.
    """
    for batch in _batches(rows, batch_size):
        answers = predict_batch(engine, batch, task, max_new_tokens=run.max_new_tokens, abstain=run.abstain)
        sink.write([{**answer, "mark": row.mark} for row, answer in zip(batch, answers, strict=True)])


def feel_rows(
    engine: Engine, rows: Sequence[Row], labels: Sequence[str] | None, sink: OutFile, *, batch_size: int, window_s: float | None = None
) -> None:
    """Tell the emotion in the clips of `rows`, evidence and all, and write each batch as soon as it is there.

    With `window_s`, each row also says what its label hangs on (`explanation`), by windows of so many seconds. Shows a progress bar on a
    terminal.
    """
    for batch in _batches(rows, batch_size):
        media = [_media(row) for row in batch]
        good = [m for m in media if not isinstance(m, UniFusionError)]
        if window_s is None:
            told = engine.emotions(good, labels=labels, batch_size=batch_size)
            answers = iter([a if isinstance(a, UniFusionError) else a.to_dict() for a in told])
        else:
            answers = iter([_explained(engine, m, labels, window_s) for m in good])
        found = [(row, m if isinstance(m, UniFusionError) else next(answers)) for row, m in zip(batch, media, strict=True)]
        answered = [(row, _failed(row, a) if isinstance(a, UniFusionError) else {"id": row.id, **a}) for row, a in found]
        sink.write([{**answer, "mark": row.mark} for row, answer in answered])


def _explained(engine: Any, media: Sequence[Media], labels: Sequence[str] | None, window_s: float) -> dict[str, Any] | UniFusionError:
    """What is told of one row, and what that hangs on."""
    from unifusion.engine.explain import ask_about, explain

    try:
        asked = ask_about(engine, media, labels)
        answer = asked.answer()
        return {**answer.to_dict(), "explanation": explain(asked, answer, window_s=window_s).to_dict()}
    except UniFusionError as error:
        return error


def _batches(rows: Sequence[Row], size: int) -> Iterator[Sequence[Row]]:
    """Some rows at a time, with a progress bar."""
    from tqdm import tqdm

    with tqdm(total=len(rows), unit="row", disable=None) as bar:
        for first in range(0, len(rows), size):
            yield rows[first : first + size]
            bar.update(len(rows[first : first + size]))


def _media(row: Row) -> tuple[Media, ...] | UniFusionError:
    """A row's clips, or what is wrong with one of them, or that it has none."""
    try:
        if not row.clips.files:
            raise DatasetError(f"row {row.id!r} names no file;", remedy="ask for words alone with `unifusion predict --task emotion`.")
        return row.media()
    except UniFusionError as error:
        return error


def predict_batch(
    engine: Engine, rows: Sequence[Row], task: Task, *, max_new_tokens: int, abstain: bool = False
) -> list[dict[str, Any]]:  # fmt: skip
    """Return one object per row, in the order of `rows`.

    With `abstain`, a label that is less likely than the checkpoint's threshold for the task is null, and `abstained` says so.
    """
    outcome: dict[str, dict[str, Any]] = {}
    closed: list[tuple[Row, Conversation, tuple[str, ...]]] = []
    free: list[tuple[Row, Conversation, Example]] = []
    for row in rows:
        try:
            example = row.example()
            conversation, labels = ask(task, example), task.choices(example)
            if len(labels) == 1 or len(set(labels)) != len(labels):
                raise DatasetError(f"row {row.id!r}: cannot choose among {list(labels)};", remedy="give two or more different answers.")
        except UniFusionError as error:
            outcome[row.id] = _failed(row, error)
            continue
        if labels:
            closed.append((row, conversation, labels))
        else:
            free.append((row, conversation, example))
    for kind in ("", "text_"):  # what was fitted on clips does not hold for words alone
        some = [(row, talk, labels) for row, talk, labels in closed if bool(talk.media) == (not kind)]
        if some:
            talks, choices = [talk for _, talk, _ in some], [labels for *_, labels in some]
            scores = engine.score_labels(talks, choices, task=kind + task.prompt, batch_size=len(some))
            outcome |= {row.id: _scored(row, score, task, abstain) for (row, *_), score in zip(some, scores, strict=True)}
    if free:
        answers = engine.answer([c for _, c, _ in free], max_new_tokens=max_new_tokens, batch_size=len(free))
        outcome |= {row.id: _answered(row, answer, task, example) for (row, _, example), answer in zip(free, answers, strict=True)}
    return [outcome[row.id] for row in rows]


def ask(task: Task, example: Example) -> Conversation:
    """The task's conversation; a row's own question takes the place of words that do not show one.

    A row without a clip is asked about its transcript.
    """
    conversation = task.conversation(example)
    question = example.texts.get("question", "")
    system = tuple(m for m in conversation.messages if m.role == "system")
    if question and question not in "".join(m.text for m in conversation.messages):
        conversation = replace(conversation, messages=(*system, Message(role="user", parts=(*example.media, question))))
    if not example.media and (said := example.texts.get("transcript", "")):
        bare = task.conversation(replace(example, labels={k: v for k, v in example.labels.items() if k != "history"})).messages[-1].text
        shown = conversation.messages[-1].text
        words = said_alone(said, shown, bare=bare if shown.endswith(bare) else shown)
        conversation = replace(conversation, messages=(*conversation.messages[:-1], Message(role="user", parts=(words,))))
    return conversation


def _failed(row: Row, error: UniFusionError) -> dict[str, Any]:
    """The row of an error."""
    return {"id": row.id, "error": str(error), "error_kind": type(error).__name__}


def _scored(row: Row, score: LabelScores | UniFusionError, task: Task, abstain: bool) -> dict[str, Any]:
    """The row of a closed answer; one about a stream that is not there says so, and gives no label where it may abstain."""
    if isinstance(score, UniFusionError):
        return _failed(row, score)
    perceived = not task.needs or any(s.present and s.modality in task.needs for s in score.report.streams.values())
    given = (score.sure and perceived) or not abstain
    return {
        "id": row.id,
        "answer": score.best,
        "label": score.best if given else None,
        **({"abstained": not given} if abstain else {}),
        **({} if perceived else {"note": f"a guess: nothing was perceived of {' or '.join(task.needs)}, which {task.prompt} is about"}),
        "probabilities": {label: round(p, 6) for label, p in zip(score.labels, score.probabilities, strict=True)},
        "report": score.report.to_dict(),
    }


def _answered(row: Row, answer: Answer | UniFusionError, task: Task, example: Example) -> dict[str, Any]:
    """The row of a generated answer; `parsed` is what the task's parser reads in it, null where it reads nothing."""
    if isinstance(answer, UniFusionError):
        return _failed(row, answer)
    parsed = task.parse(answer.text, example)
    return {
        "id": row.id,
        "answer": answer.text,
        "label": getattr(parsed, "label", None),
        "probabilities": None,
        "parsed": None if isinstance(parsed, Unparsed | FreeAnswer) else asdict(parsed),
        "report": answer.report.to_dict(),
    }
