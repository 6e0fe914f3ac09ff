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
from unifusion.curation.media_checks import header, header_of
from unifusion.curation.source import Source, taken
from unifusion.curation.talk_checks import processor_of
from unifusion.world.render import parse_reference

__all__ = ["Inspected", "Numbers", "inspect"]

_MOST_VALUES = 200
"""Values of a label above which it is a text, not a class."""
_NOT_LABELS = (
    "messages", "history", "metadata", "subtitles", "captions", "answers", "options", "start_s", "end_s", "thirds", "conversations",
)  # fmt: skip
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

    @property
    def whole(self) -> bool:
        """Whether all of them are whole numbers, as counts are."""
        return all(value.is_integer() for value in self.values)

    def histogram(self, bins: int = 12) -> list[tuple[float, float, int]]:
        """(from, to, count) of at most `bins` bins of one width; the last holds its upper end, too.

        Bins of whole numbers begin and end at whole numbers and hold equally many of them; `to` belongs to the next one.
        """
        if not self.values:
            return []
        low, high = min(self.values), max(self.values)
        width = (high - low) / bins or 1.0
        if self.whole:
            width = math.ceil((high - low + 1) / bins)
            bins = math.ceil((high - low + 1) / width)
        counts = Counter(min(int((v - low) / width), bins - 1) for v in self.values)
        return [(low + n * width, low + (n + 1) * width, counts[n]) for n in range(bins if high > low else 1)]


@dataclass(kw_only=True)
class Inspected:
    """What was found.

    Attributes:
        rows: split -> rows; "" for those that say none.
        broken: (where, why) of rows that cannot be read.
        bad_files: (file, kind, why) of clips that are missing, empty or broken.
        looked: different clips whose headers were read: files, and those that rows hold themselves.
        kinds: video, audio, image -> clips.
        bare: rows without a clip.
        seconds, words, tokens: of clips, of rows' texts, and of the same by the model.
        labels: key -> value -> split -> rows, of labels that are classes.
        numbers: key -> figures, of labels that are numbers.
        groups, speakers: name -> split -> rows.
        duplicates: files of the same bytes, with the splits that they are in.
        shared: file that is in several splits -> these.
    """

    rows: Counter[str] = field(default_factory=Counter)
    broken: list[tuple[str, str]] = field(default_factory=list)
    bad_files: list[tuple[str, str, str]] = field(default_factory=list)
    looked: int = 0
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
    shared: dict[str, list[str]] = field(default_factory=dict)

    @property
    def leaks(self) -> dict[str, list[dict[str, Any]]]:
        """Groups, speakers and files that are in several splits."""
        found = {
            what: [{"name": name, "rows": dict(splits)} for name, splits in sorted(known.items()) if len({*splits} - {""}) > 1]
            for what, known in (("groups", self.groups), ("speakers", self.speakers))
        }
        alone = ({"files": [name], "splits": splits} for name, splits in self.shared.items())
        files = [{"name": d["files"][0], "files": d["files"], "rows": dict.fromkeys(d["splits"], 1)} for d in (*self.duplicates, *alone)]
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
    found, clips = Inspected(), _Clips()
    processor = processor_of(model) if model else None
    for row in taken(source):
        if row.example is None:
            found.broken.append((row.where, str(row.error)))
        else:
            _count(row.example, found)
            text = _words(row.example)
            found.words.add(len(text.split()))
            if processor is not None:
                found.tokens.add(len(processor.text.user(text)))
            shown = clips_of(row.example)
            found.bare += not shown
            for clip in shown:
                found.kinds[clip.kind] += 1
                if media:
                    clips.look(clip, row.example, found)
        if progress is not None:
            progress(1)
    found.looked, found.duplicates = len(clips.splits), clips.duplicates()
    again = {name for same in found.duplicates for name in same["files"]}
    found.shared = {name: sorted(s) for name, s in clips.splits.items() if len(s) > 1 and name not in again}
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


class _Clips:
    """Clips that were met: files, and those that rows hold themselves.

    Attributes:
        splits: name of a clip -> splits that it is in.
    """

    def __init__(self) -> None:
        self.splits: dict[str, set[str]] = {}
        self._sizes: dict[int, list[str]] = defaultdict(list)
        self._contents: dict[str, list[str]] = defaultdict(list)

    def look(self, clip: Media, row: Example, found: Inspected) -> None:
        """Note a clip's length, and its content where it is met for the first time."""
        source = clip.source
        if isinstance(source, str) and source.startswith("clip-world://"):
            found.seconds.add(_span_s(clip, parse_reference(source).duration_s))
            return
        if not isinstance(source, str | Path | bytes):
            return
        held = isinstance(source, bytes)
        name = f"the {clip.kind} of row {row.id}" if held else str(source)
        info = header_of(source) if isinstance(source, bytes) else header(name)
        new = name not in self.splits
        self.splits.setdefault(name, set()).add(row.split)
        if isinstance(info, tuple):
            if new and len(found.bad_files) < _MOST_LISTED:
                found.bad_files.append((name, info[0], info[1]))
            return
        if new and isinstance(source, bytes):
            self._contents[hashlib.sha256(source).hexdigest()].append(name)
        elif new:
            self._sizes[info.n_bytes].append(name)
        if not info.is_image and (clip.end_s is not None or info.duration_s is not None):
            found.seconds.add(_span_s(clip, info.duration_s))

    def duplicates(self) -> list[dict[str, Any]]:
        """Clips of the same bytes; files of a size of their own are not read."""
        for paths in self._sizes.values():
            if len(paths) > 1:
                for path in paths:
                    with open(path, "rb") as file:
                        self._contents[hashlib.file_digest(file, "sha256").hexdigest()].append(path)
        same = [names for names in self._contents.values() if len(names) > 1]
        return [{"files": names, "splits": sorted(set().union(*(self.splits[n] for n in names)))} for names in same]


def _span_s(clip: Media, whole_s: float | None) -> float:
    """Seconds of a file that a clip shows; `whole_s` is its length, None where that is not known and the clip has an end."""
    end_s = min(x for x in (clip.end_s, whole_s) if x is not None)
    return max(0.0, end_s - (clip.start_s or 0.0))
