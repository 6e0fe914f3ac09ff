"""A page of tables and pictures that needs no network: as HTML, and its tables as Markdown, plain text and CSV."""

from __future__ import annotations

import base64
import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

__all__ = ["Page", "Picture", "Section", "Table", "csv_text", "number", "p_value", "signed", "visible"]

_STYLE = """
:root { color-scheme: light dark; --ink: #1a1f26; --soft: #5b6570; --line: #d8dde3; --back: #fff; --card: #f5f7f9; --mark: #1f5fa8; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e4e8ec; --soft: #9aa5b1; --line: #39414b; --back: #14181d; --card: #1d232a; --mark: #7db4ee; } }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 74rem; padding: 2rem 1.25rem 4rem; color: var(--ink); background: var(--back);
  font: 16px/1.55 system-ui, -apple-system, "Segoe UI", sans-serif; overflow-wrap: break-word; }
h1 { font-size: 1.7rem; line-height: 1.2; margin: 0 0 1rem; }
h2 { font-size: 1.15rem; margin: 2.6rem 0 .6rem; padding-top: .9rem; border-top: 1px solid var(--line); }
.lead { border-left: 4px solid var(--mark); background: var(--card); padding: .8rem 1.1rem; border-radius: 0 6px 6px 0; }
.lead p { margin: .35rem 0; }
.lead p:first-child { font-size: 1.08rem; font-weight: 600; }
.note { color: var(--soft); font-size: .92rem; max-width: 52rem; }
.wide { overflow-x: auto; margin: .8rem 0 1.2rem; }
table { border-collapse: collapse; font-size: .86rem; font-variant-numeric: tabular-nums; min-width: 50%; }
caption { text-align: left; color: var(--soft); padding-bottom: .4rem; }
th, td { padding: .3rem .55rem; text-align: right; white-space: nowrap; border-bottom: 1px solid var(--line); }
th:first-child, td:first-child { text-align: left; }
thead th { border-bottom: 2px solid var(--soft); vertical-align: bottom; }
thead button { all: unset; cursor: pointer; font: inherit; }
thead button:hover, thead button:focus-visible { color: var(--mark); text-decoration: underline; }
thead th[aria-sort=ascending] button::after { content: " \\25B2"; font-size: .7em; }
thead th[aria-sort=descending] button::after { content: " \\25BC"; font-size: .7em; }
tbody tr:hover { background: var(--card); }
figure { margin: 1rem 0 1.6rem; }
figure img { display: block; max-width: 100%; height: auto; background: #fff;
  border: 1px solid var(--line); border-radius: 6px; padding: .5rem; }
figcaption { color: var(--soft); font-size: .9rem; margin-top: .4rem; max-width: 52rem; }
a { color: var(--mark); }
@media print { body { max-width: none; } h2 { break-after: avoid; } figure, table { break-inside: avoid; } }
"""
# No "less than" and no ampersand stand in it, so that the whole page is also well-formed XML.
_SCRIPT = """
for (const button of document.querySelectorAll("thead button")) {
  button.addEventListener("click", () => {
    const head = button.closest("th"), body = button.closest("table").tBodies[0];
    const at = head.cellIndex, down = head.getAttribute("aria-sort") === "ascending";
    const key = (row) => {
      const text = row.cells[at].textContent.trim(), value = parseFloat(text.replace(/^p? ?[=\\u003c] ?/, ""));
      return Number.isNaN(value) ? text : value; };
    const rows = Array.from(body.rows).sort((a, b) => {
      const [x, y] = [key(a), key(b)];
      return typeof x === typeof y ? (typeof x === "number" ? x - y : x.localeCompare(y)) : (typeof x === "number" ? -1 : 1); });
    for (const other of head.parentNode.cells) other.removeAttribute("aria-sort");
    head.setAttribute("aria-sort", down ? "descending" : "ascending");
    body.append(...(down ? rows.reverse() : rows)); });
}
"""
_TEMPLATE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8" />
<meta name="viewport" content="width=device-width, initial-scale=1" />
<meta http-equiv="Content-Security-Policy"
  content="default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'unsafe-inline'" />
<title>{{ page.title|clean }}</title>
<style>{{ style|safe }}</style>
</head>
<body>
<main>
<h1>{{ page.title|clean }}</h1>
<div class="lead">{% for text in page.lead %}<p>{{ text|clean }}</p>{% endfor %}</div>
{% for section in page.sections %}
<section>
<h2>{{ section.title|clean }}</h2>
{% for text in section.texts %}<p class="note">{{ text|clean }}</p>
{% endfor %}{% for table in section.tables %}<div class="wide"><table>
<caption>{{ table.caption|clean }}</caption>
<thead><tr>{% for name in table.columns %}<th scope="col"><button type="button">{{ name|clean }}</button></th>{% endfor %}</tr></thead>
<tbody>
{% for row in table.rows %}{% set line = loop.index0 %}<tr>{% for cell in row %}<td>{% if
(line, loop.index0) in table.best %}<strong>{{ cell|clean }}</strong>{% else %}{{ cell|clean }}{% endif %}</td>{% endfor %}</tr>
{% endfor %}</tbody></table></div>
{% endfor %}{% for picture in section.pictures %}<figure><img alt="{{ picture.alt|clean }}" src="{{ picture.data }}" />
<figcaption>{{ picture.caption|clean }}</figcaption></figure>
{% endfor %}</section>
{% endfor %}
</main>
<script>{{ script|safe }}</script>
</body>
</html>
"""


@dataclass(frozen=True, kw_only=True)
class Table:
    """Cells as text; `best` holds (row, column) of those that stand out."""

    caption: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    best: frozenset[tuple[int, int]] = frozenset()

    def markdown(self) -> str:
        """As GitHub has it."""

        def cell(text: str, bold: bool = False) -> str:
            """One cell, in which nothing of the text is a mark."""
            shown = "".join(f"\\{c}" if c in "\\|`*_<>[]$~" else c for c in visible(text))
            return f"**{shown}**" if bold else shown

        lines = [f"| {' | '.join(map(cell, self.columns))} |", "|---" + "|---:" * (len(self.columns) - 1) + "|"]
        lines += [f"| {' | '.join(cell(t, (i, j) in self.best) for j, t in enumerate(r))} |" for i, r in enumerate(self.rows)]
        return "\n".join(lines)

    def text(self) -> str:
        """For a terminal: columns in line, the best with a star."""
        shown = [[visible(t) + ("*" if (i, j) in self.best else "") for j, t in enumerate(r)] for i, r in enumerate(self.rows)]
        grid = [[visible(c) for c in self.columns], *shown]
        widths = [max(len(row[j]) for row in grid) for j in range(len(self.columns))]
        lines = ["  ".join(t.ljust(w) if j == 0 else t.rjust(w) for j, (t, w) in enumerate(zip(r, widths, strict=True))) for r in grid]
        return "\n".join(line.rstrip() for line in [lines[0], "-" * len(lines[0]), *lines[1:]])


@dataclass(frozen=True, kw_only=True)
class Picture:
    """An SVG file with what stands below it, and what it shows for those who cannot see it."""

    path: Path
    alt: str
    caption: str

    @property
    def data(self) -> str:
        """The picture as an address that holds it whole."""
        return f"data:image/svg+xml;base64,{base64.b64encode(self.path.read_bytes()).decode('ascii')}"


@dataclass(frozen=True, kw_only=True)
class Section:
    """Texts, then tables, then pictures."""

    title: str
    texts: Sequence[str] = ()
    tables: Sequence[Table] = ()
    pictures: Sequence[Picture] = ()


@dataclass(frozen=True, kw_only=True)
class Page:
    """A title, what was found in plain words, and sections."""

    title: str
    lead: Sequence[str]
    sections: Sequence[Section]

    def html(self) -> str:
        """The page: everything in one file, light and dark, columns sorted by a press on their head."""
        from jinja2 import Environment

        environment = Environment(autoescape=True)
        environment.filters["clean"] = visible
        return environment.from_string(_TEMPLATE).render(page=self, style=_STYLE, script=_SCRIPT) + "\n"


def visible(text: str) -> str:
    """Write characters out that cannot be seen, or that steer a terminal."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def csv_text(rows: Sequence[Mapping[str, Any]], columns: Sequence[str]) -> str:
    """Rows as CSV; what is None is empty."""
    out = io.StringIO()
    writer = csv.DictWriter(out, columns, lineterminator="\n", extrasaction="ignore")
    writer.writeheader()
    writer.writerows({k: "" if v is None else v for k, v in row.items()} for row in rows)
    return out.getvalue()


def number(value: float | None, *, digits: int = 2) -> str:
    """As papers have figures that are at most 1: .71, -.20, 1.00; a dash for None."""
    if value is None:
        return "–"
    shown = f"{abs(value):.{digits}f}"
    zero = float(shown) == 0
    return ("-" if value < 0 and not zero else "") + (shown[1:] if shown.startswith("0") else shown)


def signed(value: float | None, *, digits: int = 3) -> str:
    """A difference: +.043."""
    shown = number(value, digits=digits)
    return shown if value is None or value < 0 else f"+{shown}"


def p_value(p: float) -> str:
    """p = .003, or p < .001."""
    return "p < .001" if p < 0.001 else f"p = {number(p, digits=3)}"
