"""AudioCaps: ten seconds of sound with captions; the sounds where they were downloaded."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import ClassVar

from unifusion.conversation import Example, Media
from unifusion.datasets._files import SOUND, Published, file_of, rows_of

__all__ = ["AudioCaps"]


class AudioCaps(Published):
    """AudioCaps by its tables, one row a clip; val and test have five captions of each, in `labels["captions"]`.

    Source: Kim et al., 2019. Licence: MIT (captions). Layout on disk: `train.csv`, `val.csv`, `test.csv` (or .gz); sounds beside them or
    in a folder of the part's name, called `{youtube_id}_{start_time}.wav` or `{youtube_id}.wav`. A row whose sound is not there has no
    media. One raw row:

        91139,r1nicOVtvkQ,130,A woman talks nearby as water pours

    Args:
        path: the folder.
        split: train, val, test, or None for all that is there.
    """

    title = "AudioCaps"
    tables: ClassVar[Mapping[str, str]] = {p: f"{p}.csv" for p in ("train", "val", "test")}

    @classmethod
    def read(cls, root: Path, part: str) -> Iterator[Example]:
        """Clips of one part in the order they first appear in its table."""
        captions: dict[tuple[str, str], list[str]] = {}
        for _, row in rows_of(file_of(root, f"{part}.csv"), ("youtube_id", "start_time", "caption")):
            captions.setdefault((row["youtube_id"], row["start_time"]), []).append(row["caption"])
        folders = [f for f in (root / part, root) if f.is_dir()]
        there = {p.stem: p for f in reversed(folders) for p in f.iterdir() if p.suffix.lower() in SOUND}
        for (name, start), told in captions.items():
            sound = there.get(f"{name}_{start}") or there.get(name)
            yield Example(
                id=f"audiocaps/{name}_{start}",
                media=(Media(kind="audio", source=str(sound)),) if sound else (),
                texts={"caption": told[0]},
                labels={"captions": tuple(told)},
                group=name,
                split=part,
            )
