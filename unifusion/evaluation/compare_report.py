"""A comparison of emotion systems for people and machines: tables, a forest plot, a page, JSON and CSV."""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from unifusion import atomic
from unifusion.evaluation.compare import less_is_better
from unifusion.evaluation.drawing import BLUE, COLOURS, GREY, NO_PLOTS, can_draw, draw, label, whiskers
from unifusion.evaluation.emotion_report import write_run
from unifusion.evaluation.emotion_sums import METRICS
from unifusion.evaluation.emotion_words import between
from unifusion.evaluation.page import Page, Picture, Section, Table, csv_text, number, p_value, signed

__all__ = ["differences_table", "figures_table", "scope", "write_comparison"]

log = logging.getLogger(__name__)
_SHOWN = ("uar", "accuracy", "weighted_f1", "macro_f1", "ece", "ccc_valence", "ccc_arousal")
_TEST = ("difference", "low", "high", "p", "p_holm", "p_bootstrap", "examples", "groups", "swapped")


def write_comparison(found: Mapping[str, Any], out: str | Path, title: str = "Comparison") -> Path:
    """Write `index.html`, `compare.md`, `compare.json`, `compare.csv`, `tests.csv`, `pictures/forest.png|svg` and `run.json`.

    Args:
        found: what `compare` gave.
        out: the folder.
        title: of the page.

    Returns:
        The path of `index.html`; all but `run.json` is the same byte for byte when it is made again.
    """
    folder = Path(out)
    folder.mkdir(parents=True, exist_ok=True)
    atomic.write_text(folder / "compare.json", json.dumps(found, indent=1, sort_keys=True, ensure_ascii=False, allow_nan=False) + "\n")
    figures = [
        {"system": name, "metric": m, **{k: f[k] for k in ("value", "low", "high", "sd")}, "examples": told["examples"],
         "left_out": told["left_out"], "groups": told["groups"], "seeds": len(told["seeds"])}
        for name, told in found["systems"].items() for m, f in told["metrics"].items()
    ]  # fmt: skip
    columns = ("system", "metric", "value", "low", "high", "sd", "examples", "left_out", "groups", "seeds")
    atomic.write_text(folder / "compare.csv", csv_text(figures, columns))
    tests = [{"system": n, "reference": found["reference"], "metric": found["metric"], **t} for n, t in found["tests"].items()]
    atomic.write_text(folder / "tests.csv", csv_text(tests, ("system", "reference", "metric", *_TEST)))
    pictures = _pictures(found, folder / "pictures")
    page = _page(found, title, pictures)
    atomic.write_text(folder / "index.html", page.html())
    parts = [f"# {title}", *page.lead, *(t.markdown() for s in page.sections for t in s.tables), *page.sections[-1].texts]
    atomic.write_text(folder / "compare.md", "\n\n".join(parts) + "\n")
    write_run(folder)
    return folder / "index.html"


def _page(found: Mapping[str, Any], title: str, pictures: list[Picture]) -> Page:
    """The page's parts."""
    figures, tests = figures_table(found), differences_table(found)
    sections = [
        Section(title="Figures", texts=[] if pictures else [NO_PLOTS], tables=[figures], pictures=pictures),
        Section(title="Tests", tables=[tests]),
        Section(title="How this was measured", texts=[_method(found)]),
    ]
    return Page(title=title, lead=[found["verdict"], scope(found)], sections=sections)


def scope(found: Mapping[str, Any]) -> str:
    """What was compared on which examples, and how many were left out."""
    first = next(iter(found["systems"].values()))
    some = f" ({first['labelled']:,} with a label)" if 0 < first["labelled"] < found["examples"] else ""
    left = [f"{n} of {name}" for name, told in found["systems"].items() if (n := told["left_out"])]
    out = f" Left out, because not every system has them: {', '.join(left)}." if left else " No example was left out."
    return (
        f"Compared by {METRICS[found['metric']]} on {found['examples']:,} examples{some} of {first['groups']:,} groups that all systems "
        f'have (split {found["split"]}, condition "{found["condition"]}").{out}'
    )


def _method(found: Mapping[str, Any]) -> str:
    """How the tests were made."""
    draws = found["draws"]
    swapped = next(iter(found["tests"].values()))["swapped"]
    family = "all pairs of systems, since the best was found on the same data" if found["against"] == "best" else "the tests shown"
    return (
        f"Intervals: 95 %, bootstrap of {draws['resamples']:,} draws; of differences with the same draws for both. "
        f"p: two-sided permutation test that swaps {swapped}, Holm-adjusted over {family}. An example counts by the mean over its "
        "system's seeds of what was right. With fewer than ten groups, examples are drawn and swapped, which says little of other groups."
    )


def figures_table(found: Mapping[str, Any], *, short: bool = False) -> Table:
    """A row a system, the best of each column marked; `short`: intervals of the figure that decides alone."""
    systems = found["systems"]
    metrics = [m for m in dict.fromkeys((found["metric"], *_SHOWN)) if any(m in s["metrics"] for s in systems.values())]
    rows, best = [], set()
    for name, told in systems.items():
        own = told["metrics"]
        cells = [
            "–" if m not in own else number(own[m]["value"], digits=3) if short and m != found["metric"] else between(own[m], digits=3)
            for m in metrics
        ]
        rows.append([name, *cells, str(len(told["seeds"])), f"{told['left_out']:,}"])
    for column, m in enumerate(metrics, 1):
        values = {i: s["metrics"][m]["value"] for i, s in enumerate(systems.values()) if m in s["metrics"]}
        top = min(values.values()) if less_is_better(m) else max(values.values())
        best |= {(i, column) for i, v in values.items() if v == top}
    caption = f"{found['examples']:,} examples, with 95 % intervals; the best of each column stands out"
    columns = ["system", *(METRICS[m] for m in metrics), "seeds", "left out"]
    return Table(caption=caption, columns=columns, rows=rows, best=frozenset(best))


def differences_table(found: Mapping[str, Any]) -> Table:
    """Each system's difference from the reference."""
    rows = []
    for name, t in found["tests"].items():
        words = {True: "better", False: "worse", None: "not shown"}[found["better"][name]]
        interval = f"{signed(t['low'])} to {signed(t['high'])}"
        shown = [p_value(t[k]) for k in ("p", "p_holm", "p_bootstrap")]
        rows.append([name, signed(t["difference"]), interval, *shown, words])
    caption = f"{METRICS[found['metric']]} against {found['reference']}, the same examples"
    columns = ["system", "difference", "95 % interval", "p", "adjusted (Holm)", "p by bootstrap", "it is"]
    return Table(caption=caption, columns=columns, rows=rows)


def _pictures(found: Mapping[str, Any], place: Path) -> list[Picture]:
    """The forest plot, in place of what was there; nothing without matplotlib, which is said."""
    if not can_draw():
        shutil.rmtree(place, ignore_errors=True)
        log.warning(NO_PLOTS)
        return []
    with atomic.atomic_folder(place) as work:
        draw(work / "forest", (8.0, 1.2 + 0.34 * len(found["systems"])), lambda figure: _forest(found, figure))
    metric = found["metric"]
    told = "; ".join(f"{name} {between(s['metrics'][metric], digits=3)}" for name, s in found["systems"].items())
    caption = f"{METRICS[metric]} with 95 % intervals, and differences from {found['reference']} on the same examples."
    return [Picture(path=place / "forest.svg", alt=f"Forest plot. {METRICS[metric]}: {told}.", caption=caption)]


def _forest(found: Mapping[str, Any], figure: Any) -> None:
    """Figures on the left, differences from the reference on the right."""
    names, metric = list(found["systems"]), found["metric"]
    left, right = figure.subplots(1, 2, sharey=True)
    values = [found["systems"][n]["metrics"][metric] for n in names]
    for axes, shown in ((left, dict(zip(names, values, strict=True))), (right, found["tests"])):
        for i, name in enumerate(names):
            if name not in shown:
                axes.text(0, i, " reference", va="center", color=GREY, fontsize=8)
                continue
            told = {"value": shown[name].get("value", shown[name].get("difference")), **{k: shown[name][k] for k in ("low", "high")}}
            colour = BLUE if axes is left else {True: COLOURS[2], False: COLOURS[1], None: GREY}[found["better"][name]]
            axes.errorbar(told["value"], i, xerr=whiskers([told]), fmt="s", color=colour, markersize=5, elinewidth=1.3, capsize=2.5)
            text = number(told["value"], digits=3) if axes is left else signed(told["value"])
            axes.annotate(text, (told["value"], i), (0, 5), textcoords="offset points", ha="center", fontsize=7.5)
        axes.grid(axis="x")
    right.axvline(0, color=GREY, linestyle="--", linewidth=1)
    left.set_yticks(range(len(names)), [label(n, 26) for n in names])
    left.set_ylim(len(names) - 0.4, -0.7)
    left.set_xlabel(METRICS[metric])
    right.set_xlabel(f"difference from {label(found['reference'], 26)}")
    for axes in (left, right):
        axes.margins(x=0.12)
