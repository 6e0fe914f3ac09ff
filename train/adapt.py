"""Stage 4: adapters only, on clips described and read out; encoders and language model stay frozen."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from unifusion.training.chat import aligned_specs, other_adapters, train_chat
from unifusion.training.choices import parse
from unifusion.training.clip_cache import ClipCache
from unifusion.training.fit import FitChoices
from unifusion.training.stage import stage


@dataclass(frozen=True, kw_only=True)
class Choices:
    """Adapters from aligned encoders into the small language model."""

    out: str = "runs/tiny/adapt"
    language: str = "runs/tiny/language"
    encoders: str = "runs/tiny/ground"
    clips: str = "runs/tiny/ground.clips"
    n_clips: int = 16_000
    adapters: str | None = None
    """YAML file with stream -> {adapter, adapter_config}, instead of the adapters of stage ground."""
    keep_aligned: bool = True
    """Aligned adapters keep what they tell; only what maps them to the language model is trained."""
    steps: int = 150
    batch_size: int = 12
    learning_rate: float = 1.5e-3
    save_every: int = 200
    workers: int = 1
    seed: int = 0


def main(argv: Sequence[str] | None = None) -> None:
    """Train it."""
    c = parse(Choices, argv, prog="unifusion train adapt")
    with stage(c.out, c) as todo:
        if todo:
            specs = aligned_specs(c.encoders, other_adapters(c.adapters))
            train_chat(
                c.language,
                specs,
                c.encoders,
                ClipCache(c.clips, limit=c.n_clips),
                c.out,
                choices=FitChoices.of(c),
                mode="captions",
                parts={"adapters": True, "language_model": False},
                keep_aligned=c.keep_aligned,
            )


if __name__ == "__main__":
    main()
