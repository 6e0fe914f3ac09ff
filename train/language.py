"""Stage 2: the small language model from nothing, on clips read out in words and questions about them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from unifusion.training.chat import TinyLlama, train_language
from unifusion.training.choices import parse
from unifusion.training.clip_cache import ClipCache
from unifusion.training.fit import FitChoices
from unifusion.training.real_talks import asked_mixture
from unifusion.training.stage import stage


@dataclass(frozen=True, kw_only=True)
class Choices:
    """A Llama of about 3 million weights."""

    out: str = "runs/tiny/language"
    tokenizer: str = "runs/tiny/tokenizer"
    clips: str = "runs/tiny/ground.clips"
    n_clips: int = 16_000
    english: str | None = None
    """Mixture of plain texts to learn from beside the clips read out: a YAML file, or the name of one in train/mixtures."""
    data: str | None = None
    """Folder that the mixture's paths are relative to."""
    questions: str = "people"
    """How a line's emotion is asked for: a YAML file, or the name of one in train/questions."""
    english_share: float = 0.5
    """Of the rows."""
    width: int = 192
    layers: int = 6
    heads: int = 6
    steps: int = 500
    batch_size: int = 12
    per_clip: int = 20
    learning_rate: float = 2e-3
    save_every: int = 200
    workers: int = 1
    seed: int = 0


def main(argv: Sequence[str] | None = None) -> None:
    """Train it."""
    c = parse(Choices, argv, prog="unifusion train language")
    with stage(c.out, c) as todo:
        if todo:
            cache = ClipCache(c.clips, limit=c.n_clips)
            train_language(
                TinyLlama(width=c.width, layers=c.layers, heads=c.heads),
                c.tokenizer,
                cache,
                c.out,
                choices=FitChoices.of(c),
                per_clip=c.per_clip,
                english=asked_mixture(c.english, c.data, c.questions, c.english_share),
            )


if __name__ == "__main__":
    main()
