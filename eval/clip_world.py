"""Suite: held-out questions about clip world, with streams muted, beside the most frequent answer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from unifusion.cli import script
from unifusion.engine import Engine
from unifusion.evaluation.world import evaluate_world, held_out_questions, table, write_results
from unifusion.training.choices import parse


@dataclass(frozen=True, kw_only=True)
class Choices:
    """Greedy answers, strict parsing."""

    model: str = "checkpoints/tiny-chat"
    out: str = "runs/eval/clip-world"
    questions: int = 1000
    split: str = "test_iid"
    """test_iid, test_new_people or test_new_combinations; train and val were seen or used to choose."""
    world_seed: int = 1000
    files: bool = False
    """Write each clip as mp4 and ask about the file, so that decoding is part of what is measured."""
    batch_size: int = 16


def main(argv: Sequence[str] | None = None) -> None:
    """Ask, print the table, write `results.json`, `predictions.jsonl` and `results.md`."""
    c = parse(Choices, argv, prog="unifusion eval clip_world")
    folder = Path(c.out)
    asked = held_out_questions(count=c.questions, seed=c.world_seed, split=c.split, files=folder / "clips" if c.files else None)  # type: ignore[arg-type]
    results = evaluate_world(Engine.from_pretrained(c.model), asked, batch_size=c.batch_size)
    write_results(results, folder)
    print(table(results))


if __name__ == "__main__":
    script(main)
