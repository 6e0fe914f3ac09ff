"""Faithfulness: what tampering with a stream costs, whether answers follow what is heard and seen, and cite what moved them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from unifusion.conversation import Example
from unifusion.evaluation.suite.conditions import CONDITIONS
from unifusion.evaluation.suite.figures import interval_of
from unifusion.evaluation.suite.parts import Part
from unifusion.prompts import RationaleAnswer
from unifusion.tasks.task import OptionTask

__all__ = ["citation_figures", "tampering_figures"]

_SWAPS = {"sound": "other sound", "picture": "other picture"}
_CITED = {"picture": "picture", "sound": "sound", "words": "sound"}
"""Stream that a rationale names -> what has to be swapped for it to change."""
_ASKED = ("question", "event", "text")
"""Texts of a row that its prompt may ask about."""

Record = Mapping[str, Any]


def tampering_figures(part: Part, records: Sequence[Record], *, resamples: int = 1000) -> dict[str, dict[str, Any]]:
    """What each condition costs, on the rows that were asked under it and under `all`.

    Args:
        part: what was asked.
        records: of one scoring, under `all` and others.
        resamples: of intervals, which are of groups.

    Returns:
        Condition -> `n`, `whole` (mean score under `all`), `value` (under the condition, against the row's own truth), `lost` with `low`
        and `high`, `lost_share` of `whole`; where a row lent something, is asked the same and answers it otherwise, `n_lent`, `follows`
        (mean score against the lender's truth: of a question about the stream that was swapped, 1 is faithful) and `stays` (against its
        own). Questions of one `family` are the same in other words; a letter means the text of its option.
    """
    rows = {row.id: row for row in part.rows}
    by: dict[str, dict[str, Record]] = {}
    for record in records:
        if "error" not in record and record["row"] in rows:
            by.setdefault(record["condition"], {})[record["row"]] = record
    whole = by.get("all", {})
    out = {}
    for condition in CONDITIONS[1:]:
        pairs = [(whole[name], record) for name, record in sorted(by.get(condition, {}).items()) if name in whole]
        if pairs:
            out[condition] = {**_lost(pairs, resamples), **_lent(part, rows, [record for _, record in pairs], resamples)}
    return out


def _lost(pairs: Sequence[tuple[Record, Record]], resamples: int) -> dict[str, Any]:
    """The score that is gone."""
    first, second = ([float(pair[i]["score"]) for pair in pairs] for i in (0, 1))
    interval = interval_of([a for a, _ in pairs], [a - b for a, b in zip(first, second, strict=True)], resamples=resamples)
    whole = sum(first) / len(first)
    return {
        "n": len(pairs), "whole": round(whole, 6), "value": round(sum(second) / len(second), 6), "lost": round(interval.estimate, 6),
        "low": round(interval.low, 6), "high": round(interval.high, 6),
        "lost_share": round(interval.estimate / whole, 6) if whole else None,
    }  # fmt: skip


def _lent(part: Part, rows: Mapping[str, Example], records: Sequence[Record], resamples: int) -> dict[str, Any]:
    """Against whose truth the answers are right."""
    lent, follows = [], []
    for record in records:
        lender = rows.get(str(record.get("lender", "")))
        right_of = None if lender is None else _told_by(part, rows[record["row"]], lender)
        if right_of is not None:
            lent.append(record)
            follows.append(part.task.score(str(record["answer"]), right_of).value)
    if not lent:
        return {}
    told = interval_of(lent, follows, resamples=resamples)
    return {
        "n_lent": len(follows), "follows": round(told.estimate, 6), "follows_low": round(told.low, 6), "follows_high": round(told.high, 6),
        "stays": round(sum(float(r["score"]) for r in lent) / len(lent), 6),
    }  # fmt: skip


def _told_by(part: Part, row: Example, lender: Example) -> Example | None:
    """What an answer that follows the lender is right of; None where the lender is asked something else, or answers alike."""
    family = row.labels.get("family")
    rephrased = {"question"} if family is not None and family == lender.labels.get("family") else set()
    shown = {*_ASKED} & {*part.task.template.source.fields} - rephrased
    answer = part.meant(lender)
    if answer == part.meant(row) or any(row.texts.get(key) != lender.texts.get(key) for key in shown):
        return None
    if not isinstance(part.task, OptionTask):
        return lender
    options = part.task.options(row)
    return replace(row, labels={**row.labels, "option": options.index(answer)}) if answer in options else None


def citation_figures(part: Part, records: Sequence[Record]) -> dict[str, Any]:
    """Whether rationales cite the stream that moved their label: of rows whose label one swap changes and the other does not.

    Args:
        part: of task `emotion_rationale`.
        records: under `all`, `other sound` and `other picture`.

    Returns:
        `n` rows with all three, `moved` (stream -> rows whose label it alone moved), `cited` (stream -> how often it is cited most, in
        those rows), `agreement` (cited most is what moved it; None of no such rows), and `by_chance`: the agreement of citations dealt
        out to these rows at random. A stream is cited most that has more observations; of equals, the first named.
    """
    found: dict[str, dict[str, RationaleAnswer]] = {}
    rows = {row.id: row for row in part.rows}
    for record in records:
        if "error" not in record and record["row"] in rows:
            parsed = part.task.parse(str(record["answer"]), rows[record["row"]])
            if isinstance(parsed, RationaleAnswer) and parsed.label:
                found.setdefault(record["row"], {})[record["condition"]] = parsed
    whole = {name: by for name, by in sorted(found.items()) if {"all", *_SWAPS.values()} <= set(by)}
    moved: list[tuple[str, str]] = []
    for by in whole.values():
        changed = [stream for stream, swap in _SWAPS.items() if by[swap].label != by["all"].label]
        cited = _most_cited(by["all"])
        if len(changed) == 1 and cited:
            moved.append((changed[0], cited))
    by_moved, by_cited = (Counter(pair[i] for pair in moved) for i in (0, 1))
    n = len(moved)
    return {
        "n": len(whole), "moved": dict(sorted(by_moved.items())), "cited": dict(sorted(by_cited.items())),
        "agreement": round(sum(a == b for a, b in moved) / n, 6) if n else None,
        "by_chance": round(sum(by_moved[s] * by_cited[s] for s in _SWAPS) / n**2, 6) if n else None,
    }  # fmt: skip


def _most_cited(answer: RationaleAnswer) -> str:
    """The stream with most observations; "" of none."""
    counted = Counter(_CITED[e.stream] for e in answer.evidence if e.stream in _CITED)
    return counted.most_common(1)[0][0] if counted else ""
