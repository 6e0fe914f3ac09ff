"""From rows to what is asked of each: once as it is, with a wrong text, among other clips' texts, or of a stream that is not there."""

from __future__ import annotations

import hashlib
import random
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from unifusion import catalog
from unifusion.conversation import Example, Media
from unifusion.errors import UniFusionError
from unifusion.instructing.affording import OF_CLIP, LabelSets, needed, tasks_of
from unifusion.metrics.token_f1 import token_f1
from unifusion.tasks.task import LabelTask, OptionTask
from unifusion.world.world_file import phrasings

__all__ = ["Item", "Kind", "There", "balanced", "items_of", "key", "refused"]

Kind = Literal["told", "asked", "negative", "refusal"]
There = Mapping[tuple[Media, ...], set[str]]
"""Clips of a row -> which of "video" and "audio" they hold."""
NEAR = 0.6
"""Captions that share so many words (F1) are not told apart: neither is the wrong one of the other's clip."""
_TRIES = 200
_PAIRED = {"match": "match", "which_of": "texts"}
"""Task -> label of rows that bring texts of their own to be told apart."""
_DISTRACTORS = 3
_MISSING = {stream: phrasings()["missing"][name] for stream, name in (("audio", "sound"), ("video", "picture"))}
"""As clip world says it, so that a model learns one wording."""
_MUTES = {"audio": ("audio", "text"), "video": ("video", "image")}
"""What goes with a stream: what is said in a clip was heard, and streams of stills take its picture."""


@dataclass(frozen=True, kw_only=True)
class Item:
    """One conversation to be made.

    Attributes:
        part: name of the source.
        task: stem of the task; empty where the row holds its conversation.
        kind: told (the row's own conversation), asked, negative (the right answer is no), refusal.
        label: what the answer is, where answers are few: what is balanced.
        options: of the task.
        answer: in place of the task's own.
    """

    part: str
    row: Example
    task: str = ""
    kind: Kind = "asked"
    label: str = ""
    options: Mapping[str, Any] = field(default_factory=dict)
    answer: str = ""
    mute: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """What it is called: the row, the task."""
        return f"{self.row.id}#{self.task}" if self.task else self.row.id


def key(seed: int, *names: str) -> bytes:
    """Where something stands in an order that seed and names alone decide."""
    return hashlib.blake2b("\0".join((str(seed), *names)).encode("utf-8", "surrogatepass"), digest_size=16).digest()


def items_of(
    part: str, rows: Sequence[Example], there: There, *, tasks: Sequence[str], seed: int, left_out: Counter[str],
    labels: Sequence[str] = (),
) -> list[Item]:  # fmt: skip
    """Everything that the rows of a part can be asked.

    Args:
        part: its name.
        rows: those whose clips are there.
        there: clips of a row -> the streams they hold.
        tasks: names of the tasks, all that fit where there are none; `told` stands for conversations that rows hold.
        seed: of texts of other clips and lists of labels.
        left_out: counts what cannot be asked, by reason.
        labels: that closed tasks offer, where not their own.
    """
    sets, texts = LabelSets(rows, labels), _Texts(rows, seed)
    items: list[Item] = []
    asked: set[tuple[str, object]] = set()
    pairs: dict[str, list[Item]] = {"match": [], "which_of": []}
    for row in rows:
        if row.labels.get("messages") is not None and (not tasks or "told" in tasks):
            items.append(Item(part=part, row=row, kind="told"))
            continue
        for task in tasks_of(row, [name for name in tasks if name != "told"]) if row.media else ():
            once = (task, row.media)
            if task in OF_CLIP and once in asked:
                continue
            asked.add(once)
            if task in pairs and _PAIRED[task] not in row.labels:
                pairs[task].append(Item(part=part, row=row, task=task))
            elif (item := _plain(part, row, task, sets, seed, left_out)) is not None:
                items.append(item)
    items += _matches(_ordered(pairs["match"], seed), texts, left_out)
    items += _choices(_ordered(pairs["which_of"], seed), texts, left_out)
    order = {row.id: n for n, row in enumerate(rows)}
    items.sort(key=lambda item: order[item.row.id])
    return [item if item.kind == "told" else _lacking(item, there[item.row.media], left_out) for item in items]


def _plain(part: str, row: Example, task: str, sets: LabelSets, seed: int, left_out: Counter[str]) -> Item | None:
    """A row asked by a task as it is; None, and counted, where the task knows no answer."""
    options = sets.choices(task, row, seed)
    made = catalog.load("tasks", task)(**options)
    reason = row.texts.get("rationale") if task == "emotion_rationale" and not row.labels.get("evidence") else None
    try:
        label = ""
        if isinstance(made, LabelTask):
            label = made.target(row)
        elif isinstance(made, OptionTask):
            label = made.choices(row)[made.target(row)]
        answer = f"Emotion: {label}.\n{reason.strip()}" if reason else ""
        made.conversation(row, with_answer=not answer)
    except (UniFusionError, TypeError, ValueError, ArithmeticError) as error:  # the latter of labels such as valence: "much"
        left_out[f"{task}: {type(error).__name__}"] += 1
        return None
    kind: Kind = "refusal" if row.labels.get("refusal") and task == "open_qa" else "asked"
    if task == "match":  # a text and a truth of the row's own
        kind, label = ("asked", "yes") if row.labels["match"] else ("negative", "no")
    return Item(part=part, row=row, task=task, kind=kind, label=label, options=options, answer=answer)


def _ordered(items: Iterable[Item], seed: int) -> list[Item]:
    """Items in an order that seed and names decide."""
    return sorted(items, key=lambda item: key(seed, item.part, item.task, item.row.id))


class _Texts:
    """Captions of a part, and those of other clips that surely do not tell of a row's."""

    def __init__(self, rows: Sequence[Example], seed: int) -> None:
        self.seed = seed
        self._rows = [row for row in rows if row.texts.get("caption")]

    def own(self, row: Example) -> tuple[str, ...]:
        """Every caption of a row."""
        more = row.labels.get("captions")
        return tuple(dict.fromkeys((row.texts["caption"], *map(str, more if isinstance(more, list | tuple) else ()))))

    def others(self, row: Example, count: int) -> list[str]:
        """Up to `count` captions of clips of other groups that share few words with the row's own and with each other."""
        rng, found, own = random.Random(f"{self.seed}/other texts/{row.id}"), list[str](), self.own(row)
        for _ in range(_TRIES):
            if len(found) == count:
                break
            other = rng.choice(self._rows)
            text = rng.choice(self.own(other))
            apart = other.group != row.group if row.group or other.group else other.media != row.media
            alike = any(row.labels.get(k) is not None and row.labels[k] == other.labels.get(k) for k in ("sound", "sounds"))
            if apart and not alike and token_f1(text, [*own, *found]) < NEAR:
                found.append(text)
        return found


def _matches(items: Sequence[Item], texts: _Texts, left_out: Counter[str]) -> list[Item]:
    """Half of the clips with a caption of theirs (yes), half with one of another group's clip (no)."""
    out: list[Item] = []
    for item in items:
        wrong = texts.others(item.row, 1)
        if not wrong:
            left_out["match: no text of another group"] += 1
            continue
        right = len(out) % 2 == 0
        own = texts.own(item.row)
        text = own[key(texts.seed, "caption", item.row.id)[0] % len(own)] if right else wrong[0]
        row = replace(item.row, texts={**item.row.texts, "text": text}, labels={**item.row.labels, "match": right})
        out.append(replace(item, row=row, kind="asked" if right else "negative", label="yes" if right else "no"))
    return out


def _choices(items: Sequence[Item], texts: _Texts, left_out: Counter[str]) -> list[Item]:
    """Each clip with its caption among those of clips of other groups; the right one stands at each place equally often."""
    out: list[Item] = []
    for item in items:
        wrong = texts.others(item.row, _DISTRACTORS)
        if len(wrong) < _DISTRACTORS:
            left_out["which_of: too few texts of other groups"] += 1
            continue
        at = len(out) % (_DISTRACTORS + 1)
        options = (*wrong[:at], texts.own(item.row)[0], *wrong[at:])
        out.append(replace(item, row=replace(item.row, labels={**item.row.labels, "texts": options, "option": at}), label="ABCD"[at]))
    return out


def _lacking(item: Item, there: set[str], left_out: Counter[str]) -> Item:
    """A refusal in place of an item whose stream the clip does not have, whatever its label says."""
    lacks = [stream for stream in needed(item.task, item.row, there) if stream not in there]
    if not lacks or item.row.labels.get("refusal"):
        return item
    left_out[f"{item.task}: refused, the clip has no {lacks[0]}"] += 1
    return replace(item, kind="refusal", answer=_MISSING[lacks[0]], label="refusal")


def refused(items: Sequence[Item], there: There, *, share: float, seed: int, tasks: Sequence[str] = ()) -> list[Item]:
    """The items with exactly `share` of those of each task that need one known stream muted and refused; and silent clips asked for sounds.

    Args:
        items: of one part.
        there: clips of a row -> the streams they hold.
        share: of what could be refused, 0 to 1.
        seed: which ones.
        tasks: that are wanted; a clip without sound is asked for one where `sound` is among them, or none is named.
    """
    can: dict[str, list[int]] = {}
    for n, item in enumerate(items):
        if item.kind in ("asked", "negative") and _mutable(item, there[item.row.media]):
            can.setdefault(item.task, []).append(n)
    chosen = {n for some in can.values() for n in _spread(items, some, seed)[: round(share * len(some))]}
    out = [_muted(item, there[item.row.media], seed) if n in chosen else item for n, item in enumerate(items)]
    if tasks and "sound" not in tasks:
        return out
    pictures = [item for item in items if item.task and there[item.row.media] == {"video"}]
    silent = {item.row.media: item for item in pictures if item.row.media[0].kind == "video"}
    asked = {item.row.media for item in items if item.task == "sound"}
    free = sorted((i for media, i in silent.items() if media not in asked), key=lambda i: key(seed, "silent", i.part, i.row.id))
    bare = [replace(i, task="sound", kind="refusal", label="refusal", options={}, answer=_MISSING["audio"], mute=()) for i in free]
    return [*out, *bare[: round(share * len(bare))]]


def _spread(items: Sequence[Item], some: Sequence[int], seed: int) -> list[int]:
    """Numbers of items in an order in which every beginning holds each label as often as the whole does."""
    labels: dict[str, list[int]] = {}
    for n in sorted(some, key=lambda n: key(seed, "refuse", items[n].part, items[n].name)):
        labels.setdefault(items[n].label, []).append(n)
    place = {n: ((at + 0.5) / len(same), key(seed, "place", items[n].name)) for same in labels.values() for at, n in enumerate(same)}
    return sorted(some, key=lambda n: place[n])


def _mutable(item: Item, there: set[str]) -> list[str]:
    """Streams of a clip that can be muted so that the question has no answer."""
    return sorted(stream for stream in needed(item.task, item.row, there) if stream in there)


def _muted(item: Item, there: set[str], seed: int) -> Item:
    """An item with a stream muted that it needs, and the refusal that says so."""
    streams = _mutable(item, there)
    stream = streams[key(seed, "stream", item.name)[0] % len(streams)]
    said = any(m.transcript or m.subtitles for m in item.row.media)
    pictures = any(m.kind != "audio" for m in item.row.media)
    extra = [m for m in _MUTES[stream] if (m != "text" or said) and (m != "image" or pictures)]
    return replace(item, kind="refusal", label="refusal", answer=_MISSING[stream], mute=tuple(extra))


def balanced(items: Sequence[Item], seed: int, left_out: Counter[str]) -> list[Item]:
    """Items of which each task has equally many of each label: those of the rarest; what is refused, told or has no label stays."""
    groups: dict[tuple[str, str], dict[str, list[int]]] = {}
    for n, item in enumerate(items):
        if item.label and item.kind in ("asked", "negative") and issubclass(catalog.load("tasks", item.task), LabelTask | OptionTask):
            groups.setdefault((item.part, item.task), {}).setdefault(item.label, []).append(n)
    dropped: set[int] = set()
    for (_, task), labels in groups.items():
        least = min(len(some) for some in labels.values())
        for some in labels.values():
            dropped |= set(sorted(some, key=lambda n: key(seed, "balance", items[n].name))[least:])
        if lost := sum(len(some) - least for some in labels.values()):
            left_out[f"{task}: balanced"] += lost
    return [item for n, item in enumerate(items) if n not in dropped]
