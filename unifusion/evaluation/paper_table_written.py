"""A table of results as Markdown for pages and as LaTeX (booktabs) for papers."""

from __future__ import annotations

import re
from collections.abc import Sequence

from unifusion.errors import ConfigError, nearest
from unifusion.evaluation.page import visible
from unifusion.evaluation.paper_table import Cell, Column, PaperTable

__all__ = ["FORMATS", "written"]

FORMATS = ("markdown", "latex")
_TEX = {
    "\\": r"\textbackslash{}", "{": r"\{", "}": r"\}", "$": r"\$", "&": r"\&", "#": r"\#", "_": r"\_", "%": r"\%",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": r"\textless{}", ">": r"\textgreater{}", "|": r"\textbar{}",
    "[": "{[}", "]": "{]}", "*": "{*}",
}  # fmt: skip
"""Brackets and stars among them: behind the end of a row they would be its options."""
_BREAK = "\n"


def written(table: PaperTable, form: str) -> str:
    """The table in one of `FORMATS`, its notes below.

    Raises:
        ConfigError: there is no such format.
    """
    if form not in FORMATS:
        raise ConfigError(f"no format {form!r} of tables;", remedy=nearest(form, list(FORMATS)))
    return _markdown(table) if form == "markdown" else _latex(table)


def _head(column: Column, arrow: str) -> str:
    """What stands above a column."""
    return f"{column.part + ': ' if column.part else ''}{column.metric} {arrow}"


def _counts(columns: Sequence[Column]) -> str:
    """How many items each part has."""
    told = dict.fromkeys(f"{c.part} n = {c.n}" for c in columns if c.n)
    return ", ".join(told)


def _markdown(table: PaperTable) -> str:
    """As GitHub has it: best in bold, second underlined."""

    def plain(text: str) -> str:
        """Text in which nothing is a mark."""
        return "".join(f"\\{c}" if c in "\\|`*_<>[]$~" else c for c in visible(text))

    def shown(cell: Cell | None) -> str:
        """One number."""
        if cell is None:
            return "–"
        number = {"best": f"**{cell.text}**", "second": f"<u>{cell.text}</u>"}.get(cell.mark, cell.text)
        between = f" \\[{cell.low}, {cell.high}\\]" if cell.low else ""
        return number + between + (f" ({plain(cell.note)})" if cell.note else "")

    heads = [plain(_head(c, "↑" if c.higher else "↓")) for c in table.columns]
    lines = [f"| {' | '.join(['system', *heads])} |", "|---" + "|---:" * len(heads) + "|"]
    lines += [f"| {' | '.join([plain(line.name), *map(shown, line.cells)])} |" for line in table.lines]
    below = [n for n in (_counts(table.columns), *table.notes) if n]
    return _BREAK.join([*lines, *(["", *(f"- {plain(n)}" for n in below)] if below else [])])


def _latex(table: PaperTable) -> str:
    """With booktabs: systems, then a rule, then what guessing gets and what a model gets without its media."""

    def plain(text: str) -> str:
        """Text in which nothing is a command."""
        return "".join(_TEX.get(c, c) for c in visible(text))

    def shown(cell: Cell | None) -> str:
        """One number."""
        if cell is None:
            return "--"
        number = cell.text.replace("-", "$-$")
        number = {"best": rf"\textbf{{{number}}}", "second": rf"\underline{{{number}}}"}.get(cell.mark, number)
        between = rf" {{\scriptsize[{cell.low}, {cell.high}]}}".replace("[-", "[$-$").replace(", -", ", $-$") if cell.low else ""
        return number + between + (rf" {{\scriptsize({plain(cell.note)})}}" if cell.note else "")

    heads = [plain(_head(c, "")).rstrip() + (r" $\uparrow$" if c.higher else r" $\downarrow$") for c in table.columns]
    rows = [(line.contends, " & ".join([plain(line.name), *map(shown, line.cells)]) + r" \\") for line in table.lines]
    systems, guesses = ([text for contends, text in rows if contends is wanted] for wanted in (True, False))
    told = ". ".join(plain(n) for n in (table.caption, _counts(table.columns), *table.notes) if n)
    label = re.sub(r"[^a-z0-9]+", "-", table.caption.lower()).strip("-") or "results"
    return _BREAK.join([
        r"% needs \usepackage{booktabs}", r"\begin{table}", r"\centering", rf"\caption{{{told}.}}", rf"\label{{tab:{label}}}",
        rf"\begin{{tabular}}{{l{'r' * len(heads)}}}", r"\toprule", " & ".join(["System", *heads]) + r" \\", r"\midrule", *systems,
        *([r"\midrule", *guesses] if guesses else []), r"\bottomrule", r"\end{tabular}", r"\end{table}",
    ])  # fmt: skip
