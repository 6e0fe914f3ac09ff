"""Emotion systems side by side on the examples that all of them have: figures, paired tests, and who wins."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from unifusion.errors import ConfigError, DatasetError, nearest
from unifusion.evaluation.emotion_figures import condition_figures, main_split
from unifusion.evaluation.emotion_pairs import Pair, common_ids, compare_pair
from unifusion.evaluation.emotion_sums import METRICS, Columns, columns, labels_of, rounded, select
from unifusion.evaluation.emotion_units import Draws
from unifusion.evaluation.emotion_words import LEVEL
from unifusion.evaluation.page import p_value, signed
from unifusion.evaluation.predictions import Prediction, read_predictions
from unifusion.metrics._resampling import holm

__all__ = ["AGAINST", "compare", "less_is_better", "read_systems"]

AGAINST = ("best", "first")
"""What every system is tested against: the best one here, or the first one named."""


def read_systems(specs: Sequence[str]) -> dict[str, list[Prediction]]:
    """Read systems given as a report's folder, a file of predictions, or either with a name: NAME=PATH.

    Raises:
        ConfigError: fewer than two, or two of one name.
        DatasetError: a file cannot be read.
    """
    found: dict[str, list[Prediction]] = {}
    for spec in specs:
        name, path = _named(spec)
        if name in found:
            raise ConfigError(f"two systems are named {name!r};", remedy="name one of them: OTHER=PATH.")
        found[name] = read_predictions(path)
    if len(found) < 2:
        raise ConfigError(f"{len(found)} system to compare;", remedy="name two or more folders or files.")
    return found


def _named(spec: str) -> tuple[str, Path]:
    """A system's name and its file of predictions."""
    name, given, rest = spec.partition("=")
    path = Path(rest if given and not Path(spec).exists() else spec)
    file = path / "predictions.jsonl" if path.is_dir() else path
    own = file.resolve().parent.name if file.stem == "predictions" else file.stem
    return (name if given and not Path(spec).exists() else own), file


def compare(
    systems: Mapping[str, Sequence[Prediction]], *, metric: str = "uar", split: str = "", condition: str = "all", against: str = "best",
    draws: Draws | None = None,
) -> dict[str, Any]:  # fmt: skip
    """Compare systems on the examples that all have in every seed.

    Args:
        systems: name -> predictions.
        metric: of METRICS, by which the winner is found.
        split: default test, else val, where all have it.
        condition: under which they are compared.
        against: of AGAINST. Against the best, which the data chose, p is Holm-adjusted over all pairs of systems; against the first over
            the tests that are made.
        draws: how resamples are made.

    Returns:
        `systems`: name -> figures as `emotion_figures` gives them, with `left_out` examples; `tests`: name -> difference from the
        `reference` (its figure less the reference's), interval, p; `better`: name -> whether it is shown to be better (True), worse
        (False), or neither (None); `winner` ("" for none) and `verdict`, a sentence; `examples`.

    Raises:
        ConfigError: an unknown metric or reference.
        DatasetError: no example in common, a system lacks the split, condition or figure, or truths differ.
    """
    if metric not in METRICS:
        raise ConfigError(f"no figure {metric!r};", remedy=nearest(metric, list(METRICS)))
    if against not in AGAINST:
        raise ConfigError(f"against {against!r};", remedy=nearest(against, list(AGAINST)))
    draws = draws or Draws()
    split = split or _common_split(systems)
    chosen = {name: _chosen(name, rows, split, condition) for name, rows in systems.items()}
    labels = labels_of([row for rows in chosen.values() for row in rows])
    whole = {name: columns(rows, labels) for name, rows in chosen.items()}
    ids = common_ids(*whole.values())
    if not ids:
        raise DatasetError(f"no example of split {split!r} is in all of {', '.join(systems)};", remedy="compare systems on the same data.")
    told = {name: select(c, ids) for name, c in whole.items()}
    pairs = {(a, b): compare_pair(told[a], told[b], draws) for a, b in itertools.combinations(told, 2)}  # refuses truths that differ
    figures = {name: {**condition_figures(c, draws), "left_out": len(whole[name].ids) - len(ids)} for name, c in told.items()}
    if lacking := [name for name, f in figures.items() if metric not in f["metrics"]]:
        raise DatasetError(f"{lacking[0]} tells nothing that has {METRICS[metric]};", remedy="choose another --metric.")
    ranked = sorted(figures, key=lambda n: _worth(figures[n], metric), reverse=True)
    reference = ranked[0] if against == "best" else next(iter(figures))
    tests = _tests(told, pairs, metric, reference, family=against == "best")
    better = {n: _better(t, metric) for n, t in tests.items()}
    return {
        "metric": metric, "split": split, "condition": condition, "examples": len(ids), "labels": list(labels), "draws": asdict(draws),
        "systems": figures, "order": ranked, "against": against, "reference": reference, "tests": tests, "better": better,
        "winner": reference if all(b is False for b in better.values()) and reference == ranked[0] else "",
        "verdict": _verdict(metric, reference, ranked, tests, better),
    }  # fmt: skip


def _common_split(systems: Mapping[str, Sequence[Prediction]]) -> str:
    """The split to compare on."""
    common = set.intersection(*({r.split for r in rows} for rows in systems.values()))
    if not common:
        told = "; ".join(f"{name}: {', '.join(sorted({r.split for r in rows})) or 'no rows'}" for name, rows in systems.items())
        raise DatasetError(f"no split is in all systems ({told});", remedy="compare systems on the same data.")
    return main_split(sorted(common))


def _chosen(name: str, rows: Sequence[Prediction], split: str, condition: str) -> list[Prediction]:
    """A system's rows of the split and condition."""
    own = [r for r in rows if r.split == split and r.condition == condition]
    if not own:
        there = ", ".join(sorted({f"{r.split}: {r.condition}" for r in rows}))
        raise DatasetError(f"{name} has nothing of split {split!r} under {condition!r};", remedy=f"it has {there or 'no rows'}.")
    return own


def less_is_better(metric: str) -> bool:
    """Whether the figure is an error."""
    return metric.startswith(("ece", "mae", "mse"))


def _worth(figures: Mapping[str, Any], metric: str) -> float:
    """A figure turned so that more is better."""
    value = float(figures["metrics"][metric]["value"])
    return -value if less_is_better(metric) else value


def _tests(
    told: Mapping[str, Columns], pairs: Mapping[tuple[str, str], Pair], metric: str, reference: str, *, family: bool
) -> dict[str, Any]:  # fmt: skip
    """Each other system's difference from the reference; `family`: adjust over all pairs."""
    names = [n for n in told if n != reference]
    keys = {n: (reference, n) if (reference, n) in pairs else (n, reference) for n in names}
    all_keys = list(pairs) if family else list(keys.values())
    adjusted = dict(zip(all_keys, holm([pairs[k].tested[metric].p for k in all_keys]), strict=True))
    out = {}
    for name, key in keys.items():
        pair, t = pairs[key], pairs[key].tested[metric]
        ends = (t.difference, t.low, t.high) if key[0] == name else (-t.difference, -t.high, -t.low)
        difference, low, high = (rounded(e) for e in ends)
        out[name] = {
            "difference": difference, "low": low, "high": high, "p": rounded(t.p), "p_holm": rounded(adjusted[key]),
            "p_bootstrap": rounded(t.p_bootstrap), "examples": pair.examples, "groups": pair.groups, "swapped": pair.swapped,
        }  # fmt: skip
    return out


def _better(test: Mapping[str, Any], metric: str) -> bool | None:
    """Whether a system is shown to be better than the reference (True), worse (False), or neither."""
    if test["p_holm"] >= LEVEL or test["difference"] == 0:
        return None
    return bool((test["difference"] > 0) != less_is_better(metric))


def _verdict(
    metric: str, reference: str, ranked: Sequence[str], tests: Mapping[str, Any], better: Mapping[str, bool | None]
) -> str:  # fmt: skip
    """Who wins, in words; nothing is claimed that no test shows."""

    def told(name: str, sign: int) -> tuple[str, str]:
        """A difference and its p."""
        return f"{signed(sign * tests[name]['difference'])} {METRICS[metric]}", f"({p_value(tests[name]['p_holm'])})"

    worse = [n for n in ranked if better.get(n) is False]
    above = [n for n in ranked if better.get(n) is True]
    open_ = [n for n in ranked if n != reference and better[n] is None]
    if not worse and not above:
        return "No system is shown to be better: " + "; ".join(f"{n} {' '.join(told(n, 1))} against {reference}" for n in open_) + "."
    if len(worse) == len(tests):
        gain, p = told(worse[0], -1)
        return f"{reference} wins: {gain} over {worse[0]} {p}" + (", the next best." if len(worse) > 1 else ".")
    parts = [f"{n} is better than {reference}: {' '.join(told(n, 1))}" for n in above]
    parts += [f"{reference} is better than {n}: {' '.join(told(n, -1))}" for n in worse]
    parts += [f"no difference between {reference} and {n} is shown: {' '.join(told(n, 1))}" for n in open_]
    return ("" if above else "No system is shown to be the best. ") + "; ".join(parts) + "."
