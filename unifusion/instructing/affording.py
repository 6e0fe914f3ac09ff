"""What a row can be asked: the tasks whose truth it holds, the labels they offer, and the streams an answer needs."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from unifusion import catalog
from unifusion.conversation import Example, Media
from unifusion.errors import DatasetError
from unifusion.tasks.task import LabelTask

__all__ = ["OF_CLIP", "LabelSets", "needed", "streams_of", "tasks_of"]

MOST_LABELS = 20
"""A list of more is not shown whole: `FEW` of them are, the right one among them."""
FEW = 10

Test = Callable[[Example], bool]


def _has(key: str) -> Test:
    """Whether a label or text is there and says something."""
    return lambda row: row.labels.get(key) not in (None, "", ()) or bool(row.texts.get(key))


def _says(key: str) -> Test:
    """Whether there is a text."""
    return lambda row: bool(row.texts.get(key))


def _asks(row: Example) -> bool:
    """Whether a row has a question with its answer."""
    return bool(row.texts.get("question")) and bool(row.texts.get("answer"))


def _chooses(row: Example) -> bool:
    """Whether a row has a question with options of which one is said to be right."""
    return bool(row.texts.get("question")) and isinstance(row.labels.get("option"), int) and _has("options")(row)


def _explains(row: Example) -> bool:
    """Whether a row has an emotion with evidence or reasons for it."""
    return _has("emotion")(row) and (_has("evidence")(row) or _has("rationale")(row))


_AFFORDS: dict[str, Test] = {
    "multiple_choice": _chooses,
    "open_qa": lambda row: _asks(row) and not _chooses(row) and not _has("history")(row),
    "caption": _says("caption"),
    "match": _says("caption"),
    "which_of": _says("caption"),
    "dense_description": _says("description"),
    "emotion": _has("emotion"),
    "emotion_rationale": _explains,
    "valence_arousal": lambda row: row.labels.get("valence") is not None and row.labels.get("arousal") is not None,
    "sound": _has("sound"),
    "sounds": lambda row: _has("sounds")(row) and not _has("sound")(row),
    "digit": _has("digit"),
    "when": lambda row: _has("event")(row) and any(row.labels.get(key) is not None for key in ("span", "time_s")),
    "dialogue_reply": lambda row: row.labels.get("history") is not None and _has("reply")(row),
}
OF_CLIP = (
    "caption", "match", "which_of", "dense_description", "emotion", "emotion_rationale", "valence_arousal", "sound", "sounds", "digit",
)  # fmt: skip
"""Tasks that ask the same of every row of a clip: one row of it is asked."""


def tasks_of(row: Example, wanted: Sequence[str] = ()) -> list[str]:
    """Tasks whose truth a row holds, in the order of the table above; of `wanted` those alone.

    A wanted task that the table does not know is given for every row: its own errors tell which rows it cannot be asked of.
    """
    known = [name for name, test in _AFFORDS.items() if (not wanted or name in wanted) and test(row)]
    return known + [name for name in wanted if name not in _AFFORDS]


def streams_of(media: Media) -> set[str]:
    """Which of "video" (a picture, too) and "audio" a clip holds, by its header or its script; what is muted counts as not there.

    Raises:
        MediaError: the file cannot be read.
    """
    from unifusion.media import probe
    from unifusion.world.render import parse_reference

    source = media.source
    if isinstance(source, str) and source.startswith("clip-world://"):
        script = parse_reference(source)
        there = {"video": script.has_picture, "audio": script.has_sound}
    elif isinstance(source, str | bytes | Path):
        info = probe(source)
        there = {"video": (info.has_video or info.is_image) and media.kind != "audio", "audio": info.has_audio and media.kind != "image"}
    else:
        there = {"video": media.kind != "audio", "audio": media.kind != "image"}
    return {name for name, found in there.items() if found and name not in media.mute}


def needed(task: str, row: Example, there: set[str]) -> tuple[str, ...]:
    """Streams without which the task cannot be answered, as far as that is known.

    They are those of the task (`needs`), those that a row says of its own question (`labels["stream_needs"]`), or the only one of a clip.
    Of what a row says needs "all" of a clip, a part can be told from any stream: it is refused only where one is all there is.
    """
    of_task: tuple[str, ...] = catalog.load("tasks", task).needs
    told = row.labels.get("stream_needs") if task in ("open_qa", "multiple_choice", "when") else None
    known = () if row.labels.get("needs") == "all" or not isinstance(told, list | tuple) else told
    return of_task or tuple(stream for stream in known if stream in ("video", "audio")) or (tuple(there) if len(there) == 1 else ())


class LabelSets:
    """The lists of labels that closed tasks offer in one part: a task's own where it knows all of the part's, else the part's.

    Args:
        rows: of the part.
        given: labels that closed tasks shall offer instead.
    """

    def __init__(self, rows: Sequence[Example], given: Sequence[str] = ()) -> None:
        self._rows, self._given = rows, list(given)
        self._found: dict[str, list[str] | None] = {}

    def choices(self, name: str, row: Example, seed: int) -> Mapping[str, Any]:
        """Options for the task of a row: `labels`, where they are not the task's own."""
        kind = catalog.load("tasks", name)
        if not kind.labels_of(row):
            return {}
        if name not in self._found:
            self._found[name] = self._given or self._known(kind)
        labels = self._found[name]
        if labels is None or len(labels) <= MOST_LABELS or not issubclass(kind, LabelTask):
            return {} if labels is None else {"labels": labels}
        (right,), rng = kind.labels_of(row), random.Random(f"{seed}/labels/{name}/{row.id}")
        few = [*rng.sample([label for label in labels if label != right], FEW - 1), right]
        return {"labels": rng.sample(few, len(few))}

    def _known(self, kind: Any) -> list[str] | None:
        """All labels of the part, in order; None where the task's own hold each of them."""
        task, own = kind(), True
        for row in self._rows:
            try:
                if kind.labels_of(row):
                    task.target(row)
            except DatasetError:
                own = False
        return None if own else sorted({label for row in self._rows for label in kind.labels_of(row)})
