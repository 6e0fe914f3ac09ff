"""Conversations to train on: of one file, or of many sources drawn by weight, each asked about by its own tasks."""

from __future__ import annotations

import contextlib
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from torch.utils.data import Dataset

from unifusion import catalog
from unifusion.conversation import Conversation, Example
from unifusion.datasets.mixture import Mixture, read_parts
from unifusion.errors import ConfigError, DatasetError, UniFusionError, nearest
from unifusion.processor import Row, UniFusionProcessor
from unifusion.processor.messages import to_conversation

__all__ = ["Corpus", "Rows", "learnt", "plain", "talk_of", "tasks_of"]

_BESIDE = ("path", "video", "audio", "image", "videos", "audios", "images")
"""Keys of a row that name clips, beside messages that show none."""
_READERS = {".jsonl": "messages", ".json": "messages", ".tar": "webdataset", ".parquet": "huggingface"}


class Corpus:
    """Rows of one or several sources, each a conversation whose answers are supervised.

    A part of the YAML file is one of a `Mixture`, with two keys more: `task`, a name or a list of names of `unifusion list tasks` that are
    drawn from, and `task_options`. A part without a task must hold whole conversations (reader `messages`, or a column of that name).

        talks: {dataset: messages, path: talks.jsonl, weight: 3}
        voices: {dataset: ravdess, path: ravdess_speech, task: [emotion, emotion_rationale], weight: 1}
        web: {dataset: webdataset, path: shards, task: caption, weight: 2}

    Args:
        path: such a file, or one source: a .jsonl, a .json, a .tar or a pattern of them, a .parquet.
        data: folder that sources are relative to; that of a YAML file when it is not given. Clips are found from the file that names them.
        split: train, val or test.
        count: rows of an epoch; as many as the parts with a weight have when it is not given.
        seed: of what is drawn.
        task: for a single source that holds no conversations.

    Raises:
        DatasetError: a source cannot be read.
        ConfigError: a task is unknown, or the file is of no known kind.
    """

    def __init__(
        self, path: str | Path, *, data: str | Path | None = None, split: str = "train", count: int | None = None, seed: int = 0,
        task: str | None = None,
    ) -> None:  # fmt: skip
        self.path, self.seed = Path(path), seed
        parts = read_parts(self.path) if self.path.suffix in (".yaml", ".yml") else _single(path, task, split)
        root = data if data is not None else "." if self.path.suffix not in (".yaml", ".yml") else self.path.parent
        self._tasks = {name: tasks_of(part, f"{path}, part {name!r}") for name, part in parts.items()}
        self.mixture = Mixture(self.path, data=root, split=split, count=count, seed=seed, written=parts)

    @property
    def forward_only(self) -> bool:
        """Whether a source is streamed: rows must be read in ascending order then."""
        return any(getattr(part, "forward_only", False) for part in self.mixture.parts.values())

    def __len__(self) -> int:
        """Rows of an epoch."""
        return len(self.mixture)

    def name(self, index: int) -> str:
        """What messages call a row: its part, and its number or id there."""
        part, number = self.mixture.place(index)
        rows = self.mixture.parts[part]
        if not getattr(rows, "forward_only", False):
            with contextlib.suppress(UniFusionError):  # a row that cannot be read has its number alone
                return f"{part}/{rows[number].id}"
        return f"{part}/row {number + 1}"

    def conversation(self, index: int) -> Conversation:
        """The conversation at `index`; a function of (seed, index).

        Raises:
            DatasetError: the row holds no conversation and its part has no task, or nothing in it is supervised.
        """
        return self._asked(*self.mixture.place(index), index)

    def in_order(self) -> Iterator[tuple[str, Callable[[], Conversation]]]:
        """Name of every row and what makes its conversation, sources one after the other, each as it lies on the disk."""
        for part, rows in self.mixture.parts.items():
            for number in range(len(rows)):
                yield f"{part}/row {number + 1}", partial(self._asked, part, number, number)

    def _asked(self, part: str, number: int, index: int) -> Conversation:
        """The conversation of a row; `index` decides which of its tasks asks, and how."""
        example = self.mixture.parts[part][number]
        tasks = self._tasks[part]
        if tasks:
            if not example.media and self.mixture.parts[part].missing:
                found = f"row {example.id!r} of {part!r} has no clip: it was not downloaded;"
                raise DatasetError(found, remedy="download it, or leave such rows out: options: {only_downloaded: true}.")
            name, options = tasks[random.Random(f"{self.seed}/task/{index}").randrange(len(tasks))]
            task = catalog.load("tasks", name)(seed=random.Random(f"{self.seed}/words/{index}").randrange(10**6), **options)
            talk: Conversation = task.conversation(example, with_answer=True)
        else:
            talk = talk_of(example, part)
        learnt(talk, f"row {example.id!r} of {part!r}")
        return talk if talk.id else replace(talk, id=f"{part}/{example.id}")

    def hold_apart(self, other: Corpus) -> None:
        """Refuse held-out rows that share a group (speaker, recording, dialogue) with these; shards and tables are not read for it.

        Raises:
            DatasetError: names the groups.
        """
        if not {"webdataset", "huggingface"} & {*self.mixture.kinds.values(), *other.mixture.kinds.values()}:
            self.mixture.hold_apart(other.mixture)


def _single(path: str | Path, task: str | None, split: str) -> dict[str, dict[str, Any]]:
    """One source as parts."""
    suffix = Path(str(path)).suffix
    where = Path(path)
    if suffix not in _READERS and not (where.is_dir() and any(where.glob("*.tar"))):
        raise ConfigError(
            f"{path} is of no kind that can be trained on;",
            remedy=f"give a .yaml of parts, or {', '.join(_READERS)}.",
        )
    reader = _READERS.get(suffix, "webdataset")
    return {"rows": {"dataset": reader, "path": str(path), "splits": {split: split}, **({"task": task} if task else {})}}


def tasks_of(part: dict[str, Any], where: str) -> list[tuple[str, dict[str, Any]]]:
    """Names and options of a part's tasks, taken out of it."""
    found, options = part.pop("task", None), part.pop("task_options", None) or {}
    names = [found] if isinstance(found, str) else list(found or [])
    for name in names:
        if name not in catalog.names("tasks"):
            raise ConfigError(f"{where}: no task {name!r};", remedy=nearest(str(name), catalog.names("tasks")))
    if not isinstance(options, Mapping):
        raise ConfigError(f"{where}: task_options are {options!r};", remedy="write {labels: [joy, anger]}.")
    return [(name, dict(options)) for name in names]


def learnt(talk: Conversation, name: str) -> None:
    """Refuse a conversation that teaches nothing, or to say nothing.

    Raises:
        DatasetError: no message is supervised, or a supervised one is empty.
    """
    if any(m.supervised and not m.text.strip() for m in talk.messages):
        raise DatasetError(f"{name} has an empty answer;", remedy="leave the row out, or write what is to be said.")
    if not any(m.supervised for m in talk.messages):
        raise DatasetError(f"{name} has no answer to learn;", remedy="end it with an assistant's message.")


def plain(talk: Conversation, processor: Any) -> None:
    """Refuse a conversation whose texts spell out control tokens of a model, which would be learned as something to say, or are no Unicode.

    Raises:
        DatasetError: names the token, or the half of a surrogate pair, which no tokenizer takes.
    """
    for text in (p for m in talk.messages for p in m.parts if isinstance(p, str)):
        try:
            text.encode("utf-8")
        except UnicodeEncodeError as error:
            found = f"row {talk.id!r} holds half a surrogate pair ({error.reason});"
            raise DatasetError(found, remedy="write the text again, or leave the row out.") from error
        if token := processor.text.control_in(text):
            found = f"row {talk.id!r} spells out {token!r}, a control token of the model;"
            raise DatasetError(found, remedy="take it out of the text, or leave the row out.")


def talk_of(example: Example, part: str) -> Conversation:
    """The conversation that a row holds, its clips in it.

    Raises:
        DatasetError: it holds none, or names clips that no message shows.
        ConfigError: a message is not as it must be.
    """
    messages = example.labels.get("messages")
    if messages is None:
        raise DatasetError(
            f"row {example.id!r} of {part!r} holds no messages;",
            remedy="name the task that asks about it (task: open_qa, --task emotion ..).",
        )
    talk = to_conversation(messages, id=example.id)
    beside = [key for key in _BESIDE if example.labels.get(key)]
    if beside and not talk.media and not example.media:
        raise DatasetError(
            f"row {example.id!r} of {part!r} names clips under {', '.join(beside)}, and its messages show none;",
            remedy='put each into the message that shows it: {"type": "audio", "path": ..}.',
        )
    clips = [m for m in example.media if m not in talk.media]
    if not clips:
        return talk
    first = next((i for i, m in enumerate(talk.messages) if m.role == "user"), None)
    if first is None:
        raise DatasetError(f"row {example.id!r} of {part!r} has clips and no question;", remedy="let a user's message show them.")
    shown = replace(talk.messages[first], parts=(*clips, *talk.messages[first].parts))
    return replace(talk, messages=(*talk.messages[:first], shown, *talk.messages[first + 1 :]))


class Rows(Dataset[Row]):
    """A corpus as token rows.

    Args:
        corpus: its conversations.
        processor: opens clips, or takes their features from a store.
        max_tokens: a longer row is shown more coarsely, then cut (`UniFusionProcessor.fit`); the row's report says so.
    """

    def __init__(self, corpus: Corpus, processor: UniFusionProcessor, *, max_tokens: int) -> None:
        self.corpus, self.processor, self.max_tokens = corpus, processor, max_tokens

    def __len__(self) -> int:
        """Rows of an epoch."""
        return len(self.corpus)

    def name(self, index: int) -> str:
        """What messages call a row."""
        return self.corpus.name(index)

    def __getitem__(self, index: int) -> Row:
        """The row at `index`.

        Raises:
            DatasetError: a text spells out a control token: it would be learned as something to say.
        """
        talk = self.corpus.conversation(index)
        plain(talk, self.processor)
        return self.processor.fit(talk, self.max_tokens)

    def lengths(self, indices: Sequence[int]) -> list[int]:
        """Tokens of some rows."""
        return [len(self[i].ids) for i in indices]
