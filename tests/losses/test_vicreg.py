"""The guard against collapse, against loops and pytorch-metric-learning."""

from __future__ import annotations

import math

import pytest
import torch

from tests.losses.brute import MANY, SEEDS, SOME, close, drawn, given, rows, st
from unifusion.errors import ConfigError
from unifusion.losses.vicreg import vicreg

WEIGHTS = st.sampled_from([(25.0, 25.0, 1.0), (0.0, 1.0, 0.0)])


def brute_force(views, weights, deviation):
    """Column by column."""
    invariance, variance, covariance = weights
    count, width = len(views[0]), len(views[0][0])
    total = 0.0
    if len(views) == 2:
        total = invariance * sum((x - y) ** 2 for a, b in zip(*views, strict=True) for x, y in zip(a, b, strict=True)) / (count * width)
    for view in views if count > 1 else []:
        columns = list(zip(*view, strict=True))
        means = [sum(c) / count for c in columns]
        for i in range(width):
            for j in range(width):
                products = ((x - means[i]) * (y - means[j]) for x, y in zip(columns[i], columns[j], strict=True))
                shared = sum(products) / (count - 1)
                if i != j:
                    total += covariance * shared**2 / width
                else:
                    total += variance * max(0.0, deviation - math.sqrt(shared + 1e-4)) / width / len(views)
    return total


@MANY
@given(SEEDS, st.integers(1, 5), st.integers(1, 4), WEIGHTS, st.sampled_from([1.0, 0.2]), st.booleans())
def test_equals_the_definition(seed, count, width, weights, deviation, two):
    g = drawn(seed)
    views = [rows(g, count, width, awkward=False) * 0.5 for _ in range(1 + two)]
    named = dict(zip(("invariance", "variance", "covariance"), weights, strict=True))
    close(vicreg(*views, deviation=deviation, **named), brute_force([v.tolist() for v in views], weights, deviation))


@SOME
@given(SEEDS, st.integers(2, 6), st.integers(1, 4))
def test_equals_pytorch_metric_learning(seed, count, width):
    losses = pytest.importorskip("pytorch_metric_learning.losses")
    g = drawn(seed)
    a, b = rows(g, count, width, awkward=False), rows(g, count, width, awkward=False)
    close(vicreg(a, b), float(losses.VICRegLoss()(a, ref_emb=b)))


def test_it_drives_a_collapsed_batch_apart():
    torch.manual_seed(0)
    x = (1e-3 * torch.randn(16, 4)).requires_grad_()
    optimizer = torch.optim.Adam([x], lr=0.05)
    for _ in range(200):
        optimizer.zero_grad()
        vicreg(x).backward()
        optimizer.step()
    assert (x.std(dim=0) > 0.95).all() and float(torch.corrcoef(x.T.detach()).triu(1).abs().max()) < 0.1


def test_one_row_varies_in_nothing():
    x = torch.randn(1, 4, requires_grad=True)
    loss = vicreg(x)
    loss.backward()
    assert float(loss) == 0.0 and not x.grad.any()


def test_what_does_not_fit_is_refused():
    x = torch.randn(3, 4)
    for call, said in (
        (lambda: vicreg(x, x[:2]), r"shapes \(3, 4\), \(2, 4\)"), (lambda: vicreg(x, variance=-1.0), "weights 25.0, -1.0"),
        (lambda: vicreg(x, deviation=0.0), "deviation 0.0"),
    ):  # fmt: skip
        with pytest.raises(ConfigError, match=said):
            call()
