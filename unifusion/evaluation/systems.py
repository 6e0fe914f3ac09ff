"""What several systems said of the same examples: runs are read, and put side by side by id, seed and label."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from unifusion.errors import DatasetError
from unifusion.evaluation.manifest import Row, read_manifest
from unifusion.evaluation.predictions import Prediction, read_predictions
from unifusion.models.late_fusions.late_fusion import Said

__all__ = ["SPLITS", "System", "Table", "drop", "read_systems", "tables"]

SPLITS = ("val", "test")
_FILE = "predictions.jsonl"
_TRUTHS = ("emotion", "truth", "label")
_GROUPS = ("group", "speaker")


@dataclass(frozen=True, kw_only=True)
class System:
    """A run that is fused.

    Attributes:
        name: of its folder or file; the shortest end of the path that is nobody else's.
        path: of its file.
        sha256: of the file.
        rows: of the splits val and test under the condition "all".
    """

    name: str
    path: Path
    sha256: str
    rows: tuple[Prediction, ...]

    @property
    def seeds(self) -> tuple[int, ...]:
        """Of its trainings."""
        return tuple(sorted({r.seed for r in self.rows}))


@dataclass(frozen=True, kw_only=True)
class Table:
    """All systems on N examples, of one seed.

    Attributes:
        seed: of the trainings; 0 where seeds were averaged.
        rows: ids, groups, splits, truth; what was said is empty.
        said: by each system.
        labels: K, sorted.
    """

    seed: int
    rows: tuple[Prediction, ...]
    said: Said
    labels: tuple[str, ...]

    @property
    def truth_N(self) -> np.ndarray:
        """Numbers of the true labels int64; -1 where none is known."""
        place = {label: i for i, label in enumerate(self.labels)}
        return np.array([place[r.truth] if r.truth else -1 for r in self.rows], dtype=np.int64)

    def of(self, split: str) -> np.ndarray:
        """The numbers of a split's rows."""
        return np.flatnonzero([r.split == split for r in self.rows])


def read_systems(paths: Sequence[str | Path], *, truth: str | Path | None = None) -> list[System]:
    """Read runs.

    Args:
        paths: folders with `predictions.jsonl`, or files of predictions, or of answers as `unifusion emotion -o` and `predict` write them.
        truth: manifest of answers: rows with `id`, `emotion` (or `truth`, `label`), `split`, and if known `group` (or `speaker`).

    Raises:
        DatasetError: a file cannot be used; names it and the remedy.
    """
    files = [_file_of(Path(p)) for p in paths]
    if len(set(files)) < len(files) or len(files) < 2:
        raise DatasetError(f"{len(set(files))} different runs to fuse;", remedy="name two or more, each once.")
    manifest = None if truth is None else {row.id: row for row in read_manifest(Path(truth))}
    return [_read(file, name, manifest) for file, name in zip(files, _names(files), strict=True)]


def _file_of(path: Path) -> Path:
    """The file of predictions that a person means."""
    file = path / _FILE if path.is_dir() else path
    if not file.is_file():
        raise DatasetError(f"there is no {file};", remedy=f"name a folder with {_FILE}, or such a file.")
    return file.resolve()


def _names(files: Sequence[Path]) -> list[str]:
    """The shortest different ends of the paths."""
    parts = [(f.parent if f.name == _FILE else f.with_suffix("")).parts for f in files]
    depth = 1
    while len({p[-depth:] for p in parts}) < len(parts) and depth < max(map(len, parts)):
        depth += 1
    names = ["/".join(p[-depth:]) for p in parts]
    return names if len(set(names)) == len(names) else [str(f) for f in files]


def _read(file: Path, name: str, manifest: Mapping[str, Row] | None) -> System:
    """One system."""
    try:
        content = file.read_bytes()
        raw = [json.loads(line) for line in content.decode().split("\n") if line.strip()]
    except ValueError as error:
        raise DatasetError(f"{file} is not JSON lines: {error};", remedy="name a file of predictions or answers.") from error
    if not all(isinstance(r, dict) and isinstance(r.get("probabilities") or {}, dict) for r in raw):
        raise DatasetError(f"{file} holds lines that are no answers;", remedy='each line is an object, its "probabilities" label -> share.')
    if any("truth" in r for r in raw):
        rows = read_predictions(file)
    elif manifest is None:
        raise DatasetError(f"{file} holds answers without the truth;", remedy="give it: --truth MANIFEST.jsonl.")
    else:
        rows = [_judged(r, manifest, file) for r in raw if str(r.get("id")) in manifest]
    kept = [replace(r, probabilities=r.probabilities or {}) for r in rows if r.condition == "all" and r.split in SPLITS]
    if not any(r.probabilities for r in kept):
        found = f"{file} has no row of split val or test, condition all, with probabilities;"
        raise DatasetError(found, remedy="take predictions of labels (unifusion emotion, or predict with a task of labels) and splits.")
    seen: set[tuple[str, int]] = set()
    for row in kept:
        if (row.id, row.seed) in seen:
            raise DatasetError(f"{file}: the id {row.id!r} stands twice for seed {row.seed};", remedy="one row an example and seed.")
        seen.add((row.id, row.seed))
    return System(name=name, path=file, sha256=hashlib.sha256(content).hexdigest(), rows=tuple(kept))


def _judged(raw: Mapping[str, Any], manifest: Mapping[str, Row], file: Path) -> Prediction:
    """An answer with the truth beside it."""
    fields = manifest[str(raw["id"])].fields
    truth, group = (next((str(fields[k]) for k in keys if fields.get(k)), "") for keys in (_TRUTHS, _GROUPS))
    streams = (raw.get("report") or {}).get("streams") or {}
    try:
        return Prediction(
            id=str(raw["id"]), group=group, split=str(fields.get("split") or "test"), truth=truth,
            probabilities=raw.get("probabilities") or {}, valence=raw.get("valence"), arousal=raw.get("arousal"),
            true_valence=fields.get("valence"), true_arousal=fields.get("arousal"),
            streams=tuple(n for n, s in streams.items() if s.get("present")),
        )  # fmt: skip
    except (TypeError, AttributeError) as error:
        raise DatasetError(f"{file}, id {raw['id']!r}: {error};", remedy="name answers of `unifusion emotion -o` or `predict`.") from error


def tables(systems: Sequence[System]) -> list[Table]:
    """Put systems side by side: seed by seed where all have the same seeds, otherwise each system's probabilities averaged over its seeds.

    Rows are those that any system has; one that lacks it is missing there (of answers, ids that the manifest lacks are no rows). Labels are
    those that any system or the truth knows; a system that does not know a label gives it 0.

    Raises:
        DatasetError: no id is common to all, two systems disagree on truth or split of one, or there are fewer than two labels.
    """
    seeds = systems[0].seeds if all(s.seeds == systems[0].seeds for s in systems) else None
    parts = [[_by_id(s, seed) for s in systems] for seed in seeds] if seeds else [[_averaged(s) for s in systems]]
    labels = tuple(sorted({label for s in systems for r in s.rows for label in (*r.probabilities, r.truth) if label}))
    if len(labels) < 2:
        raise DatasetError(f"the runs know {len(labels)} labels;", remedy="late fusion joins probabilities of two or more.")
    return [_table(part, systems, seed, labels) for part, seed in zip(parts, seeds or (0,), strict=True)]


def _by_id(system: System, seed: int) -> dict[str, Prediction]:
    """The rows of one seed."""
    return {r.id: r for r in system.rows if r.seed == seed}


def _averaged(system: System) -> dict[str, Prediction]:
    """The mean over seeds of each row."""
    found: dict[str, list[Prediction]] = {}
    for row in system.rows:
        found.setdefault(row.id, []).append(row)
    return {name: _mean(rows) for name, rows in found.items()}


def _mean(rows: Sequence[Prediction]) -> Prediction:
    """One row of several seeds; those that said nothing are left out."""
    said = [r.probabilities for r in rows if r.probabilities]
    labels = list(dict.fromkeys(label for p in said for label in p))
    probabilities = {label: float(np.mean([p.get(label, 0.0) for p in said])) for label in labels}
    felt = [[v for r in rows if (v := getattr(r, name)) is not None] for name in ("valence", "arousal")]
    valence, arousal = (float(np.mean(told)) if told else None for told in felt)
    return replace(rows[0], probabilities=probabilities, valence=valence, arousal=arousal, seed=0)


def _table(parts: Sequence[Mapping[str, Prediction]], systems: Sequence[System], seed: int, labels: tuple[str, ...]) -> Table:
    """One seed."""
    if not set.intersection(*(set(p) for p in parts)):
        found = f"no id is common to {', '.join(str(s.path) for s in systems)};"
        raise DatasetError(found, remedy="fuse runs over the same manifest; their ids must be the same.")
    rows = tuple(_agreed(name, parts, systems) for name in dict.fromkeys(name for part in parts for name in part))
    told_NMK = np.full((len(rows), len(parts), len(labels)), np.nan)
    affect_NM2 = np.full((len(rows), len(parts), 2), np.nan)
    for n, row in enumerate(rows):
        for m, part in enumerate(parts):
            found_row = part.get(row.id)
            if found_row is not None and found_row.probabilities:
                told_NMK[n, m] = [found_row.probabilities.get(label, 0.0) for label in labels]
            if found_row is not None and found_row.valence is not None and found_row.arousal is not None:
                affect_NM2[n, m] = found_row.valence, found_row.arousal
    affect = None if np.isnan(affect_NM2).all() else affect_NM2
    return Table(seed=seed, rows=rows, said=Said(probabilities_NMK=told_NMK, affect_NM2=affect), labels=labels)


def _agreed(name: str, parts: Sequence[Mapping[str, Prediction]], systems: Sequence[System]) -> Prediction:
    """What the systems have in common to say of one example.

    Raises:
        DatasetError: they disagree on its truth or its split.
    """
    found = [(part[name], system) for part, system in zip(parts, systems, strict=True) if name in part]
    told: dict[str, Any] = {}
    for key in ("truth", "split", "group", "true_valence", "true_arousal"):
        given = [(v, s) for r, s in found if (v := getattr(r, key)) not in ("", None)]
        told[key] = given[0][0] if given else getattr(found[0][0], key)
        other = next(((v, s) for v, s in given if v != told[key]), None)
        if other is not None and key in ("truth", "split"):
            clash = f"the {key} of {name!r} is {told[key]!r} in {given[0][1].path} and {other[0]!r} in {other[1].path};"
            raise DatasetError(clash, remedy="fuse runs over the same data and labels.")
    streams = tuple(dict.fromkeys(s for r, _ in found for s in r.streams))
    return Prediction(id=name, streams=streams, **told)


def drop(table: Table, systems: Sequence[System], shares: Mapping[str, float], seed: int) -> Table:
    """Let systems be missing for a random share of the examples, a function of (seed, system, id) only.

    Raises:
        DatasetError: there is no system of that name, or the share is outside [0, 1].
    """
    names = [s.name for s in systems]
    told_NMK = table.said.probabilities_NMK.copy()
    affect_NM2 = None if table.said.affect_NM2 is None else table.said.affect_NM2.copy()
    for name, share in shares.items():
        if name not in names or not 0 <= share <= 1:
            raise DatasetError(f"cannot drop {share} of {name!r};", remedy=f"name one of {', '.join(names)} and a share from 0 to 1.")
        m = names.index(name)
        gone_N = np.array([_draw(f"{seed}\0{name}\0{r.id}") < share for r in table.rows])
        told_NMK[gone_N, m] = np.nan
        if affect_NM2 is not None:
            affect_NM2[gone_N, m] = np.nan
    return replace(table, said=Said(probabilities_NMK=told_NMK, affect_NM2=affect_NM2))


def _draw(key: str) -> float:
    """A number in [0, 1) that depends on the key alone."""
    return int.from_bytes(hashlib.blake2b(key.encode(), digest_size=8).digest(), "big") / 2.0**64
