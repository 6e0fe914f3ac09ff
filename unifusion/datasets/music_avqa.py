"""MUSIC-AVQA: questions by 33 templates about who plays what, where, when and how often, in a minute of music."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from unifusion.conversation import Example
from unifusion.datasets._asked import Asked, answered, log, tables_of, word_of
from unifusion.datasets._captioned import file_name
from unifusion.datasets._files import json_list, one_of, value
from unifusion.errors import DatasetError, nearest

__all__ = ["MusicAVQA"]

_HOLE = re.compile(r"<[A-Za-z]+>")
_NEEDS = {"Audio": "sound", "Visual": "picture", "Audio-Visual": "both"}
_RELEASES = {"update": ("json_update", "data/json_update"), "first": ("json", "data/json")}


class MusicAVQA(Asked):
    """MUSIC-AVQA as it is published, with its templates filled in.

    Source: Li et al., 2022, github.com/GeWu-Lab/MUSIC-AVQA. Licence: CC BY-NC 4.0 by its page. Layout on disk: `avqa-train.json`,
    `avqa-val.json`, `avqa-test.json` (or .gz) in the folder, or as in the repository the corrected ones in `json_update` and those of the
    paper in `json` (both also in `data`); videos `{video_id}.mp4` anywhere below (`MUSIC-AVQA-videos-Real`, `-Synthetic`). A row whose
    video is not there has no media. One raw row (the key is spelled so):

        {"video_id": "00000108", "question_id": 10, "type": "[\\"Audio\\", \\"Comparative\\"]", "question_content":
         "Is the <Object> louder than the <Object>?", "templ_values": "[\\"guzheng\\", \\"piano\\"]", "question_deleted": 0, "anser": "yes"}

    There are 42 answers, among them instruments such as `acoustic_guitar`: here `acoustic guitar`, and as published in
    `labels["answers"]`. `labels["type"]` is `Audio Comparative`, one of nine kinds; `labels["needs"]` picture, sound or both;
    `labels["template"]` the question before it was filled in. The group is the video. **Parts share videos**: of the 6,399 of test, 2,296
    are in val too. Rows of train and val whose video is in a later part are left out and counted, which leaves little of train;
    `as_published` keeps them, as all published figures do. The paper's release asks some questions twice with two answers (55 in test, 27
    in val): both rows are left out and counted, unless `as_published`, which keeps both.

    Args:
        path: the folder.
        split: train, val, test, or None for all that is there.
        release: update or first, where the folder has both.
        only_downloaded: leave out rows without a video.
        as_published: keep rows whose video is in a later part, and questions with two answers; then a group is a video within its part.
    """

    title, page = "MUSIC-AVQA", "github.com/GeWu-Lab/MUSIC-AVQA"

    def __init__(
        self, path: str | Path, *, split: str | None = None, release: str = "update", only_downloaded: bool = False,
        as_published: bool = False,
    ) -> None:  # fmt: skip
        if release not in _RELEASES:
            raise DatasetError(f"release is {release!r};", remedy=nearest(release, list(_RELEASES)))
        self._folders = [f for r in (release, *_RELEASES) for f in _RELEASES[r]]
        self._both = as_published
        super().__init__(path, split=split, only_downloaded=only_downloaded, as_published=as_published)

    def read(self, root: Path, split: str | None) -> Iterator[Example]:
        """Questions in the order of their tables."""
        places = ["", *(f"{folder}/" for folder in dict.fromkeys(self._folders))]
        tables = {p: tuple(f"{place}avqa-{p}.json" for place in places) for p in ("train", "val", "test")}
        for part, path in tables_of(root, tables, split, self.page):
            rows = [self._row(row, part, path, f"entry {number}") for number, row in enumerate(json_list(path))]
            asked = Counter(row.id for row in rows)
            if twice := sum(count > 1 for count in asked.values()):
                log.warning("%s: %d questions have two answers; %s", path, twice, "both are kept" if self._both else "they are left out")
            seen: Counter[str] = Counter()
            for row in rows:
                seen[row.id] += 1
                if asked[row.id] == 1:
                    yield row
                elif self._both:
                    yield replace(row, id=f"{row.id}/{seen[row.id]}")

    def _row(self, row: Mapping[str, Any], part: str, path: Path, entry: str) -> Example:
        """One question."""
        name = file_name(word_of(row, "video_id", path, entry), path, entry)
        template = word_of(row, "question_content", path, entry).replace("？", "?")
        answer = word_of(row, "anser", path, entry)
        said, kind = answer.replace("_", " "), _list(row, "type", path, entry)
        if len(kind) != 2:
            raise DatasetError(f"{path}, {entry}: type {row['type']!r};", remedy='wanted two words such as ["Audio", "Counting"].')
        told = answered(_filled(template, row, path, entry), said, " ".join(kind), [answer] if said != answer else [])
        ident = f"music_avqa/{value(row, 'question_id', path, entry)}"
        return Example(
            id=ident,
            media=self.downloads.find(ident, cut=[name]),
            texts=told["texts"],
            labels={**told["labels"], "needs": one_of(kind[0], _NEEDS, path, entry), "template": template},
            group=f"music_avqa/{name}",
            split=part,
        )


def _filled(template: str, row: Mapping[str, Any], path: Path, entry: str) -> str:
    """A question with its values in the places of `<Object>`, `<LR>` .. in their order."""
    values = [v.replace("_", " ") for v in _list(row, "templ_values", path, entry)]
    holes = len(_HOLE.findall(template))
    if holes != len(values):
        raise DatasetError(f"{path}, {entry}: {template!r} with {values!r};", remedy=f"wanted {holes} values.")
    left = iter(values)
    return _HOLE.sub(lambda _: next(left), template)


def _list(row: Mapping[str, Any], key: str, path: Path, entry: str) -> list[str]:
    """A list of texts that is written as JSON within the JSON."""
    found = value(row, key, path, entry)
    try:
        told = json.loads(found) if isinstance(found, str) else found
    except (ValueError, RecursionError):
        told = None
    if not isinstance(told, list) or not all(isinstance(v, str) for v in told):
        raise DatasetError(f"{path}, {entry}: {key} {str(found)[:80]!r};", remedy='wanted a list such as ["violin"], as text.')
    return told
