"""ESC-10: environmental sounds of five seconds in ten classes, the licence-free part of ESC-50."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path

from unifusion.conversation import Example, Media
from unifusion.datasets._files import SOUND, Listed, file_of, json_lines, media_files, one_of, value
from unifusion.errors import DatasetError

__all__ = ["ESC10"]

_NAME = re.compile(r"^([1-5])-(\d+)-([A-Z])(?:-(\d+))?$")
_TARGETS = {
    "0": "dog bark", "1": "rooster", "10": "rain", "11": "sea waves", "12": "fire crackling", "20": "baby cry", "21": "person sneeze",
    "38": "clock tick", "40": "helicopter", "41": "chainsaw",
}  # fmt: skip
"""ESC-50's numbers of the ten classes."""
_CLASSES = {name: name for name in _TARGETS.values()}


class ESC10(Listed):
    """ESC-10 as it lies in either repository, or as a list.

    Source: Piczak, 2015. Licence: CC BY 3.0 (each recording has its own author). Layouts on disk: folders of classes
    (`001 - Dog bark/1-100032-A.ogg`); ESC-50's `audio/1-100032-A-0.wav`, of which the ten classes are taken; or `manifest.jsonl` with
    `path` and `label`. A name holds fold, recording and take. One raw row:

        001 - Dog bark/1-100032-A.ogg

    Folds 1 to 3 are train; of each class's recordings in fold 4, in the order of their numbers, every second one is test and the others
    are val; fold 5 is test. A recording is in one fold only.

    Args:
        path: the folder.
        split: train, val, test, or None for all.
    """

    def __init__(self, path: str | Path, *, split: str | None = None) -> None:
        super().__init__(_parted(_read(Path(path))), split, f"ESC-10 in {path}")


def _parted(rows: Iterable[Example]) -> Iterator[Example]:
    """Rows with their splits, so that val and test both have each class of which fold 4 has two recordings."""
    seen: dict[str, dict[str, str]] = defaultdict(dict)
    for row in rows:
        halves = seen[row.labels["sound"]]
        if row.labels["fold"] == 4:
            halves.setdefault(row.group, ("val", "test")[len(halves) % 2])
        yield replace(row, split="train" if row.labels["fold"] <= 3 else halves[row.group] if row.labels["fold"] == 4 else "test")


def _read(root: Path) -> Iterator[Example]:
    """Rows in the order of their names."""
    listed: dict[str, str] = {}
    if (root / "manifest.jsonl").is_file():
        path = file_of(root, "manifest.jsonl")
        listed = {Path(value(r, "path", path, n)).stem: one_of(value(r, "label", path, n), _CLASSES, path, n) for n, r in json_lines(path)}
    for file in media_files(root, SOUND):
        named = _NAME.match(file.stem)
        if named is None:
            continue
        folder = file.parent.name.partition(" - ")[2].lower()
        sound = listed.get(file.stem) or (_TARGETS.get(named[4]) if named[4] else _CLASSES.get(folder))
        if sound is None and named[4]:
            continue  # one of ESC-50's other forty
        if sound is None:
            raise DatasetError(f"{file} does not tell its class;", remedy="keep the folders of the archive, or write a manifest.jsonl.")
        fold, group = int(named[1]), f"freesound:{named[2]}"
        yield Example(
            id=f"esc10/{file.stem}",
            media=(Media(kind="audio", source=str(file)),),
            texts={"caption": f"The sound of {sound}."},
            labels={"sound": sound, "fold": fold},
            group=group,
        )
