"""Valley-Instruct: conversations about videos of Jukin Media, VATEX, VIOLIN and WebVid, written by a language model."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from unifusion.datasets._instructed import Instructed, by_stem, inner_path
from unifusion.errors import DatasetError

__all__ = ["Valley"]

_VATEX = re.compile(r"(.{11})_(\d{6})_(\d{6})")
"""A clip of VATEX: YouTube id, first and last second."""
_KINDS = ("video", "image")


class Valley(Instructed):
    """Valley-Instruct (65k, 73k) and other lists in the form that Valley's training code reads.

    Source: Luo et al., 2023, huggingface.co/datasets/luoruipu1/Valley-Instruct-65k. Licence: Apache-2.0 (card) or CC BY-NC 4.0
    (repository); videos are those of their owners. Layout on disk: `valley_instruct_65k.json` (or another name); videos as
    `<source>/<video>.mp4` (a row without a source: `webvid`), or anywhere below the folder under their names. One raw row, its keys as
    Valley's code reads them:

        {"id": "a1", "v_id": "aJfIBb4XIzg_000012_000022", "video": "aJfIBb4XIzg.mp4", "source": "VATEX", "conversations": [{"from": "human",
        "value": "<video>\\nWhat is the man doing?"}, {"from": "gpt", "value": "He is lifting weights."}]}

    A clip of VATEX is called by its `v_id`, YouTube id and seconds; where the whole video lies there instead (`video`), that span of it is
    shown. `<image>` and `<video>` both stand for the row's video there. A row of pictures (`image`, a name or a list) is read, too; one
    with neither is text alone. The group is the source video: clips of one YouTube video are one group.

    Args:
        path: the JSON file, or the folder that holds it.
        split: train, val, or None for both: all is published as train.
        media: folder of the videos; that of the JSON file when it is not given.
        val: share of the videos, by a hash of their names, whose rows are val.
        only_downloaded: leave out rows whose video is not there.
    """

    title, page = "Valley-Instruct", "huggingface.co/datasets/luoruipu1/Valley-Instruct-65k"
    tables = ("valley_instruct_65k.json", "Valley_instruct_65k.json", "valley_instruct_73k.json", "Valley_instruct_73k.json")

    def look(self, root: Path) -> None:
        """Videos by their names."""
        self._videos = by_stem(root)

    def row(self, raw: Mapping[str, Any], where: str) -> dict[str, Any]:
        """The row with its clips where they lie."""
        if not isinstance(raw.get("conversations"), list):
            raise DatasetError(f"{where}: no conversations;", remedy="check that it is a file of Valley-Instruct.")
        kind = next((kind for kind in _KINDS if raw.get(kind) is not None), None)
        told = {"source": raw["source"]} if isinstance(raw.get("source"), str) else {}
        return {"conversations": raw["conversations"], **told, **({kind: self.clips(raw, where)} if kind else {})}

    def clips(self, raw: Mapping[str, Any], where: str) -> list[str]:
        """In the folder of its source, or wherever a video of that name lies."""
        if raw.get("video") is None:
            return [str(self.root / name) for name in self.pictures(raw, where)]
        names = [f"{n.removesuffix('.mp4')}.mp4" for n in (self._clip(raw), inner_path(raw["video"], where)) if n]
        folder = inner_path(raw.get("source") or "webvid", where)
        for name in names:
            places = [self.root / folder / name, self.root / name]
            found = next((p for p in places if p.is_file()), self._videos.get(PurePosixPath(name).stem))
            if found is not None:
                return [str(found)]
        return [str(self.root / folder / names[0])]

    def _clip(self, raw: Mapping[str, Any]) -> str:
        """YouTube id and seconds of a clip of VATEX; "" of another."""
        named = raw.get("v_id")
        return named if isinstance(named, str) and _VATEX.fullmatch(named) else ""

    def span(self, raw: Mapping[str, Any], where: str) -> tuple[float, float] | None:
        """The clip's seconds, where the whole video lies in its place."""
        cut = _VATEX.fullmatch(self._clip(raw)) if raw.get("video") is not None else None
        whole = cut and Path(self.clips(raw, where)[0]).stem != cut[0]
        return (float(cut[2]), float(cut[3])) if cut and whole else None

    def group(self, raw: Mapping[str, Any], where: str) -> str:
        """The YouTube id of a clip of VATEX, else the name of the video or picture."""
        if clip := _VATEX.fullmatch(self._clip(raw)):
            return clip[1]
        clips = self.clips(raw, where)
        if not clips:
            return f"valley/text/{raw.get('id', where.rpartition(' ')[2])}"
        stem = Path(clips[0]).stem
        named = _VATEX.fullmatch(stem)
        return named[1] if named else f"valley/{stem}"
