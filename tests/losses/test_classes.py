"""Classification losses against torch's own and the formula, label by label."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional

from unifusion.errors import ConfigError
from unifusion.losses.class_balanced_weights import class_balanced_weights
from unifusion.losses.focal import focal_loss
from unifusion.losses.label_smoothing_cross_entropy import label_smoothing_cross_entropy

BOTH = [label_smoothing_cross_entropy, focal_loss]


def drawn(seed, rows=6, labels=4):
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(rows, labels, generator=generator) * 3
    return logits, torch.randint(0, labels, (rows,), generator=generator), torch.rand(labels, generator=generator) + 0.1


@settings(deadline=None, max_examples=50)
@given(st.integers(0, 10_000), st.sampled_from([0.0, 0.1, 0.5]), st.booleans(), st.booleans())
def test_numbers_of_labels_give_torchs_cross_entropy(seed, smoothing, weighted, unknown):
    logits, targets, weights = drawn(seed)
    if unknown:
        targets[1:3] = -100
    weights = weights if weighted else None
    wanted = functional.cross_entropy(logits, targets, weight=weights, label_smoothing=smoothing)
    got = label_smoothing_cross_entropy(logits, targets, smoothing=smoothing, class_weights_K=weights)
    torch.testing.assert_close(got, wanted, atol=1e-5, rtol=1e-5)


def test_shares_without_weights_give_torchs_too():
    logits, _, _ = drawn(1)
    shares = torch.randn(6, 4).softmax(1)
    wanted = functional.cross_entropy(logits, shares, label_smoothing=0.2)
    torch.testing.assert_close(label_smoothing_cross_entropy(logits, shares, smoothing=0.2), wanted)


@pytest.mark.parametrize("loss", BOTH)
def test_a_share_of_one_is_the_same_as_its_number(loss):
    logits, targets, weights = drawn(2)
    shares = functional.one_hot(targets, 4).float()
    torch.testing.assert_close(loss(logits, shares, class_weights_K=weights), loss(logits, targets, class_weights_K=weights))
    shares[2], targets[2] = math.nan, -100
    torch.testing.assert_close(loss(logits, shares, class_weights_K=weights), loss(logits, targets, class_weights_K=weights))


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 10_000), st.sampled_from([0.0, 0.5, 2.0, 5.0]))
def test_focal_is_the_formula(seed, gamma):
    logits, targets, alpha = drawn(seed)
    shares = torch.rand(6, 4).softmax(1)
    total = weight = 0.0
    for row, share in zip(logits.double().softmax(1).tolist(), shares.double().tolist(), strict=True):
        for k, (p, q) in enumerate(zip(row, share, strict=True)):
            total -= float(alpha[k]) * q * (1 - p) ** gamma * math.log(p)
            weight += float(alpha[k]) * q
    assert float(focal_loss(logits, shares, gamma=gamma, class_weights_K=alpha)) == pytest.approx(total / weight, rel=1e-4)
    plain = functional.cross_entropy(logits, targets, weight=alpha)
    assert float(focal_loss(logits, targets, gamma=0.0, class_weights_K=alpha)) == pytest.approx(float(plain), rel=1e-4)


def test_focal_by_hand():
    """Two labels at p = 0.9 and 0.6: (0.1^2 * -ln 0.9 + 0.4^2 * -ln 0.6) / 2."""
    logits = torch.tensor([[0.9, 0.1], [0.4, 0.6]]).log()
    wanted = (0.01 * -math.log(0.9) + 0.16 * -math.log(0.6)) / 2
    assert float(focal_loss(logits, torch.tensor([0, 1]))) == pytest.approx(wanted, rel=1e-5)


@pytest.mark.parametrize("loss", BOTH)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
@pytest.mark.parametrize("gamma", [0.5, 2.0])
def test_sure_and_equal_logits_have_finite_gradients(loss, dtype, gamma):
    logits = torch.tensor([[60.0, -60.0, 0.0], [0.0, 0.0, 0.0], [-60.0, 60.0, 0.0]], dtype=dtype, requires_grad=True)
    value = loss(logits, torch.tensor([0, 1, 0]), **({"gamma": gamma} if loss is focal_loss else {}))
    value.backward()
    assert value.dtype == torch.float32 and torch.isfinite(value) and torch.isfinite(logits.grad).all()


@pytest.mark.parametrize("loss", BOTH)
def test_nothing_known_is_zero_with_a_gradient_of_zero(loss):
    logits = torch.randn(2, 3, requires_grad=True)
    for targets in (torch.full((2,), -100), torch.full((2, 3), math.nan)):
        value = loss(logits, targets)
        value.backward()
        assert value.item() == 0.0 and not logits.grad.any()


@pytest.mark.parametrize("loss", BOTH)
def test_shapes_must_fit(loss):
    for targets in (torch.zeros(3, dtype=torch.long), torch.zeros(2, 4), torch.zeros(2)):
        with pytest.raises(ConfigError, match="for logits of shape"):
            loss(torch.zeros(2, 3), targets)


def test_class_weights_are_cuis():
    counts, beta = [1000, 100, 10], 0.99
    effective = [(1 - beta**n) / (1 - beta) for n in counts]
    wanted = [1 / e * 3 / sum(1 / f for f in effective) for e in effective]
    assert class_balanced_weights(counts, beta=beta).tolist() == pytest.approx(wanted, rel=1e-5)


def test_class_weights_at_their_limits():
    assert class_balanced_weights([5, 1], beta=0.0).tolist() == [1.0, 1.0]
    assert class_balanced_weights([30, 10], beta=1.0).tolist() == pytest.approx([0.5, 1.5])
    near = class_balanced_weights([30, 10], beta=1 - 1e-12).tolist()
    assert near == pytest.approx([0.5, 1.5], rel=1e-3)
    assert class_balanced_weights([8, 0, 8]).tolist() == [1.0, 0.0, 1.0]
    for bad in ([], [0, 0], [3, -1]):
        with pytest.raises(ConfigError, match="class weights of counts"):
            class_balanced_weights(bad)
    with pytest.raises(ConfigError, match="beta 2"):
        class_balanced_weights([1, 2], beta=2)
