"""Instead of the first stages: a checkpoint taken apart, so that `ground`, `adapt` or `instruct` goes on from it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from unifusion.training.choices import parse
from unifusion.training.stage import stage
from unifusion.training.unpack import unpack


@dataclass(frozen=True, kw_only=True)
class Choices:
    """Which checkpoint."""

    checkpoint: str = "checkpoints/tiny-chat"
    out: str = "runs/on"
    """Gets `ground`, `language` and `adapt`, each as its stage would leave it."""


def main(argv: Sequence[str] | None = None) -> None:
    """Take it apart."""
    c = parse(Choices, argv, prog="unifusion train unpack")
    with stage(f"{c.out}/unpack", c) as todo:
        if todo:
            unpack(c.checkpoint, c.out)


if __name__ == "__main__":
    main()
