"""Suite: real voices, faces, sounds, digits and lines of talk that were not trained on, with intervals by speaker."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from unifusion.cli import script
from unifusion.datasets.mixture import Mixture
from unifusion.engine import Engine
from unifusion.evaluation.calibrate import calibration_table
from unifusion.evaluation.free import evaluate_free, free_table, read_free
from unifusion.evaluation.people import evaluate_people, people_table
from unifusion.evaluation.rationales import evaluate_rationales, rationales_table
from unifusion.evaluation.release import calibration_of
from unifusion.training.choices import parse, shared_yaml
from unifusion.training.grammar import Grammar


@dataclass(frozen=True, kw_only=True)
class Choices:
    """Each label scored as the whole answer."""

    data: str
    """Folder that the mixture's paths are relative to."""
    model: str = "checkpoints/tiny-chat"
    out: str = "runs/eval/people"
    mixture: str = "people"
    questions: str = "people"
    split: str = "test"
    """val was used to choose."""
    most: int = 800
    """Rows of a probe."""
    rationales: int = 300
    """Rows of a part with voices that a rationale is asked for and compared with measures of the voice; 0 for none."""
    features: str | None = None
    """Store of `unifusion encode`: clips that it holds are not encoded again."""
    free: str | None = None
    """File of questions in words that no template has, asked and answered in words (tests/data/free_questions.jsonl of the sources)."""


def main(argv: Sequence[str] | None = None) -> None:
    """Ask, print the table, write `results.json`, `predictions.jsonl` and `results.md`."""
    c = parse(Choices, argv, prog="unifusion eval people")
    met, rows = (Mixture(shared_yaml("mixtures", c.mixture), data=c.data, split=split) for split in ("train", c.split))
    if c.split != "train":
        met.hold_apart(rows)
    engine = Engine.from_pretrained(c.model, features=c.features)
    results = evaluate_people(engine, rows, Grammar(shared_yaml("questions", c.questions)), known=met, most=c.most)
    folder = Path(c.out)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "results.json").write_text(json.dumps({k: v for k, v in results.items() if k != "predictions"}, indent=1), encoding="utf-8")
    (folder / "predictions.jsonl").write_text("".join(json.dumps(r) + "\n" for r in results["predictions"]), encoding="utf-8")
    (folder / "results.md").write_text(people_table(results) + "\n", encoding="utf-8")
    print(people_table(results))
    if calibrated := calibration_of(results["predictions"], engine.model.config.calibration or {}):
        (folder / "calibration.json").write_text(json.dumps(calibrated, indent=1), encoding="utf-8")
        print(f"\n{calibration_table(calibrated)}")
    if c.rationales:
        said = evaluate_rationales(engine, rows, most=c.rationales)
        (folder / "rationales.json").write_text(json.dumps(said, indent=1), encoding="utf-8")
        print(f"\n{rationales_table(said)}")
    if c.free:
        told = evaluate_free(engine, read_free(c.free), rows)
        (folder / "free.json").write_text(json.dumps(told, indent=1), encoding="utf-8")
        print(f"\n{free_table(told)}")


if __name__ == "__main__":
    script(main)
