"""Figures of a suite out of its records: values with intervals, chance, the most frequent answer, what was not parsed, what failed."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from unifusion.conversation import Example
from unifusion.evaluation.suite.asking import SCORINGS, first_scoring
from unifusion.evaluation.suite.conditions import CONDITIONS
from unifusion.evaluation.suite.parts import Part
from unifusion.metrics.bootstrap import Interval, bootstrap
from unifusion.tasks.task import LabelTask, OptionTask, Score

__all__ = ["interval_of", "part_figures", "suite_figures"]

_SLOW_RESAMPLES = 200
"""Of a metric that is no mean over rows, which has to be computed again for each."""
_FEW_GROUPS = 20
_CLOSED_METRICS = ("accuracy", "macro_recall")
"""Of which a blind draw among k answers gets 1/k."""
_KINDS = ("type", "needs", "family")
"""Labels that a part's rows are told apart by, where they have them."""


def suite_figures(
    name: str, parts: Sequence[Part], records: Sequence[Mapping[str, Any]], *, can_score: bool, resamples: int = 1000
) -> dict[str, Any]:  # fmt: skip
    """All parts' figures; see `part_figures`."""
    by_part: dict[str, list[Mapping[str, Any]]] = {part.name: [] for part in parts}
    for record in records:
        if record["part"] in by_part:
            by_part[record["part"]].append(record)
    told = {part.name: part_figures(part, by_part[part.name], can_score=can_score, resamples=resamples) for part in parts}
    return {"suite": name, "parts": told}


def part_figures(part: Part, records: Sequence[Mapping[str, Any]], *, can_score: bool, resamples: int = 1000) -> dict[str, Any]:
    """Figures of one part.

    Args:
        part: what was asked.
        records: every answer, or error.
        can_score: whether the system tells likelihoods.
        resamples: of intervals.

    Returns:
        `task`, `metric`, `direction`, `n` rows, `groups`, `first` (the scoring it is judged by), `chance` (None where answers are free),
        `majority` (always the most frequent right answer, and what that is), `left_out`, `conditions` (condition -> scoring -> value,
        low, high, n, unparsed, errors, metrics), `kinds` (the same of rows of one kind, as they are), `failed` (row -> kind of its error).
    """
    rows = {row.id: row for row in part.rows}
    cells: dict[tuple[str, str], list[Mapping[str, Any]]] = {}
    for record in records:
        if record["row"] in rows:
            cells.setdefault((record["condition"], record["scoring"]), []).append(record)
    conditions: dict[str, dict[str, Any]] = {}
    for (condition, scoring), own in cells.items():
        conditions.setdefault(condition, {})[scoring] = _cell(part, rows, sorted(own, key=lambda r: str(r["row"])), scoring, resamples)
    first = first_scoring(part, can_score=can_score)
    return {
        "task": part.source.task, "dataset": part.source.dataset, "split": part.source.split, "metric": part.task.metric,
        "direction": part.task.direction, "n": len(part.rows), "groups": len({row.group or row.id for row in part.rows}),
        "first": first, "chance": _chance(part), "majority": _majority(part), "left_out": dict(part.left_out),
        "conditions": {c: {s: conditions[c][s] for s in SCORINGS if s in conditions[c]} for c in CONDITIONS if c in conditions},
        "kinds": _kinds(part, rows, cells.get(("all", first), []), resamples),
        "failed": dict(sorted((str(r["row"]), str(r["error_kind"])) for own in cells.values() for r in own if "error" in r)),
    }  # fmt: skip


def _cell(
    part: Part, rows: Mapping[str, Example], records: Sequence[Mapping[str, Any]], scoring: str, resamples: int
) -> dict[str, Any]:  # fmt: skip
    """One condition and scoring."""
    good = [r for r in records if "error" not in r]
    base: dict[str, Any] = {"n": len(good), "errors": len(records) - len(good)}
    if not good:
        return {**base, "value": None, "low": None, "high": None, "unparsed": None, "metrics": {}}
    if scoring == "rotated":
        return {**base, **_turned(good, resamples)}
    examples = [rows[str(r["row"])] for r in good]
    scores = [part.task.score(str(r["answer"]), e) for r, e in zip(good, examples, strict=True)]
    told = _told(part, scores, examples)
    value = told[part.task.metric]
    if part.task.is_mean:
        interval = interval_of(good, [s.value for s in scores], resamples=resamples)
    else:
        again = {"statistic": lambda some: _again(part, scores, examples, some), "resamples": min(resamples, _SLOW_RESAMPLES)}
        interval = interval_of(good, range(len(good)), **again)  # type: ignore[arg-type]
    metrics = {k: round(float(v), 6) for k, v in told.items()}
    metrics |= {f"mean_{k}": round(_mean([s.details[k] for s in scores if k in s.details]), 6) for k in _detailed(scores)}
    return {
        **base, "value": round(value, 6), "low": round(interval.low, 6), "high": round(interval.high, 6),
        "unparsed": round(sum(s.unparsed for s in scores) / len(scores), 6), "metrics": metrics,
    }  # fmt: skip


def interval_of(records: Sequence[Mapping[str, Any]], values: Sequence[float], **how: Any) -> Interval:
    """The interval of one value a record, of its groups; of rows within them too, where whole groups alone say too little.

    Args:
        records: with `group` and `row`.
        values: of the records.
        how: see `bootstrap`.
    """
    groups = [r["group"] or r["row"] for r in records]
    return bootstrap(values, groups, within=len(set(groups)) < _FEW_GROUPS, **how)


def _again(part: Part, scores: Sequence[Score], examples: Sequence[Example], some: np.ndarray) -> float:
    """The metric over some rows."""
    return _told(part, [scores[int(i)] for i in some], [examples[int(i)] for i in some])[part.task.metric]


def _told(part: Part, scores: Sequence[Score], examples: Sequence[Example]) -> dict[str, float]:
    """The task's figures; of constant answers, as blind ones are, no agreement can be measured, and that is no news."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="ccc: a series is constant")
        return part.task.summarise(scores, examples)


def _detailed(scores: Sequence[Score]) -> list[str]:
    """Names of details that any score has."""
    return sorted({k for s in scores for k in s.details})


def _mean(values: Sequence[float]) -> float:
    """The mean; 0 of nothing."""
    return float(np.mean(values)) if values else 0.0


def _turned(good: Sequence[Mapping[str, Any]], resamples: int) -> dict[str, Any]:
    """Accuracy over all turns, and how many are right at every turn."""
    interval = interval_of(good, [float(r["score"]) for r in good], resamples=resamples)
    turns = [t for r in good for t in r["turns"]]
    named = [{t["parsed"] for t in r["turns"]} for r in good]
    same = [len(letters) == 1 and None not in letters for letters in named]
    metrics = {"every_turn": _mean([float(r["score"] == 1.0) for r in good]), "same_option": _mean([float(s) for s in same])}
    return {
        "value": round(interval.estimate, 6), "low": round(interval.low, 6), "high": round(interval.high, 6),
        "unparsed": round(_mean([float(t["parsed"] is None) for t in turns]), 6), "metrics": {k: round(v, 6) for k, v in metrics.items()},
    }  # fmt: skip


def _chance(part: Part) -> float | None:
    """The figure of answers drawn among the closed set; None where answers are not closed, or a draw's figure is not 1/k."""
    sizes = [len(part.task.choices(row)) for row in part.rows]
    return None if not all(sizes) or part.task.metric not in _CLOSED_METRICS else round(_mean([1 / n for n in sizes]), 6)


def _majority(part: Part) -> dict[str, Any]:
    """The answer that is right most often (the first of equals by name), given to every row."""
    counted = Counter(part.truth(row) for row in part.rows)
    answer = min(counted, key=lambda text: (-counted[text], text))
    scores = [part.task.score(answer, row) for row in part.rows]
    told = _told(part, scores, part.rows)
    return {"answer": answer, "value": round(told[part.task.metric], 6)}


def _kinds(
    part: Part, rows: Mapping[str, Example], records: Sequence[Mapping[str, Any]], resamples: int
) -> dict[str, dict[str, Any]]:  # fmt: skip
    """Values by kind of question."""
    key = next((k for k in _KINDS if len({str(r.labels.get(k)) for r in part.rows}) > 1), None)
    if key is None or isinstance(part.task, LabelTask):
        return {}
    found: dict[str, list[Mapping[str, Any]]] = {}
    for record in records:
        found.setdefault(str(rows[str(record["row"])].labels.get(key) or "other"), []).append(record)
    out = {}
    for kind in sorted(found):
        cell = _cell(part, rows, sorted(found[kind], key=lambda r: str(r["row"])), "generation", resamples)
        some = replace(part, rows=tuple(rows[str(r["row"])] for r in found[kind]))
        out[kind] = {**{k: cell[k] for k in ("n", "value", "low", "high", "unparsed")}, "majority": _majority(some)["value"]}
        if isinstance(part.task, OptionTask):
            out[kind]["chance"] = _chance(some)
    return out
