"""`unifusion data sample`: a small folder of rows and their clips to try things with."""

from __future__ import annotations

import heapq
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from unifusion import atomic
from unifusion.conversation import Example
from unifusion.curation.source import Part, Source, taken
from unifusion.curation.spellings import plain_row
from unifusion.curation.splitting import order_of
from unifusion.datasets._places import Places, placed
from unifusion.errors import ConfigError, DatasetError, UniFusionError, nearest

__all__ = ["Sampled", "sample"]


@dataclass(frozen=True, kw_only=True)
class Sampled:
    """What was taken: rows, rows passed over because they could not be copied, files, bytes, and rows by label."""

    rows: int
    passed_over: int
    files: int
    n_bytes: int
    labels: dict[str, int]


def sample(
    source: Source, out: Path, *, count: int = 20, per_label: str | None = None, seed: int = 0, max_mb: float = 500.0
) -> Sampled:  # fmt: skip
    """Write `out/rows.jsonl` and the clips of its rows, whole, under `out/media`; spans stay what they are.

    Rows are drawn by a hash of seed and id, so the same rows come whatever else is there; a row that cannot be read, or whose clip is
    missing, is passed over for the next.

    Args:
        source: opened.
        out: a folder that is not there, or empty.
        count: of rows; of each label with `per_label`.
        per_label: key of the label.
        seed: another one draws other rows.
        max_mb: the most that is copied.

    Raises:
        ConfigError: the folder holds something, or the clips are more than `max_mb`.
        DatasetError: no row can be taken.
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise ConfigError(f"{out} is there already;", remedy="name a folder that is not.")
    passed_over = 0
    with atomic.atomic_folder(out) as folder:
        places, lines, labels = Places(folder, copy=True), list[str](), dict[str, int]()
        for label, example in _drawn(source, per_label, seed, count):
            if labels.get(label, 0) >= count:
                continue
            try:
                written = plain_row(placed(example, places))
            except UniFusionError:
                passed_over += 1
                continue
            if places.n_bytes > max_mb * 1e6:
                raise ConfigError(f"the clips are more than {max_mb:g} MB;", remedy="take fewer rows (-n), or raise --max-mb.")
            labels[label] = labels.get(label, 0) + 1
            lines.append(json.dumps(written, ensure_ascii=False) + "\n")
        if not lines:
            raise DatasetError(f"{source.path}: none of its rows can be taken;", remedy="unifusion data validate says why.")
        (folder / "rows.jsonl").write_text("".join(lines), encoding="utf-8")
    return Sampled(rows=len(lines), passed_over=passed_over, files=len(places.copied), n_bytes=places.n_bytes, labels=labels)


def _drawn(source: Source, per_label: str | None, seed: int, count: int) -> Iterator[tuple[str, Example]]:
    """(label, example) of more rows than are wanted, since some may have no clip, in the order they are drawn by."""
    most = 4 * count + 100
    heaps: dict[str, list[tuple[int, int, Part, int]]] = {}
    keys: set[str] = set()
    for number, row in enumerate(taken(source)):
        if row.example is None:
            continue
        label = ""
        if per_label is not None:
            known = {**row.example.texts, **row.example.labels}
            keys.update(known)
            if known.get(per_label) is None:
                continue
            label = str(known[per_label])
        place = -order_of(seed, f"{row.part.name}/{row.example.id}")
        heap = heaps.setdefault(label, [])
        drawn = (place, -number, row.part, row.number)  # not the row itself, which may hold its clip
        if len(heap) < most:
            heapq.heappush(heap, drawn)
        else:
            heapq.heappushpop(heap, drawn)
    if keys and not heaps:
        raise DatasetError(f"{source.path}: no row has {per_label!r};", remedy=nearest(str(per_label), sorted(keys)))
    for label, heap in sorted(heaps.items()):
        for _, _, part, number in sorted(heap, key=lambda d: d[:2], reverse=True):
            if part.rows is not None:
                yield label, part.rows[number - 1]
