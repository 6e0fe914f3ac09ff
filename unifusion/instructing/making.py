"""From a mixture of labelled sets to one file of conversations, and what it was made of: the same input gives the same bytes."""

from __future__ import annotations

import hashlib
import json
import random
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tqdm.auto import tqdm

from unifusion import catalog, share
from unifusion.atomic import write_text
from unifusion.conversation import Clip, Example, Media, Mix
from unifusion.datasets._places import Places
from unifusion.datasets.mixture import Mixture
from unifusion.errors import ConfigError, DatasetError, UniFusionError, nearest
from unifusion.instructing.affording import streams_of
from unifusion.instructing.items import Item, balanced, items_of, refused
from unifusion.instructing.phrasing import conversation_of, phrasings
from unifusion.instructing.writing import row_hash, spelled_out
from unifusion.processor.messages import to_conversation
from unifusion.prompts import load_template

__all__ = ["InstructChoices", "instruct"]

ROWS, REPORT = "conversations.jsonl", "mixture.json"


@dataclass(frozen=True, kw_only=True)
class InstructChoices:
    """What is made of the rows.

    Attributes:
        split: that is read of each source.
        tasks: names of tasks, and `told` for conversations that rows hold; all that fit where none is named.
        rows: read in all, shared among the sources by their weights; every row where it is not given.
        balance: none, or label: equally many of each answer of closed tasks, as many as the rarest has.
        refusals: share of what needs one known stream that is muted and refused.
        seed: of everything that is drawn.
        hash_media: the report holds hashes of the clips' bytes too; each is read whole.
    """

    split: str = "train"
    tasks: tuple[str, ...] = ()
    rows: int | None = None
    balance: str = "none"
    refusals: float = 0.1
    seed: int = 0
    hash_media: bool = False

    def __post_init__(self) -> None:
        """Refuse values that mean nothing.

        Raises:
            ConfigError: quotes the value.
        """
        known = ["told", *catalog.names("tasks")]
        for name in self.tasks:
            if name not in known:
                raise ConfigError(f"no task {name!r};", remedy=nearest(name, known))
        if self.balance not in ("none", "label"):
            raise ConfigError(f"balance is {self.balance!r};", remedy="choose none or label.")
        if not 0 <= self.refusals <= 1 or (self.rows is not None and self.rows < 1):
            raise ConfigError(f"refusals {self.refusals}, rows {self.rows};", remedy="a share from 0 to 1, and at least one row.")


@dataclass(kw_only=True)
class _Source:
    """One part: its rows, what is asked of them, and what is told of it."""

    told: dict[str, Any]
    rows: list[Example] = field(default_factory=list)
    items: list[Item] = field(default_factory=list)
    left_out: Counter[str] = field(default_factory=Counter)


def instruct(
    parts: Mapping[str, Mapping[str, Any]], out: str | Path, choices: InstructChoices, *, data: str | Path = ".", name: str = "the mixture"
) -> dict[str, Any]:  # fmt: skip
    """Write `conversations.jsonl` and `mixture.json` into a folder, and return what the second holds.

    Args:
        parts: of a mixture, as `datasets/mixture.py` has them; `task` and `task_options: {labels: ..}` of a part are those of `train tune`.
        out: folder, made where it is missing.
        choices: see there.
        data: folder that the parts' paths are relative to.
        name: what errors call the mixture.

    Raises:
        ConfigError: a part names no known task.
        DatasetError: a part cannot be read, or nothing can be asked.
    """
    folder = Path(out)
    asked = {part: _asked_of(part, dict(how), choices) for part, how in parts.items()}
    bare = {part: {k: v for k, v in how.items() if k not in ("task", "task_options")} for part, how in parts.items()}
    mixture = Mixture(Path(name), data=data, split=choices.split, seed=choices.seed, written=bare)
    sources: dict[str, _Source] = {}
    for part in mixture.parts:
        if mixture.weights[part]:
            told = {"dataset": mixture.kinds[part], "path": str(parts[part].get("path", "")), "weight": round(mixture.weights[part], 6)}
            sources[part] = _made(part, told, mixture, *asked[part], choices)
    items = [item for source in sources.values() for item in source.items]
    if not items:
        reasons = Counter[str]()
        for source in sources.values():
            reasons.update(source.left_out)
        count = sum(len(source.rows) for source in sources.values())
        told_of = ", ".join(f"{reason} ({n})" for reason, n in reasons.most_common(5))
        wanted = " or ".join(dict.fromkeys(task for names, _ in asked.values() for task in names)) or "a task"
        told_of = told_of or (f"{count} rows, none with what {wanted} asks for" if count else "no rows")
        raise DatasetError(f"{name}: nothing can be asked: {told_of};", remedy="see docs/instruction_data.md for what each task needs.")
    numbers = phrasings(items, choices.seed)
    output = _write(folder, items, numbers)
    report = _report(sources, items, numbers, choices, output)
    write_text(folder / REPORT, json.dumps(report, indent=1, ensure_ascii=False, sort_keys=True) + "\n")
    return report


def _asked_of(part: str, how: dict[str, Any], choices: InstructChoices) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Tasks and labels of a part: its own, else those that are chosen for all."""
    found, options = how.get("task"), how.get("task_options") or {}
    names = (found,) if isinstance(found, str) else tuple(found or ())
    for name in names:
        if name not in catalog.names("tasks"):
            raise ConfigError(f"part {part!r}: no task {name!r};", remedy=nearest(str(name), catalog.names("tasks")))
    if not isinstance(options, Mapping) or set(options) - {"labels"}:
        raise ConfigError(f"part {part!r}: task_options are {options!r};", remedy="only labels may be given: {labels: [joy, anger]}.")
    return names or choices.tasks, tuple(str(label) for label in options.get("labels") or ())


def _made(
    part: str, told: dict[str, Any], mixture: Mixture, tasks: Sequence[str], labels: Sequence[str], choices: InstructChoices
) -> _Source:  # fmt: skip
    """Read a part and find what can be asked of it."""
    dataset, source = mixture.parts[part], _Source(told=told)
    numbers: Sequence[int] = range(len(dataset))
    if choices.rows is not None and (wanted := round(choices.rows * mixture.weights[part])) < len(dataset):
        numbers = sorted(random.Random(f"{choices.seed}/rows/{part}").sample(numbers, wanted))
    there: dict[tuple[Media, ...], set[str]] = {}
    for number in tqdm(numbers, desc=part, unit="row", disable=None):
        row = dataset[number]
        if reason := _unusable(row, there):
            source.left_out[reason] += 1
        else:
            source.rows.append(row)
    told["rows"] = len(numbers)
    found = items_of(part, source.rows, there, tasks=tasks, seed=choices.seed, left_out=source.left_out, labels=labels)
    if choices.balance == "label":
        found = balanced(found, choices.seed, source.left_out)
    if choices.refusals:
        found = refused(found, there, share=choices.refusals, seed=choices.seed, tasks=tasks)
    source.items = found
    return source


def _unusable(row: Example, there: dict[tuple[Media, ...], set[str]]) -> str:
    """Why a row cannot be used, or ""; what streams its clips hold is noted."""
    told, media = row.labels.get("messages"), row.media
    if told is not None:
        try:
            talk = to_conversation(told, id=row.id)
        except ConfigError:
            return "its conversation cannot be read"
        if not any(m.supervised for m in talk.messages):
            return "nothing of its conversation is learnt"
        media = talk.media
    elif not media:
        return "no clip"
    if any(isinstance(m.source, Clip | Mix) for m in media):
        return "its clip is made when it is opened"
    named = [str(m.source) for m in media if isinstance(m.source, str | Path) and not str(m.source).startswith("clip-world://")]
    if not all(Path(name).is_file() for name in named):
        return "its clip is not there"
    if row.media not in there:
        try:
            there[row.media] = set().union(*(streams_of(m) for m in row.media))
        except UniFusionError:
            return "its clip cannot be read"
    return "" if there[row.media] or told is not None else "its clip has neither picture nor sound"


def _write(folder: Path, items: Sequence[Item], numbers: Sequence[int | None]) -> dict[str, Any]:
    """Write the rows; what is told of the file."""
    folder.mkdir(parents=True, exist_ok=True)
    places, digest, n_bytes, seen = Places(folder, keep=True), hashlib.sha256(), 0, Counter[str]()
    work = folder / f".{ROWS}.tmp"
    with work.open("wb") as file:
        for item, number in zip(tqdm(items, desc="writing", unit="row", disable=None), numbers, strict=True):
            line = _line(_row(item, number, places, seen))
            file.write(line)
            digest.update(line)
            n_bytes += len(line)
    work.replace(folder / ROWS)
    return {"file": ROWS, "rows": len(items), "bytes": n_bytes, "sha256": digest.hexdigest()}


def _line(row: Mapping[str, Any]) -> bytes:
    """A row as JSON; half a character, which UTF-8 cannot hold, makes it ASCII."""
    try:
        return json.dumps(row, ensure_ascii=False).encode() + b"\n"
    except UnicodeEncodeError:
        return json.dumps(row).encode() + b"\n"


def _row(item: Item, number: int | None, places: Places, seen: Counter[str]) -> dict[str, Any]:
    """A row of the file; a name that was given is given again with a number."""
    name = f"{item.part}/{item.name}"
    seen[name] += 1
    talk = conversation_of(item, number)
    row: dict[str, Any] = {"id": name if seen[name] == 1 else f"{name}~{seen[name]}", "messages": spelled_out(talk, places)}
    told = {"task": item.task, "kind": item.kind, "part": item.part, "group": item.row.group, "split": item.row.split}
    row |= {key: value for key, value in told.items() if value}
    return {**row, **({} if number is None else {"phrasing": number}), **({"mute": list(item.mute)} if item.mute else {})}


def _report(
    sources: Mapping[str, _Source], items: Sequence[Item], numbers: Sequence[int | None], choices: InstructChoices, output: dict[str, Any]
) -> dict[str, Any]:  # fmt: skip
    """What was made of what."""
    import unifusion

    for source in sources.values():
        source.told |= {
            "conversations": len(source.items), "tasks": _counts(i.task or "told" for i in source.items),
            "kinds": _counts(i.kind for i in source.items), "left_out": dict(sorted(source.left_out.items())),
            "sha256": row_hash(source.rows),
        }  # fmt: skip
        if choices.hash_media:
            source.told["media_sha256"] = _media_hash(source.rows)
    prompts: dict[str, Any] = {}
    for item, number in zip(items, numbers, strict=True):
        if number is not None:
            name = catalog.load("tasks", item.task).prompt
            path = share.folder("prompts") / f"{name}.yaml"
            if name not in prompts:
                count = len(load_template(name).source.phrasings)
                prompts[name] = {"sha256": hashlib.sha256(path.read_bytes()).hexdigest(), "phrasings": [0] * count}
            prompts[name]["phrasings"][number] += 1
    return {
        "unifusion": unifusion.__version__, "split": choices.split, "tasks": list(choices.tasks), "balance": choices.balance,
        "refusals": choices.refusals, "seed": choices.seed, "sources": {name: s.told for name, s in sources.items()}, "prompts": prompts,
        "output": output,
    }  # fmt: skip


def _counts(names: Any) -> dict[str, int]:
    """How often each name comes."""
    return dict(sorted(Counter(names).items()))


def _media_hash(rows: Sequence[Example]) -> str:
    """The content of all clips as one hash, whatever order and folder they lie in."""
    from unifusion.features.keys import media_key

    keys = sorted({media_key(media) for row in rows for media in row.media})
    return hashlib.sha256("\n".join(keys).encode()).hexdigest()
