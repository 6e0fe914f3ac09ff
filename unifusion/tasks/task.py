"""The contract of a task: Example -> Conversation through the prompt manager, and the score of an answer."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from string import ascii_uppercase
from typing import Any, ClassVar, Literal

from unifusion.conversation import Conversation, Example
from unifusion.errors import DatasetError
from unifusion.prompts import LabelAnswer, OptionAnswer, Parsed, Template, load_template

__all__ = ["LabelTask", "OptionTask", "Score", "Task", "history_of", "said_alone", "tolerance_of"]

_TURNS = 12
"""Of what was said before a row: the last ones."""


@dataclass(frozen=True, kw_only=True)
class Score:
    """What one answer earned.

    `value` is the task's primary metric for this example; `parsed` is None when the answer could not be parsed, which
    counts as wrong and is counted apart, never mapped to a class.
    """

    value: float
    parsed: Any = None
    details: dict[str, float] = field(default_factory=dict)

    @property
    def unparsed(self) -> bool:
        """Whether the answer's parser found nothing."""
        return self.parsed is None


def history_of(example: Example) -> tuple[Mapping[str, Any], ...]:
    """What was said before a row, the oldest first.

    Raises:
        DatasetError: it is no list, or a turn lacks its speaker or its text.
    """
    history = example.labels.get("history") or ()
    whole = isinstance(history, list | tuple) and all(isinstance(turn, Mapping) and {"speaker", "text"} <= set(turn) for turn in history)
    if not whole:
        raise DatasetError(f"example {example.id!r} has history {history!r};", remedy="each turn needs speaker and text.")
    return tuple(history)


def tolerance_of(example: Example, default: float) -> float:
    """How far off a right answer may be, and 1e-6 so that an error of exactly that counts whatever the last bit of a subtraction.

    Raises:
        DatasetError: `labels["tolerance"]` is no number, or below 0.
    """
    given = example.labels.get("tolerance")
    told = default if given is None else given
    if not isinstance(told, int | float) or not 0 <= told < 1e9:
        raise DatasetError(f"example {example.id!r} has tolerance {given!r};", remedy="give a number of 0 or more.")
    return told + 1e-6


def said_alone(said: str, question: str, *, bare: str | None = None) -> str:
    """A question about words that come without a clip.

    Args:
        said: the words.
        question: as a template asks it.
        bare: the same without what was said before, which then stays in front of the words.
    """
    bare = question if bare is None else bare
    return f'{question.removesuffix(bare)}Somebody says: "{said}" {bare}'


class Task(ABC):
    """One thing that can be asked of a clip. The file holds how to ask and how to score.

    Args:
        seed: phrasings are picked by (seed, example id).
        labels: closed set of answers where the task has one; None takes the task's default.
        held_out: asks with the phrasings that training never shows.
        phrasing: number of the phrasing, from 0, instead of picking one by (seed, example id).
    """

    prompt: ClassVar[str]
    """Stem of the prompt template in `prompts/`."""
    metric: ClassVar[str]
    """Name of the primary number."""
    direction: ClassVar[Literal["higher", "lower"]] = "higher"
    is_mean: ClassVar[bool] = True
    """Whether the primary number of a set is the mean of its answers' values."""
    default_labels: ClassVar[tuple[str, ...]] = ()
    needs: ClassVar[tuple[str, ...]] = ()
    """Modalities of which one must be there, or an answer is a guess; none where any will do."""
    at_least_db: ClassVar[float | None] = None
    """Level that soft sound is raised to (see `Media.at_least_db`), where the answer does not depend on how loud it is."""

    def __init__(
        self, *, seed: int = 0, labels: Sequence[str] | None = None, held_out: bool = False, phrasing: int | None = None
    ) -> None:  # fmt: skip
        self.seed = seed
        self.labels = tuple(labels) if labels is not None else self.default_labels
        self.held_out = held_out
        self.phrasing = phrasing

    @cached_property
    def template(self) -> Template:
        """The prompt template, read once."""
        return load_template(self.prompt)

    def conversation(self, example: Example, *, with_answer: bool = False) -> Conversation:
        """Ask about `example`; with the supervised answer when `with_answer` (training).

        Raises:
            PromptError: the example lacks a text or label that the prompt shows.
            DatasetError: a label has a value that the task does not know.
        """
        if self.at_least_db is not None:
            media = (m if m.at_least_db is not None else replace(m, at_least_db=self.at_least_db) for m in example.media)
            example = replace(example, media=tuple(media))
        messages = self.template.messages(
            example,
            seed=self.seed,
            with_answer=with_answer,
            labels=self.labels,
            fields={**self._before(example), **self.fields(example, with_answer=with_answer)},
            held_out=self.held_out,
            phrasing=self.phrasing,
        )
        return Conversation(messages=messages, id=example.id)

    def _before(self, example: Example) -> Mapping[str, Any]:
        """What was said before, for templates that show it."""
        return {"history": history_of(example)[-_TURNS:]} if "history" in self.template.source.fields else {}

    def fields(self, example: Example, *, with_answer: bool) -> Mapping[str, Any]:
        """What the template shows beyond the example's own texts and labels. The truth is looked at only `with_answer`."""
        del example, with_answer
        return {}

    def parse(self, answer: str, example: Example) -> Parsed:
        """Read an answer with the template's parser and this task's closed set. Never raises on any answer."""
        del example
        return self.template.parse(answer, choices=self.labels)

    @abstractmethod
    def score(self, answer: str, example: Example) -> Score:
        """Score a generated answer against the example's labels.

        Raises:
            DatasetError: the example has no truth to score against.
        """

    @classmethod
    def labels_of(cls, example: Example) -> tuple[str, ...]:
        """Labels of an example, of which a set's closed set of answers is made; none where the task has none."""
        del example
        return ()

    def choices(self, example: Example) -> tuple[str, ...]:
        """Closed answers that label scoring may compare by likelihood; empty for free text."""
        del example
        return self.labels

    def summarise(self, scores: Sequence[Score], examples: Sequence[Example]) -> dict[str, float]:
        """Numbers over a whole set, the primary one under `metric`, and the share of unparsed answers.

        Here the mean of the scores' values; a task whose metric is not a mean (F1, CCC) computes it from all answers.
        """
        del examples
        count = max(len(scores), 1)
        return {self.metric: sum(s.value for s in scores) / count, "unparsed": sum(s.unparsed for s in scores) / count}

    def truth(self, example: Example, *keys: str) -> Any:
        """Return the first of `keys` that the example's labels, then texts, hold.

        Raises:
            DatasetError: it holds none of them.
        """
        for key in keys:
            for source in (example.labels, example.texts):
                if source.get(key) is not None:
                    return source[key]
        known = ", ".join(sorted({*example.labels, *example.texts})) or "nothing"
        raise DatasetError(
            f"example {example.id!r} has no {' or '.join(map(repr, keys))}, it has {known};", remedy="fill it in the dataset reader."
        )


    def further(self, example: Example, key: str) -> tuple[str, ...]:
        """Further texts under a label: a list of them, or one; none where it is not there.

        Raises:
            DatasetError: it holds something else.
        """
        found = example.labels.get(key) or ()
        texts = (found,) if isinstance(found, str) else found
        if not isinstance(texts, list | tuple) or not all(isinstance(t, str | int | float) for t in texts):
            raise DatasetError(f"example {example.id!r} has {key} {found!r};", remedy="give a list of texts.")
        return tuple(str(t) for t in texts)


class LabelTask(Task):
    """A task whose answer is one label of a closed set. A subclass names the labels and where the truth lies."""

    metric = "accuracy"
    keys: ClassVar[tuple[str, ...]]
    """Keys of the truth in the example's labels, the first one there counts."""

    @classmethod
    def labels_of(cls, example: Example) -> tuple[str, ...]:
        """The true label."""
        return next(((str(example.labels[key]),) for key in cls.keys if example.labels.get(key) not in (None, "")), ())

    def target(self, example: Example) -> str:
        """Return the true label, spelled as in `labels`.

        Raises:
            DatasetError: there is none, or it is not among `labels`.
        """
        raw = str(self.truth(example, *self.keys))
        parsed = self.template.parse(raw, choices=self.labels)
        label = self.label_of(parsed)
        if label is None:
            raise DatasetError(
                f"example {example.id!r} has label {raw!r}, the task knows {', '.join(self.labels)};",
                remedy="pass labels= with all labels of the data.",
            )
        return label

    def label_of(self, parsed: Parsed) -> str | None:
        """The label of a parsed answer, None where it was not parsed."""
        return parsed.label if isinstance(parsed, LabelAnswer) else None

    def fields(self, example: Example, *, with_answer: bool) -> Mapping[str, Any]:
        """The true label under the first of `keys`."""
        return {self.keys[0]: self.target(example)} if with_answer else {}

    def score(self, answer: str, example: Example) -> Score:
        """1 for the true label, else 0."""
        target = self.target(example)
        label = self.label_of(self.parse(answer, example))
        return Score(value=float(label == target), parsed=label)

    def summarise(self, scores: Sequence[Score], examples: Sequence[Example]) -> dict[str, float]:
        """Accuracy, macro recall and weighted F1 over the set, and the share of unparsed answers."""
        from unifusion.metrics.accuracy import accuracy
        from unifusion.metrics.macro_recall import macro_recall
        from unifusion.metrics.weighted_f1 import weighted_f1

        predictions = [getattr(s.parsed, "label", s.parsed) for s in scores]
        targets = [self.target(e) for e in examples]
        return {
            "accuracy": accuracy(predictions, targets),
            "macro_recall": macro_recall(predictions, targets),
            "weighted_f1": weighted_f1(predictions, targets),
            "unparsed": sum(s.unparsed for s in scores) / len(scores),
        }


class OptionTask(Task):
    """A task whose answer is the letter of one of the texts in `labels["options"]`. A subclass says where the truth lies.

    The right one is `labels["option"]`, an index from 0 or a letter, or else the option that equals the text `right_text`.
    """

    metric = "accuracy"
    right_text: ClassVar[str]
    """Key of the text that equals the right option."""
    option_keys: ClassVar[tuple[str, ...]] = ("options",)
    """Keys of the options' texts, the first one there counts."""

    def fields(self, example: Example, *, with_answer: bool) -> Mapping[str, Any]:
        """The options, and the letter of the right one."""
        options = self.options(example)
        return {"options": options, **({"letter": ascii_uppercase[self.target(example)]} if with_answer else {})}

    def choices(self, example: Example) -> tuple[str, ...]:
        """The letters of the options."""
        return tuple(ascii_uppercase[: len(self.options(example))])

    def parse(self, answer: str, example: Example) -> Parsed:
        """Read a letter, or the text of one option."""
        return self.template.parse(answer, choices=self.options(example))

    def score(self, answer: str, example: Example) -> Score:
        """1 for the right option, else 0; `parsed` is the letter."""
        target = self.target(example)
        parsed = self.parse(answer, example)
        if not isinstance(parsed, OptionAnswer):
            return Score(value=0.0)
        return Score(value=float(parsed.index == target), parsed=parsed.letter)

    def options(self, example: Example) -> tuple[str, ...]:
        """Texts of the options, in order.

        Raises:
            DatasetError: there are none, or not 2 to 26.
        """
        found = self.truth(example, *self.option_keys)
        if not isinstance(found, list | tuple):
            raise DatasetError(f"example {example.id!r} has the options {found!r};", remedy="give a list of 2 to 26 texts.")
        options = tuple(str(o) for o in found)
        if not 2 <= len(options) <= len(ascii_uppercase):
            raise DatasetError(f"example {example.id!r} has {len(options)} options;", remedy="give 2 to 26.")
        return options

    def target(self, example: Example) -> int:
        """Index of the right option.

        Raises:
            DatasetError: nothing says which it is, or what says it fits no option.
        """
        options = self.options(example)
        raw = self.truth(example, "option", self.right_text)
        if isinstance(raw, str):
            index = options.index(raw) if raw in options else ascii_uppercase.find(raw) if len(raw) == 1 else -1
        else:
            index = raw if isinstance(raw, int) else -1
        if not 0 <= index < len(options):
            found = f"example {example.id!r} has {raw!r} as the right one of {options};"
            raise DatasetError(found, remedy="give its index, letter or text.")
        return index
