"""Late fusion of runs: fitted on their val rows, measured on both splits, written as a run of its own."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from unifusion import atomic, catalog
from unifusion.errors import CheckpointError, DatasetError
from unifusion.evaluation.predictions import Prediction, write_predictions
from unifusion.evaluation.systems import SPLITS, System, Table
from unifusion.metrics.accuracy import accuracy
from unifusion.metrics.macro_recall import macro_recall
from unifusion.metrics.weighted_f1 import weighted_f1
from unifusion.models.late_fusions._folds import out_of_fold, taken
from unifusion.models.late_fusions.late_fusion import LateFusion
from unifusion.processor.streams import read_config

__all__ = ["Fused", "best_of", "figures_of", "fuse", "load_fusion", "summary", "write_fused"]

_METRICS = {"accuracy": accuracy, "uar": macro_recall, "weighted_f1": weighted_f1}
_STATE = "fusion.json"


@dataclass(frozen=True, kw_only=True)
class Fused:
    """Systems fused one way.

    Attributes:
        method: name of the late fusion.
        config: its choices.
        states: seed -> what it learned.
        rows: of all seeds: val rows by fits without their own fold, test rows by the fit on all val rows.
        figures: split -> `accuracy`, `uar`, `weighted_f1` (mean over seeds), `n`, `missing`; a split without truth has none.
        labels: in the order of the states' numbers.
    """

    method: str
    config: dict[str, Any]
    states: dict[int, dict[str, Any]]
    rows: tuple[Prediction, ...]
    figures: dict[str, dict[str, float]]
    labels: tuple[str, ...]


def fuse(tables: Sequence[Table], method: str, *, choices: Mapping[str, Any] | None = None, folds: int = 5) -> Fused:
    """Fuse one way.

    Args:
        tables: a seed each.
        method: of `unifusion list late_fusions`.
        choices: of its Config.
        folds: by groups, for the val rows.

    Raises:
        ConfigError: there is no such fusion or choice.
        DatasetError: there is nothing to fit on.
    """
    kind = catalog.load("late_fusions", method)
    config = read_config(kind.Config, dict(choices or {}), f"late fusion {method!r}")
    states, rows = {}, []
    for table in tables:
        told, fusion = _told(kind(config), table, folds)
        states[table.seed] = fusion.state()
        rows += told
    figures = _measured(rows, [_lacking(t) for t in tables])
    return Fused(method=method, config=asdict(config), states=states, rows=tuple(rows), figures=figures, labels=tables[0].labels)


def _told(fusion: LateFusion, table: Table, folds: int) -> tuple[list[Prediction], LateFusion]:
    """Fused rows of one seed, and the fusion as it is fitted on all val rows."""
    truth_N, groups_N = table.truth_N, np.array([r.group or r.id for r in table.rows])
    fit_N = np.array([n for n in table.of("val") if truth_N[n] >= 0 and table.said.there_NM[n].any()], dtype=np.int64)
    if fusion.fitted:
        if not len(fit_N):
            found = "no row of split val has a true label and an answer;"
            raise DatasetError(found, remedy="predict the val rows as well: late fusion is fitted on them (or take --method averaging).")
        fusion.fit(taken(table.said, fit_N), truth_N[fit_N], groups_N[fit_N])
    told_NK, affect_N2 = fusion.fuse(table.said), fusion.affect(table.said)
    if fusion.fitted:
        told_NK[fit_N], felt = out_of_fold(fusion, taken(table.said, fit_N), truth_N[fit_N], groups_N[fit_N], folds=folds)
        if affect_N2 is not None and felt is not None:
            affect_N2[fit_N] = felt
    return [_row(table, n, told_NK[n], None if affect_N2 is None else affect_N2[n]) for n in range(len(table.rows))], fusion


def _row(table: Table, n: int, told_K: np.ndarray, affect_2: np.ndarray | None) -> Prediction:
    """One fused row; of what no system answered nothing is said."""
    probabilities = {} if np.isnan(told_K).any() else {label: float(p) for label, p in zip(table.labels, told_K, strict=True)}
    valence, arousal = (None, None) if affect_2 is None or np.isnan(affect_2).any() else (float(affect_2[0]), float(affect_2[1]))
    return replace(table.rows[n], probabilities=probabilities, valence=valence, arousal=arousal, seed=table.seed)


def figures_of(tables: Sequence[Table], m: int) -> dict[str, dict[str, float]]:
    """The same figures of one of the systems alone; an example it did not answer is wrong."""
    rows = []
    for table in tables:
        for n, row in enumerate(table.rows):
            told_K = table.said.probabilities_NMK[n, m]
            probabilities = {} if np.isnan(told_K).any() else {k: float(p) for k, p in zip(table.labels, told_K, strict=True)}
            rows.append(replace(row, probabilities=probabilities, seed=table.seed))
    return _measured(rows, [_lacking(t, m) for t in tables])


def _lacking(table: Table, m: int | None = None) -> dict[str, bool]:
    """Of which ids some system, or the one at `m`, said nothing."""
    gone_NM = ~table.said.there_NM
    return {r.id: bool(gone_NM[n].any() if m is None else gone_NM[n, m]) for n, r in enumerate(table.rows)}


def _measured(rows: Sequence[Prediction], lacking: Sequence[Mapping[str, bool]]) -> dict[str, dict[str, float]]:
    """Figures of each split, their mean over seeds; labels of the mean recall are those of the split's truth."""
    figures: dict[str, dict[str, float]] = {}
    for split in SPLITS:
        parts = []
        for seed, gone in zip(dict.fromkeys(r.seed for r in rows), lacking, strict=True):
            own = [r for r in rows if r.seed == seed and r.split == split and r.truth]
            if own:
                said, true = [r.answer or None for r in own], [r.truth for r in own]
                measured = {name: float(metric(said, true)) for name, metric in _METRICS.items()}
                parts.append({**measured, "n": len(own), "missing": sum(gone[r.id] for r in own)})
        if parts:
            figures[split] = {key: math.fsum(p[key] for p in parts) / len(parts) for key in parts[0]}
    return figures


def best_of(fused: Sequence[Fused]) -> Fused:
    """The winner by mean recall (UAR), then accuracy, on the val rows; of equals the first."""
    return max(fused, key=lambda f: (f.figures.get("val", {}).get("uar", 0.0), f.figures.get("val", {}).get("accuracy", 0.0)))


def write_fused(fused: Fused, out: Path, systems: Sequence[System], *, singles: Mapping[str, Any], more: Mapping[str, Any]) -> None:
    """Write `predictions.jsonl` and `fusion.json`: method, choices, what was learned, what was fused, figures."""
    write_predictions(out / "predictions.jsonl", fused.rows)
    told = {
        "method": fused.method, "config": fused.config, "labels": list(fused.labels),
        "states": {str(seed): state for seed, state in fused.states.items()},
        "systems": [
            {"name": s.name, "path": str(s.path), "sha256": s.sha256, "rows": len(s.rows), "seeds": list(s.seeds)} for s in systems
        ],
        "figures": {"fused": fused.figures, "single": dict(singles)}, **more,
    }  # fmt: skip
    atomic.write_text(out / _STATE, json.dumps(told, indent=1, sort_keys=True, ensure_ascii=False, allow_nan=False) + "\n")


def load_fusion(folder: str | Path, *, seed: int | None = None) -> tuple[LateFusion, tuple[str, ...], tuple[str, ...]]:
    """A fusion that was written, to be asked about other examples.

    Args:
        folder: of `unifusion fuse -o`.
        seed: of the trainings it was fitted for; default the first.

    Returns:
        the fusion, the names of its models and its labels, both in the order it takes them.

    Raises:
        CheckpointError: the file cannot be read, or has no such seed.
    """
    path = Path(folder) / _STATE
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
        states, method = raw["states"], str(raw["method"])
        if not method.isidentifier():
            raise ValueError(f"{method!r} is no name of the catalog")
        kind = catalog.load("late_fusions", method)
        state = states[str(seed)] if seed is not None else next(iter(states.values()))
        fusion: LateFusion = kind(read_config(kind.Config, raw["config"], str(path))).restore(state)
        return fusion, tuple(s["name"] for s in raw["systems"]), tuple(raw["labels"])
    except (OSError, ValueError, KeyError, StopIteration) as error:
        remedy = "name a folder that `unifusion fuse -o` wrote, and one of its seeds."
        raise CheckpointError(f"cannot take the fusion of {path}: {error!r};", remedy=remedy) from error


def summary(singles: Mapping[str, Mapping[str, Mapping[str, float]]], fused: Sequence[Fused]) -> str:
    """A table for people: each system alone, each fusion, on val and test."""
    lines = []
    names = [*singles, *(f.method for f in fused)]
    width = max(len(n) for n in names) + 2
    for split in SPLITS:
        told = [(n, singles[n].get(split)) for n in singles] + [(f"= {f.method}", f.figures.get(split)) for f in fused]
        if any(figures for _, figures in told):
            lines.append(f"{split:{width}}  accuracy    UAR  weighted F1      n  missing")
        for name, f in told:
            if f:
                lines.append(
                    f"{name:{width}}  {f['accuracy']:8.3f}  {f['uar']:5.3f}  {f['weighted_f1']:11.3f}  {f['n']:5.0f}  {f['missing']:7.0f}"
                )
    return "\n".join(lines)
