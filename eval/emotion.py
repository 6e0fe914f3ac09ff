"""Suite: emotion by a fusion or a chat model under one protocol: every figure with its interval, each stream alone and left out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from unifusion.cli import script
from unifusion.errors import ConfigError, DatasetError
from unifusion.evaluation.affect import conditions_of, seeds_of, system_of
from unifusion.evaluation.emotion_report import found_by, write_report
from unifusion.evaluation.predictions import Prediction, predictions_of, read_predictions
from unifusion.training.affect_data import read_examples
from unifusion.training.choices import as_dict, parse


@dataclass(frozen=True, kw_only=True)
class Choices:
    """One system on one set."""

    out: str
    """Folder of the report."""
    model: str = "checkpoints/tiny-chat"
    """A run of `unifusion train emotion` (all its seeds), an emotion model, or a chat model; or a predictions.jsonl or run of `fuse`."""
    data: str = "."
    """A YAML file of sources, or what --dataset reads."""
    dataset: str | None = None
    data_root: str | None = None
    options: dict[str, object] | None = None
    split: str = "test"
    conditions: str = "every"
    """every (each stream alone, each left out), or all (nothing left out)."""
    features: str | None = None
    """Folder of stored features."""
    batch_size: int = 16


def main(argv: Sequence[str] | None = None) -> None:
    """Tell the split's rows and write the report."""
    c = parse(Choices, argv, prog="unifusion eval emotion")
    if c.conditions not in ("every", "all"):
        raise ConfigError(f"conditions are {c.conditions!r};", remedy="take every or all.")
    told: list[Prediction] = []
    made = predictions_of(c.model)
    if made is not None:
        told = [p for p in read_predictions(made) if p.split == c.split]
        if not told:
            raise DatasetError(f"{made} has no predictions of split {c.split!r};", remedy="say which one with --split.")
    else:
        rows = read_examples(c.data, c.split, dataset=c.dataset, root=c.data_root, options=c.options)
        for seed, folder in seeds_of(c.model).items():
            system = system_of(folder, rows, stores=c.features, batch_size=c.batch_size)
            told += system.tell(rows, list(conditions_of(system.streams)) if c.conditions == "every" else ["all"], seed=seed)
    keys = ("model", "split") if made is not None else ("model", "data", "dataset", "options", "split")
    meta = {k: v for k, v in as_dict(c).items() if k in keys and v is not None}
    on = "" if made is not None else f" on {c.dataset or c.data}"
    page = write_report(told, Path(c.out), title=f"{c.model}{on}, {c.split}", meta=meta)
    print("\n".join([*found_by(page), str(page)]))


if __name__ == "__main__":
    script(main)
