"""Task: name every sound."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from unifusion.conversation import Example
from unifusion.errors import DatasetError
from unifusion.prompts import LabelsAnswer
from unifusion.tasks.task import Score, Task
from unifusion.world.script import SOUNDS

__all__ = ["Sounds"]

_SHOWN = 60
"""Longest list that is told: AudioSet's 527 names would be thousands of tokens."""


class Sounds(Task):
    """All kinds of sound that are heard, of a list that is shown where it has at most 60. The truth is `labels["sounds"]` (or `["sound"]`).

    An answer is worth the F1 of the kinds that it names against the true ones (sample-averaged F1; Tsoumakas & Katakis, 2007), whatever
    their order; `micro_f1` is of all pairs of clip and kind, `macro_f1` the mean over the kinds that are true or named somewhere.
    """

    prompt = "sounds"
    metric = "f1"
    needs = ("audio",)
    default_labels = SOUNDS
    at_least_db = -18.0
    """As `sound` is asked."""

    @classmethod
    def labels_of(cls, example: Example) -> tuple[str, ...]:
        """The true kinds."""
        truth = example.labels.get("sounds") or example.labels.get("sound") or ()
        return (truth,) if isinstance(truth, str) else tuple(map(str, truth)) if isinstance(truth, list | tuple) else ()

    def fields(self, example: Example, *, with_answer: bool) -> Mapping[str, Any]:
        """The kinds to choose from, where they are few, and the true ones."""
        among = self.labels if len(self.labels) <= _SHOWN else ()
        return {"among": among, **({"sounds": self.target(example)} if with_answer else {})}

    def target(self, example: Example) -> tuple[str, ...]:
        """The true kinds, spelled as in `labels`.

        Raises:
            DatasetError: there are none, or one is not among `labels`.
        """
        known = {label.casefold(): label for label in self.labels}
        told = tuple(dict.fromkeys(known.get(name.casefold(), "") for name in self.labels_of(example)))
        if not told or "" in told:
            raise DatasetError(
                f"example {example.id!r} has the sounds {self.labels_of(example)}, the task knows {len(known)} kinds;",
                remedy="fill labels['sounds'] in the dataset reader, and pass labels= with all kinds of the data.",
            )
        return told

    def choices(self, example: Example) -> tuple[str, ...]:
        """None: it is not one of them that is right."""
        del example
        return ()

    def score(self, answer: str, example: Example) -> Score:
        """F1 of one answer; `parsed` are the kinds that it names."""
        truth, parsed = self.target(example), self.parse(answer, example)
        named = parsed.labels if isinstance(parsed, LabelsAnswer) else ()
        return Score(value=_f1(len({*named} & {*truth}), len(named), len(truth)), parsed=named or None)

    def summarise(self, scores: Sequence[Score], examples: Sequence[Example]) -> dict[str, float]:
        """The three F1, and the share of unparsed answers."""
        pairs = [({*(s.parsed or ())}, {*self.target(e)}) for s, e in zip(scores, examples, strict=True)]
        each = {
            kind: (sum(kind in n and kind in t for n, t in pairs), sum(kind in n for n, _ in pairs), sum(kind in t for _, t in pairs))
            for kind in {k for named, truth in pairs for k in (*named, *truth)}
        }
        micro = [sum(counts) for counts in zip(*each.values(), strict=True)]
        return {
            **super().summarise(scores, examples), "micro_f1": _f1(micro[0], micro[1], micro[2]),
            "macro_f1": sum(_f1(*counts) for counts in each.values()) / len(each),
        }  # fmt: skip


def _f1(hits: int, named: int, true: int) -> float:
    """Harmonic mean of precision and recall."""
    return 2 * hits / max(named + true, 1)
