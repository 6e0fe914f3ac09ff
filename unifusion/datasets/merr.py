"""MERR: clips of the MER challenge with an emotion, a description put together from what detectors found, and reasons in words."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from unifusion.datasets._captioned import tell_missing
from unifusion.datasets._files import Listed, file_of, media_files
from unifusion.datasets._mer import LISTS, WHERE, example, files_of, joined, lists, reasons, spoken

__all__ = ["MERR"]


class MERR(Listed):
    """MERR of Emotion-LLaMA: 28,618 clips coarsely described, 4,487 of them in fine words.

    Source: Cheng et al., 2024, github.com/ZebangCheng/Emotion-LLaMA. Licence: by agreement with the MER challenge, whose clips they are,
    research only. Layout on disk, also in folders below: `MERR_coarse_grained.txt`, `MERR_fine_grained.txt` or one of them (name, number of
    frames, emotion, with spaces between; without a list, the emotion is `pseu_emotion` of its json), `MERR_coarse_grained.json` (`{name:
    {"caption": ..}}`), `MERR_fine_grained.json` (`{name: {"smp_reason_caption": ..}}`), `transcription_en_all.csv` (`name,sentence`); clips
    anywhere below as `<name>.mp4` or `.avi`. One raw row of a list:

        sample_00000047 85 happy

    `labels["emotion"]` is one of neutral angry happy sad worried surprise fear contempt doubt, `texts["caption"]` the coarse description,
    `texts["rationale"]` the fine one, `texts["transcript"]` what is said. A tenth of the clips, by a hash of their names, is val. The
    group is the clip, called as in `mer` and `emer`.

    Args:
        path: the folder.
        split: train, val, or None for both.
        fine: only clips of the fine list.
        only_downloaded: leave out rows without a clip.

    Raises:
        DatasetError: no list is there, or a file is broken, with file and line.
    """

    def __init__(self, path: str | Path, *, split: str | None = None, fine: bool = False, only_downloaded: bool = False) -> None:
        root, name = Path(path), f"MERR in {path}"
        found = files_of(root)
        wanted = LISTS[1:] if fine else LISTS
        files = {*wanted, *(Path(table).with_suffix(".json").name for table in wanted)}
        rows = joined(lists({table: place for table, place in found.items() if table in files}))
        if not rows:
            file_of(root, *wanted, where=WHERE)
        clips = {p.stem: p for p in media_files(root, (".mp4", ".avi"))}
        said, told = spoken(found), reasons(found)
        each = (replace(e, id=f"merr/{raw['name']}") for raw in rows.values() for e in (example(raw, clips, said, told),))
        super().__init__((row for row in each if row.media or not only_downloaded), split, name)
        self.missing = tell_missing(sum(not row.media for row in self.rows), len(self.rows), name)
