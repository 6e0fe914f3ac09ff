"""`unifusion data inspect`: what is in a source, counted in one pass."""

from __future__ import annotations

import hashlib
import math
from array import array
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from unifusion.conversation import Example, Media
from unifusion.curation.lines import clips_of
from unifusion.curation.media_checks import header
from unifusion.curation.source import Source, taken
from unifusion.curation.talk_checks import processor_of

__all__ = ["Inspected", "Numbers", "inspect"]

_MOST_VALUES = 200
"""Values of a label above which it is a text, not a class."""
_NOT_LABELS = (
    "messages",
    "history",
    "metadata",
    "subtitles",
    "captions",
    "answers",
    "options",
    "start_s",
    "end_s",
    "thirds",
    "conversations",
)
_MOST_LISTED = 100_000


@dataclass(kw_only=True)
class Numbers:
    """Figures of one kind, eight bytes each."""

    values: array[float] = field(default_factory=lambda: array("d"))

    def add(self, value: float) -> None:
        """Take one in."""
        self.values.append(value)

    def summary(self) -> dict[str, float]:
        """Count, sum, least, most, mean and quartiles."""
        if not self.values:
            return {"count": 0}
        ordered = sorted(self.values)

        def at(share: float) -> float:
            """The value below which a share lies."""
            return ordered[min(len(ordered) - 1, int(share * len(ordered)))]

        found = {
            "count": len(ordered), "sum": math.fsum(ordered), "min": ordered[0], "p25": at(0.25), "median": at(0.5), "p75": at(0.75),
            "p95": at(0.95), "max": ordered[-1], "mean": math.fsum(ordered) / len(ordered),
        }  # fmt: skip
        return {k: round(v, 4) if isinstance(v, float) else v for k, v in found.items()}

    def histogram(self, bins: int = 12) -> list[tuple[float, float, int]]:
        """(from, to, count) of bins of one width; the last holds its upper end, too."""
        if not self.values:
            return []
        low, high = min(self.values), max(self.values)
        width = (high - low) / bins or 1.0
        counts = Counter(min(int((v - low) / width), bins - 1) for v in self.values)
        return [(low + n * width, low + (n + 1) * width, counts[n]) for n in range(bins if high > low else 1)]


@dataclass(kw_only=True)
class Inspected:
    """What was found.

    Attributes:
        rows: split -> rows; "" for those that say none.
        broken: (where, why) of rows that cannot be read.
        bad_files: (file, kind, why) of clips that are missing, empty or broken.
        kinds: video, audio, image -> clips.
        bare: rows without a clip.
        seconds, words, tokens: of clips, of rows' texts, and of the same by the model.
        labels: key -> value -> split -> rows, of labels that are classes.
        numbers: key -> figures, of labels that are numbers.
        groups, speakers: name -> split -> rows.
        duplicates: files of the same bytes, with the splits that they are in.
    """

    rows: Counter[str] = field(default_factory=Counter)
    broken: list[tuple[str, str]] = field(default_factory=list)
    bad_files: list[tuple[str, str, str]] = field(default_factory=list)
    kinds: Counter[str] = field(default_factory=Counter)
    bare: int = 0
    seconds: Numbers = field(default_factory=Numbers)
    words: Numbers = field(default_factory=Numbers)
    tokens: Numbers = field(default_factory=Numbers)
    labels: dict[str, dict[str, Counter[str]]] = field(default_factory=lambda: defaultdict(lambda: defaultdict(Counter)))
    numbers: dict[str, Numbers] = field(default_factory=lambda: defaultdict(Numbers))
    groups: dict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    speakers: dict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    duplicates: list[dict[str, Any]] = field(default_factory=list)

    @property
    def leaks(self) -> dict[str, list[dict[str, Any]]]:
        """Groups, speakers and files that are in several splits."""
        found = {
            what: [{"name": name, "rows": dict(splits)} for name, splits in sorted(known.items()) if len({*splits} - {""}) > 1]
            for what, known in (("groups", self.groups), ("speakers", self.speakers))
        }
        files = [{"name": d["files"][0], "files": d["files"], "rows": dict.fromkeys(d["splits"], 1)} for d in self.duplicates]
        return {**found, "files": [f for f in files if len({*f["rows"]} - {""}) > 1]}

    def to_dict(self) -> dict[str, Any]:
        """The JSON form, everything named."""
        return {
            "rows": dict(self.rows), "total": sum(self.rows.values()), "broken_rows": [{"where": w, "why": y} for w, y in self.broken],
            "clips": dict(self.kinds), "rows_without_clip": self.bare,
            "bad_files": [{"file": f, "kind": k, "why": w} for f, k, w in self.bad_files],
            **{k: {**getattr(self, k).summary(), "histogram": getattr(self, k).histogram()} for k in ("seconds", "words", "tokens")},
            "labels": {k: {v: dict(splits) for v, splits in values.items()} for k, values in self.classes.items()},
            "numbers": {k: v.summary() for k, v in self.numbers.items()},
            "groups": {split: sum(split in g for g in self.groups.values()) for split in self.rows}, "leaks": self.leaks,
            "duplicates": self.duplicates,
        }  # fmt: skip

    @property
    def classes(self) -> dict[str, dict[str, Counter[str]]]:
        """Labels whose values come back: classes, not texts."""
        return {
            k: v for k, v in self.labels.items() if len(v) <= _MOST_VALUES and (len(v) < sum(c.total() for c in v.values()) or len(v) == 1)
        }


def inspect(source: Source, *, media: bool = True, model: str = "", progress: Callable[[int], None] | None = None) -> Inspected:
    """Count a source.

    Args:
        source: opened.
        media: read the headers of clips, and compare files of one size byte by byte.
        model: checkpoint by whose tokenizer texts are counted; "" counts words alone.
        progress: is told how many rows were done.

    Raises:
        CheckpointError: `model` is none.
    """
    found, sizes = Inspected(), dict[int, list[str]]()
    processor = processor_of(model) if model else None
    met: dict[str, set[str]] = {}
    for row in taken(source):
        if row.example is None:
            found.broken.append((row.where, str(row.error)))
        else:
            _count(row.example, found)
            text = _words(row.example)
            found.words.add(len(text.split()))
            if processor is not None:
                found.tokens.add(len(processor.text.user(text)))
            clips = clips_of(row.example)
            found.bare += not clips
            for clip in clips:
                found.kinds[clip.kind] += 1
                if media:
                    _look(clip, row.example.split, found, met, sizes)
        if progress is not None:
            progress(1)
    found.duplicates = _duplicates(sizes, met)
    return found


def _count(example: Example, found: Inspected) -> None:
    """A row's split, group and labels."""
    split = example.split
    found.rows[split] += 1
    if example.group:
        found.groups[example.group][split] += 1
    for key, value in example.labels.items():
        if key in _NOT_LABELS or isinstance(value, Mapping):
            continue
        if key == "speaker":
            found.speakers[str(value)][split] += 1
        elif isinstance(value, float):
            found.numbers[key].add(value)
        else:
            for one in value if isinstance(value, list | tuple) else (value,):
                if isinstance(one, str | int) and (len(found.labels[key]) <= _MOST_VALUES or str(one) in found.labels[key]):
                    found.labels[key][str(one)][split] += 1


def _words(example: Example) -> str:
    """All texts of a row, those of its messages too, each once."""
    messages = example.labels.get("messages")
    texts = list(example.texts.values())
    for message in messages if isinstance(messages, list | tuple) else ():
        content = message.get("content") if isinstance(message, Mapping) else None
        parts = content if isinstance(content, list) else [content]
        texts += [str(p.get("text", "")) if isinstance(p, Mapping) else str(p or "") for p in parts]
    return "\n".join(dict.fromkeys(texts))


def _look(clip: Media, split: str, found: Inspected, met: dict[str, set[str]], sizes: dict[int, list[str]]) -> None:
    """A clip's length, and its file for what is met the first time."""
    if not isinstance(clip.source, str | Path) or str(clip.source).startswith("clip-world://"):
        return
    path = str(clip.source)
    info = header(path)
    new = path not in met
    met.setdefault(path, set()).add(split)
    if isinstance(info, tuple):
        if new and len(found.bad_files) < _MOST_LISTED:
            found.bad_files.append((path, info[0], info[1]))
        return
    if new:
        sizes.setdefault(info.n_bytes, []).append(path)
    end = clip.end_s if clip.end_s is not None else info.duration_s
    if end is not None and not info.is_image:
        found.seconds.add(max(0.0, min(end, info.duration_s or end) - (clip.start_s or 0.0)))


def _duplicates(sizes: Mapping[int, list[str]], met: Mapping[str, set[str]]) -> list[dict[str, Any]]:
    """Groups of files of the same bytes; files of a size of their own are not read."""
    contents: dict[str, list[str]] = defaultdict(list)
    for paths in sizes.values():
        if len(paths) > 1:
            for path in paths:
                with open(path, "rb") as file:
                    contents[hashlib.file_digest(file, "sha256").hexdigest()].append(path)
    same = [paths for paths in contents.values() if len(paths) > 1]
    return [{"files": paths, "splits": sorted(set().union(*(met[p] for p in paths)))} for paths in same]
