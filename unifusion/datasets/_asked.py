"""Sets of questions about clips: their tables, options and answers, and clips that many questions share."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

from unifusion.conversation import Example
from unifusion.datasets._captioned import LONGEST_NAME, Captioned
from unifusion.datasets._files import file_of, where_in
from unifusion.errors import DatasetError, nearest

__all__ = ["Asked", "answered", "chosen", "first_word", "inside", "span_of", "tables_of", "word_of"]

log = logging.getLogger(__name__)
_BEGINNINGS = ("what", "who", "whose", "which", "where", "when", "why", "how")


class Asked(Captioned):
    """Questions about clips, a row each; rows of clips that were not downloaded have no media, which is told once in the log.

    A subclass says how the set is called and where it is got, looks for its clips and reads its rows. `missing` is the number of rows
    without a clip, `left_out` that of rows of train and val whose clip is in a part that comes after theirs.

    Args:
        path: the folder.
        split: one of the parts, or None for all that are there.
        only_downloaded: leave out rows without a clip.
        as_published: keep every row of parts that share clips; then a group is a clip within its part.

    Raises:
        DatasetError: a table is missing or broken, or nothing is left.
    """

    commands: ClassVar[str] = "docs/question_sets.md"
    published_leaks = True

    def apart(self, row: Example) -> str:
        """The group of a row where parts that share clips are read as published."""
        return f"{row.group}@{row.split}"

    def tell(self, name: str) -> int:
        """Say in the log how many rows have no clip and how many clips that is, and return the former."""
        bare = [row for row in self.rows if not self.whole(row)]
        if bare:
            clips = len({row.group for row in bare}), len({row.group for row in self.rows})
            log.warning(
                "%s: %d of %d questions have no clip: %d of %d videos are not there (only_downloaded leaves them out)",
                name, len(bare), len(self.rows), *clips,
            )  # fmt: skip
        return len(bare)

    def heard(self, row: Example, said: Sequence[Mapping[str, Any]]) -> Example:
        """The row with timed lines as `labels["subtitles"]`, and their words as transcript of its clip and `texts["transcript"]`."""
        words = " ".join(str(line["text"]) for line in said)
        if not words:
            return row
        media = tuple(replace(m, transcript=words) if n == 0 else m for n, m in enumerate(row.media))
        return replace(row, media=media, texts={**row.texts, "transcript": words}, labels={**row.labels, "subtitles": tuple(said)})


def tables_of(root: Path, names: Mapping[str, Sequence[str]], split: str | None, where: str) -> Iterator[tuple[str, Path]]:
    """(part, its table) for each that is there, and for the part asked for.

    Args:
        root: folder, or one of the tables.
        names: part -> names its table may have below `root`, plain or with .gz, those that are preferred first.
        split: the part asked for, which must be there.
        where: the page where the set is got, for the error.

    Raises:
        DatasetError: none is there, or not the one asked for.
    """
    if root.is_file():
        part = next((p for p, known in names.items() if root.name.removesuffix(".gz") in {Path(k).name for k in known}), None)
        if part is None:
            known = ", ".join(Path(k).name for names_of in names.values() for k in names_of)
            raise DatasetError(f"{root} is no table of the set;", remedy=f"its tables are {known}.")
        yield part, root
        return
    there = [p for p, known in names.items() if any((root / f"{k}{end}").is_file() for k in known for end in ("", ".gz"))]
    for part in dict.fromkeys([*([split] if split in names else []), *(there or list(names)[:1])]):
        yield str(part), file_of(root, *names[str(part)], where=where)


def word_of(row: Mapping[str, Any], key: str, path: Path, line: int | str) -> str:
    """`row[key]`, a text that says something, without the spaces around it.

    Raises:
        DatasetError: it is missing, empty or no text.
    """
    if key not in row:
        raise DatasetError(f"{path}, {where_in(line)}: no {key!r};", remedy=nearest(key, [str(k) for k in row]))
    found = row[key]
    if not isinstance(found, str) or not found.strip():
        raise DatasetError(f"{path}, {where_in(line)}: {key} is {str(found)[:80]!r};", remedy="wanted a text.")
    return found.strip()


def first_word(question: str) -> str:
    """The kind of a question by the word it begins with; `other` where that asks nothing."""
    word = question.split()[0].lower().partition("'")[0]
    return word if word in _BEGINNINGS else "other"


def answered(question: str, answer: str, kind: str, further: Sequence[str] = ()) -> dict[str, Any]:
    """`texts` and `labels` of an open question; `further` are other right answers."""
    return {
        "texts": {"question": question, "answer": answer},
        "labels": {"type": kind, **({"answers": tuple(further)} if further else {})},
    }


def chosen(question: str, options: Sequence[Any], right: Any, kind: str, path: Path, line: int | str) -> dict[str, Any]:
    """`texts` and `labels` of a question with options.

    Args:
        question: text.
        options: texts, two or more.
        right: number of the right one, from 0; None where the set hides it.
        kind: of question.
        path: of the table.
        line: of it.

    Raises:
        DatasetError: an option is no text, or there is no option of that number.
    """
    told = tuple(o.strip() if isinstance(o, str) else "" for o in options)
    if len(told) < 2 or not all(told):
        raise DatasetError(f"{path}, {where_in(line)}: options {str(list(options))[:120]};", remedy="wanted two or more texts.")
    if right is None:
        return {"texts": {"question": question}, "labels": {"options": told, "type": kind}}
    if type(right) is not int or not 0 <= right < len(told):
        raise DatasetError(f"{path}, {where_in(line)}: answer {right!r};", remedy=f"wanted the number of an option, 0 to {len(told) - 1}.")
    return {"texts": {"question": question, "answer": told[right]}, "labels": {"options": told, "option": right, "type": kind}}


def span_of(start: Any, end: Any, path: Path, line: int | str) -> tuple[float, float] | None:
    """Seconds of a clip; None where none are told: they are no number on purpose (NaN), or end where they begin.

    Of TVQA's 7,623 public test questions three are of NaN to NaN, and two of no length.

    Raises:
        DatasetError: they are neither numbers nor NaN, or negative or endless.
    """
    try:
        told = float(start), float(end)
    except (TypeError, ValueError):
        told = (-1.0, -1.0)
    if any(math.isnan(t) for t in told):
        return None
    if isinstance(start, bool) or isinstance(end, bool) or not all(0 <= t < 1e6 for t in told):
        raise DatasetError(f"{path}, {where_in(line)}: from {start!r} to {end!r};", remedy="wanted seconds, or NaN where there are none.")
    return told if told[0] < told[1] else None


def inside(word: str, path: Path, line: int | str) -> str:
    """The name of a file below a folder.

    Raises:
        DatasetError: it leads out of it, or is longer than file systems allow.
    """
    parts = word.split("/")
    if "\\" in word or not word.isprintable() or any(p in ("", ".", "..") or len(p.encode()) > LONGEST_NAME for p in parts):
        raise DatasetError(f"{path}, {where_in(line)}: {word[:80]!r};", remedy="wanted the name of a file below the set's folder.")
    return word
