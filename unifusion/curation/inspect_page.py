"""What was found in a source, for a terminal and as a page with pictures."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from unifusion.atomic import write_text
from unifusion.curation.inspecting import Inspected, Numbers
from unifusion.evaluation.drawing import BLUE, COLOURS, NO_PLOTS, can_draw, draw, label
from unifusion.evaluation.page import Page, Picture, Section, Table

__all__ = ["told", "write_inspected"]

_NAMED = 5
_BAR = 40
_UNITS = {"seconds": "seconds a clip", "words": "words a row", "tokens": "tokens a row"}


def told(found: Inspected, name: str) -> Iterator[str]:
    """Lines for a terminal: counts, histograms, labels by split, leaks, what is missing."""
    total = sum(found.rows.values())
    parts = ", ".join(f"{split or 'no split'} {n}" for split, n in found.rows.items())
    in_splits = f" ({parts})" if parts else ""
    yield f"{name}: {total} rows{in_splits}, {sum(found.kinds.values())} clips" + "".join(f", {n} {k}" for k, n in found.kinds.items())
    if found.broken:
        yield f"{len(found.broken)} more rows cannot be read"
    if found.groups:
        yield f"{len(found.groups)} groups" + (f", {len(found.speakers)} speakers" if found.speakers else "")
    if found.bare:
        yield f"{found.bare} rows have no clip"
    for key, unit, figures in _measured(found):
        s = figures.summary()
        low, high, median, most = (_figure(s[k]) for k in ("min", "max", "median", "p95"))
        hours = f", {s['sum'] / 3600:.2f} h in all" if key == "seconds" else ""
        yield f"\n{unit}: {low} to {high}, median {median}, 95 % up to {most}{hours}"
        yield from bars(figures)
    for table in label_tables(found):
        yield f"\n{table.caption}"
        yield table.text()
    for key, numbers in found.numbers.items():
        s = numbers.summary()
        yield f"\n{key}: {s['min']:.3g} to {s['max']:.3g}, mean {s['mean']:.3g} ({s['count']} rows)"
    yield ""
    yield from _problems(found, _NAMED)


def _measured(found: Inspected) -> Iterator[tuple[str, str, Numbers]]:
    """(key, unit, figures) of what there is: rows that say nothing at all have no words."""
    for key, unit in _UNITS.items():
        figures: Numbers = getattr(found, key)
        if any(figures.values) or (key == "seconds" and figures.values):
            yield key, unit, figures


def _figure(value: float) -> str:
    """A number for people: a whole one with all its digits, another one with four."""
    return str(int(value)) if float(value).is_integer() else f"{value:.4g}"


def _bins(figures: Numbers, bins: int = 12) -> Iterator[tuple[str, int]]:
    """Bins of a histogram by name: `2.5 - 3`, and of whole numbers `6`, or `6 - 8` for 6, 7 and 8."""
    whole = figures.whole
    for low, high, count in figures.histogram(bins):
        last = high - 1 if whole else high
        yield _figure(low) if last == low else f"{_figure(low):>9} - {_figure(last):>9}", count


def bars(figures: Numbers) -> Iterator[str]:
    """A histogram in text."""
    bins = list(_bins(figures))
    most, width = max(n for _, n in bins), max(len(name) for name, _ in bins)
    for name, count in bins:
        yield f"  {name:>{width}}  {'#' * round(_BAR * count / most):{_BAR}} {count}"


def label_tables(found: Inspected) -> Iterator[Table]:
    """A table for each label: values by split, the most frequent first."""
    splits = list(found.rows)
    for key, values in found.classes.items():
        ordered = sorted(values.items(), key=lambda item: (-item[1].total(), item[0]))
        rows = [(value, *(str(counts[s]) for s in splits), str(counts.total())) for value, counts in ordered]
        yield Table(caption=f"{key}, {len(rows)} values", columns=(key, *(s or "no split" for s in splits), "all"), rows=rows)


def _problems(found: Inspected, most: int | None) -> Iterator[str]:
    """Leaks, duplicates, broken rows and files, the first of each named."""
    for what, leaks in found.leaks.items():
        for leak in leaks[:most]:
            where = " and ".join(f"{s} ({n} rows)" if what != "files" else s for s, n in leak["rows"].items() if s)
            yield f"LEAK: {what[:-1]} {leak['name']} is in {where}"
        yield from _more(len(leaks), most, what)
    for same in found.duplicates[:most]:
        yield f"same bytes: {', '.join(same['files'][:4])}"
    yield from _more(len(found.duplicates), most, "files of the same bytes")
    for file, kind, why in found.bad_files[:most]:
        yield f"{kind.replace('_', ' ')}: {why if file in why else f'{file}: {why}'}".rstrip(";")
    yield from _more(len(found.bad_files), most, "bad files")
    for _, why in found.broken[:most]:
        yield f"broken row: {why}"
    yield from _more(len(found.broken), most, "broken rows")
    if not (found.duplicates or found.bad_files or found.broken or any(found.leaks.values())):
        files = ", no file twice, none missing or broken" if found.looked else "; no file was looked at"
        yield f"no leak between splits{files}"


def _more(count: int, most: int | None, what: str) -> Iterator[str]:
    """How many are not named."""
    if most is not None and count > most:
        yield f"  and {count - most} more {what} (-o DIR names all)"


def write_inspected(found: Inspected, name: str, folder: Path) -> str:
    """Write `inspect.json`, pictures as PNG and SVG (with matplotlib) and `index.html`; returns what is missing, "" for nothing."""
    folder.mkdir(parents=True, exist_ok=True)
    write_text(folder / "inspect.json", json.dumps({"source": name, **found.to_dict()}, ensure_ascii=False, indent=1) + "\n")
    drawn = can_draw()
    sections = []
    for key, unit, figures in _measured(found):
        rows = [(" ".join(span.split()), str(n)) for span, n in _bins(figures)]
        table = Table(caption=f"{unit}, by bins of one width", columns=(key, "count"), rows=rows)
        sections.append(Section(title=unit, tables=(table,), pictures=(_histogram(figures, key, folder),) if drawn else ()))
    for table in label_tables(found):
        pictures = (_bars(table, found, folder),) if drawn and len(table.rows) <= 40 else ()
        sections.append(Section(title=f"Label {table.columns[0]}", tables=(table,), pictures=pictures))
    lines = list(told(found, name))
    sections.append(Section(title="What is wrong", texts=tuple(_problems(found, None))))
    page = Page(title=f"Data: {name}", lead=(lines[0],), sections=sections)
    write_text(folder / "index.html", page.html())
    return "" if drawn else NO_PLOTS


def _histogram(figures: Numbers, key: str, folder: Path) -> Picture:
    """A histogram drawn."""
    bins = figures.histogram(24)
    back = 0.5 if figures.whole else 0.0  # the bar of the number 6 stands over 6

    def paint(figure: Any) -> None:
        """Bars side by side."""
        axes = figure.add_subplot()
        axes.bar([low - back for low, *_ in bins], [n for *_, n in bins], width=bins[0][1] - bins[0][0], align="edge", color=BLUE)
        axes.set_xlabel(_UNITS[key])
        axes.set_ylabel("count")

    path = draw(folder / f"{key}", (6.0, 3.0), paint)
    return Picture(path=path, alt=f"Histogram of {_UNITS[key]}", caption=f"{_UNITS[key]}, {len(figures.values)} in all.")


def _bars(table: Table, found: Inspected, folder: Path) -> Picture:
    """Values of a label as bars, stacked by split."""
    splits: Sequence[str] = list(found.rows)
    names = [label(row[0]) for row in table.rows]

    def paint(figure: Any) -> None:
        """One bar a value."""
        axes, left = figure.add_subplot(), [0] * len(names)
        for number, split in enumerate(splits):
            counts = [int(row[1 + number]) for row in table.rows]
            axes.barh(range(len(names)), counts, left=left, color=COLOURS[number % len(COLOURS)], label=split or "no split")
            left = [a + b for a, b in zip(left, counts, strict=True)]
        axes.set_yticks(range(len(names)), names)
        axes.invert_yaxis()
        axes.set_xlabel("rows")
        if len(splits) > 1:
            axes.legend()

    key = "".join(c if c.isalnum() else "_" for c in table.columns[0])[:40]
    path = draw(folder / f"label_{key}", (6.0, 0.9 + 0.24 * len(names)), paint)
    return Picture(path=path, alt=f"Rows of each {table.columns[0]}", caption=f"{table.caption}, by split.")
