"""Video-MME: 2,700 questions with four options about 900 videos of 11 seconds to an hour, with and without subtitles."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from string import ascii_uppercase
from typing import Any

from unifusion.conversation import Example
from unifusion.datasets._asked import Asked, chosen, word_of
from unifusion.datasets._captioned import VIDEO, Downloads, file_name
from unifusion.datasets._files import file_of, json_lines, json_list, one_of, rows_of, where_in
from unifusion.datasets._sheets import parquet_rows
from unifusion.datasets._subtitles import subtitles
from unifusion.errors import DatasetError, nearest

__all__ = ["VideoMME"]

_TABLES = (
    "videomme/test-00000-of-00001.parquet", "test-00000-of-00001.parquet", "video_mme.json", "videomme.json", "videomme.jsonl",
    "videomme.csv",
)  # fmt: skip
_SUBTITLES = ("subtitle", "subtitles")
_OLDER = {
    "duration_category": "duration",
    "video_category": "domain",
    "video_subcategory": "sub_category",
    "video_sub_category": "sub_category",
    "choices": "options",
}
_DURATIONS = {name: name for name in ("short", "medium", "long")}
_LETTERED = re.compile(r"\(?([A-Z])\s*[.):]\s*(.*)", re.DOTALL)
_ADDRESS = re.compile(r"(?:v=|youtu\.be/)([A-Za-z0-9_-]{11})(?![A-Za-z0-9_-])")
_COLUMNS = ("video_id", "duration", "domain", "sub_category", "videoID", "question_id", "task_type", "question", "options", "answer")


class VideoMME(Asked):
    """Video-MME as it is published, all of it `test`.

    Source: Fu et al., 2024, video-mme.github.io and huggingface.co/datasets/lmms-lab/Video-MME. Licence: its own, research only, no copies;
    the videos are their owners'. Layout on disk: `videomme/test-00000-of-00001.parquet` (also in the folder itself; needs pyarrow, extra
    `data`), or the same rows as `videomme.json`, `.jsonl` or `.csv` (lists as JSON), or the authors' `video_mme.json`, a list of videos
    with `questions`; videos `{videoID}.mp4` anywhere below (`data`), subtitles `subtitle/{videoID}.srt`, also in `subtitles`. A row whose
    video is not there has no media. One raw row:

        {"video_id": "001", "duration": "short", "domain": "Knowledge", "sub_category": "Humanity & History", "url":
         "https://www.youtube.com/watch?v=fFjv93ACGo8", "videoID": "fFjv93ACGo8", "question_id": "001-1", "task_type": "Counting Problem",
         "question": "..which kind of the decoration has the largest number?", "options": ["A. Apples.", "B. Candles.", "C. Berries.",
         "D. The three kinds are of the same number."], "answer": "C"}

    Options lose their letters, which the task gives them again. `labels["type"]` is the task type; `labels` also has `duration` (short:
    under 2 minutes, medium: 4 to 15, long: 30 to 60), `domain`, `sub_category`, and with subtitles the timed lines. Figures are given with
    and without subtitles; say which. The group is the video.

    Args:
        path: the folder.
        split: test, or None.
        durations: which of short, medium and long; all of them by default.
        with_subtitles: give the words where a video has a file of them; not all have.
        only_downloaded: leave out rows without a video.
    """

    title, page = "Video-MME", "huggingface.co/datasets/lmms-lab/Video-MME"

    def __init__(
        self, path: str | Path, *, split: str | None = None, durations: Sequence[str] = tuple(_DURATIONS), with_subtitles: bool = True,
        only_downloaded: bool = False,
    ) -> None:  # fmt: skip
        self._durations = tuple(durations)
        if unknown := [d for d in durations if d not in _DURATIONS]:
            raise DatasetError(f"Video-MME has no duration {unknown[0]!r};", remedy=nearest(unknown[0], list(_DURATIONS)))
        self._said = next((f for n in _SUBTITLES if (f := Path(path) / n).is_dir()), None) if with_subtitles else None
        super().__init__(path, split=split, only_downloaded=only_downloaded)

    def look(self, root: Path | None) -> Downloads:
        """The videos."""
        return Downloads(root, VIDEO)

    def read(self, root: Path, split: str | None) -> Iterator[Example]:
        """Questions in the order of the table."""
        path = file_of(root, *_TABLES, where=self.page)
        for line, row in _rows(path):
            if one_of(word_of(row, "duration", path, line), _DURATIONS, path, line) in self._durations:
                yield self._row(row, path, line)

    def _row(self, row: Mapping[str, Any], path: Path, line: int | str) -> Example:
        """One question."""
        options, letter = _options(row, path, line), word_of(row, "answer", path, line).rstrip(".")
        right = ascii_uppercase.find(letter) if len(letter) == 1 else -1
        told = chosen(word_of(row, "question", path, line), options, right, word_of(row, "task_type", path, line), path, line)
        ident, name = f"video_mme/{word_of(row, 'question_id', path, line)}", _youtube(row, path, line)
        more = {key: word_of(row, key, path, line) for key in ("duration", "domain", "sub_category")}
        number = word_of(row, "video_id", path, line)
        return Example(
            id=ident, media=self.downloads.find(ident, cut=[n for n in (name, number) if n], source=name), texts=told["texts"],
            labels={**told["labels"], **more, "video": name or number}, group=f"video_mme/{number}", split="test",
        )  # fmt: skip

    def __getitem__(self, index: int) -> Example:
        """The row at `index`; its subtitles are read."""
        row = super().__getitem__(index)
        if self._said is None or not (path := self._said / f"{row.labels['video']}.srt").is_file():
            return row
        return self.heard(row, subtitles(path))


def _rows(path: Path) -> Iterator[tuple[int | str, dict[str, Any]]]:
    """(line, row) of any of the forms of the table."""
    name = path.name.removesuffix(".gz")
    if name.endswith(".parquet"):
        yield from parquet_rows(path)
    elif name.endswith(".jsonl"):
        yield from json_lines(path)
    elif name.endswith(".csv"):
        yield from rows_of(path, _COLUMNS, exact=True)
    else:
        for number, entry in enumerate(json_list(path)):
            told = {_OLDER.get(key, key): v for key, v in entry.items() if key != "questions"}
            questions = entry.get("questions", [{}])
            if not isinstance(questions, list) or not all(isinstance(q, dict) for q in questions):
                raise DatasetError(f"{path}, entry {number}: questions are no list of objects;", remedy="download it again.")
            for question in questions:
                yield f"entry {number}", {**told, **{_OLDER.get(key, key): v for key, v in question.items()}}


def _options(row: Mapping[str, Any], path: Path, line: int | str) -> list[str]:
    """Options without their letters.

    Raises:
        DatasetError: they are no list, or their letters are not A, B, C ..
    """
    told = row.get("options")
    if isinstance(told, str):
        told = _listed(told)
    found = [_LETTERED.fullmatch(o.strip()) if isinstance(o, str) else None for o in told] if isinstance(told, list) else [None]
    if any(m is None or m[1] != chr(ord("A") + n) for n, m in enumerate(found)):
        raise DatasetError(f"{path}, {where_in(line)}: options {str(row.get('options'))[:120]};", remedy='wanted ["A. ..", "B. ..", ..].')
    return [m[2].strip() for m in found if m is not None]


def _listed(text: str) -> Any:
    """A list in a cell of a csv, as JSON or as Python writes it; None where it is neither."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        try:
            return ast.literal_eval(text)
        except (ValueError, SyntaxError, RecursionError, MemoryError):
            return None


def _youtube(row: Mapping[str, Any], path: Path, line: int | str) -> str:
    """The YouTube id, or nothing: the authors' template has none."""
    told = row.get("videoID")
    if told is None:
        watched = _ADDRESS.search(str(row.get("url", "")))
        return watched[1] if watched else ""
    return file_name(str(told), path, line)
