"""A suite from its choices to its report."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from unifusion import atomic, catalog
from unifusion.errors import ConfigError, nearest
from unifusion.evaluation.outfile import OutFile
from unifusion.evaluation.suite.asking import ask_part
from unifusion.evaluation.suite.conditions import BASELINES, CONDITIONS, TAMPERED
from unifusion.evaluation.suite.faithful import citation_figures, tampering_figures
from unifusion.evaluation.suite.figures import suite_figures
from unifusion.evaluation.suite.parts import Part, Source, read_parts, read_sources
from unifusion.evaluation.suite.report import write_suite
from unifusion.evaluation.suite.system import System

__all__ = ["SuiteChoices", "SuiteRun", "chosen_sources", "run_suite"]


@dataclass(frozen=True, kw_only=True)
class SuiteChoices:
    """What every suite of a chat model can be told."""

    out: str
    """Folder of the report (also -o); a run that was cut short goes on in it."""
    model: str = "checkpoints/tiny-chat"
    """A checkpoint of a chat model, ours or any of transformers, by folder or name."""
    data: str | None = None
    """Folder that the suite's sets lie in, or a YAML file of parts of your own; with --dataset, what its reader reads."""
    dataset: str | None = None
    """Measure on this one set instead (unifusion list datasets)."""
    task: str | None = None
    """Asked of --dataset (unifusion list tasks)."""
    split: str = "test"
    """Of --dataset."""
    options: dict[str, object] | None = None
    """Of the reader of --dataset."""
    parts: tuple[str, ...] = ()
    """Only these parts of the suite, with commas between."""
    most: int = 0
    """Rows of each part, evenly from the whole split; 0 for all."""
    conditions: tuple[str, ...] = BASELINES
    """all, blind, text, no sound, no picture, other sound, other picture, shuffled, other clip."""
    batch_size: int = 16
    resamples: int = 1000
    """Of intervals."""
    seed: int = 0
    """Of phrasings, and of who lends a sound or a picture."""
    overwrite: bool = False
    """Begin again where another run's answers are."""
    retry_errors: bool = False
    """Ask again what failed."""
    device: str = ""
    """Such as cpu or cuda; a GPU where there is one."""
    frames: int = 8
    """Most pictures of a clip where it is shown as stills: to a model by its own processor, and to an endpoint by frames."""
    endpoint: str | None = None
    """Measure a model behind an OpenAI-compatible server instead, by its address, such as http://localhost:8000/v1."""
    endpoint_model: str = ""
    """Its name there."""
    endpoint_key_env: str | None = None
    """Environment variable that holds the key."""
    endpoint_style: str = "video_url"
    """How clips are sent: video_url, split (sound apart), or frames."""
    endpoint_seconds: float = 60.0
    """Longest span of a clip that is sent to it; the rest is cropped, and that is told."""
    endpoint_timeout: float = 120.0
    """Seconds to wait for an answer of it."""
    endpoint_body: dict[str, object] | None = None
    """Further fields of its requests, such as {seed: 0}; null takes one away."""


@dataclass(frozen=True, kw_only=True)
class SuiteRun:
    """What answers depend on; two different runs are never mixed in one file."""

    suite: str
    model: str
    weights: str
    seed: int
    shown: Mapping[str, Any] = field(default_factory=dict)
    """How the model is shown clips, where a person chose that."""

    @property
    def of_model(self) -> dict[str, Any]:
        """What is told of the model."""
        return {"weights": self.weights, **({"shown": self.shown} if self.shown else {})}

    def to_json(self) -> str:
        """One line, equal for equal runs."""
        return json.dumps({"suite": self.suite, "model": self.model, "seed": self.seed, **self.of_model}, sort_keys=True)


def chosen_sources(choices: SuiteChoices, parts: Mapping[str, Source]) -> tuple[dict[str, Source], Path | None]:
    """The parts that a person chose, and the folder that their paths are below.

    Raises:
        ConfigError: a name that is none, or choices that do not go together.
    """
    place = None if choices.data is None else Path(choices.data)
    sources: dict[str, Source] = dict(parts)
    if choices.dataset is not None:
        if choices.task is None:
            raise ConfigError("--dataset is given, and no task to ask it by;", remedy="name one with --task (unifusion list tasks).")
        if place is None and catalog.load("datasets", choices.dataset).reads_files:
            raise ConfigError(f"--dataset {choices.dataset} reads files, and nothing says where they are;", remedy="name them with --data.")
        path = None if place is None else place.name
        source = Source(dataset=choices.dataset, task=choices.task, path=path, split=choices.split, options=choices.options or {})
        sources, place = {choices.dataset: source}, None if place is None else place.parent
    elif place is not None and place.suffix in (".yaml", ".yml"):
        sources, place = read_sources(place), place.parent
    elif choices.task is not None or choices.options is not None:
        raise ConfigError("--task and --options are of a set of your own;", remedy="name it with --dataset.")
    for name in choices.parts:
        if name not in sources:
            raise ConfigError(f"no part {name!r};", remedy=nearest(name, list(sources)))
    return ({n: s for n, s in sources.items() if n in choices.parts} if choices.parts else sources), place


def run_suite(name: str, parts: Mapping[str, Source], choices: SuiteChoices, system: System) -> tuple[dict[str, Any], Path]:
    """Ask everything that is not answered yet, then write figures and the report.

    Args:
        name: of the suite.
        parts: its own.
        choices: what a person chose.
        system: what is measured.

    Returns:
        The figures as `results.json` has them, and the path of the page.

    Raises:
        ConfigError: unknown conditions, no part whose data are there, or a folder with another run's answers.
        DatasetError: data that are there cannot be read.
    """
    conditions = tuple(dict.fromkeys(("all", *choices.conditions)))
    for condition in conditions:
        if condition not in CONDITIONS:
            raise ConfigError(f"no condition {condition!r};", remedy=nearest(condition, list(CONDITIONS)))
    for key, least in (("batch_size", 1), ("resamples", 1), ("most", 0)):
        if getattr(choices, key) < least:
            raise ConfigError(f"--{key.replace('_', '-')} is {getattr(choices, key)};", remedy=f"give {least} or more.")
    sources, place = chosen_sources(choices, parts)
    found, absent = read_parts(sources, place, most=choices.most, seed=choices.seed)
    folder = Path(choices.out)
    path = folder / "predictions.jsonl"
    run = SuiteRun(suite=name, model=system.name, weights=system.weights, seed=choices.seed, shown=system.shown)
    with OutFile.open(path, run, overwrite=choices.overwrite, retry_errors=choices.retry_errors) as sink:
        atomic.sweep(folder)
        for part in found:
            ask_part(system, part, sink, conditions, batch_size=choices.batch_size, seed=choices.seed)
        records = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
        figures = _figures(name, found, _of(records, found, conditions), system, choices)
        told = {
            **figures, "model": {"name": run.model, **run.of_model}, "seed": choices.seed, "resamples": choices.resamples,
            "absent": absent, "rows": _rows_hash(found),
        }  # fmt: skip
        return told, write_suite(told, folder)


def _figures(
    name: str, parts: Sequence[Part], records: Sequence[Mapping[str, Any]], system: System, choices: SuiteChoices
) -> dict[str, Any]:  # fmt: skip
    """All figures, those of tampering too where something was tampered with."""
    figures = suite_figures(name, parts, records, can_score=system.can_score, resamples=choices.resamples)
    if set(choices.conditions) & set(TAMPERED):
        for part in parts:
            told = figures["parts"][part.name]
            own = [r for r in records if r["part"] == part.name and r["scoring"] == told["first"]]
            told["tampering"] = tampering_figures(part, own, resamples=choices.resamples)
            if part.source.task == "emotion_rationale":
                told["citations"] = citation_figures(part, own)
    return figures


def _of(records: Sequence[Mapping[str, Any]], parts: Sequence[Part], conditions: Sequence[str]) -> list[Mapping[str, Any]]:
    """The records of what was asked now; a file may hold more from a run over more parts."""
    rows = {(part.name, row.id) for part in parts for row in part.rows}
    return [r for r in records if (r["part"], r["row"]) in rows and r["condition"] in conditions]


def _rows_hash(parts: Sequence[Part]) -> dict[str, str]:
    """A hash of the ids of each part's rows, by which two runs are known to be over the same ones."""
    return {part.name: hashlib.sha256("\n".join(sorted(row.id for row in part.rows)).encode()).hexdigest()[:16] for part in parts}
