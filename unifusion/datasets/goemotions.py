"""GoEmotions: comments with the emotions their readers found."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import ClassVar

from unifusion.conversation import Example
from unifusion.datasets._files import Published, file_of, rows_of, text_of
from unifusion.errors import DatasetError

__all__ = ["GoEmotions"]

_BASIC = {"joy": "happy", "sadness": "sad", "anger": "angry"}
"""Names of the basic emotions that this project spells otherwise."""
_WHERE = "github.com/google-research/google-research/tree/master/goemotions (doi 10.18653/v1/2020.acl-main.372)"
_PARTS = {"train": "train.tsv", "val": "dev.tsv", "test": "test.tsv"}


class GoEmotions(Published):
    """GoEmotions in 27 emotions or in Ekman's grouping; rows with one label also have `labels["emotion"]`.

    Source: Demszky et al., 2020. Licence: CC BY 4.0. Layout on disk: `train.tsv`, `dev.tsv`, `test.tsv` (or .gz) without a header
    (text, numbers of labels by commas, id) and `labels.txt` (or `emotions.txt`) with one name a line. One raw row:

        My favourite food is anything I didn't have to cook myself.\\t27\\teebbqej

    Who wrote a comment is not told there: the group is the comment.

    Args:
        path: the folder of one grouping.
        split: train, val, test, or None for all that is there.
    """

    title = "GoEmotions"
    tables: ClassVar[Mapping[str, str]] = _PARTS

    @classmethod
    def read(cls, root: Path, part: str) -> Iterator[Example]:
        """Rows of one part in the order of its table."""
        path = file_of(root, _PARTS[part], where=_WHERE)
        names = text_of(file_of(root, "labels.txt", "emotions.txt", where=_WHERE)).split()
        for line, row in rows_of(path, ("text", "labels", "id"), delimiter="\t", header=False):
            numbers = row["labels"].split(",")
            if not all(n.isdigit() and int(n) < len(names) for n in numbers):
                raise DatasetError(f"{path}, line {line}: labels {row['labels']!r};", remedy=f"wanted numbers below {len(names)}.")
            emotions = tuple(_BASIC.get(names[int(n)], names[int(n)]) for n in numbers)
            labels = {"emotions": emotions} | ({"emotion": emotions[0]} if len(emotions) == 1 else {})
            yield Example(id=f"goemotions/{row['id']}", texts={"transcript": row["text"]}, labels=labels, group=row["id"], split=part)
