"""A suite's report as a folder: figures as JSON and CSV, a table for people, pictures, a page, and an entry for the model card."""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from unifusion import atomic
from unifusion.evaluation.drawing import BLUE, GREY, NO_PLOTS, can_draw, draw, label, whiskers
from unifusion.evaluation.emotion_report import write_run
from unifusion.evaluation.page import Page, Picture, Section, Table, csv_text, number, signed
from unifusion.evaluation.suite.card_entry import card_entry

__all__ = ["failed_rows", "suite_table", "tampering_tables", "write_suite"]

log = logging.getLogger(__name__)
_COLUMNS = (
    "part",
    "task",
    "metric",
    "condition",
    "scoring",
    "value",
    "low",
    "high",
    "n",
    "groups",
    "unparsed",
    "errors",
    "chance",
    "majority",
    "direction",
)
_ARROWS = {"higher": "↑", "lower": "↓"}
_NAMED = 20
"""Failed rows that the page names; predictions.jsonl names all."""
_METHOD = (
    "Every row is asked in words that a function of (seed, row) chose, and answered greedily. A part whose answers are a closed set "
    "is judged by likelihood: the set's likeliest answer. Beside it stand the answer that was said in words (generation; what "
    "cannot be read counts as wrong, and is counted apart) and, of lettered options, the mean over all turns of their order "
    "(rotated).",
    "Chance is that of a blind draw among the set; majority is the most frequent true answer, given always. Blind: the same "
    "question without clip or words; text: with the words that are said, without the clip. Files that cannot be read are no wrong "
    "answers: they are errors, counted apart. Intervals are 95 % percentiles of bootstrap draws of groups (speakers, talks, source "
    "videos), and of rows within them where there are fewer than twenty groups. ↑: higher is better.",
)
_TAMPERING = (
    "The same rows with a stream muted, another row's sound or picture in its place, pictures out of order, or another clip. Whole "
    "and then are mean scores against the row's own answer. Where the lender is asked the same and its answer is another one, an answer "
    "that follows the lender was moved by what was lent; one that stays was not. Of a question about the sound, faithful is: follows "
    "with another sound, stays with another picture. Where a question needs both, or names a thing that the lender's clip lacks, the right "
    "answer may be a third one."
)


def write_suite(results: Mapping[str, Any], folder: Path) -> Path:
    """Write the report beside the predictions; made again from the same answers, all but `run.json` is the same to the byte.

    Args:
        results: as `run_suite` makes them.
        folder: gets `results.json`, `results.csv`, `results.md`, `model_index.yaml`, `run.json`, `index.html`, and `pictures/*.png|svg`
            where the extra `plots` is installed.

    Returns:
        The path of `index.html`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    atomic.write_text(folder / "results.json", json.dumps(results, indent=1, sort_keys=True, ensure_ascii=False, allow_nan=False) + "\n")
    atomic.write_text(folder / "results.csv", csv_text(_cells(results), _COLUMNS))
    table = suite_table(results)
    atomic.write_text(folder / "results.md", f"{table.caption}\n\n{table.markdown()}\n")
    atomic.write_text(folder / "model_index.yaml", card_entry(results))
    pictures = _pictures(results, folder)
    atomic.write_text(folder / "index.html", _page(results, table, pictures).html())
    write_run(folder)
    return folder / "index.html"


def suite_table(results: Mapping[str, Any]) -> Table:
    """A line a part: its value with interval, chance, majority, blind, text, the other scorings, and the rows that failed."""
    rows = []
    for name, part in results["parts"].items():
        whole = part["conditions"]["all"]
        cells = {s: _short(whole.get(s)) for s in ("likelihood", "generation", "rotated")}
        baselines = [_short(_first(part, c)) for c in ("blind", "text")]
        told = _first(part, "all")
        unparsed = number((whole.get("generation") or {}).get("unparsed"))
        beside = [number(part["chance"]), number(part["majority"]["value"]), *baselines, cells["generation"], cells["rotated"], unparsed]
        figure = f"{part['metric']} {_ARROWS[part['direction']]}"
        rows.append([name, figure, str((told or {}).get("n", 0)), _between(told), *beside, str(len(part["failed"]))])
    others = ("chance", "majority", "blind", "text", "generated", "rotated", "unparsed", "failed")
    columns = ("part", "figure", "rows", "value (95 %)", *others)
    return Table(caption=f"{results['model']['name']} on suite {results['suite']}", columns=columns, rows=rows)


def failed_rows(results: Mapping[str, Any]) -> list[str]:
    """A line a part of which rows failed, with their names."""
    out = []
    for name, part in results["parts"].items():
        if failed := part["failed"]:
            named = ", ".join(f"{row} ({kind})" for row, kind in list(failed.items())[:_NAMED])
            more = f", {len(failed) - _NAMED:,} more" * (len(failed) > _NAMED)
            out.append(f"{name}: {len(failed):,} of {part['n']:,} rows failed, counted apart: {named}{more}; predictions.jsonl says why.")
    return out


def _first(part: Mapping[str, Any], condition: str) -> Mapping[str, Any] | None:
    """The cell of a condition by the part's first scoring."""
    found: Mapping[str, Any] | None = part["conditions"].get(condition, {}).get(part["first"])
    return found


def _short(cell: Mapping[str, Any] | None) -> str:
    """A value alone."""
    return number(None if cell is None else cell["value"])


def _between(cell: Mapping[str, Any] | None) -> str:
    """A value with its interval."""
    if cell is None or cell["value"] is None:
        return number(None)
    return f"{number(cell['value'])} ({number(cell['low'])} to {number(cell['high'])})"


def _cells(results: Mapping[str, Any]) -> list[dict[str, Any]]:
    """One row a part, condition and scoring."""
    out = []
    for name, part in results["parts"].items():
        told = {k: part[k] for k in ("task", "metric", "groups", "chance", "direction")}
        fixed = {"part": name, **told, "majority": part["majority"]["value"]}
        for condition, scorings in part["conditions"].items():
            for scoring, cell in scorings.items():
                out.append({**fixed, "condition": condition, "scoring": scoring, **{k: v for k, v in cell.items() if k != "metrics"}})
    return out


def _pictures(results: Mapping[str, Any], folder: Path) -> list[Picture]:
    """Draw into `pictures/`, in place of what was there; nothing without matplotlib, which is said."""
    place = folder / "pictures"
    if not can_draw():
        shutil.rmtree(place, ignore_errors=True)
        log.warning(NO_PLOTS)
        return []
    with atomic.atomic_folder(place) as work:
        drawn = [_bars(results, work / "parts")]
    return [Picture(path=place / p.path.name, alt=p.alt, caption=p.caption) for p in drawn]


def _bars(results: Mapping[str, Any], stem: Path) -> Picture:
    """A bar for each part with its interval, beside it the blind one, a line at chance and a dot at the most frequent answer."""
    parts = {n: p for n, p in results["parts"].items() if (_first(p, "all") or {}).get("value") is not None}
    names = list(reversed(parts))

    def paint(figure: Any) -> None:
        """Put it onto the figure."""
        axes = figure.add_subplot()
        for i, name in enumerate(names):
            part = parts[name]
            whole, blind = _first(part, "all"), _first(part, "blind")
            bar = {"xerr": whiskers([dict(whole or {})]), "error_kw": {"linewidth": 0.9, "capsize": 2}}
            axes.barh(i + 0.17, [(whole or {})["value"]], 0.32, color=BLUE, label="clip shown" if not i else None, **bar)
            axes.barh(i - 0.17, [(blind or {}).get("value") or 0.0], 0.32, color="#c3cad2", label="blind" if not i else None)
            if part["chance"] is not None:
                axes.plot([part["chance"]] * 2, [i - 0.4, i + 0.4], color=GREY, linewidth=1, linestyle=":")
            axes.plot(
                [part["majority"]["value"]], [i], "o", color="#D55E00", markersize=3.5, label="most frequent answer" if not i else None
            )
        axes.set_yticks(range(len(names)), [label(f"{n} ({parts[n]['metric']})", 40) for n in names])
        axes.set(xlim=(min(0.0, *axes.get_xlim()), 1.0), xlabel="value; dotted: chance")
        figure.legend(*axes.get_legend_handles_labels(), loc="outside upper center", ncols=3)

    path = draw(stem, (6.4, 0.8 + 0.42 * max(len(names), 1)), paint)
    told = "; ".join(f"{n} {number((_first(p, 'all') or {}).get('value'))}" for n, p in parts.items())
    return Picture(path=path, alt=f"Value of each part: {told}.", caption="Every part beside itself without a clip, chance and majority.")


def tampering_tables(results: Mapping[str, Any]) -> list[Table]:
    """What tampering costs, a line a part and condition, and what rationales cite; nothing where nothing was tampered with."""
    rows, cited = [], []
    for name, part in results["parts"].items():
        for condition, c in part.get("tampering", {}).items():
            lost = f"{signed(-c['lost'])} ({signed(-c['high'])} to {signed(-c['low'])})"
            lent = ["–", "–"]
            if "follows" in c:
                followed = {"value": c["follows"], "low": c["follows_low"], "high": c["follows_high"]}
                lent = [_between(followed), number(c["stays"])]
            share = number(c["lost_share"])
            rows.append(
                [
                    name,
                    condition,
                    str(c["n"]),
                    number(c["whole"]),
                    number(c["value"]),
                    lost,
                    share,
                    *lent,
                ]
            )
        if told := part.get("citations"):
            moved = ", ".join(f"{stream} {n}" for stream, n in told["moved"].items()) or "none"
            cited.append([name, str(told["n"]), moved, number(told["agreement"]), number(told["by_chance"])])
    columns = ("part", "condition", "rows", "whole", "then", "difference (95 %)", "share lost", "follows the lender", "stays")
    tables = [Table(caption="What tampering with a stream costs", columns=columns, rows=rows)] if rows else []
    if cited:
        told_of = ("part", "rows", "moved by one stream alone", "cites that one", "by chance")
        tables.append(Table(caption="Whether rationales cite the stream that moved their label", columns=told_of, rows=cited))
    return tables


def _page(results: Mapping[str, Any], table: Table, pictures: list[Picture]) -> Page:
    """The page."""
    lead = [f"{results['model']['name']}, {sum(p['n'] for p in results['parts'].values()):,} rows in {len(results['parts'])} parts."]
    lead += [f"Not measured: {name}, {why}." for name, why in results["absent"].items()]
    left_out = [f"{name}: {n:,} rows are left out, {why}." for name, p in results["parts"].items() for why, n in p["left_out"].items()]
    kinds = [_kinds_table(name, part) for name, part in results["parts"].items() if part["kinds"]]
    sections = [Section(title="Figures", texts=[*left_out, *failed_rows(results)], tables=[table], pictures=pictures)]
    if tampered := tampering_tables(results):
        sections.append(Section(title="Faithfulness", texts=[_TAMPERING], tables=tampered))
    if kinds:
        sections.append(Section(title="By kind of question", tables=kinds))
    sections.append(Section(title="Method", texts=_METHOD))
    return Page(title=f"{results['model']['name']}: {results['suite']}", lead=lead, sections=sections)


def _kinds_table(name: str, part: Mapping[str, Any]) -> Table:
    """A part's kinds of question."""
    rows = [
        [k, str(c["n"]), _between(c), number(c.get("chance")), number(c["majority"]), number(c["unparsed"])]
        for k, c in part["kinds"].items()
    ]
    return Table(caption=name, columns=("kind", "rows", "value (95 %)", "chance", "majority", "unparsed"), rows=rows)
