"""Stage 1: a sentencepiece vocabulary from clip world's texts and any text files."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain

from unifusion.training.choices import parse
from unifusion.training.stage import stage
from unifusion.training.texts import read_lines, world_texts
from unifusion.training.tokenizer import train_tokenizer


@dataclass(frozen=True, kw_only=True)
class Choices:
    """A tokenizer for the small language model."""

    out: str = "runs/tiny/tokenizer"
    vocabulary: int = 2048
    clips: int = 6000
    texts: tuple[str, ...] = ()
    seed: int = 0


def main(argv: Sequence[str] | None = None) -> None:
    """Train it, unless it is there."""
    choices = parse(Choices, argv, prog="unifusion train tokenizer")
    with stage(choices.out, choices) as todo:
        if todo:
            texts = chain(world_texts(seed=choices.seed, start=0, count=choices.clips), read_lines(choices.texts))
            train_tokenizer(texts, choices.out, vocabulary=choices.vocabulary)


if __name__ == "__main__":
    main()
