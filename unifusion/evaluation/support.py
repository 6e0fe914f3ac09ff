"""Whether a model looks where its rationales point: windows they name are occluded, and as a control random windows of the same length."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from typing import Any

from unifusion.conversation import Example
from unifusion.engine import Engine
from unifusion.engine.explain import LEAST, Asked, ask_about, explain
from unifusion.errors import DatasetError, UniFusionError
from unifusion.metrics.bootstrap import bootstrap

__all__ = ["evaluate_support", "support_table"]

_FIGURES = ("support", "control", "gain", "drop", "control_drop", "drop_gain")


def evaluate_support(
    engine: Engine, rows: Sequence[Example], *, labels: Sequence[str] | None = None, draws: int = 8, seed: int = 0
) -> dict[str, Any]:
    """Let the model write rationales as `unifusion emotion` does, and try each piece of evidence (see `engine.explain`).

    A window that is left out nearly always moves a probability a little, so support says something only beside its control: for each
    piece of evidence, windows of the same length and stream at random places of the same clip. Evidence that spans the whole clip has
    no other place; such pieces are counted.

    Args:
        engine: of a chat model; fusions write no rationales.
        rows: clips, with a group each.
        labels: to choose among; None takes the task's default.
        draws: random windows for each piece of evidence.
        seed: of the draws, with the row's id.

    Returns:
        `figures`: support (share of the evidence whose window lowers the label's probability by more than 0.0001, the mean over rows),
        control, gain (the difference, by row), drop (mean drop of the probability), control_drop, drop_gain; each with a 95 %
        interval, groups drawn. `rows`, `without_evidence`, `claims`, `whole_clip`; `predictions`, one a row with evidence.

    Raises:
        DatasetError: a clip cannot be read, or no row got any evidence.
    """
    records, silent = [], 0
    for row in rows:
        try:
            record = _tried(ask_about(engine, row.media, labels), row, draws, seed)
        except UniFusionError as error:
            raise DatasetError(f"{row.id}: {error}", remedy="check the file with `unifusion emotion`.") from error
        silent += record is None
        records += [record] if record is not None else []
    if not records:
        raise DatasetError(f"none of {len(rows)} rationales names evidence;", remedy="take a model that was trained on rationales.")
    groups = [r["group"] or r["id"] for r in records]
    figures = {}
    for name in _FIGURES:
        interval = bootstrap([float(r[name]) for r in records], groups)
        figures[name] = {"value": interval.estimate, "low": interval.low, "high": interval.high}
    return {
        "figures": figures, "rows": len(records), "groups": len(set(groups)), "without_evidence": silent,
        "claims": sum(r["claims"] for r in records), "whole_clip": sum(r["whole_clip"] for r in records), "predictions": records,
    }  # fmt: skip


def _tried(asked: Asked, row: Example, draws: int, seed: int) -> dict[str, Any] | None:
    """One row; None without evidence."""
    answer = asked.answer()
    found = explain(asked, answer)
    if not found.claims:
        return None
    length_s, rng = asked.duration_s, random.Random(f"{seed} {row.id}")
    spans = []
    for claim in found.claims:
        room_s = max(0.0, length_s - (claim.end_s - claim.start_s))
        spans += [(claim, start := rng.uniform(0.0, room_s), start + claim.end_s - claim.start_s) for _ in range(draws)]
    drops = [found.probability - p for p in asked.told(answer.label, [asked.hiding(c.stream, a, b) for c, a, b in spans])]
    support, control = found.support or 0.0, sum(d > LEAST for d in drops) / len(drops)
    drop, control_drop = sum(c.drop for c in found.claims) / len(found.claims), sum(drops) / len(drops)
    return {
        "id": row.id, "group": row.group, "label": answer.label, "probability": found.probability, "claims": len(found.claims),
        "whole_clip": sum(c.end_s - c.start_s >= 0.9 * length_s for c in found.claims), "support": support, "control": control,
        "gain": support - control, "drop": drop, "control_drop": control_drop, "drop_gain": drop - control_drop,
    }  # fmt: skip


def support_table(results: Mapping[str, Any]) -> str:
    """The figures as a Markdown table."""
    lines = ["| figure | value | 95 % interval |", "|---|---|---|"]
    lines += [f"| {name} | {f['value']:.3f} | {f['low']:.3f} to {f['high']:.3f} |" for name, f in results["figures"].items()]
    return "\n".join(lines)
