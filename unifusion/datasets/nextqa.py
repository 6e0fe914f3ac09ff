"""NExT-QA: questions about why, when and what in everyday videos, with five answers to choose from."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import ClassVar

from unifusion.conversation import Example, Media
from unifusion.datasets._files import Published, file_of, rows_of, text_of
from unifusion.errors import DatasetError

__all__ = ["NExTQA"]

_OPTIONS = ("a0", "a1", "a2", "a3", "a4")


class NExTQA(Published):
    """NExT-QA's multiple choice as it is published.

    Source: Xiao et al., 2021. Licence: MIT (annotations). Layout on disk: `train.csv`, `val.csv`, `test.csv` (or .gz); videos in
    `videos/`, called `{video}.mp4` or, with `map_vid_vidorID.json`, as VidOR calls them. A row whose video is not there has no media.
    One raw row:

        4010069381,369,640,480,how do the two man play the instrument,0,6,CH,roll the handle,tap their feet,strum the string,..

    Args:
        path: the folder.
        split: train, val, test, or None for all that is there.
    """

    title = "NExT-QA"
    tables: ClassVar[Mapping[str, str]] = {p: f"{p}.csv" for p in ("train", "val", "test")}

    @classmethod
    def read(cls, root: Path, part: str) -> Iterator[Example]:
        """Rows of one part in the order of its table."""
        path = file_of(root, f"{part}.csv")
        renamed = root / "map_vid_vidorID.json"
        places = json.loads(text_of(renamed)) if renamed.is_file() else {}
        for line, row in rows_of(path, ("video", "question", "answer", "qid", "type", *_OPTIONS)):
            if row["answer"] not in {"0", "1", "2", "3", "4"}:
                raise DatasetError(f"{path}, line {line}: answer {row['answer']!r};", remedy="wanted the number of an option, 0 to 4.")
            video = root / "videos" / f"{places.get(row['video'], row['video'])}.mp4"
            options = tuple(row[o] for o in _OPTIONS)
            yield Example(
                id=f"nextqa/{row['video']}/{row['qid']}",
                media=(Media(kind="video", source=str(video)),) if video.is_file() else (),
                texts={"question": row["question"], "answer": options[int(row["answer"])]},
                labels={"options": options, "option": int(row["answer"]), "type": row["type"]},
                group=row["video"],
                split=part,
            )
