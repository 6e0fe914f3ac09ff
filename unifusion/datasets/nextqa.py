"""NExT-QA: questions about why, when and what in everyday videos, with five answers to choose from, or open ones."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from unifusion.conversation import Example
from unifusion.datasets._asked import Asked, answered, chosen, tables_of, word_of
from unifusion.datasets._captioned import file_name
from unifusion.datasets._files import json_object, place_of, rows_of, value, where_in
from unifusion.datasets._sheets import parquet_rows
from unifusion.errors import DatasetError

__all__ = ["NExTQA"]

_COLUMNS = ("video", "question", "answer", "qid", "type")
_MAP = "map_vid_vidorID.json"
_FOLDERS = ("", "dataset/nextqa", "nextqa")
_ON_HUB = {"train": "train", "val": "validation", "test": "test"}
_OPTIONS = ("a0", "a1", "a2", "a3", "a4")


class NExTQA(Asked):
    """NExT-QA as it is published, multiple choice or open.

    Source: Xiao et al., 2021. Licence: MIT (annotations). Layout on disk: `train.csv`, `val.csv`, `test.csv` (or .gz), in the folder or, as
    in the repository, in `dataset/nextqa`; or the copy on the hub (lmms-lab/NExTQA), `MC/test-00000-of-00001.parquet` and `OE/..`; videos
    anywhere below, called `{video}.mp4` or, with `map_vid_vidorID.json`, as VidOR calls them. A row whose video is not there has no media.
    One raw row of multiple choice, and an open one:

        4010069381,369,640,480,how do the two man play the instrument,0,6,CH,roll the handle,tap their feet,strum the string,..
        4010069381,369,640,480,how do the two man play the instrument,roll the handle,6,CH

    `additional_ref_answer` of open rows is in `labels["answers"]`. The group is the video.

    Args:
        path: the folder.
        split: train, val, test, or None for all that is there.
        open_ended: take `OE` where the copy on the hub has both.
        only_downloaded: leave out rows without a video.
        as_published: keep rows whose video is in a later part as well; then a group is a video within its part.
    """

    title, page = "NExT-QA", "github.com/doc-doc/NExT-QA"

    def __init__(
        self, path: str | Path, *, split: str | None = None, open_ended: bool = False, only_downloaded: bool = False,
        as_published: bool = False,
    ) -> None:  # fmt: skip
        self._forms = ("OE", "MC") if open_ended else ("MC", "OE")
        super().__init__(path, split=split, only_downloaded=only_downloaded, as_published=as_published)

    def read(self, root: Path, split: str | None) -> Iterator[Example]:
        """Questions in the order of their tables."""
        below = root if root.is_dir() else root.parent
        renamed = place_of(below, _FOLDERS, [_MAP]) / _MAP
        places = json_object(renamed) if renamed.is_file() else {}
        for part, path in tables_of(root, self._tables(below), split, self.page):
            packed = path.suffix == ".parquet"
            for line, row in parquet_rows(path) if packed else rows_of(path, _COLUMNS):
                yield self._row(row, part, path, line, places)

    def _tables(self, root: Path) -> dict[str, list[str]]:
        """Part -> names its table may have: of the hub's, those of one form."""
        tables = {part: [f"{folder}/{part}.csv".lstrip("/") for folder in _FOLDERS] for part in _ON_HUB}
        form = next((f for f in self._forms if (root / f).is_dir()), self._forms[0])
        return {part: [*names, f"{form}/{_ON_HUB[part]}-00000-of-00001.parquet"] for part, names in tables.items()}

    def _row(self, row: Mapping[str, Any], part: str, path: Path, line: int | str, places: Mapping[str, Any]) -> Example:
        """One question."""
        video, right = (str(value(row, key, path, line)) for key in ("video", "answer"))
        file_name(video, path, line)
        question, kind = word_of(row, "question", path, line), word_of(row, "type", path, line)
        if any(o in row for o in _OPTIONS):
            if right not in {"0", "1", "2", "3", "4"}:
                raise DatasetError(f"{path}, {where_in(line)}: answer {right!r};", remedy="wanted the number of an option, 0 to 4.")
            told = chosen(question, [value(row, o, path, line) for o in _OPTIONS], int(right), kind, path, line)
        else:
            further = str(row.get("additional_ref_answer") or "").strip()
            told = answered(question, word_of(row, "answer", path, line), kind, [further] if further else [])
        ident = f"nextqa/{video}/{value(row, 'qid', path, line)}"
        names = [str(places.get(video, video)).rpartition("/")[2], video]
        return Example(id=ident, media=self.downloads.find(ident, cut=names), group=video, split=part, **told)
