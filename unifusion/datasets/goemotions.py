"""GoEmotions: comments with the emotions their readers found."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from unifusion.conversation import Example
from unifusion.datasets._files import Listed, file_of, rows_of, text_of
from unifusion.errors import DatasetError

__all__ = ["GoEmotions"]

_BASIC = {"joy": "happy", "sadness": "sad", "anger": "angry"}
"""Names of the basic emotions that this project spells otherwise."""
_PARTS = {"train": "train.tsv", "val": "dev.tsv", "test": "test.tsv"}


class GoEmotions(Listed):
    """GoEmotions in 27 emotions or in Ekman's grouping; rows with one label also have `labels["emotion"]`.

    Source: Demszky et al., 2020. Licence: Apache-2.0. Layout on disk: `train.tsv`, `dev.tsv`, `test.tsv` (or .gz) without a header
    (text, numbers of labels by commas, id) and `labels.txt` with one name a line. One raw row:

        My favourite food is anything I didn't have to cook myself.\\t27\\teebbqej

    Args:
        path: the folder of one grouping.
        split: train, val, test, or None for all that is there.
    """

    def __init__(self, path: str | Path, *, split: str | None = None) -> None:
        root = Path(path)
        names = text_of(file_of(root, "labels.txt")).split()
        parts = [split] if split in _PARTS else [p for p, name in _PARTS.items() if list(root.glob(f"{name}*"))]
        super().__init__((row for part in parts or ["train"] for row in _read(root, part, names)), split, f"GoEmotions in {path}")


def _read(root: Path, part: str, names: list[str]) -> Iterator[Example]:
    """Rows of one part in the order of its table."""
    path = file_of(root, _PARTS[part])
    for line, row in rows_of(path, ("text", "labels", "id"), delimiter="\t", header=False):
        numbers = row["labels"].split(",")
        if not all(n.isdigit() and int(n) < len(names) for n in numbers):
            raise DatasetError(f"{path}, line {line}: labels {row['labels']!r};", remedy=f"wanted numbers below {len(names)}, by commas.")
        emotions = tuple(_BASIC.get(names[int(n)], names[int(n)]) for n in numbers)
        labels = {"emotions": emotions} | ({"emotion": emotions[0]} if len(emotions) == 1 else {})
        yield Example(id=f"goemotions/{row['id']}", texts={"transcript": row["text"]}, labels=labels, group=row["id"], split=part)
