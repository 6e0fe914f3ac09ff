"""MER2023, MER2024, MERR and EMER: clips of Chinese films and series with emotions, lines and the reasons for them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from unifusion.datasets._files import Listed, file_of, media_files, number_of, one_of, rows_of
from unifusion.datasets._mer import EMOTIONS, LISTS, WHERE, example, files_of, joined, lists, reasoned, reasons, spoken
from unifusion.errors import DatasetError

__all__ = ["MER"]

_TABLES = {
    "train-label.csv": ("train", "train"), "test1-label.csv": ("test", "test1"), "test2-label.csv": ("test", "test2"),
    "test3-label.csv": ("test", "test3"), "label-disdim.csv": ("train", "video-labeled"), "semi-label.csv": ("test", "video-unlabeled"),
}  # fmt: skip
"""Name -> split, folder of its clips. The first four are MER2023's, the others MER2024's."""


class MER(Listed):
    """The sets of the MER challenge, by whichever of their tables lie in the folder.

    Source: Lian et al., 2023 and 2024; MERR: Cheng et al., 2024; EMER: Lian et al., 2023. Licence: by agreement, research only. Layout on
    disk: `train-label.csv`, `test1-label.csv`, `test2-label.csv`, `test3-label.csv` (MER2023) or `label-disdim.csv`, `semi-label.csv`
    (MER2024) with `name,discrete` and mostly `valence`; or `MERR_coarse_grained.txt`, `MERR_fine_grained.txt` (name, number of frames,
    emotion, with spaces between); or `gt-eng.csv` (EMER: `names,emotions,subtitles,reasons`); tables also in folders below. Where they
    are there: `MERR_coarse_grained.json`, `MERR_fine_grained.json` (`{name: {"caption": ..}}`, `{name: {"smp_reason_caption": ..}}`),
    `transcription_en_all.csv` (`name,sentence`), `label-transcription.csv` (`name,chinese,english`). Clips anywhere below as
    `<name>.mp4` or `.avi`. One raw row of a table, and one of a list:

        sample_00000007,worried,-1.5
        sample_00000047 85 happy

    `label-6way.npz`, into which the challenge's tools put all this, is a pickle and is not read: the tables hold the same. Emotions are
    neutral angry happy sad worried surprise, in MERR also fear contempt doubt; in EMER several may be told, then there is only
    `labels["emotions"]`. `texts["caption"]` is the coarse description, `texts["rationale"]` the fine one or EMER's reasons. Valence is
    divided by `valence_scale`. A tenth of a published train part, by a hash of the name, is val; lists of MERR are train, EMER is test. A
    clip of two tables is one row, with the emotion of the first of them in the order above. Nobody tells who is seen: a group is a clip.

    Args:
        path: the folder.
        split: train, val, test, or None for all.
        valence_scale: largest valence of the annotation.

    Raises:
        DatasetError: no table is there, or one is broken, with file and line.
    """

    gives_way = ("emer", "merr")

    def __init__(self, path: str | Path, *, split: str | None = None, valence_scale: float = 5.0) -> None:
        if valence_scale <= 0:
            raise DatasetError(f"valence_scale is {valence_scale:g};", remedy="give the largest valence, such as 5.")
        root = Path(path)
        found = files_of(root)
        rows = joined(_tables(found, valence_scale), lists(found), reasoned(found))
        if not rows:
            file_of(root, *_TABLES, *LISTS, "gt-eng.csv", where=WHERE)
        clips = {p.stem: p for p in media_files(root, (".mp4", ".avi"))}
        said, told = spoken(found), reasons(found)
        super().__init__((example(raw, clips, said, told) for raw in rows.values()), split, f"MER in {path}")


def _tables(found: Mapping[str, Path], scale: float) -> Iterator[dict[str, Any]]:
    """Rows of the challenge's tables."""
    for table, (split, folder) in _TABLES.items():
        if table not in found:
            continue
        path = found[table]
        for line, row in rows_of(path, ("name", "discrete")):
            labels: dict[str, Any] = {"emotion": one_of(row["discrete"].strip(), EMOTIONS, path, line), "part": folder}
            if (row.get("valence") or "").strip():
                labels["valence"] = number_of(row["valence"], path, line, -scale, scale) / scale
            yield {"name": row["name"].strip(), "labels": labels, "split": split}
