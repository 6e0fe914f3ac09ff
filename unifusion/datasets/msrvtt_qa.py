"""MSRVTT-QA: 243,680 questions about ten thousand clips of web videos, made of their captions by a program."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from unifusion.datasets._asked import word_of
from unifusion.datasets._generated import Generated, clip_number
from unifusion.datasets._msrvtt import clip_name, group_of, known_clips

__all__ = ["MSRVTTQA"]


class MSRVTTQA(Generated):
    """MSRVTT-QA as it is published, or as LAVIS publishes it anew; answers are one word.

    Source: Xu et al., 2017, github.com/xudejing/video-question-answering. Licence: none is given; the clips are MSR-VTT's, for research
    only. Layout on disk: `train_qa.json`, `val_qa.json`, `test_qa.json`, or `qa_train.json` .. as LAVIS calls them (each also .gz); clips
    `video0.mp4` .. anywhere below. A row whose clip is not there has no media. One raw row of each:

        {"id": 0, "video_id": 0, "category_id": 9, "question": "what is shown?", "answer": "car"}
        {"video": "video6513.mp4", "question": "who is a man with long hair talking to?", "answer": "camera", "question_id": 0}

    The group is the YouTube video where MSR-VTT's own `MSRVTT_data.json` lies there too (see `msrvtt`, whose groups these are), else the
    clip. Rows of train and val whose video is in a later part as well are left out and counted.

    Args:
        path: the folder.
        split: train (158,581 rows), val (12,278), test (72,821), or None for all that is there.
        only_downloaded: leave out rows without a clip.
        as_published: keep rows whose video is in a later part as well; then a group is a video within its part.
    """

    gives_way = ("msvd_qa",)
    title, page, stem = "MSRVTT-QA", "github.com/xudejing/video-question-answering", "msrvtt_qa"

    def prepare(self, root: Path) -> None:
        """Which clips are of which YouTube video."""
        self._told = known_clips(root, self.page, needed=False)[0]

    def clip(self, row: Mapping[str, Any], path: Path, entry: str) -> tuple[list[str], str]:
        """By its number, or by its file."""
        told = word_of(row, "video", path, entry).removesuffix(".mp4") if "video" in row else f"video{clip_number(row, path, entry)}"
        name = clip_name(told, path, entry)
        return [name], group_of(name, self._told.get(name, {}))
