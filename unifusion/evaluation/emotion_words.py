"""What was found, in plain English, from the figures alone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from unifusion.evaluation.emotion_sums import AFFECT, METRICS
from unifusion.evaluation.page import number, p_value

__all__ = ["LEVEL", "between", "method", "primary", "statement"]

LEVEL = 0.05
"""Of p, adjusted, below which a difference is called shown."""


def primary(condition: Mapping[str, Any]) -> str:
    """The figure a condition is judged by: UAR where there are labels, else the first that is there."""
    return next((m for m in METRICS if m in condition["metrics"]), "uar")


def between(figure: Mapping[str, Any], *, digits: int = 2) -> str:
    """A figure with its interval: .71 (.64 to .78)."""
    low, high = (number(figure[k], digits=digits) for k in ("low", "high"))
    return f"{number(figure['value'], digits=digits)} ({low} to {high})"


def statement(split: Mapping[str, Any], names: Mapping[str, str] | None = None) -> list[str]:
    """Sentences on one split: how good, by which classes, and what leaving streams out costs.

    Args:
        split: as `emotion_figures` gives it.
        names: what `examples` and `groups` are called (clips, speakers).
    """
    words = {"examples": "examples", "groups": "groups", **(names or {})}
    whole = split["conditions"][split["reference"]]
    texts = [_level(whole, split["reference"], words)]
    if whole["classes"]:
        texts.append(_classes(whole))
    texts += _losses(split)
    return texts


def _counted(n: int, plural: str) -> str:
    """How many of what: a word in s loses it where there is one."""
    return f"{n:,} {plural.removesuffix('s') if n == 1 else plural}"


def _level(whole: Mapping[str, Any], reference: str, words: Mapping[str, str]) -> str:
    """How good it is where nothing is left out."""
    metrics = whole["metrics"]
    some = f" ({whole['labelled']:,} with a label)" if 0 < whole["labelled"] < whole["examples"] else ""
    of = f"{_counted(whole['examples'], words['examples'])}{some} of {_counted(whole['groups'], words['groups'])}"
    affect = [f"CCC of {d} {between(metrics[f'ccc_{d}'])}" for d in AFFECT if f"ccc_{d}" in metrics]
    where = "" if reference == "all" else f' under the condition "{reference}"'
    if not metrics:
        return f"Nothing can be measured on {of}: no truths, or no answers{where}."
    if "uar" not in metrics:
        return f"{'; '.join(affect)}, on {of}{where}."
    uar = metrics["uar"]
    seeds = f", mean of {len(whole['seeds'])} seeds (sd {number(uar['sd'])})" if uar["sd"] is not None else ""
    told = f"UAR {between(uar)}{seeds} on {of}{where}; chance {number(whole['chance'])}"
    often = f'accuracy {number(metrics["accuracy"]["value"])}, of always saying "{whole["majority"]["label"]}" '
    return "; ".join([told, often + number(whole["majority"]["accuracy"]), *affect]) + "."


def _classes(whole: Mapping[str, Any]) -> str:
    """The best and the worst told class, and what the worst is taken for."""
    ranked = sorted(whole["classes"], key=lambda c: (-c["f1"]["value"], c["label"]))
    best, worst = ranked[0], ranked[-1]
    if best is worst:
        return f'The only class is "{best["label"]}" (F1 {number(best["f1"]["value"])}).'
    if best["f1"]["value"] == worst["f1"]["value"]:
        return f"All {len(ranked)} classes are told equally well (F1 {number(best['f1']['value'])})."
    confusion = whole["confusion"]
    row = confusion["labels"].index(worst["label"])
    others = [(n, a) for n, a in zip(confusion["counts"][row], confusion["answers"], strict=True) if a != worst["label"] and n]
    taken = max(others, key=lambda pair: pair[0], default=None)
    mistaken = f', most often answered "{taken[1]}" ({taken[0]} of {sum(confusion["counts"][row])})' if taken else ""
    return (
        f'Told best: "{best["label"]}" (F1 {number(best["f1"]["value"])}). '
        f'Told worst: "{worst["label"]}" (F1 {number(worst["f1"]["value"])}){mistaken}.'
    )


def _losses(split: Mapping[str, Any]) -> list[str]:
    """What each condition loses, in one sentence; one more where nothing is shown."""
    shown, open_ = [], []
    for name, condition in split["conditions"].items():
        metrics = condition.get("against", {}).get("metrics", {})
        metric = next((m for m in METRICS if m in metrics), None)
        if metric is None:
            continue
        loss, p = metrics[metric]["loss"], metrics[metric]["p_holm"]
        if p < LEVEL and loss != 0:
            way = "falls" if loss > 0 else "rises"
            shown.append(f"{_condition(name)} {METRICS[metric]} {way} by {number(abs(loss))} ({p_value(p)})")
        else:
            open_.append(f"{_condition(name)} ({p_value(p)})")
    reference = "nothing left out" if split["reference"] == "all" else f'"{split["reference"]}"'
    texts = [f"Against {reference}: {'; '.join(shown)}."] if shown else []
    return texts + ([f"Not shown to differ from {reference}: {'; '.join(open_)}."] if open_ else [])


def _condition(name: str) -> str:
    """A condition inside a sentence."""
    return f"with {name}" if name.startswith("only ") else name if name.startswith("without ") else f'under "{name}"'


def method(split: Mapping[str, Any], draws: Mapping[str, Any]) -> list[str]:
    """How the figures were made, for whoever has to judge them."""
    over = sorted({c["interval_over"] for c in split["conditions"].values()})
    swapped = sorted({c["against"]["swapped"] for c in split["conditions"].values() if "against" in c})
    texts = [
        f"Intervals are 95 % percentile intervals of {draws['resamples']:,} bootstrap draws of {' or '.join(over)} "
        "(no draw cuts through a group otherwise). Where groups are fewer than ten, examples are drawn within each group too; an "
        "interval then says little of how other groups, such as new speakers, would differ.",
        "With several seeds each figure is computed for each seed; shown are the mean and the standard deviation (n - 1) over seeds. "
        "Probabilities are not averaged over seeds. Confusions and the reliability diagram hold the rows of all seeds together.",
        "UAR is the mean recall over the classes that have a true example, WAR is accuracy; F1 of a class that is never answered is 0; an "
        "answer that is no label of the truths is wrong. ECE: top label, 15 equally wide bins; its interval is moved down by what its "
        "draws lie above it, since rows drawn twice make bins look worse. CCC in the population form.",
    ]  # fmt: skip
    if swapped:
        texts.append(
            f"Losses are on the examples that both conditions have in every seed. p: two-sided permutation test that swaps "
            f"{' or '.join(swapped)} ({draws['resamples']:,} draws), Holm-adjusted over the conditions. With several seeds the "
            "rows of all seeds are pooled, so an example counts by the mean over seeds of what was right.",
        )
    return texts
