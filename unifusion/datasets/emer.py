"""EMER: clips of Chinese films and series, with every emotion that people found in them and the reasons in words."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from unifusion.datasets._captioned import tell_missing
from unifusion.datasets._files import Listed, file_of, media_files, rows_of
from unifusion.datasets._mer import WHERE, example, files_of, joined, reasoned, spoken

__all__ = ["EMER"]

_TABLES = ("gt-eng.csv", "final-EMER-reason.csv")


class EMER(Listed):
    """EMER by its tables: open-vocabulary emotions, lines, and rationales in English and Chinese.

    Source: Lian et al., 2023, github.com/zeroQiaoba/AffectGPT. Licence: by agreement, research only. Layout on disk: `gt-eng.csv`
    (`names,emotions,subtitles,reasons`), `final-EMER-reason.csv` (`name,chinese,english`) or both, also in folders below; clips anywhere
    below as `<name>.mp4` or `.avi`; `transcription_en_all.csv` (`name,sentence`) where it is there. One raw row of each:

        sample_00000669,"['angry', 'worried']","Then why did you come?","In the video, the man frowns and .., his state is angry."
        sample_00000669,<the same in Chinese>,"In the video, the man frowns and .., his state is angry."

    `labels["emotions"]` holds all of a clip's words, `labels["emotion"]` the only one of a clip that has one; a clip of the second table
    alone has neither. `texts["rationale"]` is the first table's reason, else the second's; `texts["rationale_chinese"]` the Chinese one.
    All of it is test; the group is the clip, called as in `mer` and `merr`, whose train parts have some of the same.

    Args:
        path: the folder.
        split: test, or None.
        only_downloaded: leave out rows without a clip.

    Raises:
        DatasetError: no table is there, or one is broken, with file and line.
    """

    def __init__(self, path: str | Path, *, split: str | None = None, only_downloaded: bool = False) -> None:
        root, name = Path(path), f"EMER in {path}"
        found = files_of(root)
        rows = joined(reasoned(found), _written(found))
        if not rows:
            file_of(root, *_TABLES, where=WHERE)
        clips, said = {p.stem: p for p in media_files(root, (".mp4", ".avi"))}, spoken(found)
        told = (replace(e, id=f"emer/{raw['name']}") for raw in rows.values() for e in (example(raw, clips, said, {}),))
        super().__init__((row for row in told if row.media or not only_downloaded), split, name)
        self.missing = tell_missing(sum(not row.media for row in self.rows), len(self.rows), name)


def _written(found: Mapping[str, Path]) -> Iterator[dict[str, Any]]:
    """Rows of the table of reasons in two languages."""
    if "final-EMER-reason.csv" not in found:
        return
    for _, row in rows_of(found["final-EMER-reason.csv"], ("name", "chinese", "english")):
        texts = {"rationale": row["english"].strip(), "rationale_chinese": row["chinese"].strip()}
        yield {"name": row["name"].strip(), "labels": {"part": "EMER"}, "split": "test", "texts": texts}
