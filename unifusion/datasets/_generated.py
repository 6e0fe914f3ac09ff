"""What MSRVTT-QA and MSVD-QA share: questions that a program made of captions, in two published spellings."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar

from unifusion.conversation import Example
from unifusion.datasets._asked import Asked, answered, first_word, tables_of, word_of
from unifusion.datasets._files import json_list, value
from unifusion.errors import DatasetError

__all__ = ["Generated", "clip_number"]


class Generated(Asked):
    """Open questions with one word as answer; `labels["type"]` is the word they begin with: what, who, how, when or where.

    A subclass says of which clip a row is.
    """

    stem: ClassVar[str]
    """Of ids and of the tables of those who publish it anew."""

    def read(self, root: Path, split: str | None) -> Iterator[Example]:
        """Questions in the order of their tables."""
        names = {p: (f"{p}_qa.json", f"qa_{p}.json", f"{self.stem}_{p}.json") for p in ("train", "val", "test")}
        self.prepare(root if root.is_dir() else root.parent)
        for part, path in tables_of(root, names, split, self.page):
            for number, row in enumerate(json_list(path)):
                yield self._row(row, part, path, number)

    def prepare(self, root: Path) -> None:
        """Read what lies beside the tables."""
        del root

    @abstractmethod
    def clip(self, row: Mapping[str, Any], path: Path, entry: str) -> tuple[list[str], str]:
        """(names its file may have, group)."""

    def _row(self, row: Mapping[str, Any], part: str, path: Path, number: int) -> Example:
        """One question."""
        entry = f"entry {number}"
        question, answer = word_of(row, "question", path, entry), word_of(row, "answer", path, entry)
        names, group = self.clip(row, path, entry)
        ident = f"{self.stem}/{row['id']}" if "id" in row else f"{self.stem}/{part}/{row.get('question_id', number)}"
        return Example(
            id=ident,
            media=self.downloads.find(ident, cut=names),
            group=group,
            split=part,
            **answered(question, answer, first_word(question)),
        )


def clip_number(row: Mapping[str, Any], path: Path, entry: str) -> int:
    """`video_id`, a whole number.

    Raises:
        DatasetError: it is none.
    """
    found = value(row, "video_id", path, entry)
    if type(found) is not int or not 0 <= found < 1e6:
        raise DatasetError(f"{path}, {entry}: video_id {found!r};", remedy="wanted a whole number.")
    return found
