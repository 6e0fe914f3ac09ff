"""Made-up models: what they say is known to be good, useless, or good at some labels only."""

from __future__ import annotations

import numpy as np

from unifusion.models.late_fusions.late_fusion import Said


def softmax(logits):
    shifted = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return shifted / shifted.sum(axis=-1, keepdims=True)


def crowd(seed=0, count=400, labels=5, strengths=(2.0, 1.6, 0.0), heats=(1.0, 1.0, 1.0), missing=0.0, groups=12):
    """Models whose logits have the truth raised by a strength, then scaled by a heat; 0 is pure noise. Gives said, truth, groups."""
    rng = np.random.default_rng(seed)
    truth = rng.integers(labels, size=count)
    logits = rng.standard_normal((count, len(strengths), labels))
    logits[np.arange(count), :, truth] += np.asarray(strengths)
    told = softmax(logits * np.asarray(heats)[:, None])
    told[rng.random((count, len(strengths))) < missing] = np.nan
    affect = rng.uniform(-1, 1, (count, len(strengths), 2))
    affect[np.isnan(told).any(axis=2)] = np.nan
    return Said(probabilities_NMK=told, affect_NM2=affect), truth, np.array([f"s{i}" for i in rng.integers(groups, size=count)])


def specialists(seed=0, count=600, labels=6):
    """Two models that are each good where the truth is among half of the labels, and guess elsewhere, calmly."""
    rng = np.random.default_rng(seed)
    truth = rng.integers(labels, size=count)
    logits = rng.standard_normal((count, 2, labels)) * 0.7
    for m in range(2):
        own = truth % 2 == m
        logits[own, m, truth[own]] += 3.0
    return Said(probabilities_NMK=softmax(logits)), truth, np.array([f"s{i}" for i in rng.integers(12, size=count)])


def right(told, truth):
    """Accuracy; a row of NaN is wrong."""
    return float(np.mean(np.nan_to_num(told, nan=-1.0).argmax(axis=1) == truth))
