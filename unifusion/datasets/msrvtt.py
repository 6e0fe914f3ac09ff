"""MSR-VTT: ten thousand clips of web videos with twenty captions each, in the 1k-A split of retrieval and in the full one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from unifusion.conversation import Example
from unifusion.datasets._captioned import VIDEO, Captioned, Downloads, captions_of
from unifusion.datasets._files import one_of, rows_of, value
from unifusion.datasets._msrvtt import ONE_FILE, clip_name, group_of, known_clips, table_in, tables_in, videos_in
from unifusion.errors import DatasetError, nearest

__all__ = ["MSRVTT"]

_PARTS = {"train": "train", "validate": "val", "test": "test"}
_CATEGORIES = (
    "music", "people", "gaming", "sports", "news", "education", "tv shows", "movie", "animation", "vehicles", "howto", "travel", "science",
    "animals", "kids", "documentary", "food", "cooking", "beauty", "advertisement",
)  # fmt: skip


class MSRVTT(Captioned):
    """MSR-VTT, a row a clip, with all its captions in `labels["captions"]`; in the test part of 1k-A each clip has one.

    Source: Xu et al., 2016; the split 1k-A is of Yu et al. (JSFusion), 2018, as CLIP4Clip publishes it. Licence: for research only, the
    videos are their owners'. Layout on disk: `MSRVTT_data.json` (or `videodatainfo_2017.json`, or the two files of 2016,
    `train_val_videodatainfo.json` and `test_videodatainfo.json`), and for 1k-A `MSRVTT_train.9k.csv` and `MSRVTT_JSFUSION_test.csv`; in the
    folder, `msrvtt_data` or `annotation`; clips `video0.mp4` .. anywhere below (`videos/all`, `TrainValVideo`). A row whose clip is not
    there has no media. One raw row of the three:

        {"category": 9, "url": "https://www.youtube.com/watch?v=9lZi22qLlEo", "video_id": "video0", "start time": 137.72, ..}
        {"caption": "a car is shown", "video_id": "video0", "sen_id": 0}
        ret0,msr9770,video9770,a person is connecting something to system

    `1k-A`: 9,000 clips in train, 1,000 in test, no val; each caption of test is relevant to one clip. `full`: 6,513 in train, 497 in val,
    2,990 in test. Which of the two a figure is of must be said with it. The group is the YouTube video. Where parts share
    videos, rows of train give way to those held out; how many is told, and `as_published` keeps them, as published figures do.
    `labels["label"]` is the category, `start_s` and `end_s` where the clip was cut from its video; the files are the clips.

    Args:
        path: the folder.
        split: train, val (of `full`), test, or None for all.
        protocol: 1k-A or full.
        only_downloaded: leave out rows without a clip.
        as_published: keep rows of train whose video is held out as well; then a group is a clip.
    """

    title, page = "MSR-VTT", "github.com/ArrowLuo/CLIP4Clip (msrvtt_data.zip; the videos' address is there as well)"
    published_leaks = True

    def __init__(
        self, path: str | Path, *, split: str | None = None, protocol: str = "1k-A", only_downloaded: bool = False,
        as_published: bool = False,
    ) -> None:  # fmt: skip
        if protocol not in ("1k-A", "full"):
            raise DatasetError(f"protocol is {protocol!r};", remedy=nearest(protocol, ["1k-A", "full"]))
        self.protocol = protocol
        super().__init__(path, split=split, only_downloaded=only_downloaded, as_published=as_published)

    def look(self, root: Path | None) -> Downloads:
        """The clips."""
        return Downloads(root, VIDEO)

    def read(self, root: Path, split: str | None) -> Iterator[Example]:
        """Clips in the order of the tables."""
        if self.protocol == "full":
            for path in tables_in(root, self.page):
                videos, captions = videos_in(path)
                for name, told in videos.items():
                    part = one_of(str(value(told, "split", path, name)), _PARTS, path, name)
                    yield self._row(name, captions.get(name, []), told, part, path)
            return
        train = table_in(root, "MSRVTT_train.9k.csv", split == "train", self.page)
        test = table_in(root, "MSRVTT_JSFUSION_test.csv", train is None or split == "test", self.page)
        known, captions = known_clips(root, self.page, needed=train is not None)
        for line, row in rows_of(train, ("video_id",), exact=True) if train else ():
            name = clip_name(row["video_id"], train or root, line)
            if name not in captions:
                raise DatasetError(f"{train}, line {line}: {name} has no captions;", remedy=f"take {ONE_FILE[0]} of the same release.")
            yield self._row(name, captions[name], known[name], "train", train or root)
        for line, row in rows_of(test, ("video_id", "sentence"), exact=True) if test else ():
            name = clip_name(row["video_id"], test or root, line)
            yield self._row(name, [row["sentence"]], known.get(name, {}), "test", test or root)

    def _row(self, name: str, captions: list[str], told: Mapping[str, Any], part: str, path: Path) -> Example:
        """A clip."""
        said = captions_of(captions, path, name)
        return Example(
            id=f"msrvtt/{name}",
            media=self.downloads.find(f"msrvtt/{name}", cut=[name]),
            texts=said["texts"],
            labels={**said["labels"], **_labels(told, path, name)},
            group=group_of(name, told),
            split=part,
        )


def _labels(told: Mapping[str, Any], path: Path, name: str) -> dict[str, Any]:
    """Category and span, where they are known."""
    category, start, end = told.get("category"), told.get("start time"), told.get("end time")
    found: dict[str, Any] = {}
    if category is not None:
        if type(category) is not int or not 0 <= category < len(_CATEGORIES):
            raise DatasetError(f"{path}, {name}: category {category!r};", remedy=f"wanted a number from 0 to {len(_CATEGORIES) - 1}.")
        found["label"] = _CATEGORIES[category]
    if start is not None or end is not None:
        if not all(isinstance(t, int | float) and not isinstance(t, bool) for t in (start, end)) or not 0 <= start < end < 1e7:  # type: ignore[operator]
            raise DatasetError(f"{path}, {name}: from {start!r} to {end!r};", remedy="wanted seconds, the end after the start.")
        found |= {"start_s": float(start), "end_s": float(end)}  # type: ignore[arg-type]
    return found
