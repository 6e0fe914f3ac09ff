"""Suite: whether a chat model looks where its rationales point, beside random windows of the same length."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from unifusion import atomic
from unifusion.cli import script
from unifusion.engine import Engine
from unifusion.evaluation.support import evaluate_support, support_table
from unifusion.training.affect_data import read_examples
from unifusion.training.choices import as_dict, parse


@dataclass(frozen=True, kw_only=True)
class Choices:
    """The claims of one chat model about the clips of one set."""

    out: str = "runs/eval/support"
    """Folder for results.json."""
    model: str = "checkpoints/tiny-chat"
    data: str = "."
    """A YAML file of sources, or what --dataset reads."""
    dataset: str | None = None
    data_root: str | None = None
    options: dict[str, object] | None = None
    split: str = "test"
    count: int = 60
    """Clips, evenly from the whole split."""
    draws: int = 8
    """Random windows for each claim."""
    seed: int = 0


def main(argv: Sequence[str] | None = None) -> None:
    """Try the claims, print the figures and write them."""
    c = parse(Choices, argv, prog="unifusion eval support")
    rows = [row for row in read_examples(c.data, c.split, dataset=c.dataset, root=c.data_root, options=c.options) if row.media]
    some = rows[:: max(1, len(rows) // max(1, c.count))][: c.count]
    told = evaluate_support(Engine.from_pretrained(c.model), some, draws=c.draws, seed=c.seed)
    print(support_table(told))
    print(f"{told['claims']} claims about {told['rows']} clips, {told['whole_clip']} of them span a clip")
    print(f"{told['without_evidence']} clips without claims")
    folder = Path(c.out)
    folder.mkdir(parents=True, exist_ok=True)
    atomic.write_text(folder / "results.json", json.dumps({**told, "choices": as_dict(c)}, indent=1, default=str) + "\n")
    print(folder / "results.json")


if __name__ == "__main__":
    script(main)
