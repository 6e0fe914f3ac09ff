"""The grounded sigmoid loss against loops in float64."""

from __future__ import annotations

import math

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from unifusion.losses.grounded_sigmoid import grounded_sigmoid_loss


def brute_force(tokens, phrases, truth, scale, bias, sharpness=20.0):
    """The definition, pair by pair."""
    total, positives = 0.0, max(int((truth == 1).sum()), 1)
    for k in range(len(tokens)):
        for p in range(len(phrases)):
            if truth[k, p] < 0:
                continue
            sims = [float(t @ phrases[p]) for t in tokens[k]]
            weights = [math.exp(sharpness * s) for s in sims]
            pooled = sum(w * s for w, s in zip(weights, sims, strict=True)) / sum(weights)
            logit = scale * pooled + float(bias[p])
            total += math.log1p(math.exp(-logit)) if truth[k, p] == 1 else math.log1p(math.exp(logit))
    return total / positives


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 4), st.integers(1, 5), st.integers(1, 6))
def test_equals_the_definition(seed, windows, length, phrases):
    generator = torch.Generator().manual_seed(seed)
    tokens = torch.nn.functional.normalize(torch.randn(windows, length, 8, generator=generator, dtype=torch.float64), dim=-1)
    texts = torch.nn.functional.normalize(torch.randn(phrases, 8, generator=generator, dtype=torch.float64), dim=-1)
    truth = torch.randint(-1, 2, (windows, phrases), generator=generator)
    bias = torch.randn(phrases, generator=generator, dtype=torch.float64)
    got = grounded_sigmoid_loss(tokens, texts, truth, scale=torch.tensor(5.0, dtype=torch.float64), bias_P=bias)
    assert abs(float(got) - brute_force(tokens, texts, truth, 5.0, bias)) < 1e-9


def test_unknown_pairs_give_no_gradient():
    tokens = torch.randn(1, 3, 4, requires_grad=True)
    loss = grounded_sigmoid_loss(tokens, torch.randn(2, 4), torch.full((1, 2), -1), scale=torch.tensor(1.0), bias_P=torch.zeros(2))
    loss.backward()
    assert float(loss) == 0.0 and not tokens.grad.any()
