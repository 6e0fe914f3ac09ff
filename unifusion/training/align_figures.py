"""What an embedding model finds among held-out rows: captions, labels by their words and by a linear probe, sound by picture."""

from __future__ import annotations

import random
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import nn

from unifusion.conversation import Example
from unifusion.metrics.retrieval_figures import retrieval_figures
from unifusion.metrics.zero_shot_accuracy import zero_shot_accuracy
from unifusion.models.aligner import CLIP, Aligner
from unifusion.models.opened_rows import OpenedRow, to_device
from unifusion.training.align_rows import AlignRow, AlignRows, adapted_of, clip_batch, text_rows
from unifusion.training.describe import Describer, Fact, facts_of

__all__ = ["calibrate", "judge", "labels_of", "look", "plain_text", "probe", "row_of", "told_by_labels", "vectors_of_texts"]

LABELS = ("face", "voice", "emotion", "sound", "digit", "language", "gender", "label")
"""Kinds of facts that sort rows into classes."""
_LEAST, _EACH, _MOST = 20, 4, 100
"""Rows of a kind and of a class from which figures are given, and the most classes."""
_RIDGE = 0.1


@torch.no_grad()
def look(model: Aligner, rows: AlignRows, *, batch_size: int = 64, limit: int = 1000) -> dict[str, np.ndarray]:
    """Vectors of rows by space (N, D), zero where a row lacks it, and under `words` those of their captions or first texts, where the model
    has a text tower."""
    parts: dict[str, list[np.ndarray]] = {}
    for first in range(0, min(limit, len(rows)), batch_size):
        some = [rows[i] for i in range(first, min(first + batch_size, limit, len(rows)))]
        batch = to_device(clip_batch(some, rows.opener.streams, adapted_of(rows.opener)), model.device)
        found = model.vectors(batch)
        if model.config.spaces_of("text"):
            parts.setdefault("words", []).append(vectors_of_texts(model, [plain_text(r, rows.describer) for r in some]))
        for space in (*model.config.spaces_of("media"), CLIP):
            vectors = found[space][0] if space in found else torch.zeros(len(some), model.config.width)
            parts.setdefault(space, []).append(vectors.float().cpu().numpy())
    return {space: np.concatenate(each) for space, each in parts.items()}


@torch.no_grad()
def vectors_of_texts(model: Aligner, texts: list[str], *, batch_size: int = 256) -> np.ndarray:
    """Vectors of texts (N, D) of the first text tower."""
    out = []
    for first in range(0, len(texts), batch_size):
        words = model.vectors(to_device(text_rows(model, texts[first : first + batch_size]), model.device))
        out.append(next(v for s, (v, _) in words.items() if s != CLIP).float().cpu().numpy())
    return np.concatenate(out)


def plain_text(row: AlignRow, describer: Describer) -> str:
    """A row's caption, or its first fact in the plainest words."""
    captions = [f.value for f in row.facts if f.kind == "caption" and f.value]
    return captions[0] if captions else _plain(row.facts[0], describer) if row.facts else "nothing"


def _plain(fact: Fact, describer: Describer) -> str:
    """A fact in the plainest words."""
    return describer.phrase(fact, random.Random(0), plain=True)


def judge(parts: Mapping[str, AlignRows], c: Any, objective: nn.Module) -> dict[str, float]:
    """Figures of held-out rows: R@1 of captions, or the share of labels whose words are nearest; R@10 of sound and picture; for each kind
    of label that sorts enough rows, the accuracy by its words and that of a linear probe; of rows of texts alone, R@1 of a second caption
    by the first.

    Args:
        parts: held-out rows by set.
        c: choices; `look_at` rows of each are looked at.
        objective: holds the model at `model`.
    """
    inner: Any = objective
    model: Aligner = inner.model
    out: dict[str, float] = {}
    scores = []
    was = model.training
    model.eval()
    for name, rows in parts.items():
        if not any(e.media for e in rows.examples):
            out |= wordings(model, rows, name, limit=c.look_at)
            continue
        found = look(model, rows, limit=c.look_at)
        texts = [plain_text(row_of(rows.examples[i]), rows.describer) for i in range(len(found[CLIP]))]
        unique = list(dict.fromkeys(texts))
        relevance = np.array([[t == u for u in unique] for t in texts])
        first = [texts.index(u) for u in unique]
        if "words" not in found:
            pass
        elif len(unique) > len(texts) / 2:
            told_ = retrieval_figures(found["words"][first], found[CLIP], relevance.T)
            out |= {f"{name}_text_to_clip_r1": told_["recall_at_1"], f"{name}_text_to_clip_r10": told_["recall_at_10"]}
            scores.append(told_["recall_at_1"])
        else:
            out[f"{name}_zero_shot"] = retrieval_figures(found[CLIP], found["words"][first], relevance)["recall_at_1"]
            scores.append(out[f"{name}_zero_shot"])
        both = [i for i in range(len(texts)) if {"video", "audio"} <= set(found) and found["video"][i].any() and found["audio"][i].any()]
        if len(both) > 50:
            ways = (found["audio"][both], found["video"][both]), (found["video"][both], found["audio"][both])
            for (a, b), way in zip(ways, ("audio_to_video", "video_to_audio"), strict=True):
                out[f"{name}_{way}_r10"] = retrieval_figures(a, b)["recall_at_10"]
            scores.append(out[f"{name}_audio_to_video_r10"])
        out |= {f"{name}_{key}": value for key, value in told_by_labels(model, rows, found[CLIP]).items()}
    model.train(was)
    return {**out, "score": float(np.mean(scores)) if scores else 0.0}


def wordings(model: Aligner, rows: AlignRows, name: str, *, limit: int) -> dict[str, float]:
    """How often the first caption of a row finds the second among those of all rows; none where no rows have two."""
    told_ = [[f.value for f in facts_of(e) if f.kind == "caption"] for e in rows.examples]
    pairs = [(own[0], own[1]) for own in told_ if len(own) > 1][:limit]
    if not pairs or not model.config.spaces_of("text"):
        return {}
    one, other = (vectors_of_texts(model, [pair[k] for pair in pairs]) for k in (0, 1))
    return {f"{name}_wording_r1": retrieval_figures(one, other)["recall_at_1"]}


def told_by_labels(model: Aligner | None, rows: AlignRows, vectors_ND: np.ndarray) -> dict[str, float]:
    """For each kind of label: `<kind>_zero_shot`, accuracy by the vectors of the classes' words, and `<kind>_probe`; see `probe`.

    Args:
        model: whose text tower says the words; None leaves them out.
        rows: the first N of them are told.
        vectors_ND: their vectors; rows of zeros have none.
    """
    out = {}
    for kind, (at, targets, facts) in labels_of(rows, len(vectors_ND)).items():
        own = [(i, t) for i, t in zip(at, targets, strict=True) if vectors_ND[i].any()]
        if len(own) < _LEAST:
            continue
        x_ND, y_N = vectors_ND[[i for i, _ in own]], np.array([t for _, t in own])
        if model is not None and model.config.spaces_of("text"):
            classes = vectors_of_texts(model, [_plain(fact, rows.describer) for fact in facts])
            out[f"{kind}_zero_shot"] = zero_shot_accuracy(x_ND, classes, y_N)
        groups = [rows.examples[i].group or rows.examples[i].id for i, _ in own]
        told = probe(x_ND, y_N, groups)
        if told is not None:
            out[f"{kind}_probe"] = told
    return out


def labels_of(rows: AlignRows, count: int) -> dict[str, tuple[list[int], list[int], list[Fact]]]:
    """Kinds of facts that sort rows: those of which a row has one, the number of its class, and the classes; rare ones are left out."""
    out = {}
    for kind in LABELS:
        told: list[tuple[int, Fact]] = []
        for i in range(min(count, len(rows))):
            own = {f for f in facts_of(rows.examples[i]) if f.kind == kind}
            told += [(i, own.pop())] if len(own) == 1 else []
        counts: dict[Fact, int] = {}
        for _, fact in told:
            counts[fact] = counts.get(fact, 0) + 1
        classes = sorted((f for f, n in counts.items() if n >= _EACH), key=lambda f: f.value)
        place = {fact: k for k, fact in enumerate(classes)}
        kept = [(i, place[fact]) for i, fact in told if fact in place]
        if 2 <= len(classes) <= _MOST and len(kept) >= _LEAST:
            out[kind] = ([i for i, _ in kept], [k for _, k in kept], classes)
    return out


def probe(vectors_ND: np.ndarray, targets_N: np.ndarray, groups: list[str]) -> float | None:
    """Accuracy of a linear map from vectors (N, D) to classes (N,), fitted in closed form (ridge regression to one-hot targets) on one
    half of the rows and tested on the other, both ways; None where a half lacks a class of the other (two women in one, two men in the
    other). Rows of one group (a speaker, a recording) are in one half; what both halves are made of does not depend on the vectors."""
    if len(set(groups)) < 2:
        groups = [str(i) for i in range(len(groups))]
    order = sorted(set(groups), key=lambda g: random.Random(g).random())
    half = {g: k % 2 for k, g in enumerate(order)}
    side_N = np.array([half[g] for g in groups])
    if {*targets_N[side_N == 0]} != {*targets_N[side_N == 1]}:
        return None
    x_ND = np.concatenate([vectors_ND.astype(np.float64), np.ones((len(vectors_ND), 1))], axis=1)
    right = 0
    for test in (0, 1):
        fit, held = side_N != test, side_N == test
        wanted = (targets_N[fit][:, None] == np.arange(targets_N.max() + 1)).astype(np.float64)
        gram = x_ND[fit].T @ x_ND[fit] + _RIDGE * np.eye(x_ND.shape[1])
        weights = np.linalg.solve(gram, x_ND[fit].T @ wanted)
        right += int(((x_ND[held] @ weights).argmax(axis=1) == targets_N[held]).sum())
    return right / len(targets_N)


def row_of(example: Example) -> AlignRow:
    """What is true of a row, its clip not opened."""
    return AlignRow(row=OpenedRow(id=example.id, streams={}, reports={}), facts=facts_of(example), texts={}, media=example.media)


def calibrate(model: Aligner, rows: AlignRows, *, limit: int = 500, false_hits: float = 0.01) -> dict[str, float]:
    """Figures that are kept with a model: `threshold`, the cosine that one in a hundred (`false_hits`) texts has with a clip that it does
    not fit, and `found`, the share of texts that have more with their own clip; none where every text fits every clip.

    Texts are long and short, said and asked for, as in training: the words of a search are fewer than those of a caption, and nearer to 0.
    """
    vectors_ND = look(model, rows, limit=limit)[CLIP]
    facts = [frozenset(facts_of(rows.examples[i])) for i in range(len(vectors_ND))]
    said = [rows.describer.say(tuple(facts_of(rows.examples[i])), CLIP, f"calibrate/{i}") for i in range(len(vectors_ND))]
    own = [(i, text) for i, text in enumerate(said) if text is not None and vectors_ND[i].any()]
    fits = np.array([[rows.describer.fits(text, facts[i]) for i, _ in own] for _, text in own], dtype=bool)
    if fits.all():
        return {}
    cosines = vectors_of_texts(model, [text.text for _, text in own]) @ vectors_ND[[i for i, _ in own]].T
    threshold = float(np.quantile(cosines[~fits], 1 - false_hits))
    return {"threshold": round(threshold, 4), "found": round(float((np.diag(cosines) > threshold).mean()), 4), "false_hits": false_hits}
