"""AVQA: questions with four options about what is seen and heard in ten seconds of VGGSound."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from unifusion.conversation import Example
from unifusion.datasets._asked import Asked, chosen, tables_of, word_of
from unifusion.datasets._files import json_list, one_of, value
from unifusion.datasets._seen import Seen
from unifusion.errors import DatasetError

__all__ = ["AVQA"]

_CLIP = re.compile(r"([A-Za-z0-9_-]{11})_([0-9]{6})")
_NEEDS = {"Sound": "sound", "View": "picture", "Both": "both"}


class AVQA(Seen, Asked):
    """AVQA as it is published.

    Source: Yang et al., 2022, mn.cs.tsinghua.edu.cn/avqa. Licence: none is given; the clips are VGGSound's. Layout on disk:
    `train_qa.json`, `val_qa.json` (or .gz); clips anywhere below, called as those of `vggsound` (`{youtube_id}_{start, 6 digits}` ..), as
    videos or sounds, or whole videos called `{youtube_id}`, of which ten seconds from the start are taken; or what video2dataset wrote, in
    the folder or in `shards`. A row whose clip is not there has no media. One raw row:

        {"id": 183, "video_name": "-HG3Omg_89c_000030", "video_id": 341, "question_text": "What happened in the video?", "multi_choice":
         ["motorboat", "Yacht consignment", "Sailboat set sail", "Consignment car"], "answer": 1, "question_relation": "View",
         "question_type": "Happening"}

    `labels["type"]` is the question type, `labels["needs"]` what must be perceived: picture, sound or both. The group is the YouTube
    video; VGGSound took several clips of some, so rows of train whose video is in val as well are left out and counted.

    Args:
        path: the folder.
        split: train, val, or None for both.
        take: video, which has the sound too, or audio.
        only_downloaded: leave out rows without a clip.
        as_published: keep rows of train whose video is in val as well; then a group is a video within its part.
    """

    title, page = "AVQA", "mn.cs.tsinghua.edu.cn/avqa"

    def read(self, root: Path, split: str | None) -> Iterator[Example]:
        """Questions in the order of their tables."""
        for part, path in tables_of(root, {p: (f"{p}_qa.json",) for p in ("train", "val", "test")}, split, self.page):
            for number, row in enumerate(json_list(path)):
                yield self._row(row, part, path, f"entry {number}")

    def _row(self, row: Mapping[str, Any], part: str, path: Path, entry: str) -> Example:
        """One question."""
        clip = _CLIP.fullmatch(word_of(row, "video_name", path, entry))
        options = value(row, "multi_choice", path, entry)
        if clip is None or not isinstance(options, list):
            raise DatasetError(
                f"{path}, {entry}: video_name {row['video_name']!r}, multi_choice {str(options)[:80]};",
                remedy="wanted {YouTube id}_{start, 6 digits} and a list of texts.",
            )
        told = chosen(
            word_of(row, "question_text", path, entry), options, row.get("answer"), word_of(row, "question_type", path, entry), path, entry
        )
        ident = f"avqa/{value(row, 'id', path, entry)}"
        media, span = self.clip(ident, clip[1], int(clip[2]))
        return Example(
            id=ident,
            media=media,
            texts=told["texts"],
            labels={
                **told["labels"], "needs": one_of(word_of(row, "question_relation", path, entry), _NEEDS, path, entry),
                "start_s": span[0], "end_s": span[1],
            },
            group=clip[1],
            split=part,
        )  # fmt: skip
