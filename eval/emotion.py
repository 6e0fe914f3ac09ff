"""Suite: a chat model on all emotion sets of a folder, as MER-UniBench has them and more; or a fusion or chat model on one set."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from unifusion import atomic
from unifusion.cli import script
from unifusion.cli.suite import suite
from unifusion.errors import ConfigError, DatasetError
from unifusion.evaluation.affect import conditions_of, seeds_of, system_of
from unifusion.evaluation.emotion_report import found_by, write_report
from unifusion.evaluation.open_emotion import UNIBENCH, mer_unibench
from unifusion.evaluation.predictions import Prediction, predictions_of, read_predictions
from unifusion.evaluation.suite.parts import Source, read_sources
from unifusion.evaluation.suite.running import SuiteChoices
from unifusion.models.affect_files import is_affect
from unifusion.training.affect_data import read_examples
from unifusion.training.choices import as_dict, given, parse

OPEN, SENTIMENT = "emotions_open", "sentiment"
PARTS = {
    "clip_world": Source.world("emotion", 300, "overall_emotion"),
    "clip_world: valence, arousal": Source.world("valence_arousal", 300, "valence_arousal"),
    "clip_world: rationale": Source.world("emotion_rationale", 300, "emotion_rationale"),
    "ravdess": Source(dataset="ravdess", task="emotion", path="ravdess_speech", split="val"),
    "emodb": Source(dataset="emodb", task="emotion", path="emodb", split="val"),
    "fer2013": Source(dataset="fer2013", task="emotion", path="fer2013", split="val"),
    "crema_d": Source(dataset="crema_d", task="emotion", path="crema_d"),
    "dfew": Source(dataset="dfew", task="emotion", path="dfew"),
    "MER2023": Source(dataset="mer", task=OPEN, path="mer2023", max_new_tokens=64),
    "MER2024": Source(dataset="mer", task=OPEN, path="mer2024", max_new_tokens=64),
    "MELD": Source(dataset="meld", task=OPEN, path="meld", max_new_tokens=64),
    "IEMOCAP": Source(dataset="iemocap", task=OPEN, path="iemocap", max_new_tokens=64),
    "CMU-MOSI": Source(dataset="messages", task=SENTIMENT, path="mosi.jsonl"),
    "CMU-MOSEI": Source(dataset="messages", task=SENTIMENT, path="mosei.jsonl"),
    "SIMS": Source(dataset="messages", task=SENTIMENT, path="sims.jsonl"),
    "SIMS-v2": Source(dataset="messages", task=SENTIMENT, path="sims2.jsonl"),
    "OV-MERD+": Source(dataset="mer", task=OPEN, path="ovmerd", max_new_tokens=64),
}
"""The last nine are MER-UniBench (Lian et al., 2025). Sets without a reader come as rows of `{"video": .., "sentiment": -1.4}`."""


@dataclass(frozen=True, kw_only=True)
class Choices(SuiteChoices):
    """A chat model on the emotion sets of a folder. `--dataset NAME --help`: a fusion or chat model on one set, each stream left out."""

    most: int = 100
    """Rows of each part, evenly from the whole split; 0 for all."""


@dataclass(frozen=True, kw_only=True)
class OneSet:
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
    """Ask, print the tables and write the report."""
    words = list(sys.argv[1:] if argv is None else argv)
    if is_one_set(words):
        one_set(parse(OneSet, words, prog="unifusion eval emotion"))
    else:
        sets(words)


def is_one_set(words: Sequence[str]) -> bool:
    """Whether a person named one set, and no task to ask it by; or a file of sources that says none; or what is no chat model."""
    told = given(words)
    data = Path(str(told.get("data", "")))
    if "task" in told or "endpoint" in told or (data.is_file() and are_parts(data)):
        return False
    if told.keys() & {"dataset", "data_root", "features"} or data.is_file():
        return True
    model = str(told.get("model", ""))
    return bool(model) and (predictions_of(model) is not None or is_affect(model) or list(seeds_of(model).values()) != [model])


def are_parts(path: Path) -> bool:
    """Whether a file holds parts of a suite, with the task of each."""
    try:
        return bool(read_sources(path))
    except ConfigError:
        return False


def sets(words: Sequence[str]) -> None:
    """A chat model on all sets that are there, and the table of MER-UniBench of those that are its."""
    results, page = suite("emotion", PARTS, Choices, words)
    cells = {name: part["conditions"]["all"][part["first"]] for name, part in results["parts"].items() if name in UNIBENCH}
    figures = {name: cell["metrics"][UNIBENCH[name]] for name, cell in cells.items() if UNIBENCH[name] in cell["metrics"]}
    if figures:
        table = mer_unibench(figures).markdown()
        atomic.write_text(Path(page).parent / "unibench.md", table)
        print(f"\n{table}")


def one_set(c: OneSet) -> None:
    """Tell the split's rows and write the report."""
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
