"""Texts to learn a vocabulary and a language from: clip world's questions, answers and captions, and files of one text a line."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from unifusion.errors import DatasetError
from unifusion.world.captions import caption
from unifusion.world.questions import ask
from unifusion.world.sample import sample_script
from unifusion.world.script import Split

__all__ = ["read_lines", "world_pairs", "world_texts"]


def world_pairs(*, seed: int, start: int, count: int, split: Split = "train") -> Iterator[list[tuple[str, str]]]:
    """Yield (question, answer) pairs of each clip; families that need spoken words' times are left out (nothing is rendered)."""
    for index in range(start, start + count):
        script = sample_script(seed, index, split=split)
        yield [(q.text, q.answer) for q in ask(script, seed=index)]


def world_texts(*, seed: int, start: int, count: int) -> Iterator[str]:
    """Yield questions, answers and captions, one text each."""
    for index, pairs in enumerate(world_pairs(seed=seed, start=start, count=count)):
        yield caption(sample_script(seed, start + index))
        for question, answer in pairs:
            yield question
            yield answer


def read_lines(paths: Sequence[str | Path]) -> Iterator[str]:
    """Yield the lines of text files that are not empty.

    Raises:
        DatasetError: a file cannot be read.
    """
    for path in paths:
        try:
            with Path(path).open(encoding="utf-8", errors="replace") as file:
                yield from (line.strip() for line in file if line.strip())
        except OSError as error:
            raise DatasetError(f"cannot read {path}: {error.strerror};", remedy="give text files, one text a line.") from error
