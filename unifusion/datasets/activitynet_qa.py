"""ActivityNet-QA: open questions about long videos of activities."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from unifusion.conversation import Example
from unifusion.datasets._asked import Asked, answered, tables_of, word_of
from unifusion.datasets._files import file_of, json_list, place_of, value
from unifusion.errors import DatasetError

__all__ = ["ActivityNetQA"]

_TYPES = ("motion", "spatial", "temporal", "yes or no", "colour", "object", "location", "number", "other")


class ActivityNetQA(Asked):
    """ActivityNet-QA as it is published, questions joined with answers by their id.

    Source: Yu et al., 2019. Licence: Apache-2.0 (annotations). Layout on disk: `train_q.json`, `train_a.json`, likewise val and test (or
    .gz), in the folder or, as in the repository, in `dataset`; videos anywhere below, called `v_{video_name}.mp4|mkv|webm` or
    `{video_name}`. A row whose video is not there has no media. One raw row:

        {"video_name": "1QIUV7WYKXg", "question": "is the athlete wearing trousers", "question_id": "v_1QIUV7WYKXg_3"}
        {"answer": "no", "type": 3, "question_id": "v_1QIUV7WYKXg_3"}

    The group is the video.

    Args:
        path: the folder.
        split: train, val, test, or None for all that is there.
        only_downloaded: leave out rows without a video.
        as_published: keep rows whose video is in a later part as well; then a group is a video within its part.
    """

    title, page = "ActivityNet-QA", "github.com/MILVLG/activitynet-qa"

    def read(self, root: Path, split: str | None) -> Iterator[Example]:
        """Questions in the order of their tables."""
        root = place_of(root, ("", "dataset"), (f"{p}_q.json" for p in ("train", "val", "test")))
        for part, asked in tables_of(root, {p: (f"{p}_q.json",) for p in ("train", "val", "test")}, split, self.page):
            replies = file_of(asked.parent, f"{part}_a.json", where=self.page)
            answers = {word_of(row, "question_id", replies, f"entry {n}"): row for n, row in enumerate(json_list(replies))}
            for number, row in enumerate(json_list(asked)):
                entry = f"entry {number}"
                name, key = word_of(row, "video_name", asked, entry), word_of(row, "question_id", asked, entry)
                if key not in answers:
                    raise DatasetError(f"{replies} has no answer to {key!r};", remedy=f"take it from the same release as {asked.name}.")
                kind = value(answers[key], "type", replies, key)
                if type(kind) is not int or not 0 <= kind < len(_TYPES):
                    raise DatasetError(f"{replies}, {key}: type {kind!r};", remedy=f"wanted a number from 0 to {len(_TYPES) - 1}.")
                ident = f"activitynet_qa/{key}"
                yield Example(
                    id=ident,
                    media=self.downloads.find(ident, cut=[f"v_{name}", name]),
                    group=name,
                    split=part,
                    **answered(word_of(row, "question", asked, entry), word_of(answers[key], "answer", replies, key), _TYPES[kind]),
                )
