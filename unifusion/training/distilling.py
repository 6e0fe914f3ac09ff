"""Training a student after a teacher: what `train/distill.py` calls."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from unifusion.errors import ConfigError
from unifusion.models.aligner import CLIP, Aligner
from unifusion.models.opened_rows import RowOpener, to_device
from unifusion.training.affect_data import Rounds
from unifusion.training.align_figures import judge, plain_text, row_of, told_by_labels
from unifusion.training.align_loss import AlignObjective
from unifusion.training.align_rows import AlignRow, AlignRows, adapted_of, collate_aligned, text_rows
from unifusion.training.align_start import start_from
from unifusion.training.aligning import Prepared, fit_aligner, make_aligner, prepare, told
from unifusion.training.describe import Describer
from unifusion.training.distill_loss import WORDS, DistillObjective
from unifusion.training.order import Order
from unifusion.training.teacher import Taught, Teacher

__all__ = ["train_student"]

log = logging.getLogger(__name__)


def train_student(c: Any, work: Path) -> tuple[Aligner, dict[str, Any]]:
    """Train by a recipe's choices.

    Args:
        c: choices of `train/distill.py`.
        work: folder of the run's checkpoints.

    Returns:
        The student, and what `fit` gives with `figures`: the student's, the teacher's, and how far they agree on held-out rows.

    Raises:
        ConfigError: choices that do not go together.
        DatasetError: data that cannot be read.
    """
    model = make_aligner(c)
    if c.start:
        log.info("%s", start_from(model, c.start))
    ready = prepare(c, model)
    teacher = Teacher(c.teacher, max_seconds=c.max_seconds, device="cuda" if torch.cuda.is_available() else "cpu")
    pairs = {str(k): str(v) for k, v in (c.pairs or {}).items()} or _shared(model, teacher)
    texts = [plain_text(row_of(e), ready.rows.describer) for e in ready.examples]
    taught = teacher.teach(ready.examples, texts, Path(f"{c.out}.teacher") if c.features == "auto" else Path(c.features))
    widths = {name: value.shape[1] for name, value in taught.vectors.items()}
    contrast = AlignObjective(model, weights=dict(c.weights or {}), loss=c.loss, loss_config=c.loss_config) if c.contrast else None
    objective = DistillObjective(
        model, pairs, widths, forms=c.forms or {"features_cosine": 1.0, "similarity_kl": 1.0}, temperature=c.similarity_temperature,
        scale=float(teacher.aligner.scale) if teacher.aligner is not None else 1.0, contrast=contrast, contrast_weight=c.contrast,
    )  # fmt: skip
    log.info("%s", told(model))
    log.info("learns of %s: %s", teacher.name, ", ".join(f"{own} its {theirs}" for own, theirs in pairs.items()))
    collate = partial(
        collate_taught, taught=taught, describer=ready.rows.describer, model=model, chunk=c.chunk, adapted=adapted_of(ready.opener)
    )  # fmt: skip
    order = Rounds(Order(len(ready.rows), c.batch_size, seed=c.seed, shuffle=False))
    result = fit_aligner(c, objective, ready.rows, work, order=order, collate=collate, ready=ready)
    figures = {**result["figures"], **_agreement(objective, ready, collate), **_teachers(c, teacher, ready, taught, pairs)}
    return model, {**result, "figures": figures}


def collate_taught(rows: Sequence[AlignRow], *, taught: Taught, describer: Describer, model: Aligner, **options: Any) -> dict[str, Any]:
    """A batch of `collate_aligned` with what the teacher made of its rows, and their plain texts."""
    batch = collate_aligned(rows, model, **options)
    first = 0
    for part in batch["clips"]:
        some = rows[first : first + int(part["rows"])]
        first += len(some)
        texts = [plain_text(r, describer) for r in some]
        part["taught"] = taught.of([r.key for r in some], texts)
        if WORDS in taught.vectors and model.config.spaces_of("text"):
            part["plain"] = text_rows(model, texts)
    return batch


def _shared(model: Aligner, teacher: Teacher) -> dict[str, str]:
    """What student and teacher both have: spaces of one name, and texts."""
    own = [*model.config.spaces_of("media"), CLIP, *([WORDS] if model.config.spaces_of("text") else [])]
    found = {name: name for name in own if name in teacher.spaces}
    if not found:
        told_ = f"the student has {', '.join(own)}, the teacher {', '.join(teacher.spaces)};"
        raise ConfigError(told_, remedy="say what learns what: pairs: {audio: audio}.")
    return found


@torch.no_grad()
def _agreement(objective: DistillObjective, ready: Prepared, collate: Any, *, batch_size: int = 64) -> dict[str, float]:
    """On held-out rows, of each part that learns: `agrees_<name>`, the mean cosine of features through the map where one is trained or
    widths are equal, and `alike_<name>`, the correlation of the cosines of all pairs of rows."""
    device, out = objective.model.device, {}
    found: dict[str, list[tuple[np.ndarray, np.ndarray, np.ndarray]]] = {name: [] for name in objective.pairs}
    for rows in ready.validation.values():
        for first in range(0, len(rows), batch_size):
            batch = collate([rows[i] for i in range(first, min(first + batch_size, len(rows)))])
            for part in batch["clips"]:
                part = to_device(part, device)
                for name, (value, there) in objective.students(part).items():
                    theirs = part["taught"][objective.pairs[name]]
                    known = there & theirs.any(dim=1)
                    mapped = objective.mapped(name, value)[known].float()
                    found[name].append((value[known].float().cpu().numpy(), mapped.cpu().numpy(), theirs[known].float().cpu().numpy()))
    for name, parts in found.items():
        own_ND, mapped_ND, taught_ND = (_long_one(np.concatenate([part[k] for part in parts])) for k in range(3))
        key = name.replace(".", "_")
        if len(own_ND) and mapped_ND.shape == taught_ND.shape:
            out[f"agrees_{key}"] = float((mapped_ND * taught_ND).sum(axis=1).mean())
        if len(own_ND) > 2:
            above = np.triu_indices(len(own_ND), 1)
            out[f"alike_{key}"] = float(np.corrcoef((own_ND @ own_ND.T)[above], (taught_ND @ taught_ND.T)[above])[0, 1])
    return out


def _long_one(vectors_ND: np.ndarray) -> np.ndarray:
    """Vectors (N, D) of length one."""
    out_ND: np.ndarray = vectors_ND / np.maximum(np.linalg.norm(vectors_ND, axis=1, keepdims=True), 1e-12)
    return out_ND


def _teachers(c: Any, teacher: Teacher, ready: Prepared, taught: Taught, pairs: Mapping[str, str]) -> dict[str, float]:
    """The teacher's own figures, called `teacher_..`: of an embedding model those of `judge`, of an encoder its linear probe."""
    if teacher.aligner is not None:
        config = teacher.aligner.config
        inner = RowOpener(teacher.aligner, only=[n for s in config.spaces_of("media") for n in config.towers[s]])
        parts = {name: AlignRows(rows.examples, inner, rows.describer) for name, rows in ready.validation.items()}
        return {f"teacher_{k}": v for k, v in judge(parts, c, Holder(teacher.aligner)).items() if k != "score"}
    out: dict[str, float] = {}
    for name, rows in ready.validation.items():
        held = [row_of(e) for e in rows.examples]
        found = taught.of([r.key for r in held], [plain_text(r, rows.describer) for r in held])
        for theirs in dict.fromkeys(pairs.values()):
            vectors = _long_one(found[theirs].numpy())
            out |= {f"teacher_{name}_{key}": value for key, value in told_by_labels(None, rows, vectors).items()}
    return out


class Holder(nn.Module):
    """An embedding model where an objective has it."""

    def __init__(self, model: Aligner) -> None:
        super().__init__()
        self.model = model
