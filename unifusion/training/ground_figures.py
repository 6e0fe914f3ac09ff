"""What aligned encoders and adapters can tell: phrases of clip world's windows, and the labels of real recordings and pictures."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from unifusion.metrics.accuracy import accuracy
from unifusion.metrics.macro_recall import macro_recall
from unifusion.models.grounding import GroundingModel
from unifusion.training.grounding_data import GroundingData, collate_grounding
from unifusion.training.known import label_phrase
from unifusion.training.pieces import Pieces

__all__ = ["average_precision", "measure", "measure_real"]


@torch.no_grad()
def measure(model: GroundingModel, data: GroundingData, *, batch_size: int = 16, limit: int = 256) -> dict[str, Any]:
    """Average precision of each phrase over windows of held-out clips, and its mean by group of phrases."""
    logits: dict[str, list[np.ndarray]] = {}
    truth: dict[str, list[np.ndarray]] = {}
    for start in range(0, min(limit, len(data)), batch_size):
        batch = collate_grounding([data[i] for i in range(start, min(start + batch_size, limit, len(data)))])
        for stream, inputs in batch.items():
            wanted = inputs.pop("truth")
            del inputs["names"], inputs["group"]
            logits.setdefault(stream, []).append(model.score(stream, inputs, wanted.shape[1]).numpy())
            truth.setdefault(stream, []).append(wanted.reshape(-1, wanted.shape[-1]).numpy())
    out: dict[str, Any] = {}
    for stream in logits:
        scores_KP, truth_KP = np.concatenate(logits[stream]), np.concatenate(truth[stream])
        phrases = data.known.bank[stream]  # phrases of real sets come behind them in the scores; clip world has no truth for those
        each = {p: average_precision(scores_KP[:, i], truth_KP[:, i]) for i, p in enumerate(phrases)}
        known = {p: v for p, v in each.items() if v is not None}
        out[f"{stream}_mean_average_precision"] = float(np.mean(list(known.values()))) if known else None
        out[f"{stream}_average_precision"] = {p: round(v, 3) for p, v in known.items()}
    return out


@torch.no_grad()
def measure_real(model: GroundingModel, data: GroundingData, held_out: Pieces, *, batch_size: int = 16) -> dict[str, float]:
    """Accuracy and macro recall of each part's label among the phrases that exclude each other, from the mean logits of a row's windows."""
    stream, out = held_out.stream, {}
    sets = held_out.known.sets(stream)
    for name, rows in held_out.rows.items():
        told: list[tuple[str, str]] = []
        labels = sorted({label_phrase(r, stream) for r in rows})
        index = [held_out.known.bank[stream].index(p) for p in labels]
        if not any(set(index) <= set(s) for s in sets.values()):
            continue
        for start in range(0, len(rows), batch_size):
            some = rows[start : start + batch_size]
            batch = collate_grounding([data.real(held_out.alone(r), None) for r in some])[stream]
            truth_MKP, group_MK, _ = batch.pop("truth"), batch.pop("group"), batch.pop("names")
            logits_MKP = model.score(stream, batch, truth_MKP.shape[1]).view(truth_MKP.shape)
            inside = (group_MK >= 0)[..., None]
            mean_MN = ((logits_MKP * inside).sum(1) / inside.sum(1).clamp(min=1))[:, index]
            told += [(labels[int(i)], label_phrase(r, stream)) for i, r in zip(mean_MN.argmax(1), some, strict=True)]
        answers, truth = [t[0] for t in told], [t[1] for t in told]
        out[f"{name}_accuracy"], out[f"{name}_macro_recall"] = accuracy(answers, truth), macro_recall(answers, truth)
    return out


def average_precision(scores_K: np.ndarray, truth_K: np.ndarray) -> float | None:
    """Average precision over known windows; None when the phrase is never true."""
    known = truth_K >= 0
    hits = (truth_K[known] == 1)[np.argsort(-scores_K[known], kind="stable")]
    if not hits.any():
        return None
    precision = np.cumsum(hits) / np.arange(1, len(hits) + 1)
    return float(precision[hits].mean())
