"""Results of suites side by side: systems in rows, parts in columns, what is best and second marked, and what guessing gets."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from unifusion.errors import ConfigError, DatasetError, nearest
from unifusion.evaluation.paper_results import Measured

__all__ = ["SCORINGS", "Cell", "Column", "Line", "PaperTable", "paper_table"]

SCORINGS = ("likelihood", "generation", "rotated")
_GUESSES = ("chance", "majority")
_MANY_UNPARSED = 0.01
_LOWER = {"mse", "mae", "ece", "classwise_ece", "brier", "unparsed", "error", "time_error_s", "median_rank", "mean_rank"}
"""Further metrics of a part, or means (`mean_`) of what its rows tell, of which less is better, whichever way its own goes."""


@dataclass(frozen=True, kw_only=True)
class Column:
    """One part under one metric.

    Attributes:
        part: its name; "" for the mean over columns.
        metric: its name.
        higher: whether more is better.
        n: items; 0 where no file tells.
        own: whether it is the part's own metric, which has intervals and guesses.
    """

    part: str
    metric: str
    higher: bool = True
    n: int = 0
    own: bool = True


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One number as it is shown.

    Attributes:
        text: the number, rounded.
        value: the rounded number, by which cells are compared: two that look equal are equal.
        low, high: of its interval, as text; "" without one.
        mark: "best", "second" or "".
        note: how this system was scored, where not all of a column were scored the same way.
    """

    text: str
    value: float
    low: str = ""
    high: str = ""
    mark: str = ""
    note: str = ""


@dataclass(frozen=True, kw_only=True)
class Line:
    """A row: a system, or what guessing gets. Only systems contend for the best."""

    name: str
    cells: tuple[Cell | None, ...]
    contends: bool = True


@dataclass(frozen=True, kw_only=True)
class PaperTable:
    """The whole table, its notes below."""

    caption: str
    columns: tuple[Column, ...]
    lines: tuple[Line, ...]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class _Look:
    """How numbers are chosen and written."""

    scoring: str = ""
    percent: bool = False
    decimals: int | None = None
    intervals: bool = True
    notes: list[str] = field(default_factory=list)

    def number(self, value: float, higher: bool) -> tuple[str, float]:
        """A value as text, and as that text says."""
        scaled = value * 100 if self.percent and higher else value
        digits = self.decimals if self.decimals is not None else 1 if self.percent and higher else 3
        return f"{scaled:.{digits}f}", round(scaled, digits)


def paper_table(
    systems: Sequence[Measured], *, columns: Sequence[str] = (), conditions: Sequence[str] = ("blind",), mean: bool = False,
    mark: bool = True, scoring: str = "", percent: bool = False, decimals: int | None = None, intervals: bool = True,
) -> PaperTable:  # fmt: skip
    """Put systems side by side.

    Args:
        systems: as read.
        columns: `PART` or `PART:METRIC` in this order; all parts under their own metric when empty.
        conditions: further rows of each system, such as `blind` and `text`, where it was measured so.
        mean: add the plain mean over the columns.
        mark: mark the best and the second of each column.
        scoring: of likelihood, generation, rotated. "" takes for each column the first that all its systems have; where there is none,
            each system's first, with a note at its number.
        percent: numbers of which more is better, times 100.
        decimals: digits; by default 3, of percent 1.
        intervals: with confidence intervals.

    Raises:
        ConfigError: a column, condition or scoring that nobody has.
        DatasetError: a number is none, or systems were measured on different items.
    """
    if scoring and scoring not in SCORINGS:
        raise ConfigError(f"scoring {scoring!r};", remedy=nearest(scoring, list(SCORINGS)))
    look = _Look(scoring=scoring, percent=percent, decimals=decimals, intervals=intervals)
    chosen = [_column(name, systems) for name in (columns or _parts(systems))]
    lines = [_line(s.name, s, "all", chosen, systems, look) for s in systems]
    if not any(map(_told, lines)):
        raise ConfigError("no system has a number in these columns;", remedy="see the results' parts, metrics and scorings.")
    further = [_line(f"{s.name}, {c}", s, c, chosen, systems, look) for c in conditions for s in systems]
    lines += [line for line in (*further, *(_guess(g, chosen, systems, look) for g in _GUESSES)) if _told(line)]
    if mean:
        if len({c.higher for c in chosen}) > 1:
            raise ConfigError("no mean of numbers of which some are better high and some low;", remedy="name like ones: --columns.")
        lines = [_with_mean(line) for line in lines]
        chosen.append(Column(part="", metric="mean", higher=chosen[0].higher))
    suites = ", ".join(dict.fromkeys(s.suite for s in systems if s.suite))
    table = PaperTable(caption=suites, columns=tuple(chosen), lines=tuple(lines), notes=tuple(dict.fromkeys(look.notes)))
    return _marked(table) if mark else table


def _parts(systems: Sequence[Measured]) -> list[str]:
    """Names of all parts, in the order they come."""
    return list(dict.fromkeys(part for s in systems for part in s.parts))


def _column(name: str, systems: Sequence[Measured]) -> Column:
    """A column by its name.

    Raises:
        ConfigError: no system has the part.
        DatasetError: systems were measured on different items.
    """
    whole = ":" not in name or any(name in s.parts for s in systems)
    part, _, metric = (name, "", "") if whole else name.rpartition(":")
    having = [s for s in systems if part in s.parts]
    if not having:
        raise ConfigError(f"no results have the part {part!r};", remedy=nearest(part, _parts(systems)))
    told = [(s.parts[part].get("n"), str(s.parts[part].get("metric") or ""), s) for s in having]
    other = next((t for t in told if t[0] != told[0][0] or t[1] != told[0][1]), None)
    if other is not None:
        raise DatasetError(
            f"{part} has {told[0][0]} items by {told[0][1]} in {told[0][2].path}, {other[0]} by {other[1]} in {other[2].path};",
            remedy="measure both with the same suite.",
        )
    hashes = [(s.rows[part], s.path) for s in having if s.rows.get(part)]
    if differing := next((path for mark, path in hashes if mark != hashes[0][0]), None):
        raise DatasetError(f"{part} has other rows in {hashes[0][1]} than in {differing};", remedy="measure both with the same suite.")
    own, n = told[0][1], told[0][0]
    higher = having[0].parts[part].get("direction", "higher") != "lower"
    is_own = metric in ("", own)
    upward = higher if is_own else not {metric, metric.removeprefix("mean_")} & _LOWER
    return Column(part=part, metric=metric or own, higher=upward, n=n if isinstance(n, int) else 0, own=is_own)


def _scorings(system: Measured, column: Column, condition: str) -> dict[str, Mapping[str, Any]]:
    """How a system was scored in a column under a condition: scoring -> figures."""
    found = (system.parts.get(column.part, {}).get("conditions") or {}).get(condition)
    return {k: v for k, v in found.items() if isinstance(v, dict)} if isinstance(found, dict) else {}


def _told(line: Line) -> bool:
    """Whether a row has any number."""
    return any(cell is not None for cell in line.cells)


def _line(
    name: str, system: Measured, condition: str, columns: Iterable[Column], systems: Sequence[Measured], look: _Look
) -> Line:  # fmt: skip
    """A system's row under a condition."""
    cells, contends = [], condition == "all"
    for column in columns:
        told = _scorings(system, column, condition)
        common = look.scoring or _common(column, systems)
        used = common if look.scoring or common in told else next((s for s in (*SCORINGS, *told) if s in told), "")
        figures = told.get(used, {})
        cell = _cell(figures, column, f"{system.path}, {column.part}", look)
        if cell is not None and used != common:
            cell = replace(cell, note=used)
            look.notes.append(f"{column.part}: not all was scored the same way; how is told at each number")
        cells.append(cell)
        look.notes.extend(_failures(f"{name}, {column.part}", figures) if contends else ())
    return Line(name=name, cells=tuple(cells), contends=contends)


def _failures(where: str, figures: Mapping[str, Any]) -> list[str]:
    """What a number does not show by itself."""
    missed, failed = figures.get("unparsed"), figures.get("errors")
    notes = []
    if isinstance(missed, int | float) and missed > _MANY_UNPARSED:
        notes.append(f"{where}: {missed:.1%} of the answers could not be read and count as wrong")
    if isinstance(failed, int) and failed > 0:
        notes.append(f"{where}: {failed} items failed and are not counted")
    return notes


def _common(column: Column, systems: Sequence[Measured]) -> str:
    """The scoring that all systems of a column have, first that by which all are judged; "" where there is none."""
    having = [told for s in systems if (told := _scorings(s, column, "all"))]
    judged = {str(s.parts[column.part].get("first") or "") for s in systems if column.part in s.parts}
    order = (*(judged if len(judged) == 1 else ()), *SCORINGS, *(k for told in having for k in told))
    return next((k for k in order if all(k in told for told in having)), "")


def _cell(figures: Mapping[str, Any], column: Column, where: str, look: _Look) -> Cell | None:
    """One number; that of the part's own metric with its interval.

    Raises:
        DatasetError: it is no number.
    """
    value = figures.get("value") if column.own else (figures.get("metrics") or {}).get(column.metric)
    if value is None:
        return None
    if not _is_number(value):
        raise DatasetError(f"{where}: {column.metric} is {value!r};", remedy="measure it again.")
    text, shown = look.number(value, column.higher)
    ends = [figures.get(k) for k in ("low", "high")]
    if not column.own or not look.intervals or not all(map(_is_number, ends)):
        return Cell(text=text, value=shown)
    low, high = (look.number(float(e or 0.0), column.higher)[0] for e in ends)
    return Cell(text=text, value=shown, low=low, high=high)


def _is_number(value: Any) -> bool:
    """Whether a value of a file is one that can be shown."""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _guess(name: str, columns: Sequence[Column], systems: Sequence[Measured], look: _Look) -> Line:
    """What chance or the most frequent answer gets; only of a part's own metric, for which it was worked out."""
    cells: list[Cell | None] = []
    for column in columns:
        value = next((s.parts[column.part].get(name) for s in systems if column.part in s.parts), None)
        value = value.get("value") if isinstance(value, dict) else value
        if not column.own or not _is_number(value):
            cells.append(None)
            continue
        text, shown = look.number(float(value or 0.0), column.higher)
        cells.append(Cell(text=text, value=shown))
    return Line(name=name, cells=tuple(cells), contends=False)


def _with_mean(line: Line) -> Line:
    """A row with the mean of its numbers as they are shown, where it has all of them."""
    there = [c for c in line.cells if c is not None]
    if not there or len(there) < len(line.cells):
        return replace(line, cells=(*line.cells, None))
    digits = max(len(c.text.partition(".")[2]) for c in there)
    found = sum(c.value for c in there) / len(there)
    return replace(line, cells=(*line.cells, Cell(text=f"{found:.{digits}f}", value=round(found, digits))))


def _marked(table: PaperTable) -> PaperTable:
    """The table with the best and the second of each column marked among systems, where there are two or more."""
    marks: dict[tuple[int, int], str] = {}
    for j, column in enumerate(table.columns):
        shown = [(i, c.value) for i, line in enumerate(table.lines) if line.contends and (c := line.cells[j]) is not None]
        ranked = sorted({v for _, v in shown}, reverse=column.higher)
        best = [i for i, v in shown if v == ranked[0]] if len(shown) > 1 else []
        marks |= {(i, j): "best" for i in best}
        if len(best) == 1 and len(ranked) > 1:
            marks |= {(i, j): "second" for i, v in shown if v == ranked[1]}
    lines = []
    for i, line in enumerate(table.lines):
        cells = tuple(None if c is None else replace(c, mark=marks.get((i, j), "")) for j, c in enumerate(line.cells))
        lines.append(replace(line, cells=cells))
    return replace(table, lines=tuple(lines))
