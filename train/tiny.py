"""All stages of the shipped model, one after the other, each resumed or skipped: what `make tiny` runs."""

from __future__ import annotations

import runpy
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from unifusion.evaluation.release import release
from unifusion.training.chat import aligned_specs
from unifusion.training.choices import parse
from unifusion.training.stage import stage


@dataclass(frozen=True, kw_only=True)
class Choices:
    """The whole chain. Stages take their own defaults; these few are shared by several."""

    run: str = "runs/tiny"
    out: str = "checkpoints/tiny-chat"
    clips: int = 16_000
    video_steps: int = 2000
    audio_steps: int = 3000
    language_steps: int = 500
    adapt_steps: int = 150
    instruct_steps: int = 3800
    questions: int = 1000
    seed: int = 0


def main(argv: Sequence[str] | None = None) -> None:
    """Train what is not trained yet, then measure and save."""
    c = parse(Choices, argv, prog="unifusion train tiny")
    r, seed = c.run, ["--seed", str(c.seed)]
    run("tokenizer", ["--out", f"{r}/tokenizer", *seed])
    align = ["--tokenizer", f"{r}/tokenizer", "--cache", f"{r}/align", "--clips", str(c.clips), *seed]
    for stream, steps, queries in (("video", c.video_steps, 8), ("audio", c.audio_steps, 4)):
        run("align", ["--out", f"{r}/align", "--stream", stream, "--steps", str(steps), "--queries", str(queries), *align])
    clips = ["--clips", f"{r}/align.clips", "--n-clips", str(c.clips), *seed]
    run("language", ["--out", f"{r}/language", "--tokenizer", f"{r}/tokenizer", "--steps", str(c.language_steps), *clips])
    shared = ["--language", f"{r}/language", "--encoders", f"{r}/align", *clips]
    run("adapt", ["--out", f"{r}/adapt", "--steps", str(c.adapt_steps), *shared])
    run("instruct", ["--out", f"{r}/instruct", "--start", f"{r}/adapt", "--steps", str(c.instruct_steps), *shared])
    with stage(f"{r}/release", c) as todo:
        if todo:
            release(r, aligned_specs(f"{r}/align"), c.out, questions=c.questions)


def run(name: str, argv: Sequence[str]) -> Any:
    """Run one recipe of this folder; returns its choices."""
    recipe = runpy.run_path(str(Path(__file__).with_name(f"{name}.py")))
    recipe["main"](argv)
    return recipe["Choices"]()


if __name__ == "__main__":
    main()
