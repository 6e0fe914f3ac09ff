"""A report on emotion as a folder: the predictions, every figure as JSON and CSV, pictures, and one page that needs no network."""

from __future__ import annotations

import json
import logging
import platform
import shutil
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

from unifusion import __version__, atomic
from unifusion.evaluation.drawing import NO_PLOTS, can_draw
from unifusion.evaluation.emotion_figures import emotion_figures
from unifusion.evaluation.emotion_plots import draw_report
from unifusion.evaluation.emotion_sums import METRICS
from unifusion.evaluation.emotion_units import Draws
from unifusion.evaluation.emotion_words import between, method, primary, statement
from unifusion.evaluation.page import Page, Picture, Section, Table, csv_text, number, p_value, signed
from unifusion.evaluation.predictions import Prediction, write_predictions

__all__ = ["found_by", "write_report", "write_run"]

log = logging.getLogger(__name__)
_SHOWN = ("uar", "accuracy", "weighted_f1", "macro_f1", "ece", "ccc_valence", "ccc_arousal")
_FIGURES = ("split", "condition", "metric", "value", "low", "high", "sd", "seeds", "examples", "groups")
_LOSSES = ("against", "loss", "loss_low", "loss_high", "p", "p_holm")
_CLASS = ("split", "condition", "label", "support", *(f"{m}{e}" for m in ("precision", "recall", "f1") for e in ("", "_low", "_high")))


def write_report(
    predictions: Sequence[Prediction], out: str | Path, title: str = "Emotion", meta: Mapping[str, Any] | None = None, *,
    draws: Draws | None = None,
) -> Path:  # fmt: skip
    """Write the report; made twice from the same predictions, all but `run.json` is the same byte for byte.

    Args:
        predictions: of one system; any splits, conditions and seeds. The page is about `test`, else `val`.
        out: the folder: `predictions.jsonl`, `results.json`, `results.csv`, `per_class.csv`, `confusion.csv`, `run.json`, `index.html`,
            and `pictures/*.png|svg` where the extra `plots` is installed.
        title: of the page.
        meta: what was measured (model, data): plain values, shown on the page and kept in `results.json`. `examples` and `groups` say
            what these are called (clips, speakers). Dates and versions are noted in `run.json` anyway, and stand nowhere else.
        draws: how intervals and tests are made.

    Returns:
        The path of `index.html`.

    Raises:
        DatasetError: no predictions, or some of which no figures can be made.
    """
    folder, told = Path(out), dict(meta or {})
    results = emotion_figures(predictions, draws)
    folder.mkdir(parents=True, exist_ok=True)
    write_predictions(folder / "predictions.jsonl", predictions)
    split = results["splits"][results["main_split"]]
    lead = statement(split, {k: str(told[k]) for k in ("examples", "groups") if k in told})
    facts = {"title": title, "meta": told, "statement": lead, **results}
    atomic.write_text(folder / "results.json", json.dumps(facts, indent=1, sort_keys=True, ensure_ascii=False, allow_nan=False) + "\n")
    _write_tables(results, folder)
    pictures = _pictures(results, predictions, folder)
    atomic.write_text(folder / "index.html", _page(title, lead, told, results, pictures).html())
    write_run(folder)
    return folder / "index.html"


def found_by(page: Path) -> list[str]:
    """What a report that `write_report` wrote says it found, a sentence or more an item."""
    told: list[str] = json.loads((page.parent / "results.json").read_text(encoding="utf-8"))["statement"]
    return told


def write_run(folder: Path) -> None:
    """Note when, by which command and with which versions a report was made, as `run.json`."""
    versions = {"unifusion-x": __version__, "python": platform.python_version()}
    for name in ("numpy", "torch", "transformers", "matplotlib"):
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            versions[name] = "not installed"
    run = {"made": datetime.now(UTC).isoformat(timespec="seconds"), "command": sys.argv, "versions": versions}
    atomic.write_text(folder / "run.json", json.dumps(run, indent=1) + "\n")


def _pictures(results: Mapping[str, Any], predictions: Sequence[Prediction], folder: Path) -> dict[str, Picture]:
    """Draw into `pictures/`, in place of what was there; nothing without matplotlib, which is said."""
    place = folder / "pictures"
    if not can_draw():
        shutil.rmtree(place, ignore_errors=True)
        log.warning(NO_PLOTS)
        return {}
    name = results["main_split"]
    split = results["splits"][name]
    with atomic.atomic_folder(place) as work:
        drawn = draw_report(split, [r for r in predictions if r.split == name and r.condition == split["reference"]], work)
    return {k: Picture(path=place / p.path.name, alt=p.alt, caption=p.caption) for k, p in drawn.items()}


def _write_tables(results: Mapping[str, Any], folder: Path) -> None:
    """Figures, classes and confusions as CSV."""
    figures, classes, cells = [], [], []
    for split, found in results["splits"].items():
        for name, condition in found["conditions"].items():
            where = {"split": split, "condition": name}
            figures += _figure_rows(condition, where)
            for c in condition["classes"] or ():
                numbers = {f"{m}{e}": c[m][k] for m in ("precision", "recall", "f1") for e, k in _ENDS.items()}
                classes.append({**where, "label": c["label"], "support": c["support"], **numbers})
            told = condition["confusion"] or {"labels": [], "answers": []}
            for i, truth in enumerate(told["labels"]):
                for j, answer in enumerate(told["answers"]):
                    cell = {"count": told["counts"][i][j], "share": told["shares"][i][j]}
                    cells.append({**where, "truth": truth, "answer": answer, **cell})
    atomic.write_text(folder / "results.csv", csv_text(figures, (*_FIGURES, *_LOSSES)))
    atomic.write_text(folder / "per_class.csv", csv_text(classes, _CLASS))
    atomic.write_text(folder / "confusion.csv", csv_text(cells, ("split", "condition", "truth", "answer", "count", "share")))


_ENDS = {"": "value", "_low": "low", "_high": "high"}


def _figure_rows(condition: Mapping[str, Any], where: Mapping[str, str]) -> list[dict[str, Any]]:
    """One row a metric."""
    counts = {"seeds": len(condition["seeds"]), "examples": condition["examples"], "groups": condition["groups"]}
    against = condition.get("against", {"metrics": {}})
    out = []
    for metric, f in condition["metrics"].items():
        row = {**where, "metric": metric, **{k: f[k] for k in ("value", "low", "high", "sd")}, **counts}
        if metric in against["metrics"]:
            lost = against["metrics"][metric]
            row |= {"against": against["reference"], "loss": lost["loss"], "loss_low": lost["low"], "loss_high": lost["high"]}
            row |= {"p": lost["p"], "p_holm": lost["p_holm"]}
        out.append(row)
    return out


def _page(
    title: str, lead: Sequence[str], meta: Mapping[str, Any], results: Mapping[str, Any], pictures: Mapping[str, Picture]
) -> Page:  # fmt: skip
    """The page's parts; those with nothing in them are left out."""
    split = results["splits"][results["main_split"]]
    whole = split["conditions"][split["reference"]]
    drawn = {k: [pictures[k]] for k in pictures}
    tables = [_figures_table(split, results["main_split"]), *([_seeds_table(whole)] if len(whole["seeds"]) > 1 else [])]
    sections = [Section(title="Figures", texts=[] if pictures else [NO_PLOTS], tables=tables, pictures=drawn.get("seeds", []))]
    if len(split["conditions"]) > 1:
        sections.append(Section(title="When streams are missing", tables=[_loss_table(split)], pictures=drawn.get("conditions", [])))
    if whole["classes"]:
        shown = [p for k in ("confusion", "classes") for p in drawn.get(k, [])]
        sections.append(Section(title="Labels", tables=[_class_table(whole), _confusion_table(whole["confusion"])], pictures=shown))
    if "reliability" in drawn:
        sections.append(Section(title="How sure it is", pictures=drawn["reliability"]))
    if whole["affect"]:
        shown = [p for k in ("affect", "circumplex") for p in drawn.get(k, [])]
        sections.append(Section(title="Valence and arousal", tables=[_affect_table(whole)], pictures=shown))
    others = [_figures_table(found, name) for name, found in results["splits"].items() if name != results["main_split"]]
    if others:
        sections.append(Section(title="Other splits", tables=others))
    sections.append(Section(title="How this was measured", texts=[*method(split, results["draws"]), _files(meta)]))
    return Page(title=title, lead=lead, sections=sections)


def _files(meta: Mapping[str, Any]) -> str:
    """What was measured, and where the numbers are."""
    facts = "; ".join(f"{k}: {v}" for k, v in meta.items() if k not in ("examples", "groups"))
    files = "All numbers: results.json, results.csv, per_class.csv, confusion.csv, predictions.jsonl; versions, command and date: run.json."
    return f"{facts}. {files}" if facts else files


def _figures_table(split: Mapping[str, Any], name: str) -> Table:
    """A row a condition, a column a metric, and what needs no model beside it."""
    conditions = split["conditions"]
    metrics = [m for m in _SHOWN if any(m in c["metrics"] for c in conditions.values())]
    rows = []
    for condition, c in conditions.items():
        cells = []
        for m in metrics:
            f = c["metrics"].get(m)
            cells.append("–" if f is None else between(f))
        rows.append([condition, *cells, f"{c['examples']:,}", f"{c['groups']:,}", str(len(c["seeds"]))])
    whole = conditions[split["reference"]]
    if whole["majority"]:
        chance = [number(whole["chance"]) if m in ("uar", "accuracy") else "–" for m in metrics]
        often = [number(whole["majority"][m]) if m in whole["majority"] else "–" for m in metrics]
        rows.append(["chance", *chance, "", "", ""])
        rows.append([f'always "{whole["majority"]["label"]}"', *often, "", "", ""])
    shown = [METRICS[m] for m in metrics]
    return Table(caption=f"Split {name}, with 95 % intervals", columns=["condition", *shown, "examples", "groups", "seeds"], rows=rows)


def _seeds_table(whole: Mapping[str, Any]) -> Table:
    """Mean, standard deviation and each seed's figure, nothing left out."""
    seeds = [str(s) for s in whole["seeds"]]
    rows = []
    for metric, f in whole["metrics"].items():
        shown = [number(v, digits=3) for v in (f["value"], f["sd"], *(f["by_seed"][s] for s in seeds))]
        rows.append([METRICS[metric], *shown])
    return Table(caption="Over seeds, with nothing left out", columns=["figure", "mean", "sd", *(f"seed {s}" for s in seeds)], rows=rows)


def _loss_table(split: Mapping[str, Any]) -> Table:
    """What each condition loses of its main figure and of CCC."""
    rows = []
    for name, c in split["conditions"].items():
        tested = c.get("against", {"metrics": {}})["metrics"]
        for metric in (m for m in dict.fromkeys((primary(c), "accuracy", "ccc_valence", "ccc_arousal")) if m in tested):
            t = tested[metric]
            interval = f"{signed(-t['high'])} to {signed(-t['low'])}"
            shown = [between(c["metrics"][metric]), signed(-t["loss"]), interval, p_value(t["p"]), p_value(t["p_holm"])]
            rows.append([name, METRICS[metric], *shown, f"{c['against']['examples']:,}"])
    caption = f'Against "{split["reference"]}" on the same examples; p by permutation, then Holm-adjusted over the conditions'
    return Table(
        caption=caption, columns=["condition", "figure", "value", "change", "95 % interval", "p", "adjusted", "examples"], rows=rows
    )


def _class_table(whole: Mapping[str, Any]) -> Table:
    """Precision, recall, F1 and support by label."""
    rows = [[c["label"], *(between(c[m]) for m in ("precision", "recall", "f1")), f"{c['support']:,}"] for c in whole["classes"]]
    return Table(caption="By true label, with 95 % intervals", columns=["label", "precision", "recall", "F1", "examples"], rows=rows)


def _confusion_table(told: Mapping[str, Any]) -> Table:
    """Counts."""
    rows = [[label, *(f"{n:,}" for n in counts)] for label, counts in zip(told["labels"], told["counts"], strict=True)]
    best = frozenset((i, i + 1) for i in range(len(rows)))
    return Table(caption="True label (rows) by answer, rows of all seeds", columns=["true", *told["answers"]], rows=rows, best=best)


def _affect_table(whole: Mapping[str, Any]) -> Table:
    """CCC, MAE and MSE of both."""
    found = whole["metrics"]
    rows = [
        [d, *(between(found[f"{m}_{d}"]) if f"{m}_{d}" in found else "–" for m in ("ccc", "mae", "mse"))] for d in ("valence", "arousal")
    ]
    return Table(caption="Told against true, from -1 to 1", columns=["", "CCC", "MAE", "MSE"], rows=rows)
