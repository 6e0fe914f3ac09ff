"""Suite: how far aligned words are from where they are said, by language and noise, beside naive splits."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from unifusion.cli import script
from unifusion.evaluation.words import digit_rows, evaluate_words, joined_rows, words_table, world_rows
from unifusion.training.choices import parse


@dataclass(frozen=True, kw_only=True)
class Choices:
    """Held-out clips of clip world; real spoken digits as well where their folder is given."""

    clips: int = 250
    """Clips with speech of each split, and rows of digits."""
    seed: int = 2000
    """Of clips and rows; the method was chosen on others (901 and 5)."""
    splits: tuple[str, ...] = ("test_iid", "test_new_people", "test_new_combinations")
    joined: int = 40
    """Rows of three clips one after the other, of each split; 0 for none."""
    digits: str | None = None
    """Folder of FSDD; rows of digits are put together from it."""
    out: str = "runs/eval/words"


def main(argv: Sequence[str] | None = None) -> None:
    """Align, print the table, write `results.json` and `results.md`."""
    c = parse(Choices, argv, prog="unifusion eval words")
    began, results = time.process_time(), dict[str, Any]()
    for split in c.splits:
        rows = list(world_rows(split, c.clips, seed=c.seed))  # type: ignore[arg-type]
        results[split] = evaluate_words(rows)
        if c.joined:
            results[f"{split}, three in a row"] = evaluate_words(list(joined_rows(rows, c.joined, seed=c.seed)))
    if c.digits is not None:
        results["digits"] = evaluate_words(list(digit_rows(c.digits, c.clips, seed=c.seed)))
    folder = Path(c.out)
    folder.mkdir(parents=True, exist_ok=True)
    table = words_table(results)
    found = {"seed": c.seed, "cpu_s": round(time.process_time() - began, 1), "sets": results}
    (folder / "results.json").write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    (folder / "results.md").write_text(table, encoding="utf-8")
    print(table)
    for name, scored in results.items():
        print(f"{name}: scores (percentiles) of the right words {scored['scores']['right']}, of wrong ones {scored['scores']['wrong']}")


if __name__ == "__main__":
    script(main)
