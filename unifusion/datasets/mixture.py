"""Several datasets as one, each row drawn from one of them by its weight; which files they are is a YAML file."""

from __future__ import annotations

import inspect
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from unifusion import catalog
from unifusion.conversation import Example
from unifusion.datasets._files import Listed
from unifusion.datasets.dataset import Dataset
from unifusion.errors import DatasetError, nearest

__all__ = ["Mixture"]

_OF_COMPOSED = ("faces", "voices", "sounds")


class Mixture(Dataset):
    """Rows of several datasets of one split, in shares given by weights; every part goes through its rows in a new order each round.

    Source: this package; media and licences are those of the parts. Layout on disk: a YAML file of named parts. One part:

        voices: {dataset: ravdess, path: ravdess_speech, weight: 3, options: {song: true}}

    `path` is below `data`. `thirds: {level_db: [-41.1, -33.3], ..}` says where the lowest and the highest third of a part's voices begin
    (`media.measure_prosody`); rows get it as a label. A part whose dataset is `composed` names other parts instead:
    `{dataset: composed, faces: [..], voices: [..], sounds: [..]}`, and with `rounds: {train: 4}` each voice of that split meets so many
    faces, instead of one. A part of weight 0 gives no rows of its own. `split` may be overruled by a part (`splits: {val: dev}`), and a
    part that says `only: train` is not there in other splits. Encoders are not trained on a part that says `aligned: false`: what they
    tell of it is as unsure as what they tell of strangers.

    Args:
        path: the YAML file.
        written: its content, for parts that no file names; `path` is what errors call it then.
        data: folder the parts' paths are relative to; that of the YAML file when it is not given.
        split: train, val or test.
        count: rows; as many as the parts with a weight have together when it is not given.
        seed: another seed draws in another order.

    Attributes:
        parts: name -> dataset, in the file's order.
        weights: name -> share of the rows; they add up to 1.
        kinds: name -> stem of its dataset.
        aligned: names of the parts that encoders are trained on.

    Raises:
        DatasetError: the file is no such mapping, a part cannot be read, or nothing has a weight.
    """

    def __init__(
        self, path: str | Path, *, data: str | Path | None = None, split: str = "train", count: int | None = None, seed: int = 0,
        written: Mapping[str, Mapping[str, Any]] | None = None,
    ) -> None:  # fmt: skip
        self.path, self.split, self.seed = Path(path), split, seed
        root = Path(data) if data is not None else self.path.parent
        found = read_parts(self.path) if written is None else {name: dict(part) for name, part in written.items()}
        chosen = {name: part for name, part in found.items() if part.pop("only", split) == split}
        self.aligned = frozenset(name for name, part in chosen.items() if part.pop("aligned", True))
        self.parts: dict[str, Dataset] = {}
        for name, part in sorted(chosen.items(), key=lambda item: item[1].get("dataset") == "composed"):
            self.parts[name] = self._part(name, dict(part), root)
        self.parts = {name: self.parts[name] for name in chosen}
        self.kinds = {name: str(part["dataset"]) for name, part in chosen.items()}
        self._orders: dict[tuple[str, int], np.ndarray] = {}
        total = sum(float(p.get("weight", 1)) for p in chosen.values())
        if total <= 0:
            raise DatasetError(f"{path}: no part has a weight;", remedy="give one a weight above 0.")
        self.weights = {name: float(p.get("weight", 1)) / total for name, p in chosen.items()}
        self.count = count if count is not None else sum(len(d) for name, d in self.parts.items() if self.weights[name])

    def _part(self, name: str, part: dict[str, Any], root: Path) -> Dataset:
        """One part's dataset."""
        kind, options = part.pop("dataset", None), dict(part.pop("options", None) or {})
        part.pop("weight", None)
        split = (part.pop("splits", None) or {}).get(self.split, self.split)
        if not isinstance(kind, str):
            raise DatasetError(f"{self.path}, part {name!r} names no dataset;", remedy="write {dataset: ravdess, path: ..}.")
        if kind == "composed":
            sets = {key: self._joined(name, key, part.pop(key, ())) for key in _OF_COMPOSED}
            rounds = self._rounds(name, part.pop("rounds", {}))
            self._nothing_else(name, part, (*_OF_COMPOSED, "rounds"))
            if sets["faces"] is None or sets["voices"] is None:
                raise DatasetError(f"{self.path}, part {name!r} lacks faces or voices;", remedy="name other parts for both.")
            made = self._made(name, kind, sets["faces"], sets["voices"], sounds=sets["sounds"], **options)
            made.count = options.get("count", rounds * made.a_round)
            composed: Dataset = made
            return composed
        path, thirds = str(part.pop("path", ".")), part.pop("thirds", None)
        place = root / path if kind != "huggingface" or (root / path).exists() else path  # else a name on the hub
        self._nothing_else(name, part, ("dataset", "path", "weight", "splits", "options", "thirds"))
        drawn = kind in catalog.names("datasets") and "path" not in inspect.signature(catalog.load("datasets", kind)).parameters
        rows = self._made(name, kind, *(() if drawn else (place,)), split=split, **options)  # clip world lies on no disk
        return rows if thirds is None else Listed((replace(r, labels={**r.labels, "thirds": thirds}) for r in rows), None, name)

    def _made(self, name: str, kind: str, *args: Any, **options: Any) -> Any:
        """A dataset by name."""
        try:
            found = catalog.load("datasets", kind)(*args, **options)
        except TypeError as error:
            raise DatasetError(f"{self.path}, part {name!r}: {error};", remedy="see the reader's docstring for its options.") from error
        return found

    def _joined(self, name: str, key: str, others: Sequence[str]) -> Dataset | None:
        """The rows of the parts that a composed one names, as one dataset."""
        for other in others:
            if other not in self.parts:
                raise DatasetError(f"{self.path}, part {name!r}, {key}: no part {other!r};", remedy=nearest(other, list(self.parts)))
        return Listed((row for other in others for row in self.parts[other]), None, name) if others else None

    def _rounds(self, name: str, told: Any) -> int:
        """How many faces each voice meets in this split."""
        if not isinstance(told, dict) or not all(isinstance(n, int) and n > 0 for n in told.values()):
            raise DatasetError(f"{self.path}, part {name!r}: rounds is {told!r};", remedy="write a number by split: {train: 4}.")
        return int(told.get(self.split, 1))

    def _nothing_else(self, name: str, part: Mapping[str, Any], known: Sequence[str]) -> None:
        """Refuse what is left over."""
        for key in part:
            raise DatasetError(f"{self.path}, part {name!r}: unknown key {key!r};", remedy=nearest(key, list(known)))

    def __len__(self) -> int:
        """Rows."""
        return self.count

    def place(self, index: int) -> tuple[str, int]:
        """The part a row is of, and its number there: a function of (seed, index)."""
        names = [n for n, w in self.weights.items() if w]
        blocks = [round(self.weights[n] * 1000) or 1 for n in names]
        # Each thousand rows holds every part as often as its weight says, in an order of its own; so a part's own rows are counted.
        block, at = divmod(index, sum(blocks))
        order = [name for name, count in zip(names, blocks, strict=True) for _ in range(count)]
        random.Random(f"{self.seed}/block {block}").shuffle(order)
        name = order[at]
        number = block * blocks[names.index(name)] + order[:at].count(name)
        if getattr(self.parts[name], "forward_only", False):
            return name, number
        turn, at = divmod(number, len(self.parts[name]))
        return name, int(self._order(name, turn)[at])

    def _order(self, name: str, turn: int) -> np.ndarray:
        """The order of a part's rows in one of its rounds; drawn once for all rows of it."""
        if (name, turn) not in self._orders:
            self._orders = {key: order for key, order in self._orders.items() if key[0] != name or key[1] >= turn - 1}
            size = len(self.parts[name])
            drawn = random.Random(f"{self.seed}/{name}/{turn}").sample(range(size), size)
            self._orders[name, turn] = np.asarray(drawn, dtype=np.int64)
        return self._orders[name, turn]

    def __getitem__(self, index: int) -> Example:
        """The row at `index`."""
        if not 0 <= index < self.count:
            raise IndexError(f"row {index} of {self.count}")
        name, number = self.place(index)
        return self.parts[name][number]

    def every(self) -> Iterator[Example]:
        """Each row of each part once, whatever its weight."""
        return (row for part in self.parts.values() for row in part)

    def in_memory(self) -> Mixture:
        """Keep every part's rows, where making one takes longer than remembering it; returns self."""
        self.parts = {
            name: part if getattr(part, "forward_only", False) else Listed(iter(part), None, name) for name, part in self.parts.items()
        }
        return self

    def hold_apart(self, other: Mixture) -> None:
        """Refuse another split that shares a group: a speaker, a recording or a dialogue. Clip world's splits keep apart what is drawn.

        Raises:
            DatasetError: names the groups they share.
        """
        shared = sorted((self._groups() & other._groups()) - {""})
        if shared:
            raise DatasetError(
                f"{self.path}: {len(shared)} groups are in {self.split} and in {other.split} ({', '.join(shared[:3])});",
                remedy="split by speaker or recording, not by row.",
            )

    def _groups(self) -> set[str]:
        """Groups of the parts that lie on a disk."""
        return {row.group for name, part in self.parts.items() if self.kinds[name] != "clip_world" for row in part}


def read_parts(path: Path) -> dict[str, dict[str, Any]]:
    """The parts as they are written."""
    try:
        raw = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError) as error:
        raise DatasetError(f"cannot read {path}: {str(error).splitlines()[0]};", remedy="give a YAML file of parts.") from error
    if not isinstance(raw, dict) or not raw or not all(isinstance(p, dict) for p in raw.values()):
        raise DatasetError(f"{path} holds no named parts;", remedy="write `voices: {dataset: ravdess, path: ..}`.")
    return raw
