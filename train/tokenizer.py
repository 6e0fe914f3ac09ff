"""Stage 1: a sentencepiece vocabulary from clip world's texts and any text files."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain

from unifusion.datasets.mixture import Mixture
from unifusion.training.choices import parse, shared_yaml
from unifusion.training.grammar import Grammar
from unifusion.training.real_talks import texts_of
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
    """Files of one text a line."""
    mixtures: tuple[str, ...] = ()
    """Mixtures whose texts are read too: YAML files, or names in train/mixtures."""
    data: str | None = None
    """Folder that the mixtures' paths are relative to."""
    questions: str = "people"
    """How real clips are asked about: a YAML file, or the name of one in train/questions."""
    seed: int = 0


def main(argv: Sequence[str] | None = None) -> None:
    """Train it, unless it is there."""
    choices = parse(Choices, argv, prog="unifusion train tokenizer")
    with stage(choices.out, choices) as todo:
        if todo:
            grammar = Grammar(shared_yaml("questions", choices.questions))
            mixed = [texts_of(Mixture(shared_yaml("mixtures", m), data=choices.data), grammar) for m in choices.mixtures]
            texts = chain(world_texts(seed=choices.seed, start=0, count=choices.clips), read_lines(choices.texts), *mixed)
            train_tokenizer(texts, choices.out, vocabulary=choices.vocabulary)


if __name__ == "__main__":
    main()
