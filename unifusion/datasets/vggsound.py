"""VGGSound: ten seconds of video in which one sees what makes the sound, in 309 classes."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from unifusion.conversation import Example
from unifusion.datasets._captioned import captions_of, whole_number, youtube_id
from unifusion.datasets._files import file_of, one_of, rows_of
from unifusion.datasets._seen import Seen
from unifusion.errors import DatasetError

__all__ = ["VGGSound"]

_PARTS = {"train": "train", "test": "test"}
_CLIP = re.compile(r"(.{11})_([0-9]{6})\.mp4")


class VGGSound(Seen):
    """VGGSound by its table, one row a clip; the class is the caption and `labels["label"]`.

    Source: Chen et al., 2020, github.com/hche11/VGGSound. Licence: CC BY 4.0 (the table); the videos are their authors'. Layout on disk:
    `vggsound.csv` (YouTube id, start in seconds, class, part; no line of names; also in `data`), or the repository's shorter `train.csv`
    and `test.csv` with `{youtube_id}_{start, 6 digits}.mp4,class` (each also .gz). Clips anywhere below, called as in the latter
    (or with the start, or start and end, as they are: `{youtube_id}_30_40`, also in milliseconds), as videos (mp4, mkv, webm) or sounds
    (wav, flac), or whole videos called `{youtube_id}`, of which ten seconds from the start are taken;
    or what video2dataset wrote, in the folder or in `shards`. A row whose clip is not there has no media. Two raw rows:

        ---g-f_I2yQ,1,people marching,test
        --9O4XZOge4,30,"female speech, woman speaking",train

    All clips of a class are relevant for its name. The group is the YouTube video. The set has no val; where a video gave clips to both
    parts, those in train are left out and counted, `as_published` keeps them. With `stat.csv` beside the table, classes are held
    against its list. `labels` also has `start_s` and `end_s`, the span in the video.

    Args:
        path: the folder.
        split: train, test, or None for both.
        take: video, which has the sound too, or audio.
        only_downloaded: leave out rows without a clip.
        as_published: keep rows of train whose video is in test as well; then a group is a clip.
    """

    title, page = "VGGSound", "github.com/hche11/VGGSound"
    published_leaks = True

    def read(self, root: Path, split: str | None) -> Iterator[Example]:
        """Clips in the order of the table."""
        classes = _classes(root)
        for table, line, name, start, label, part in _listed(root, split, self.page):
            if classes:
                one_of(label, classes, table, line)
            ident = f"vggsound/{name}_{start:06d}"
            media, span = self.clip(ident, name, start)
            said = captions_of([label], table, line)
            yield Example(
                id=ident,
                media=media,
                texts=said["texts"],
                labels={**said["labels"], "label": said["texts"]["caption"], "start_s": span[0], "end_s": span[1]},
                group=name,
                split=part,
            )


def _listed(root: Path, split: str | None, page: str) -> Iterator[tuple[Path, int, str, int, str, str]]:
    """(table, line, YouTube id, start, class, part) of the long table, or of the short ones."""
    shorter = {part: name for part in _PARTS for name in (f"{part}.csv", f"data/{part}.csv") if _is_there(root / name)}
    whole = root.is_file() or any(_is_there(root / name) for name in ("vggsound.csv", "data/vggsound.csv"))
    if whole or split not in (None, *shorter) or not shorter:
        table = file_of(root, "vggsound.csv", "data/vggsound.csv", where=page)
        for line, row in rows_of(table, ("id", "start", "label", "part"), header=False, exact=True):
            name, start = youtube_id(row["id"].strip(), table, line), whole_number(row["start"].strip(), table, line)
            yield table, line, name, start, row["label"].strip(), one_of(row["part"].strip(), _PARTS, table, line)
        return
    for part, found in shorter.items():
        table = file_of(root, found)
        for line, row in rows_of(table, ("clip", "label"), header=False, exact=True):
            clip = _CLIP.fullmatch(row["clip"].strip())
            if clip is None:
                raise DatasetError(f"{table}, line {line}: {row['clip']!r};", remedy="wanted {YouTube id}_{start, 6 digits}.mp4.")
            yield table, line, youtube_id(clip[1], table, line), int(clip[2]), row["label"].strip(), part


def _is_there(path: Path) -> bool:
    """Whether a table is there, plain or gzipped."""
    return path.is_file() or path.with_name(f"{path.name}.gz").is_file()


def _classes(root: Path) -> dict[str, str]:
    """The classes by `stat.csv`; none where it is not there."""
    found = next((root / n for n in ("stat.csv", "data/stat.csv") if _is_there(root / n)), None)
    if found is None:
        return {}
    rows = rows_of(file_of(found.parent, found.name), ("label", "count", "group"), header=False, exact=True)
    return {row["label"].strip(): row["label"].strip() for _, row in rows}
