"""Stage 5: adapters and language model on questions of every family, in many words, with streams muted now and then."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from unifusion.training.chat import aligned_specs, other_adapters, train_chat
from unifusion.training.choices import parse
from unifusion.training.clip_cache import ClipCache
from unifusion.training.fit import FitChoices
from unifusion.training.real_talks import asked_mixture
from unifusion.training.stage import stage
from unifusion.training.world_talks import OPTIONS


@dataclass(frozen=True, kw_only=True)
class Choices:
    """Instruction tuning of the small model: full, since it is small; the adapters' shape must be that of stage adapt."""

    out: str = "runs/tiny/instruct"
    start: str = "runs/tiny/adapt"
    language: str = "runs/tiny/language"
    encoders: str = "runs/tiny/ground"
    clips: str = "runs/tiny/ground.clips"
    n_clips: int = 16_000
    adapters: str | None = None
    """YAML file with stream -> {adapter, adapter_config}, instead of the adapters of stage ground."""
    keep_aligned: bool = True
    """Aligned adapters keep what they tell; only what maps them to the language model is trained."""
    token_dropout: float = 0.1
    """Share of the numbers of adapters' tokens that are zeroed in training."""
    fresh: str | None = None
    """Streams, by commas, whose encoder was changed since `start`: their adapter goes on from stage ground."""
    steps: int = 6600
    batch_size: int = 8
    per_clip: int = 20
    mute: float = 0.15
    counterfactual: float = 0.0
    """Share of clips that are heard with another one's sound, their answers changed with it."""
    template: float = 0.3
    chat: float = 0.15
    long: float = 0.1
    read: float = 0.0
    moments: int = 1
    """Seconds of a clip that are asked for whole."""
    compare: int = 2
    """Questions that set the face's emotion against the voice's."""
    shown: int = 1
    """Times that it is asked whether face and voice are of an emotion, and which of them is."""
    real: str | None = None
    """Mixture of real recordings and pictures to ask about beside the clips: a YAML file, or the name of one in train/mixtures."""
    data: str | None = None
    """Folder that the mixture's paths are relative to."""
    questions: str = "people"
    """How they are asked about: a YAML file, or the name of one in train/questions."""
    loose: float = 0.3
    """Share of these questions that have something around them, or words that nobody knows, misspelt or left out."""
    real_share: float = 0.5
    """Of the rows."""
    again: int = 2
    rare: int = 3
    limit: int = 1100
    learning_rate: float = 1.5e-3
    save_every: int = 250
    workers: int = 1
    seed: int = 0


def main(argv: Sequence[str] | None = None) -> None:
    """Train it."""
    c = parse(Choices, argv, prog="unifusion train instruct")
    with stage(c.out, c) as todo:
        if todo:
            specs = aligned_specs(c.encoders, other_adapters(c.adapters))
            train_chat(
                c.language, specs, c.encoders, ClipCache(c.clips, limit=c.n_clips), c.out, choices=FitChoices.of(c), mode="questions",
                start=c.start, fresh=c.fresh.split(",") if c.fresh else (), parts={"adapters": True, "language_model": True},
                keep_aligned=c.keep_aligned, token_dropout=c.token_dropout,
                talks={k: getattr(c, k) for k in ("per_clip", "mute", *OPTIONS)},
                real=asked_mixture(c.real, c.data, c.questions, c.real_share, loose=c.loose),
            )  # fmt: skip


if __name__ == "__main__":
    main()
