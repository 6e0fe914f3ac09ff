"""Our tasks as lmms-eval's: what the YAML files of `eval/lmms_eval_tasks/` name. Prompts and scores are those of `unifusion.tasks`.

A task reads `lmms_data/NAME.jsonl`, below the folder that lmms-eval is run in; `unifusion data lmms` writes it with any reader.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from unifusion import atomic, catalog
from unifusion.conversation import Example, Media
from unifusion.errors import DatasetError, nearest
from unifusion.metrics.exact_match import exact_match
from unifusion.metrics.macro_f1 import macro_f1 as mean_f1
from unifusion.metrics.macro_recall import macro_recall as mean_recall
from unifusion.metrics.weighted_f1 import weighted_f1 as f1_by_support
from unifusion.tasks.task import LabelTask, Task

__all__ = [
    "PACK", "Packed", "doc_to_messages", "doc_to_target", "doc_to_text", "doc_to_visual", "example_of_doc", "macro_f1",
    "macro_recall", "mean", "packed_of", "process_answers", "process_labels", "row_of", "weighted_f1", "write_rows",
]  # fmt: skip

_SEVEN = ("neutral", "happy", "sad", "angry", "fear", "disgust", "surprise")


@dataclass(frozen=True, kw_only=True)
class Packed:
    """One task of the pack.

    Attributes:
        task: stem of the task in `unifusion/tasks/`.
        dataset: stem of the reader; "" takes any.
        labels: closed set that is asked for; empty takes those of the data, in the order of the alphabet, where the task has labels.
    """

    task: str
    dataset: str = ""
    labels: tuple[str, ...] = ()


PACK: Mapping[str, Packed] = {
    "meld": Packed(task="emotion", dataset="meld", labels=_SEVEN),
    "mer": Packed(task="emotion", dataset="mer", labels=("neutral", "angry", "happy", "sad", "worried", "surprise")),
    "dfew": Packed(task="emotion", dataset="dfew", labels=_SEVEN),
    "crema_d": Packed(task="emotion", dataset="crema_d", labels=_SEVEN[:6]),
    "ravdess": Packed(task="emotion", dataset="ravdess", labels=_SEVEN),
    "iemocap": Packed(task="emotion", dataset="iemocap", labels=("neutral", "happy", "sad", "angry")),
    "emotion": Packed(task="emotion"),
    "msrvtt_qa": Packed(task="open_qa", dataset="msrvtt_qa"),
    "msvd_qa": Packed(task="open_qa", dataset="msvd_qa"),
    "activitynet_qa": Packed(task="open_qa", dataset="activitynet_qa"),
    "open_qa": Packed(task="open_qa"),
    "esc10": Packed(task="sound", dataset="esc10"),
    "sound": Packed(task="sound"),
}
"""Name -> task; in lmms-eval it is called `uf_NAME`."""


def write_rows(examples: Iterable[Example], path: str | Path, packed: Packed) -> tuple[int, int]:
    """Write the file of a task; returns the number of rows, and of those left out since they have no media.

    Raises:
        DatasetError: no row is left, a clip is no file, or a row lacks what the task needs.
    """
    rows = list(examples)
    there = [e for e in rows if e.media]
    if not there:
        raise DatasetError(f"none of {len(rows)} rows has its media;", remedy="download them; the reader's docstring says where they lie.")
    choices = packed.labels or _told(there, packed.task)
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    told = "".join(json.dumps(row_of(e, packed.task, choices), ensure_ascii=False) + "\n" for e in there)
    atomic.write_text(target, told)
    return len(there), len(rows) - len(there)


def row_of(example: Example, task: str, choices: Sequence[str] = ()) -> dict[str, Any]:
    """One row: plain types, the same keys in all, texts and labels as JSON, so that `datasets` reads any set as one table.

    Raises:
        DatasetError: a clip is no file (lmms-eval's models open files), or the example has no truth.
    """
    row = {
        "id": example.id, "group": example.group or example.id, "task": task, "choices": list(choices),
        "media": [_named(m, example.id) for m in example.media],
        "texts": json.dumps(dict(example.texts), ensure_ascii=False),
        "labels": json.dumps(dict(example.labels), ensure_ascii=False, default=_plain),
    }  # fmt: skip
    return {**row, "target": doc_to_target(row)}


def example_of_doc(doc: Mapping[str, Any]) -> Example:
    """The example that a row was made of."""
    media = tuple(
        Media(kind=m["kind"], source=m["path"], start_s=m["start_s"], end_s=m["end_s"], transcript=m["transcript"]) for m in doc["media"]
    )
    return Example(id=doc["id"], group=doc["group"], media=media, texts=json.loads(doc["texts"]), labels=json.loads(doc["labels"]))


def doc_to_messages(doc: Mapping[str, Any]) -> list[dict[str, Any]]:
    """A row as chat messages; `transcript` and `at_least_db` are read by our models, others of lmms-eval pass them over."""
    talk = _task(doc).conversation(example_of_doc(doc))
    return [{"role": m.role, "content": [_shown(p) for p in m.parts]} for m in talk.messages]


def doc_to_visual(doc: Mapping[str, Any]) -> list[Any]:
    """The media of a row for simple models: paths, those with a span as rows with it."""
    found: list[Any] = []
    for one in doc["media"]:
        cut = one["start_s"] is not None or one["end_s"] is not None
        spanned = {"type": one["kind"], "url": one["path"], "video_start": one["start_s"], "video_end": one["end_s"]}
        found.append(spanned if cut else one["path"])
    return found


def doc_to_text(doc: Mapping[str, Any]) -> str:
    """The question of a row for simple models."""
    return "".join(m.text for m in _task(doc).conversation(example_of_doc(doc)).messages)


def doc_to_target(doc: Mapping[str, Any]) -> str:
    """The truth."""
    task, example = _task(doc), example_of_doc(doc)
    return task.target(example) if isinstance(task, LabelTask) else str(task.truth(example, "answer"))


def process_labels(doc: Mapping[str, Any], results: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Score one answer of a task of labels; what its parser cannot read counts as wrong, and is counted."""
    item = _scored(doc, results[0])
    return {**dict.fromkeys(("accuracy", "macro_recall", "macro_f1", "weighted_f1"), item), **_unparsed(item)}


def process_answers(doc: Mapping[str, Any], results: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Score one free answer: by the task (`accuracy`), as the same text but for case (`exact`), and after VQA's normalisation."""
    item, said = _scored(doc, results[0]), results[0].strip()
    right = [item["target"], *(str(a) for a in json.loads(doc["labels"]).get("answers") or ())]
    exact = {**item, "score": float(said.lower() in {r.strip().lower() for r in right})}
    return {"accuracy": item, "exact": exact, "vqa_normalised": {**item, "score": exact_match(said, right)}, **_unparsed(item)}


def mean(items: Sequence[Mapping[str, Any]]) -> float:
    """The mean score."""
    return sum(float(i["score"]) for i in items) / len(items)


def macro_recall(items: Sequence[Mapping[str, Any]]) -> float:
    """Mean recall of the classes (UAR)."""
    return mean_recall(*_labels(items))


def macro_f1(items: Sequence[Mapping[str, Any]]) -> float:
    """Mean F1 of the classes."""
    return mean_f1(*_labels(items))


def weighted_f1(items: Sequence[Mapping[str, Any]]) -> float:
    """F1 weighted by support (WAF)."""
    return f1_by_support(*_labels(items))


def _unparsed(item: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Whether the parser could not read an answer, as a score of its own."""
    return {"unparsed": {**item, "score": float(item["parsed"] is None)}}


def _labels(items: Sequence[Mapping[str, Any]]) -> tuple[list[str | None], list[str]]:
    """Predictions and targets."""
    return [i["parsed"] for i in items], [i["target"] for i in items]


def _scored(doc: Mapping[str, Any], answer: str) -> dict[str, Any]:
    """One answer's score with what figures over the set need."""
    score = _task(doc).score(answer, example_of_doc(doc))
    parsed = score.parsed if score.parsed is None or isinstance(score.parsed, str) else str(score.parsed)
    return {"score": score.value, "parsed": parsed, "target": doc["target"], "group": doc["group"]}


def _plain(value: Any) -> Any:
    """A label that JSON has no word for: arrays and sets as lists, others as text."""
    return value.tolist() if hasattr(value, "tolist") else sorted(value) if isinstance(value, set | frozenset) else str(value)


def _task(doc: Mapping[str, Any]) -> Task:
    """The task of a row."""
    return _made(doc["task"], tuple(doc["choices"] or ()))


@lru_cache(maxsize=32)
def _made(name: str, choices: tuple[str, ...]) -> Task:
    """A task with its labels."""
    task: Callable[..., Task] = catalog.load("tasks", name)
    return task(labels=choices or None)


def _told(examples: Sequence[Example], name: str) -> tuple[str, ...]:
    """The labels that some rows hold, none for a task without labels.

    Raises:
        DatasetError: a row has no label.
    """
    task = _made(name, ())
    return tuple(sorted({str(task.truth(e, *task.keys)) for e in examples})) if isinstance(task, LabelTask) else ()


def _named(media: Media, name: str) -> dict[str, Any]:
    """A clip by its file.

    Raises:
        DatasetError: it is no file, or a stream of it is left out.
    """
    file = Path(media.source) if isinstance(media.source, str | Path) and "://" not in str(media.source) else None
    if file is None or not file.is_file() or media.mute:
        raise DatasetError(
            f"{name}: {media.name} is no file with all its streams;", remedy="lmms-eval's models open files: write the clip into one first."
        )
    return {
        "kind": media.kind, "path": str(file.resolve()), "start_s": media.start_s, "end_s": media.end_s, "transcript": media.transcript,
    }  # fmt: skip


def _shown(part: str | Media) -> dict[str, Any]:
    """One part of a message as lmms-eval's protocol has it."""
    if isinstance(part, str):
        return {"type": "text", "text": part}
    told = {"start_time": part.start_s, "end_time": part.end_s, "transcript": part.transcript, "at_least_db": part.at_least_db}
    return {"type": part.kind, "url": str(part.source), **{k: v for k, v in told.items() if v is not None}}


def packed_of(name: str) -> Packed:
    """A task of the pack by its name, with or without `uf_`.

    Raises:
        DatasetError: there is none.
    """
    found = PACK.get(name.removeprefix("uf_"))
    if found is None:
        raise DatasetError(f"no task {name!r} in the pack;", remedy=nearest(name.removeprefix("uf_"), list(PACK)))
    return found
