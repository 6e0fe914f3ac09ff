"""Losses of valence and arousal, and several tasks as one."""

from __future__ import annotations

import math
import warnings

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional

from unifusion.errors import ConfigError
from unifusion.losses.ccc_loss import ccc_loss
from unifusion.losses.label_smoothing_cross_entropy import label_smoothing_cross_entropy
from unifusion.losses.mse import mse_loss
from unifusion.losses.multi_task import MultiTask
from unifusion.metrics.ccc import ccc


@settings(deadline=None, max_examples=50)
@given(st.integers(0, 10_000), st.integers(3, 20), st.booleans())
def test_ccc_is_one_less_the_metric_column_by_column(seed, rows, unknown):
    rng = np.random.default_rng(seed)
    x, y = rng.uniform(-1, 1, (rows, 2)), rng.uniform(-1, 1, (rows, 2))
    known = np.ones(rows, bool)
    if unknown:
        known[0] = False
        y[0, 0] = math.nan
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        wanted = (1 - ccc(x[known, 0], y[known, 0]) + 1 - ccc(x[:, 1], y[:, 1])) / 2
    assert float(ccc_loss(torch.tensor(x), torch.tensor(y))) == pytest.approx(wanted, abs=1e-4)


def test_ccc_at_its_edges():
    x = torch.tensor([0.1, 0.5, -0.3])
    assert float(ccc_loss(x, x)) == pytest.approx(0, abs=1e-4)
    assert float(ccc_loss(x, -(x - x.mean()) + x.mean())) == pytest.approx(2, abs=1e-4)
    alone = torch.tensor([[0.1, 0.2], [0.3, 0.4]], requires_grad=True)
    value = ccc_loss(alone, torch.tensor([[0.5, 0.2], [math.nan, 0.4]]))
    assert float(value) == pytest.approx(0, abs=1e-4), "a column with one known row is left out"
    for targets in (torch.full((2, 2), math.nan), torch.tensor([[0.5, math.nan], [math.nan, 0.4]])):
        alone.grad = None
        value = ccc_loss(alone, targets)
        value.backward()
        assert float(value) == 0.0 and not alone.grad.any()
    with pytest.raises(ConfigError, match="ccc_loss of shapes"):
        ccc_loss(x, x[:2])


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
@pytest.mark.parametrize("targets", [[0.2, 0.2, 0.2], [0.2, -0.4, 0.9]])
def test_constant_predictions_have_a_finite_gradient(dtype, targets):
    x = torch.full((3,), 0.2, dtype=dtype, requires_grad=True)
    value = ccc_loss(x, torch.tensor(targets, dtype=dtype))
    value.backward()
    assert value.dtype == torch.float32 and torch.isfinite(value) and torch.isfinite(x.grad).all()
    if targets[0] != targets[1]:
        assert x.grad.abs().sum() > 0, "it is not stuck there"


def test_squares_of_what_is_known():
    x, y = torch.randn(4, 2), torch.randn(4, 2)
    torch.testing.assert_close(mse_loss(x, y), functional.mse_loss(x, y))
    y[1, 0] = math.nan
    known = ~y.isnan()
    torch.testing.assert_close(mse_loss(x, y), functional.mse_loss(x[known], y[known]))
    half = x.bfloat16().requires_grad_()
    mse_loss(half, y).backward()
    assert torch.isfinite(half.grad).all() and half.grad[1, 0] == 0
    assert float(mse_loss(x, torch.full_like(y, math.nan))) == 0.0
    with pytest.raises(ConfigError, match="mse_loss of shapes"):
        mse_loss(x, y[:, 0])


LOSSES = {"emotion": label_smoothing_cross_entropy, "valence": mse_loss}


def batch():
    outputs = {"emotion": torch.randn(4, 3, requires_grad=True), "valence": torch.randn(4, requires_grad=True)}
    return outputs, {"emotion": torch.tensor([0, 2, -100, 1]), "valence": torch.tensor([0.1, math.nan, 0.5, -0.2])}


def test_fixed_weights_are_a_sum():
    outputs, targets = batch()
    total, parts = MultiTask(LOSSES, weights={"valence": 0.3})(outputs, targets)
    emotion = functional.cross_entropy(outputs["emotion"][[0, 1, 3]], targets["emotion"][[0, 1, 3]])
    valence = functional.mse_loss(outputs["valence"][[0, 2, 3]], targets["valence"][[0, 2, 3]])
    torch.testing.assert_close(total, emotion + 0.3 * valence)
    assert float(parts["valence"]) == pytest.approx(float(valence)) and not parts["emotion"].requires_grad


def test_learned_weights_are_kendalls():
    outputs, targets = batch()
    both = MultiTask(LOSSES, uncertain=True, regressions=["valence"])
    with torch.no_grad():
        both.log_variances["emotion"].fill_(0.4)
        both.log_variances["valence"].fill_(-0.6)
    total, parts = both(outputs, targets)
    wanted = math.exp(-0.4) * float(parts["emotion"]) + 0.2 + 0.5 * math.exp(0.6) * float(parts["valence"]) - 0.3
    assert float(total) == pytest.approx(wanted, rel=1e-5)


def test_a_learned_weight_finds_the_variance():
    """With the mean squared error fixed at v, exp(-s) / 2 * v + s / 2 is least at s = log v."""
    both = MultiTask({"valence": mse_loss}, uncertain=True, regressions=["valence"])
    outputs, targets = {"valence": torch.full((5,), 0.5)}, {"valence": torch.zeros(5)}
    optimizer = torch.optim.Adam(both.parameters(), lr=0.05)
    for _ in range(400):
        optimizer.zero_grad()
        both(outputs, targets)[0].backward()
        optimizer.step()
    assert float(both.log_variances["valence"]) == pytest.approx(math.log(0.25), abs=1e-3)


def test_a_task_without_targets_adds_nothing_and_has_a_gradient():
    outputs, targets = batch()
    targets["valence"] = torch.full((4,), math.nan)
    both = MultiTask(LOSSES, uncertain=True, regressions=["valence"])
    total, parts = both(outputs, targets)
    total.backward()
    assert set(parts) == {"emotion"}
    assert float(total) == pytest.approx(float(parts["emotion"]))
    assert outputs["valence"].grad is not None and not outputs["valence"].grad.any()
    assert float(both.log_variances["valence"].grad) == 0.0 != float(both.log_variances["emotion"].grad)


def test_tasks_must_be_named():
    with pytest.raises(ConfigError, match="no task 'arousal'"):
        MultiTask(LOSSES, weights={"arousal": 1.0})
    with pytest.raises(ConfigError, match="no task"):
        MultiTask({})
    with pytest.raises(ConfigError, match="'emotion' has no output"):
        MultiTask(LOSSES)({"emotion": torch.zeros(1, 2)}, {})
