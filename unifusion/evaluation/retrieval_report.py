"""A report on an embedding space as a folder: every figure as JSON and CSV, what each query found, pictures, and one page."""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from unifusion import atomic
from unifusion.evaluation.drawing import NO_PLOTS, can_draw
from unifusion.evaluation.emotion_report import write_run
from unifusion.evaluation.page import Page, Picture, Section, Table, csv_text, number
from unifusion.evaluation.retrieval import Told
from unifusion.evaluation.retrieval_plots import draw_cosines, draw_map, draw_recall, draw_similarity

__all__ = ["statement", "write_retrieval"]

log = logging.getLogger(__name__)
_COLUMNS = ("from", "to", "way", "figure", "value", "low", "high", "chance", "queries", "things", "groups")
_POINTS = ("map", "method", "space", "name", "label", "x", "y")
_RANKS = {"median_rank": "MedR", "mean_rank": "MnR"}
_MOST_CLASSES = 24
_WAYS = {"dual_softmax": "dual softmax", "inverted_softmax": "inverted softmax"}
_METHOD = (
    "Each text, clip or stream is a query to all of another kind, by cosine. What belongs together: the streams and captions of one clip, "
    "and captions that are equal; a clip that several rows share is one. R@k counts queries with something that belongs to them among the "
    "first k; ranks are those of the best such thing. mAP@k divides by all that belong (DCASE).",
    "Ties are pessimistic: what does not belong stands before what does where cosines are equal, so a collapsed space scores nothing. "
    "Queries that nothing belongs to are left out and counted. Chance is exact, over all orders.",
    "Intervals are 95 % percentiles of bootstrap draws of groups of queries; the things that are searched stay as they are.",
)
_RESCORED = (
    "Dual softmax and inverted softmax weigh each thing by its share of all queries. They need all queries at once and are therefore no "
    "figures of a search; they stand here alone and nowhere else."
)


def write_retrieval(told: Told, out: str | Path, title: str, meta: Mapping[str, Any] | None = None) -> Path:
    """Write the report; made again from the same vectors, all but `run.json` is the same.

    Args:
        told: what was measured.
        out: the folder: `results.json`, `results.csv`, `ranks.jsonl`, `maps.csv`, `similarity.csv`, `run.json`, `index.html`, and
            `pictures/*.png|svg` where the extra `plots` is installed.
        title: of the page.
        meta: what was measured (model, data): plain values.

    Returns:
        The path of `index.html`.
    """
    folder, known = Path(out), dict(meta or {})
    folder.mkdir(parents=True, exist_ok=True)
    lead = statement(told.results)
    facts = {"title": title, "meta": known, "statement": lead, **{k: v for k, v in told.results.items() if k != "similarity"}}
    atomic.write_text(folder / "results.json", json.dumps(facts, indent=1, sort_keys=True, ensure_ascii=False, allow_nan=False) + "\n")
    atomic.write_text(folder / "results.csv", csv_text(_rows(told.results), _COLUMNS))
    atomic.write_text(folder / "ranks.jsonl", "".join(json.dumps(r, ensure_ascii=False) + "\n" for r in told.records))
    atomic.write_text(folder / "maps.csv", csv_text(told.points, _POINTS))
    near = told.results["similarity"] or {"names": [], "labels": [], "cosines": []}
    cells = [
        {"name": name, "label": label, **{str(j): value for j, value in enumerate(row)}}
        for name, label, row in zip(near["names"], near["labels"], near["cosines"], strict=True)
    ]
    atomic.write_text(folder / "similarity.csv", csv_text(cells, ("name", "label", *(str(j) for j in range(len(cells))))))
    pictures = _pictures(told, folder)
    atomic.write_text(folder / "index.html", _page(title, lead, known, told.results, pictures).html())
    write_run(folder)
    return folder / "index.html"


def statement(results: Mapping[str, Any]) -> list[str]:
    """What was found in plain words, a sentence or more an item; of each pair of spaces both directions."""
    lines = [f"{results['items']:,} items of {results['groups']:,} groups, {results['captions']:,} captions."]
    for d in results["retrieval"]:
        f = d["figures"]
        recalls = [n for n in f if n.startswith("recall")]
        shown = [f"R@{n.rpartition('_')[2]} {_between(f[n])} (chance {number(f[n]['chance'], digits=3)})" for n in recalls]
        less = f"; {d['without']:,} queries had nothing to find" if d["without"] else ""
        rank = f"median rank {f['median_rank']['value']:g} of {d['things']:,} (chance {f['median_rank']['chance']:g})"
        lines.append(f"{d['from']} to {d['to']}, {d['queries']:,} queries: {', '.join(shown)}; {rank}{less}.")
    for kind, title in (("zero_shot", "Zero-shot"), ("linear_probe", "Linear probe")):
        for one in results.get(kind, ()):
            for space, f in one["spaces"].items():
                often = f"always {f['majority']['class']!r} {number(f['majority']['accuracy'])}"
                chance = f"chance {number(f['chance'])}, {often}"
                lines.append(f"{title} {one['label']} by {space}: accuracy {_between(f['accuracy'])} on {f['n']:,} ({chance}).")
    return lines


def _between(f: Mapping[str, float]) -> str:
    """A figure with its interval."""
    return f"{number(f['value'])} ({number(f['low'])} to {number(f['high'])})"


def _rows(results: Mapping[str, Any]) -> list[dict[str, Any]]:
    """One row a figure."""
    out = []
    for d in results["retrieval"]:
        where = {k: d[k] for k in ("from", "to", "queries", "things", "groups")}
        for way, figures in {"cosine": d["figures"], **d.get("rescored", {})}.items():
            out += [{**where, "way": way, "figure": name, **f} for name, f in figures.items()]
    for kind in ("zero_shot", "linear_probe"):
        for one in results.get(kind, ()):
            for space, f in one["spaces"].items():
                where = {"from": space, "to": one["label"], "way": kind, "queries": f["n"], "things": len(f["classes"])}
                out.append({**where, "groups": f["groups"], "figure": "accuracy", **f["accuracy"], "chance": f["chance"]})
    return out


def _pictures(told: Told, folder: Path) -> dict[str, Picture]:
    """Draw into `pictures/`, in place of what was there; nothing without matplotlib, which is said."""
    place, results = folder / "pictures", told.results
    if not can_draw():
        shutil.rmtree(place, ignore_errors=True)
        log.warning(NO_PLOTS)
        return {}
    drawn: dict[str, Picture] = {}
    with atomic.atomic_folder(place) as work:
        if results["retrieval"]:
            drawn["recall"] = draw_recall(results["retrieval"], work / "recall")
            drawn["cosines"] = draw_cosines(_one_way(results["retrieval"]), work / "cosines")
        if results["similarity"] and results["similarity"]["cosines"]:
            drawn["similarity"] = draw_similarity(results["similarity"], work / "similarity")
        for what, method in dict.fromkeys((p["map"], p["method"]) for p in told.points):
            own = [p for p in told.points if (p["map"], p["method"]) == (what, method)]
            names = [p["label" if what == "label" else "space"] for p in own]
            by = f"Clips coloured by {results['mapped_by']}" if results["mapped_by"] else "Clips"
            title = by if what == "label" else "All spaces together, coloured by stream"
            places = np.array([(p["x"], p["y"]) for p in own])
            drawn[f"map_{what}_{method}"] = draw_map(places, names, method, title, work / f"map-{what}-{method}")
    return {k: Picture(path=place / p.path.name, alt=p.alt, caption=p.caption) for k, p in drawn.items()}


def _one_way(directions: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """One direction of each pair: cosines are the same both ways."""
    found: dict[frozenset[str], Mapping[str, Any]] = {}
    for d in directions:
        found.setdefault(frozenset((d["from"], d["to"])), d)
    return list(found.values())


def _page(title: str, lead: Sequence[str], meta: Mapping[str, Any], results: Mapping[str, Any], pictures: Mapping[str, Picture]) -> Page:
    """The page's parts; those with nothing in them are left out."""
    sections = []
    directions = results["retrieval"]
    if directions:
        tables = [_table(directions, None, "With 95 % intervals; chance below each")]
        sections.append(Section(title="Retrieval", tables=tables, pictures=[pictures[k] for k in ("recall",) if k in pictures]))
    if any("rescored" in d for d in directions):
        tables = [_table(directions, way, f"By {name}") for way, name in _WAYS.items()]
        sections.append(Section(title="Rescored with all queries at once", texts=[_RESCORED], tables=tables))
    for kind, name in (("zero_shot", "Zero-shot classes"), ("linear_probe", "Linear probe")):
        for one in results.get(kind, ()):
            texts = [f"Prompts: {'; '.join(one['templates'])}"] if "templates" in one else []
            tables = [_accuracy_table(one), *_class_tables(one)]
            sections.append(Section(title=f"{name}: {one['label']}", texts=texts, tables=tables))
    shown = [p for k, p in pictures.items() if k.startswith("map_") or k in ("similarity", "cosines")]
    sections.append(Section(title="The space", texts=[] if pictures else [NO_PLOTS], tables=_gap_tables(results["gaps"]), pictures=shown))
    facts = "; ".join(f"{k}: {v}" for k, v in {**meta, **results.get("embedded", {})}.items())
    files = "All numbers: results.json, results.csv, maps.csv, similarity.csv, ranks.jsonl; versions, command and date: run.json."
    sections.append(Section(title="How this was measured", texts=[*_METHOD, f"{facts}. {files}" if facts else files]))
    return Page(title=title, lead=lead, sections=sections)


def _table(directions: Sequence[Mapping[str, Any]], way: str | None, caption: str) -> Table:
    """Two rows a direction: figures, and chance."""
    rows, names = [], list(directions[0]["figures"])
    for d in directions:
        figures = d["figures"] if way is None else d.get("rescored", {}).get(way)
        if figures is None:
            continue
        cells = [f"{f['value']:.1f} ({f['low']:.1f}–{f['high']:.1f})" if n in _RANKS else _between(f) for n, f in figures.items()]
        chance = [f"{f['chance']:.1f}" if n in _RANKS else number(f["chance"], digits=3) for n, f in figures.items()]
        counts = [f"{d['queries']:,}", f"{d['things']:,}", f"{d['relevant']:.1f}", f"{d['without']:,}"]
        rows += [[f"{d['from']} → {d['to']}", *cells, *counts], ["chance", *chance, "", "", "", ""]]
    columns = ["from → to", *(_title(n) for n in names), "queries", "among", "belong", "left out"]
    return Table(caption=caption, columns=columns, rows=rows)


def _title(name: str) -> str:
    """A figure as papers call it."""
    known = {**_RANKS, "map": "mAP", "mean_reciprocal_rank": "MRR"}
    stem, _, k = name.rpartition("_at_")
    return known.get(name) or f"{ {'recall': 'R', 'map': 'mAP', 'ndcg': 'nDCG'}[stem] }@{k}"


def _accuracy_table(one: Mapping[str, Any]) -> Table:
    """A row a space."""
    rows = []
    for space, f in one["spaces"].items():
        often = f"{number(f['majority']['accuracy'])} ({f['majority']['class']})"
        more = [f"{f['trained_on']:,}", f"{f['in_both']:,}", f"{f['unseen']:,}", f"{f['C']:g}"] if "trained_on" in f else []
        figures = [_between(f["accuracy"]), number(f["macro_recall"]), number(f["chance"]), often]
        rows.append([space, *figures, f"{f['n']:,}", f"{f['groups']:,}", *more])
    more = ["trained on", "in both, left out", "of unseen classes", "C"] if any("trained_on" in f for f in one["spaces"].values()) else []
    columns = ["by", "accuracy", "mean recall", "chance", "most frequent", "examples", "groups", *more]
    return Table(caption="With 95 % intervals", columns=columns, rows=rows)


def _class_tables(one: Mapping[str, Any]) -> list[Table]:
    """Each class, and what was told for it, in the first space; the confusion where there are not too many classes."""
    space = next(iter(one["spaces"]))
    told = one["spaces"][space]["classes"]
    names = [c["class"] for c in told]
    rows = [[c["class"], *(number(c[m]) for m in ("precision", "recall", "f1")), f"{c['support']:,}"] for c in told]
    tables = [Table(caption=f"By class, {space}", columns=["class", "precision", "recall", "F1", "examples"], rows=rows)]
    if len(names) <= _MOST_CLASSES:
        counts = [[n, *(f"{c:,}" for c in row)] for n, row in zip(names, one["spaces"][space]["confusion"], strict=True)]
        best = frozenset((i, i + 1) for i in range(len(names)))
        tables.append(Table(caption=f"True class (rows) by told class, {space}", columns=["true", *names], rows=counts, best=best))
    return tables


def _gap_tables(found: Mapping[str, Any]) -> list[Table]:
    """How narrow each space is, and how far apart two are."""
    spaces = [[name, f"{s['things']:,}", number(s["mean_length"])] for name, s in found["spaces"].items()]
    pairs = [[f"{p['a']} and {p['b']}", number(p["gap"])] for p in found["pairs"]]
    narrow = "Length of the mean vector: 0 where vectors point everywhere, 1 where all are equal"
    tables = [Table(caption=narrow, columns=["space", "things", "mean length"], rows=spaces)]
    return [*tables, *([Table(caption="Distance of the means (modality gap)", columns=["spaces", "gap"], rows=pairs)] if pairs else [])]
