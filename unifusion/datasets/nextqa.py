"""NExT-QA: questions about why, when and what in everyday videos, with five answers to choose from."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from unifusion.conversation import Example
from unifusion.datasets._asked import Asked, chosen, tables_of, word_of
from unifusion.datasets._files import json_object, rows_of
from unifusion.errors import DatasetError

__all__ = ["NExTQA"]

_OPTIONS = ("a0", "a1", "a2", "a3", "a4")


class NExTQA(Asked):
    """NExT-QA's multiple choice as it is published.

    Source: Xiao et al., 2021. Licence: MIT (annotations). Layout on disk: `train.csv`, `val.csv`, `test.csv` (or .gz); videos anywhere
    below, called `{video}.mp4` or, with `map_vid_vidorID.json`, as VidOR calls them. A row whose video is not there has no media.
    One raw row:

        4010069381,369,640,480,how do the two man play the instrument,0,6,CH,roll the handle,tap their feet,strum the string,..

    The group is the video.

    Args:
        path: the folder.
        split: train, val, test, or None for all that is there.
        only_downloaded: leave out rows without a video.
        as_published: keep rows whose video is in a later part as well; then a group is a video within its part.
    """

    title, page = "NExT-QA", "github.com/doc-doc/NExT-QA"

    def read(self, root: Path, split: str | None) -> Iterator[Example]:
        """Questions in the order of their tables."""
        renamed = (root if root.is_dir() else root.parent) / "map_vid_vidorID.json"
        places = json_object(renamed) if renamed.is_file() else {}
        for part, path in tables_of(root, {p: (f"{p}.csv",) for p in ("train", "val", "test")}, split, self.page):
            for line, row in rows_of(path, ("video", "question", "answer", "qid", "type", *_OPTIONS)):
                if row["answer"] not in {"0", "1", "2", "3", "4"}:
                    raise DatasetError(f"{path}, line {line}: answer {row['answer']!r};", remedy="wanted the number of an option, 0 to 4.")
                ident = f"nextqa/{row['video']}/{row['qid']}"
                names = [str(places.get(row["video"], row["video"])).rpartition("/")[2], row["video"]]
                yield Example(
                    id=ident,
                    media=self.downloads.find(ident, cut=names),
                    group=row["video"],
                    split=part,
                    **chosen(word_of(row, "question", path, line), [row[o] for o in _OPTIONS], int(row["answer"]), row["type"], path, line),
                )
