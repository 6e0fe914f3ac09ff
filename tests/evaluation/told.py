"""Predictions of a system that does not exist, with speakers, seeds and conditions, for tests of reports."""

import numpy as np

from unifusion.evaluation.predictions import Prediction

LABELS = ("angry", "happy", "neutral", "sad")


def told(n=60, *, skill=2.0, seeds=(0,), groups=12, conditions=("all",), affect=True, draw=0, split="test", labels=LABELS):
    """`skill` is halved with each condition; truths, speakers and ids are the same for any of the other choices."""
    truth = np.random.default_rng(99).integers(len(labels), size=n)
    true = np.random.default_rng(98).uniform(-1, 1, (n, 2)).round(4)
    rng, rows = np.random.default_rng(draw), []
    for level, condition in enumerate(conditions):
        for seed in seeds:
            logits = rng.normal(size=(n, len(labels)))
            logits[np.arange(n), truth] += skill / 2**level
            shares = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
            said = np.clip(true + rng.normal(0, 0.3 + 0.2 * level, (n, 2)), -1, 1)
            for i in range(n):
                numbers = (
                    {"valence": said[i, 0], "arousal": said[i, 1], "true_valence": true[i, 0], "true_arousal": true[i, 1]} if affect else {}
                )
                rows.append(
                    Prediction(
                        id=f"e{i}", group=f"s{i % groups}" if groups else "", truth=labels[truth[i]], condition=condition, seed=seed,
                        split=split, probabilities=dict(zip(labels, shares[i].tolist(), strict=True)),
                        **{k: float(v) for k, v in numbers.items()},
                    )
                )  # fmt: skip
    return rows
