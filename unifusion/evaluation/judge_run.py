"""Judging a file of predictions: which rows can be judged, verdicts beside them, and figures by part and condition."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from unifusion.atomic import write_text
from unifusion.errors import DatasetError
from unifusion.evaluation.judge import Judge, figures, pair_figures
from unifusion.rows import json_row

__all__ = ["NAMES", "judge_file", "judge_files", "read_answers"]

NAMES = ("id", "part", "condition", "scoring")
"""Keys that name a row; those that are there are taken over, and figures are told by the last three."""


def read_answers(path: Path) -> list[dict[str, Any]]:
    """Rows with question, answer and truth; of a row that holds an error instead of an answer, or none, `answer` is None.

    Raises:
        DatasetError: the file cannot be read, a line is no row, or rows lack what a judge must see; says how many lack which key.
    """
    try:
        lines = path.read_text(encoding="utf-8").split("\n")  # not at U+2028 and its like, which texts may hold
    except (OSError, UnicodeDecodeError) as error:
        raise DatasetError(f"cannot read {path}: {error};", remedy="give the predictions.jsonl of a suite.") from error
    rows = [(number, json_row(line, f"{path}, line {number}", any_value=True)) for number, line in enumerate(lines, 1) if line.strip()]
    lacking: Counter[str] = Counter()
    first = 0
    kept = []
    for number, row in rows:
        answered = "error" not in row and row.get("answer") is not None
        texts = {key: _text(row.get(key)) if answered or key != "answer" else None for key in ("question", "truth", "answer")}
        bad = [key for key, text in texts.items() if text is None and answered]
        lacking.update(bad)
        first = first or (number if bad else 0)
        kept.append({**{key: str(row[key]) for key in NAMES if key in row}, **texts})
    if lacking or not kept:
        counts = ", ".join(f"{count} of {len(kept)} rows lack {key}" for key, count in lacking.items()) or "it holds no rows"
        where = f" (the first is line {first})" if first else ""
        remedy = "a judge needs question, answer and truth of every row, each a text or a number."
        raise DatasetError(f"{path}: {counts}{where};", remedy=remedy)
    return kept


def _text(value: Any) -> str | None:
    """A text or a number as text; None for anything else."""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return None
    return str(value)


def judge_file(path: Path, out: Path, judge: Judge) -> dict[str, Any]:
    """Judge every answer of a file; rows with verdicts go to `out`, figures beside it into `<out>.results.json`. Returns the figures.

    Raises:
        DatasetError: see `read_answers`.
        EndpointError: the server is gone.
    """
    rows = read_answers(path)
    asked = [row for row in rows if row["answer"] is not None]
    judged = dict(zip(map(id, asked), judge.answers(asked), strict=True))
    told = [{**row, "judge": judged[id(row)].to_dict()} if id(row) in judged else row for row in rows]
    versions = sorted({j.version for j in judged.values() if j.version})

    def sums(some: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        """Figures of some rows."""
        own = [judged[id(row)] for row in some if id(row) in judged]
        return {**figures(own), "rows": len(some), "unanswered": len(some) - len(own)}

    return _write(out, told, {"judge": {**judge.identity, "versions": versions}, "all": sums(rows), "groups": _groups(rows, sums)})


def judge_files(path: Path, against: Path, out: Path, judge: Judge) -> dict[str, Any]:
    """Judge the answers of two files beside each other, row by row of the same name, in both orders. Returns the figures.

    Raises:
        DatasetError: see `read_answers`; or two rows of a file have one name, or the files have no row in common, or differ in a question
            or a truth.
        EndpointError: the server is gone.
    """
    one, two = _named(path), _named(against)
    names = [name for name in one if name in two]
    for name in names:
        asked = [(row[name]["question"], row[name]["truth"]) for row in (one, two) if row[name]["answer"] is not None]
        if len(set(asked)) > 1:
            found = f"row {' '.join(name).strip()!r} asks something else in {against};"
            raise DatasetError(found, remedy="compare answers to the same questions.")
    both = [name for name in names if one[name]["answer"] is not None and two[name]["answer"] is not None]
    if not both:
        raise DatasetError(f"{path} and {against} share no answered row;", remedy=f"rows are joined by {', '.join(NAMES)}.")
    rows = [{**{k: v for k, v in one[n].items() if k != "answer"}, "first": one[n]["answer"], "second": two[n]["answer"]} for n in both]
    judged = dict(zip(map(id, rows), judge.pairs(rows), strict=True))
    told = [{**row, "judge": judged[id(row)].to_dict()} for row in rows]
    versions = sorted({order.version for j in judged.values() for order in j.orders if order.version})

    def sums(some: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        """Figures of some rows."""
        return pair_figures([judged[id(row)] for row in some])

    left_out = {"alone": len(one) + len(two) - 2 * len(names), "unanswered": len(names) - len(both)}
    whole = {**sums(rows), **left_out}
    return _write(out, told, {"judge": {**judge.identity, "versions": versions}, "all": whole, "groups": _groups(rows, sums)})


def _named(path: Path) -> dict[tuple[str, ...], dict[str, Any]]:
    """Rows by what names them.

    Raises:
        DatasetError: see `read_answers`; or two have one name.
    """
    rows = read_answers(path)
    named = {tuple(row.get(key, "") for key in NAMES): row for row in rows}
    if len(named) < len(rows):
        found = f"{path}: {len(rows)} rows have {len(named)} names;"
        raise DatasetError(found, remedy=f"rows of two files are joined by {', '.join(NAMES)}; give each an id of its own.")
    return named


def _groups(rows: Sequence[Mapping[str, Any]], sums: Callable[[Sequence[Mapping[str, Any]]], dict[str, Any]]) -> dict[str, Any]:
    """Figures of each part, condition and way of scoring, where rows have more than one."""
    groups: dict[str, list[Mapping[str, Any]]] = {}
    for row in rows:
        groups.setdefault("/".join(row[key] for key in NAMES[1:] if key in row), []).append(row)
    return {name: sums(some) for name, some in groups.items()} if len(groups) > 1 else {}


def _write(out: Path, rows: Sequence[Mapping[str, Any]], results: dict[str, Any]) -> dict[str, Any]:
    """Write rows and figures, each whole or not at all."""
    out.parent.mkdir(parents=True, exist_ok=True)
    write_text(out, "".join(_line(row) + "\n" for row in rows))
    write_text(out.with_name(out.name + ".results.json"), json.dumps(results, indent=2, allow_nan=False) + "\n")
    return results


def _line(row: Mapping[str, Any]) -> str:
    """One row as JSON; escaped where a text holds half a character, which no file can."""
    line = json.dumps(row, ensure_ascii=False, allow_nan=False)
    return line if line.isascii() or line.encode("utf-8", "replace").decode("utf-8") == line else json.dumps(row, allow_nan=False)
