"""MSVD-QA: 50,505 questions about 1,970 short YouTube clips, made of their captions by a program."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from unifusion.datasets._asked import word_of
from unifusion.datasets._files import text_of
from unifusion.datasets._generated import Generated, clip_number
from unifusion.errors import DatasetError, LayoutError

__all__ = ["MSVDQA"]

_OTHER = "read it by msrvtt_qa."
_CLIP = re.compile(r"([A-Za-z0-9_-]{11})_[0-9]{1,6}_[0-9]{1,6}")
_NUMBER = re.compile(r"vid[0-9]{1,6}")


class MSVDQA(Generated):
    """MSVD-QA as it is published, or as LAVIS publishes it anew; answers are one word.

    Source: Xu et al., 2017, github.com/xudejing/video-question-answering. Licence: none is given; the clips are MSVD's (Chen and Dolan,
    2011). Layout on disk: `train_qa.json`, `val_qa.json`, `test_qa.json`, or `qa_train.json` .. as LAVIS calls them (each also .gz), and
    `youtube_mapping.txt`; clips anywhere below, called as in MSVD (`YouTubeClips/-4wsuPCjDBc_5_15.avi`) or by number (`video/vid1.avi`).
    A row whose clip is not there has no media. One raw row of each, and a line of the mapping:

        {"id": 0, "video_id": 1, "question": "what is chewing on a nut?", "answer": "chipmunk"}
        {"video": "-4wsuPCjDBc_5_15.avi", "question": "what is chewing on a nut?", "answer": "chipmunk", "question_id": 0}
        -4wsuPCjDBc_5_15 vid1

    The group is the YouTube video by the mapping, else the clip. Rows of train and val whose video is in a later part as well are left
    out and counted.

    Args:
        path: the folder.
        split: train (30,933 rows), val (6,415), test (13,157), or None for all that is there.
        only_downloaded: leave out rows without a clip.
        as_published: keep rows whose video is in a later part as well; then a group is a video within its part.
    """

    title, page, stem = "MSVD-QA", "github.com/xudejing/video-question-answering", "msvd_qa"

    def prepare(self, root: Path) -> None:
        """Which number is which clip."""
        self._clips = _mapping(root / "youtube_mapping.txt")

    def clip(self, row: Mapping[str, Any], path: Path, entry: str) -> tuple[list[str], str]:
        """By its number, or by its file."""
        if "video" in row:
            number, clip = "", word_of(row, "video", path, entry).rpartition(".")[0]
            if not _CLIP.fullmatch(clip):
                raise DatasetError(f"{path}, {entry}: video {row['video']!r};", remedy="wanted {YouTube id}_{start}_{end}.avi.")
        else:
            if "category_id" in row:
                raise LayoutError(f"{path}, {entry}: category_id {row['category_id']!r}, which rows of MSRVTT-QA have;", remedy=_OTHER)
            number = f"vid{clip_number(row, path, entry)}"
            clip = self._clips.get(number, "")
        watched = _CLIP.fullmatch(clip)
        return [n for n in (clip, number) if n], watched[1] if watched else f"msvd_qa/{number}"


def _mapping(path: Path) -> dict[str, str]:
    """`vid1` -> `-4wsuPCjDBc_5_15`; nothing where the file is not there."""
    found: dict[str, str] = {}
    for line, text in enumerate(text_of(path).split("\n") if path.is_file() else (), 1):
        fields = text.split()
        if len(fields) != 2 or not _CLIP.fullmatch(fields[0]) or not _NUMBER.fullmatch(fields[1]):
            if fields:
                raise DatasetError(f"{path}, line {line}: {text[:80]!r};", remedy="wanted {YouTube id}_{start}_{end} vid{number}.")
            continue
        found[fields[1]] = fields[0]
    return found
