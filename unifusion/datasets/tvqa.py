"""TVQA: questions with five answers about a minute of six TV shows, with the span that answers them and the subtitles."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from unifusion.conversation import Example
from unifusion.datasets._asked import Asked, chosen, first_word, span_of, tables_of, word_of
from unifusion.datasets._captioned import VIDEO, Downloads, file_name
from unifusion.datasets._files import json_lines, value
from unifusion.datasets._frames import FrameFolders
from unifusion.datasets._subtitles import subtitles
from unifusion.errors import DatasetError

__all__ = ["TVQA"]

_OPTIONS = ("a0", "a1", "a2", "a3", "a4")
_TABLES = {"train": "tvqa_train.jsonl", "val": "tvqa_val.jsonl", "test": "tvqa_test_public.jsonl"}
_SUBTITLES = ("tvqa_subtitles", "subtitles")


class TVQA(Asked):
    """TVQA as it is published.

    Source: Lei et al., 2018, github.com/jayleicn/TVQA. Licence: the questions are for research; pictures come after signing an agreement,
    and the shows are their owners'. Layout on disk: `tvqa_train.jsonl`, `tvqa_val.jsonl`, `tvqa_test_public.jsonl` (or .gz), in the folder
    or in `tvqa_qa_release`; subtitles `tvqa_subtitles/{vid_name}.srt`; pictures as they are given out, three a second:
    `{vid_name}/00001.jpg` .. up to four folders below (`frames_hq/bbt_frames/`), or videos `{vid_name}.mp4` anywhere there, which have the
    sound too and are preferred. A row whose clip is not there has no media. One raw row:

        {"a0": "A martini glass", "a1": "Nachos", "a2": "Her purse", "a3": "Marshall's book", "a4": "A beer bottle", "answer_idx": 4, "q":
         "What is Robin holding in her hand when she is talking to Ted about Zoey?", "qid": 7, "ts": "1.21-8.49", "vid_name":
         "met_s06e22_seg01_clip_02"}

    The test part hides its answers. `labels["type"]` is the word a question begins with; `start_s` and `end_s` are the span by `ts`, which
    some questions do not have (`NaN-NaN`, `0-0`, no `ts`) and then show the whole clip. Lines of the subtitles that are said in what is
    shown are `labels["subtitles"]`, with the clip's times, and their words the transcript. The pictures of a clip are put together into a
    video without sound when its row is asked for, with nothing decoded. The group is the clip; parts share episodes.

    Args:
        path: the folder.
        split: train (122,039 rows), val (15,253), test (7,623), or None for all that is there.
        with_ts: show the span that answers the question; else the whole clip.
        with_subtitles: give the words; without them a question about what is said can only be heard, and pictures have no sound.
        only_downloaded: leave out rows without a clip.
    """

    title, page = "TVQA", "github.com/jayleicn/TVQA (its download.sh; pictures by the form on its page)"

    def __init__(
        self, path: str | Path, *, split: str | None = None, with_ts: bool = True, with_subtitles: bool = True,
        only_downloaded: bool = False,
    ) -> None:  # fmt: skip
        self._with_ts, self._clips = with_ts, dict[str, str]()
        self._said = next((Path(path) / n for n in _SUBTITLES if (Path(path) / n).is_dir()), None) if with_subtitles else None
        super().__init__(path, split=split, only_downloaded=only_downloaded)

    def look(self, root: Path | None) -> Downloads:
        """Videos and folders of pictures."""
        self._frames = FrameFolders(root)
        return Downloads(root, VIDEO, files=self._frames.videos)

    def read(self, root: Path, split: str | None) -> Iterator[Example]:
        """Questions in the order of their tables."""
        tables = {part: (name, f"tvqa_qa_release/{name}") for part, name in _TABLES.items()}
        for part, path in tables_of(root, tables, split, self.page):
            for line, row in json_lines(path):
                yield self._row(row, part, path, line)

    def _row(self, row: Mapping[str, Any], part: str, path: Path, line: int) -> Example:
        """One question."""
        name = file_name(word_of(row, "vid_name", path, line), path, line)
        ident = f"tvqa/{value(row, 'qid', path, line)}"
        span = None if row.get("ts") is None else _span(word_of(row, "ts", path, line), path, line)
        shown = span if self._with_ts else None
        options = [value(row, key, path, line) for key in _OPTIONS]
        right = row.get("answer_idx") if part == "test" else value(row, "answer_idx", path, line)
        question = word_of(row, "q", path, line)
        told = chosen(question, options, right, first_word(question), path, line)
        media = self.downloads.find(ident, whole=[name], span=shown)
        if not media and (media := self._frames.find(name, shown)):
            self._clips[ident] = name
        return Example(
            id=ident,
            media=media,
            texts=told["texts"],
            labels={
                **told["labels"], **({"show": row["show_name"]} if "show_name" in row else {}),
                **({"start_s": span[0], "end_s": span[1]} if span else {}),
            },
            group=f"tvqa/{name}",
            split=part,
        )  # fmt: skip

    def __getitem__(self, index: int) -> Example:
        """The row at `index`; its subtitles are read, and its pictures put together."""
        row = super().__getitem__(index)
        name = row.group.removeprefix("tvqa/")
        if self._said is not None and (path := self._said / f"{name}.srt").is_file():
            span = (row.labels["start_s"], row.labels["end_s"]) if self._with_ts and "start_s" in row.labels else None
            row = self.heard(row, subtitles(path, span))
        if row.id in self._clips:
            row = replace(row, media=(replace(row.media[0], source=self._frames.video(name)),))
        return row


def _span(told: str, path: Path, line: int) -> tuple[float, float] | None:
    """Seconds of `76.01-84.2`; None for `NaN-NaN`, and for a span of no length."""
    start, dash, end = told.partition("-")
    if not dash:
        raise DatasetError(f"{path}, line {line}: ts {told!r};", remedy="wanted a span such as 76.01-84.2.")
    return span_of(start, end, path, line)
