"""AudioCaps: ten seconds of sound with captions; the sounds where they were downloaded."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import ClassVar

from unifusion.conversation import Example
from unifusion.datasets._captioned import VIDEO, Captioned, Downloads, captions_of, cut_names, file_name, parts_there, whole_number
from unifusion.datasets._files import SOUND, file_of, place_of, rows_of

__all__ = ["AudioCaps"]

_LENGTH_S = 10
_M4A = (".m4a", ".opus")


class AudioCaps(Captioned):
    """AudioCaps by its tables, one row a clip; val and test have five captions of each, in `labels["captions"]`.

    Source: Kim et al., 2019, github.com/cdjkim/audiocaps. Licence: MIT (captions); the sounds are those of the videos' authors. Layout on
    disk: `train.csv`, `val.csv`, `test.csv` (or .gz), in the folder or, as in the repository, in `dataset`; sounds, or videos of which the
    sound is taken, anywhere below, called `{youtube_id}_{start_time}` (also with six digits, with the end, or in milliseconds),
    `{audiocap_id}` (as its downloader has it), `{youtube_id}` or `Y{youtube_id}`; or what video2dataset wrote, in the folder or
    in `shards`. A row whose sound is not there has no media. One raw row:

        91139,r1nicOVtvkQ,130,A woman talks nearby as water pours

    The group is the YouTube video; `labels` also has the seconds of it that were described, `start_s` and `end_s`.

    Args:
        path: the folder.
        split: train, val, test, or None for all that is there.
        only_downloaded: leave out rows without a sound.
        whole: files called `{youtube_id}` are the whole videos, of which the ten seconds are taken; otherwise they are the ten seconds.
    """

    title, page = "AudioCaps", "github.com/cdjkim/audiocaps"
    tables: ClassVar[Mapping[str, str]] = {p: f"{p}.csv" for p in ("train", "val", "test")}

    def __init__(
        self, path: str | Path, *, split: str | None = None, only_downloaded: bool = False, whole: bool = False
    ) -> None:  # fmt: skip
        self._whole = whole
        super().__init__(path, split=split, only_downloaded=only_downloaded)

    def look(self, root: Path | None) -> Downloads:
        """Sounds, and videos for their sound."""
        return Downloads(root, (*SOUND, *_M4A, *VIDEO), "audio")

    def read(self, root: Path, split: str | None) -> Iterator[Example]:
        """Clips in the order they first appear in their tables."""
        root = place_of(root, ("", "dataset"), self.tables.values())
        for part in parts_there(root, self.tables, split):
            yield from self._part(file_of(root, self.tables[part], where=self.page), part)

    def _part(self, table: Path, part: str) -> Iterator[Example]:
        """Clips of one table."""
        told: dict[tuple[str, int], list[tuple[int, str, str]]] = {}
        for line, row in rows_of(table, ("audiocap_id", "youtube_id", "start_time", "caption"), exact=True):
            clip = file_name(row["youtube_id"], table, line), whole_number(row["start_time"], table, line)
            told.setdefault(clip, []).append((line, file_name(row["audiocap_id"], table, line), row["caption"]))
        for (name, start), rows in told.items():
            ident, span = f"audiocaps/{name}_{start}", (float(start), float(start + _LENGTH_S))
            cut = [*cut_names(name, *span), *(number for _, number, _ in rows), *([] if self._whole else [name, f"Y{name}"])]
            said = captions_of([caption for _, _, caption in rows], table, rows[0][0])
            yield Example(
                id=ident,
                media=self.downloads.find(ident, cut=cut, whole=[name, f"Y{name}"], source=name, span=span),
                texts=said["texts"],
                labels={**said["labels"], "start_s": span[0], "end_s": span[1]},
                group=name,
                split=part,
            )
