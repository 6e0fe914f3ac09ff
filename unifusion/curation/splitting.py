"""`unifusion data split`: train, val and test without a speaker, talk or recording in two of them, labels in them as in the whole."""

from __future__ import annotations

import hashlib
import os
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from unifusion.conversation import Example
from unifusion.curation.lines import kin_of
from unifusion.errors import ConfigError, DatasetError, nearest

__all__ = ["PARTS", "Row", "SplitPlan", "order_of", "plan_splits", "row_of"]

PARTS = ("train", "val", "test")


@dataclass(frozen=True, kw_only=True)
class Row:
    """What a split needs to know of a row.

    Attributes:
        id: of the row.
        group: what may not be cut.
        label: by which splits are made alike; "" for none.
        split: as it is written, "" where it is not.
    """

    id: str
    group: str
    label: str = ""
    split: str = ""


@dataclass(kw_only=True)
class SplitPlan:
    """Where every row goes.

    Attributes:
        splits: of the rows, in their order.
        kept: rows that stay where they were.
        groups: of each split.
        counts: split -> label -> rows.
        worst: largest difference between a label's share of a split and of the whole, and which (label, split) that is.
    """

    splits: list[str]
    kept: int = 0
    groups: dict[str, int] = field(default_factory=dict)
    counts: dict[str, Counter[str]] = field(default_factory=dict)
    worst: tuple[float, str, str] = (0.0, "", "")

    def to_dict(self) -> dict[str, Any]:
        """Figures."""
        rows = Counter(self.splits)
        total = max(len(self.splits), 1)
        return {
            "rows": {part: rows[part] for part in PARTS}, "shares": {part: round(rows[part] / total, 4) for part in PARTS},
            "groups": self.groups, "kept": self.kept, "labels": {part: dict(sorted(c.items())) for part, c in self.counts.items()},
            "worst": {"difference": round(self.worst[0], 4), "label": self.worst[1], "split": self.worst[2]},
        }  # fmt: skip


def row_of(example: Example, number: int, base: Path, *, by: str = "group", stratify: str | None = None) -> Row:
    """What a split needs of an example.

    Args:
        example: the row.
        number: of the row, for its name where it has none.
        base: folder from which files are named, so that splits are the same wherever it lies.
        by: `group`, or a label (or text) whose value may not be cut. Rows without a group go with those of the same clip.
        stratify: the label by which splits are made alike.

    Raises:
        DatasetError: the row lacks one of them.
    """
    name = example.id or str(number)
    known = {**example.texts, **example.labels}
    for key in (by, stratify):
        if key not in (None, "group") and known.get(str(key)) is None:
            raise DatasetError(f"row {name!r} has no {key!r};", remedy=nearest(str(key), ["group", *known]))
    group = _kin(example, name, base) if by == "group" else str(known[by])
    return Row(id=name, group=group, label=str(known[stratify]) if stratify else "", split=example.split)


def _kin(example: Example, name: str, base: Path) -> str:
    """A row's group, else the file of its first clip, else the row itself."""
    what, kin = kin_of(example)
    if what == "clip" and "://" not in kin:
        kin = os.path.relpath(kin, base)
    return kin or f"row {name}"


def plan_splits(rows: Sequence[Row], *, val: float, test: float, seed: int = 0, again: bool = False) -> SplitPlan:
    """Say where each row goes: whole groups, the largest first, each to the split that it brings nearest to what it shall be.

    The same rows in any order give the same splits.

    Args:
        rows: all of them.
        val, test: shares of the rows; the rest is train.
        seed: another seed breaks ties between groups of one size in another way.
        again: rows that have a split are given one anew; otherwise they keep it, and so does the rest of their group.

    Raises:
        ConfigError: shares that are none.
        DatasetError: fewer groups than splits, or a group that is in two splits already.
    """
    if not (0 <= val < 1 and 0 <= test < 1 and val + test < 1):
        raise ConfigError(f"val {val:g} and test {test:g} leave nothing to train on;", remedy="give shares that add up to less than 1.")
    wanted = {part: share for part, share in zip(PARTS, (1 - val - test, val, test), strict=True) if share > 0}
    fixed = {} if again else _fixed(rows)
    groups: dict[str, Counter[str]] = defaultdict(Counter)
    for row in rows:
        groups[row.group][row.label] += 1
    free = [g for g in groups if g not in fixed]
    if free and len(groups) < len(wanted):
        raise DatasetError(
            f"{len(groups)} groups cannot be in {len(wanted)} splits;", remedy="leave some out (--val 0, --test 0), or a finer --by."
        )
    whole = Counter(row.label for row in rows)
    there: dict[str, Counter[str]] = {part: Counter() for part in PARTS}
    for group, part in fixed.items():
        there[part].update(groups[group])
    order = sorted(free, key=lambda g: (-sum(groups[g].values()), order_of(seed, g)))
    for number, group in enumerate(order):
        left = [part for part in wanted if not there[part]]
        # The last groups fill splits that would stay empty.
        pool = left if left and len(order) - number <= len(left) else list(wanted)
        part = min(pool, key=lambda p: (_gain(groups[group], there[p], whole, wanted[p]), order_of(seed, f"{group}/{p}")))
        there[part].update(groups[group])
        fixed[group] = part
    plan = SplitPlan(splits=[fixed[row.group] for row in rows], kept=len(rows) - sum(sum(groups[g].values()) for g in free))
    plan.groups = {part: sum(p == part for p in fixed.values()) for part in PARTS}
    plan.counts = there
    plan.worst = _worst(there, whole)
    return plan


def _fixed(rows: Iterable[Row]) -> dict[str, str]:
    """Group -> the split that its rows say."""
    found: dict[str, str] = {}
    for row in rows:
        if not row.split:
            continue
        if row.split not in PARTS:
            raise DatasetError(f"row {row.id!r} is of split {row.split!r};", remedy=f"{nearest(row.split, list(PARTS))}, or --again.")
        if found.setdefault(row.group, row.split) != row.split:
            raise DatasetError(
                f"the group {row.group!r} is in {found[row.group]} and in {row.split} already;", remedy="split all rows anew: --again."
            )
    return found


def _gain(group: Counter[str], there: Counter[str], whole: Counter[str], share: float) -> float:
    """How much worse a split becomes by a group: squared distance of its counts to what they shall be, by label, after less before."""
    change = 0.0
    for label, count in group.items():
        goal = max(share * whole[label], 1e-9)
        change += ((there[label] + count - goal) ** 2 - (there[label] - goal) ** 2) / goal
    return change


def _worst(there: Mapping[str, Counter[str]], whole: Counter[str]) -> tuple[float, str, str]:
    """The label whose share of a split differs most from its share of the whole."""
    total = max(sum(whole.values()), 1)
    found = [
        (abs(counts[label] / sum(counts.values()) - whole[label] / total), label, part)
        for part, counts in there.items() if sum(counts.values()) for label in whole
    ]  # fmt: skip
    return max(found, default=(0.0, "", ""))


def order_of(seed: int, name: str) -> int:
    """A number by which groups of one size are ordered."""
    return int.from_bytes(hashlib.sha256(f"{seed}/{name}".encode("utf-8", "surrogatepass")).digest()[:8], "big")
