"""The choice between phrases that exclude each other, against loops."""

import math

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from unifusion.losses.exclusive_choice import exclusive_choice_loss


def brute_force(logits, truth, group, sets, smoothing):
    """The definition, group by group."""
    losses = []
    for chosen in sets:
        for g in sorted({int(x) for x in group if x >= 0}):
            rows = [k for k in range(len(group)) if group[k] == g]
            right = [n for n, p in enumerate(chosen.tolist()) if any(truth[k, p] == 1 for k in rows)]
            if len(right) != 1:
                continue
            offered = [n for n, p in enumerate(chosen.tolist()) if n == right[0] or all(truth[k, p] != -1 for k in rows)]
            means = [sum(float(logits[k, chosen[n]]) for k in rows) / len(rows) for n in offered]
            total = math.log(sum(math.exp(m) for m in means))
            wanted = [smoothing / len(means) + (1 - smoothing) * (n == right[0]) for n in offered]
            losses.append(sum(w * (total - m) for w, m in zip(wanted, means, strict=True)))
    return sum(losses) / len(losses) if losses else 0.0


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 6), st.sampled_from([0.0, 0.1]))
def test_equals_the_definition(seed, windows, smoothing):
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(windows, 7, generator=generator, dtype=torch.float64)
    truth = torch.randint(-1, 2, (windows, 7), generator=generator)
    group = torch.randint(-1, 3, (windows,), generator=generator) * 5
    group[group < 0] = -1
    sets = [torch.tensor([0, 1, 2]), torch.tensor([4, 6])]
    got = exclusive_choice_loss(logits, truth, group, sets, smoothing=smoothing)
    assert abs(float(got) - brute_force(logits, truth, group, sets, smoothing)) < 1e-6


def test_nothing_to_choose_is_zero_with_a_gradient():
    logits = torch.randn(3, 4, requires_grad=True)
    loss = exclusive_choice_loss(logits, torch.zeros(3, 4), torch.full((3,), -1), [torch.tensor([0, 1])])
    loss.backward()
    assert float(loss) == 0.0 and float(logits.grad.abs().sum()) == 0.0
