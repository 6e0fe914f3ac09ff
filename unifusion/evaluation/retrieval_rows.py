"""What is to be found, and by which words: rows of any reader or manifest as items, each clip once however many rows it has."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from unifusion.conversation import Example, Media
from unifusion.errors import DatasetError
from unifusion.evaluation.manifest import read_manifest
from unifusion.features import media_key
from unifusion.models.opened_rows import media_of
from unifusion.training.affect_data import read_rows

__all__ = ["Item", "captions_of", "items_of", "plain", "read_items"]


@dataclass(frozen=True, kw_only=True)
class Item:
    """A clip, or clips that belong together (a picture and what is said of it), with what is known of them.

    Attributes:
        id: of the first row that has it.
        media: content key -> clip.
        captions: texts that tell of it, each once.
        labels: those of its rows, the first row's first.
        group: speaker, conversation or source video; its id where it has none.
    """

    id: str
    media: Mapping[str, Media]
    captions: tuple[str, ...] = ()
    labels: Mapping[str, Any] = field(default_factory=dict)
    group: str = ""


def read_items(
    data: str | Path, split: str, *, dataset: str | None = None, root: str | Path | None = None, options: Mapping[str, Any] | None = None,
    most: int = 0,
) -> list[Item]:  # fmt: skip
    """Items of a split.

    Args:
        data: a manifest (`.jsonl`: rows of `unifusion predict` with `caption` or `captions`, labels and `group` if there are any; where
            rows have a `split`, those of this one), a YAML file of sources, or what `dataset` reads.
        split: train, val, test, or whatever the reader calls it.
        dataset: name of a reader; None for a manifest or YAML file.
        root: folder that paths in the YAML file are relative to.
        options: of the reader, as `read_rows` takes them.
        most: rows, evenly from the whole split; 0 for all.

    Raises:
        ConfigError: no such reader or option.
        DatasetError: it cannot be read, or holds no clips.
        MediaError: a file is missing.
    """
    if dataset is None and Path(data).suffix == ".jsonl":
        rows = _manifest_rows(Path(data), split)
    else:
        rows = read_rows(data, split, dataset=dataset, root=root, options=options) or []
    rows = [row for row in rows if row.media or row.texts.get("transcript")]
    if most and len(rows) > most:
        rows = [rows[i * len(rows) // most] for i in range(most)]
    if not rows:
        raise DatasetError(f"{data} has no row of split {split} with a clip;", remedy="check the reader, its options and the split.")
    return items_of(rows)


def _manifest_rows(path: Path, split: str) -> list[Example]:
    """Rows of a manifest; what a caption is made of may be a text or a label."""
    found = []
    for row in read_manifest(path):
        one = row.example()
        labels = {**one.texts, **one.labels}
        found.append(replace(one, labels=labels, group=str(labels.get("group", "")), split=str(labels.get("split", ""))))
    parted = [row for row in found if row.split]
    return [row for row in parted if row.split == split] if parted else found


def items_of(rows: Sequence[Example]) -> list[Item]:
    """Rows as items in their order; rows with equal media are one item with the captions of all.

    Raises:
        MediaError: a file is missing.
    """
    found: dict[tuple[str, ...], list[tuple[Example, dict[str, Media]]]] = {}
    for row in rows:
        media = {media_key(m): m for m in media_of(row)}
        found.setdefault(tuple(media), []).append((row, media))
    out = []
    for own in found.values():
        first, media = own[0]
        captions = dict.fromkeys(text for row, _ in own for text in captions_of(row))
        labels = {key: value for row, _ in reversed(own) for key, value in row.labels.items()}
        out.append(Item(id=first.id, media=media, captions=tuple(captions), labels=labels, group=first.group or first.id))
    return out


def captions_of(row: Example) -> tuple[str, ...]:
    """Texts that tell of a row: its caption and its captions."""
    told = row.labels.get("captions") or ()
    texts = [row.texts.get("caption", ""), *([told] if isinstance(told, str) else told)]
    return tuple(dict.fromkeys(text for text in texts if isinstance(text, str) and text.strip()))


def plain(text: str) -> str:
    """A caption as it is compared with others: without case, outer and double spaces, and a full stop at the end."""
    return " ".join(text.casefold().split()).rstrip(".").rstrip()
