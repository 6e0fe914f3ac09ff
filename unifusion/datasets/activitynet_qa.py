"""ActivityNet-QA: open questions about long videos of activities."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import ClassVar

from unifusion.conversation import Example, Media
from unifusion.datasets._files import Published, file_of, json_list, value
from unifusion.errors import DatasetError

__all__ = ["ActivityNetQA"]

_TYPES = ("motion", "spatial", "temporal", "yes or no", "colour", "object", "location", "number", "other")
_VIDEO = (".mp4", ".mkv", ".webm")


class ActivityNetQA(Published):
    """ActivityNet-QA as it is published, questions joined with answers by their id.

    Source: Yu et al., 2019. Licence: Apache-2.0 (annotations). Layout on disk: `train_q.json`, `train_a.json`, likewise val and test (or
    .gz); videos in `videos/`, called `v_{video_name}.mp4|mkv|webm`. A row whose video is not there has no media. One raw row:

        {"video_name": "1QIUV7WYKXg", "question": "is the athlete wearing trousers", "question_id": "v_1QIUV7WYKXg_3"}
        {"answer": "no", "type": 3, "question_id": "v_1QIUV7WYKXg_3"}

    Args:
        path: the folder.
        split: train, val, test, or None for all that is there.
    """

    title = "ActivityNet-QA"
    tables: ClassVar[Mapping[str, str]] = {p: f"{p}_q.json" for p in ("train", "val", "test")}

    @classmethod
    def read(cls, root: Path, part: str) -> Iterator[Example]:
        """Rows of one part in the order of its questions."""
        asked, answered = file_of(root, f"{part}_q.json"), file_of(root, f"{part}_a.json")
        answers = {value(row, "question_id", answered, n): row for n, row in enumerate(json_list(answered))}
        for number, row in enumerate(json_list(asked)):
            name, key = value(row, "video_name", asked, number), value(row, "question_id", asked, number)
            if key not in answers:
                raise DatasetError(f"{answered} has no answer to {key!r};", remedy=f"take it from the same release as {asked.name}.")
            kind = int(value(answers[key], "type", answered, key))
            videos = [p for p in (root / "videos" / f"v_{name}{end}" for end in _VIDEO) if p.is_file()]
            yield Example(
                id=f"activitynet_qa/{key}",
                media=tuple(Media(kind="video", source=str(p)) for p in videos[:1]),
                texts={"question": row["question"], "answer": str(value(answers[key], "answer", answered, key))},
                labels={"type": _TYPES[kind]},
                group=name,
                split=part,
            )
