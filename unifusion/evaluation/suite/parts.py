"""What a suite asks: rows of a set, and the task they are asked by."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import yaml

from unifusion import catalog
from unifusion.conversation import Example
from unifusion.errors import ConfigError, DatasetError, PromptError, nearest
from unifusion.processor.messages import to_conversation
from unifusion.tasks.task import OptionTask, Task
from unifusion.training.affect_data import read_rows

__all__ = ["Part", "Source", "part_of", "read_parts", "read_sources"]

_TOKENS = {"caption": 96, "dense_description": 220, "emotion_rationale": 160, "dialogue_reply": 64, "sounds": 96}
_FEW = 24
_TYPES = {"path": str, "split": str, "options": dict, "keep": dict, "most": int, "max_new_tokens": int}
_WANTED = {str: "a word", dict: "keys and values", int: "a whole number that is not too low"}
_TOLD = 3


@dataclass(frozen=True, kw_only=True)
class Source:
    """Where a part's rows come from.

    Attributes:
        dataset: reader (`unifusion list datasets`).
        task: that asks (`unifusion list tasks`).
        path: what the reader reads, below the suite's data; None for a reader that reads no disk.
        split: of the set.
        options: of the reader.
        keep: label -> values, of which a row must have one.
        most: rows, evenly from the whole split; 0 for all.
        max_new_tokens: of an answer in words; None for what the task needs.
    """

    dataset: str
    task: str
    path: str | None = None
    split: str = "test"
    options: Mapping[str, Any] = field(default_factory=dict)
    keep: Mapping[str, Sequence[Any]] = field(default_factory=dict)
    most: int = 0
    max_new_tokens: int | None = None

    @classmethod
    def world(cls, task: str, count: int, *families: str) -> Source:
        """Questions of clip world, of some families or any, about so many clips of a seed and a pool that training never drew."""
        options = {"seed": 1000, "count": count, "splits": {"test": "test_iid"}, **({"families": families} if families else {})}
        return cls(dataset="clip_world", task=task, options=options, keep={"refusal": (None,)} if families else {})


@dataclass(frozen=True, kw_only=True)
class Part:
    """Rows, and how they are asked.

    Attributes:
        name: of the part.
        source: where the rows come from.
        rows: that the task can ask and score.
        labels: closed set of a task of labels: those of the set's rows.
        left_out: why rows are not asked -> how many.
        seed: of phrasings.
    """

    name: str
    source: Source
    rows: tuple[Example, ...]
    labels: tuple[str, ...] | None = None
    left_out: Mapping[str, int] = field(default_factory=dict)
    seed: int = 0

    @cached_property
    def task(self) -> Task:
        """The task with the part's labels."""
        made: Task = catalog.load("tasks", self.source.task)(seed=self.seed, labels=self.labels)
        return made

    @property
    def max_new_tokens(self) -> int:
        """Of an answer in words."""
        given = self.source.max_new_tokens
        return _TOKENS.get(self.source.task, _FEW) if given is None else given

    @cached_property
    def closed(self) -> bool:
        """Whether all its rows choose among a closed set."""
        return all(self.task.choices(row) for row in self.rows)

    def truth(self, row: Example) -> str:
        """The right answer as the task trains it."""
        return self.task.conversation(row, with_answer=True).messages[-1].text

    def meant(self, row: Example) -> str:
        """The right answer in words: of a letter, the option that it stands for."""
        return self.task.options(row)[self.task.target(row)] if isinstance(self.task, OptionTask) else self.truth(row)


def read_sources(path: str | Path) -> dict[str, Source]:
    """The parts of a YAML file: `name: {dataset: .., task: .., path: .., split: .., options: {..}, most: ..}`.

    Raises:
        ConfigError: it cannot be read, or holds a key that no source has.
    """
    try:
        told = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ConfigError(f"cannot read {path}: {error};", remedy="give a YAML file of parts, or a folder.") from error
    if not isinstance(told, dict) or not told or not all(isinstance(v, dict) for v in told.values()):
        raise ConfigError(f"{path} holds no parts;", remedy="write name: {dataset: .., task: .., path: ..}.")
    known = [f.name for f in fields(Source)]
    for name, source in told.items():
        for key in source:
            if key not in known:
                raise ConfigError(f"{path}, part {name!r}: unknown key {key!r};", remedy=nearest(str(key), known))
        for key, kind in _TYPES.items():
            least = 1 if key == "max_new_tokens" else 0
            if key in source and (not isinstance(source[key], kind) or (kind is int and source[key] < least)):
                raise ConfigError(f"{path}, part {name!r}: {key} is {source[key]!r};", remedy=f"give {_WANTED[kind]}.")
        for key, values in source.get("keep", {}).items():
            if not isinstance(values, list):
                raise ConfigError(f"{path}, part {name!r}: keep.{key} is {values!r};", remedy="give a list of values.")
        for key in ("dataset", "task"):
            if source.get(key) not in catalog.names(f"{key}s"):
                found = f"{path}, part {name!r}: {key} is {source.get(key)!r};"
                raise ConfigError(found, remedy=nearest(str(source.get(key)), catalog.names(f"{key}s")))
    return {str(name): Source(**source) for name, source in told.items()}


def read_parts(
    sources: Mapping[str, Source], data: str | Path | None, *, most: int = 0, seed: int = 0
) -> tuple[list[Part], dict[str, str]]:  # fmt: skip
    """The parts that can be read, and why others are left out: their data are not there.

    Args:
        sources: name -> where from.
        data: folder that paths are below; None leaves out every part that has one.
        most: rows of each part, where its source says nothing.
        seed: of phrasings.

    Raises:
        ConfigError: no part is left.
        DatasetError: data that are there cannot be read.
    """
    found: list[Part] = []
    absent: dict[str, str] = {}
    for name, source in sources.items():
        place = None if source.path is None or data is None else Path(data) / source.path
        if source.path is not None and place is None:
            absent[name] = "no folder of data was given (--data)"
        elif place is not None and not place.exists():
            absent[name] = f"{source.path} is not in the folder of data"
        else:
            part, why = _read(name, source, place, most=source.most or most, seed=seed)
            if part is None:
                absent[name] = why
            else:
                found.append(part)
    if not found:
        told = "; ".join(f"{name}: {why}" for name, why in list(absent.items())[:_TOLD])
        more = f"; and {len(absent) - _TOLD} others" * (len(absent) > _TOLD)
        where = "" if data is None else f" of {data}"
        raise ConfigError(f"none of the sets{where} can be asked: {told}{more};", remedy="name the folder that they lie in with --data.")
    return found, absent


def part_of(name: str, source: Source, place: Path | None, *, most: int = 0, seed: int = 0) -> Part:
    """Read one part.

    Raises:
        DatasetError: it cannot be read, no row of it can be asked, or two rows have one id.
    """
    part, why = _read(name, source, place, most=most, seed=seed)
    if part is None:
        raise DatasetError(f"{name}: {why};", remedy="check the split, or the reader's options.")
    return part


def _read(name: str, source: Source, place: Path | None, *, most: int, seed: int) -> tuple[Part | None, str]:
    """A part; none, and why, where no row of it can be asked.

    Raises:
        DatasetError: it cannot be read.
    """
    rows = read_rows(place if place is not None else ".", source.split, dataset=source.dataset, options=source.options) or []
    rows = [
        _as_turns(r) if "messages" in r.labels else r
        for r in rows
        if all(r.labels.get(key) in values for key, values in source.keep.items())
    ]
    twice = [ident for ident, n in Counter(r.id for r in rows).items() if n > 1]
    if twice:
        found = f"{name}: ids of more than one row, {len(twice)} such as {twice[0]!r};"
        raise DatasetError(found, remedy="give each row an id of its own, or none.")
    kind = catalog.load("tasks", source.task)
    labels = _labels(kind, rows)
    task = kind(seed=seed, labels=labels)
    good: list[Example] = []
    left_out: Counter[str] = Counter()
    for row in rows:
        why = _unfit(task, row)
        if why:
            left_out[why] += 1
        else:
            good.append(row)
    if not good:
        told = "; ".join(f"{why} ({n})" for why, n in left_out.most_common(2)) or "the split is empty"
        return None, f"no row can be asked by task {source.task!r}: {told}"
    if most and len(good) > most:
        good = [good[i * len(good) // most] for i in range(most)]
    return Part(name=name, source=source, rows=tuple(good), labels=labels, left_out=dict(left_out), seed=seed), ""


def _as_turns(row: Example) -> Example:
    """A row of messages as its turns so far and the true last one; as it is where nobody answers at its end."""
    talk = to_conversation(row.labels["messages"], id=row.id)
    if len(talk.messages) < 2 or talk.messages[-1].role != "assistant" or talk.messages[-2].role != "user":
        return row
    texts = {**row.texts, "question": talk.messages[-2].text, "answer": talk.messages[-1].text}
    labels = {**{k: v for k, v in row.labels.items() if k != "messages"}, "turns": talk.messages[:-1]}
    return replace(row, media=talk.media, texts=texts, labels=labels)


def _labels(kind: Any, rows: Sequence[Example]) -> tuple[str, ...] | None:
    """The closed set of a task of labels: those that any row of the set has."""
    return tuple(sorted({label for row in rows for label in kind.labels_of(row)})) or None


def _unfit(task: Task, row: Example) -> str:
    """Why a row cannot be asked; "" where it can."""
    if not row.media and not row.texts.get("transcript") and not row.labels.get("turns"):
        return "its clip is not there"
    try:
        conversation = task.conversation(row, with_answer=True)
        choices = task.options(row) if isinstance(task, OptionTask) else task.choices(row)
        task.score(conversation.messages[-1].text, row)
    except (DatasetError, PromptError):
        return "it lacks what the task shows or scores"
    if len(choices) == 1 or len(set(choices)) != len(choices):
        return "it has fewer than two different answers to choose from"
    return "" if conversation.messages[-1].role == "assistant" else "it has no true answer"
