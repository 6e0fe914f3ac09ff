"""Hard and soft time warping against every path there is, and tslearn."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

import unifusion.losses.dtw as warping
from tests.losses.brute import MANY, SEEDS, SOME, close, drawn, given, log_sum, rows, st
from unifusion.errors import ConfigError, LimitError
from unifusion.losses.dtw import dtw
from unifusion.losses.soft_dtw import soft_dtw

AXIS = st.integers(1, 4)


def paths(rows_, columns, n=0, m=0):
    """Every path from a cell to the last one."""
    if (n, m) == (rows_ - 1, columns - 1):
        yield [(n, m)]
    for i, j in ((1, 1), (1, 0), (0, 1)):
        if n + i < rows_ and m + j < columns:
            for rest in paths(rows_, columns, n + i, m + j):
                yield [(n, m), *rest]


def allowed(n, m, rows_, columns, band):
    low, high = (-band, band + columns - rows_) if columns >= rows_ else (-band + columns - rows_, band)
    return band is None or low <= m - n <= high


@MANY
@given(SEEDS, AXIS, AXIS, st.sampled_from([None, 0, 1]), st.booleans())
def test_the_cheapest_path(seed, n, m, band, tensor):
    costs = torch.randn(n, m, generator=drawn(seed), dtype=torch.float64)
    path, cost = dtw(costs if tensor else costs.numpy(), band=band)
    inside = [p for p in paths(n, m) if band is None or all(allowed(i, j, n, m, band) for i, j in p)]
    best = min(inside, key=lambda p: sum(float(costs[c]) for c in p))
    assert path.dtype == np.int64 and path.tolist() == [list(c) for c in best]
    close(cost, sum(float(costs[c]) for c in best))


@MANY
@given(SEEDS, AXIS, AXIS, st.booleans())
def test_the_cheapest_place_in_a_longer_series(seed, n, m, whole_numbers):
    """Of equal ones, as whole numbers have them, only the cost is known."""
    g = drawn(seed)
    costs = torch.randint(-1, 3, (n, m), generator=g).double() if whole_numbers else torch.randn(n, m, generator=g, dtype=torch.float64)
    path, cost = dtw(costs, subsequence=True)
    every = [[(i, first + j) for i, j in p] for first in range(m) for width in range(1, m - first + 1) for p in paths(n, width)]
    best = min(every, key=lambda p: sum(float(costs[c]) for c in p))
    close(cost, sum(float(costs[c]) for c in best))
    close(cost, float(costs[path[:, 0], path[:, 1]].sum()))
    assert [tuple(c) for c in path] in every if whole_numbers else path.tolist() == [list(c) for c in best]


def test_a_part_is_found_where_it_is_equal():
    costs = np.abs(np.arange(3.0)[:, None] - np.array([9.0, 0.0, 1.0, 1.0, 2.0, 9.0]))
    path, cost = dtw(costs, subsequence=True)
    assert cost == 0.0 and path.tolist() == [[0, 1], [1, 2], [1, 3], [2, 4]]
    costs[1] = np.inf
    with pytest.raises(ConfigError, match="no path through 3 x 6"):
        dtw(costs, subsequence=True)


def test_too_many_cells_are_refused(monkeypatch):
    monkeypatch.setattr(warping, "MAX_CELLS", 5)
    with pytest.raises(LimitError, match=r"shape \(2, 3\), the limit is 5"):
        dtw(np.zeros((2, 3)))


@MANY
@given(SEEDS, AXIS, AXIS, st.sampled_from([0.01, 0.1, 1.0, 10.0]), st.booleans())
def test_soft_is_the_sum_over_all_paths_and_its_gradient_the_expected_alignment(seed, n, m, gamma, shorter):
    g = drawn(seed)
    costs = rows(g, 2, n, m, awkward=False).requires_grad_()
    lengths = [[int(torch.randint(1, most + 1, (), generator=g)) if shorter else most for _ in range(2)] for most in (n, m)]
    named = {"rows_B": torch.tensor(lengths[0]), "columns_B": torch.tensor(lengths[1])} if shorter else {}
    values = soft_dtw(costs, gamma=gamma, **named)
    (alignment,) = torch.autograd.grad(values.sum(), costs)
    for b in range(2):
        every = list(paths(lengths[0][b], lengths[1][b]))
        weights = [-sum(float(costs[b][c]) for c in p) / gamma for p in every]
        total, wanted = log_sum(weights), torch.zeros(n, m, dtype=torch.float64)
        close(values[b], -gamma * total)
        for p, w in zip(every, weights, strict=True):
            for c in p:
                wanted[c] += math.exp(w - total)
        torch.testing.assert_close(alignment[b], wanted, atol=1e-9, rtol=0)


@pytest.mark.slow  # tslearn compiles itself for 15 s
@SOME
@given(SEEDS, st.integers(2, 12), st.integers(2, 12), st.sampled_from([0.1, 1.0]), st.sampled_from([None, 1, 3]))
def test_equals_tslearn(seed, n, m, gamma, band):
    metrics = pytest.importorskip("tslearn.metrics")
    g = drawn(seed)
    x, y = (rows(g, k, 2, awkward=False).numpy() for k in (n, m))
    squares = ((x[:, None] - y) ** 2).sum(-1)
    path, cost = dtw(squares, band=band)
    chosen = {} if band is None else {"global_constraint": "sakoe_chiba", "sakoe_chiba_radius": band}
    theirs, distance = metrics.dtw_path(x, y, **chosen)
    close(math.sqrt(cost), float(distance))
    assert path.tolist() == [list(map(int, c)) for c in theirs]
    costs = torch.tensor(squares)[None].requires_grad_()
    values = soft_dtw(costs, gamma=gamma)
    alignment, value = metrics.soft_dtw_alignment(x, y, gamma=gamma)
    close(values, float(value))
    np.testing.assert_allclose(torch.autograd.grad(values.sum(), costs)[0][0].numpy(), alignment, atol=1e-6)


def test_soft_becomes_hard():
    costs = torch.rand(1, 30, 20, generator=drawn(3), dtype=torch.float64).requires_grad_()
    values = soft_dtw(costs, gamma=1e-5)
    path, cost = dtw(costs[0])
    (alignment,) = torch.autograd.grad(values.sum(), costs)
    assert abs(float(values) - cost) < 1e-3
    assert [list(c) for c in path] == (alignment[0] > 0.5).nonzero().tolist()


def test_soft_gradients_are_numbers_whatever_the_costs():
    """Costs of 1e6 at gamma 1e-3: weights of steps are kept, as differences of such sums would have lost all digits."""
    for size in (1e6, 1e-6, 0.0):
        costs = (size * torch.rand(2, 40, 50, generator=drawn(1))).requires_grad_()
        soft_dtw(costs, gamma=1e-3).sum().backward()
        assert costs.grad.isfinite().all() and costs.grad.min() >= 0 and costs.grad.max() <= 1 + 1e-5
        torch.testing.assert_close(costs.grad[:, [0, -1], [0, -1]], torch.ones(2, 2))


def test_what_stands_behind_the_lengths_is_not_looked_at():
    costs = torch.rand(2, 4, 5, generator=drawn(2)).requires_grad_()
    named = {"rows_B": torch.tensor([3, 4]), "columns_B": torch.tensor([2, 5])}
    behind = torch.full((2, 4, 5), False)
    behind[0, 3:], behind[0, :, 2:] = True, True
    spoiled = torch.where(behind, torch.nan, costs)
    values = soft_dtw(spoiled, **named)
    values.sum().backward()
    torch.testing.assert_close(values, soft_dtw(costs, **named))
    assert costs.grad.isfinite().all() and not costs.grad[behind].any() and costs.grad[~behind].any()


@pytest.mark.parametrize("gamma", [0.1, 1.0])
def test_gradcheck(gamma):
    costs = torch.randn(2, 3, 4, generator=drawn(4), dtype=torch.float64).requires_grad_()
    named = {"rows_B": torch.tensor([3, 2]), "columns_B": torch.tensor([4, 3])}
    assert torch.autograd.gradcheck(lambda c: soft_dtw(c, gamma=gamma, **named), (costs,))


def test_forbidden_cells_are_walked_around():
    costs = np.ones((3, 3))
    costs[1, 1] = np.inf
    path, cost = dtw(costs)
    assert cost == 4.0 and path.tolist() == [[0, 0], [0, 1], [1, 2], [2, 2]]
    costs[1] = np.inf
    with pytest.raises(ConfigError, match="no path through 3 x 3"):
        dtw(costs)


def test_long_and_narrow_either_way_is_the_same():
    """A recording of frames against a few words; ties are broken alike, as costs are whole numbers."""
    costs = torch.randint(0, 3, (3000, 7), generator=drawn(9)).double()
    path, cost = dtw(costs)
    assert path.tolist()[0] == [0, 0] and path.tolist()[-1] == [2999, 6] and float(costs[path[:, 0], path[:, 1]].sum()) == cost
    assert {tuple(step) for step in np.diff(path, axis=0)} <= {(1, 0), (0, 1), (1, 1)}
    assert dtw(costs.T)[1] == cost
    both = [soft_dtw(c[None], gamma=0.1) for c in (costs, costs.T)]
    torch.testing.assert_close(*both)


def test_of_equally_cheap_steps_a_diagonal_one_is_taken_then_one_down():
    for n, m in ((4, 4), (6, 4), (4, 6)):
        assert dtw(np.zeros((n, m)))[0].tolist()[-4:] == [[n - 4, m - 4], [n - 3, m - 3], [n - 2, m - 2], [n - 1, m - 1]]
    for n, m in ((3, 3), (3, 4), (4, 3)):
        costs = np.zeros((n, m))
        costs[n - 2, m - 2] = np.inf
        assert dtw(costs)[0].tolist()[-2:] == [[n - 2, m - 1], [n - 1, m - 1]]


def test_what_does_not_fit_is_refused():
    for call, said in (
        (lambda: dtw(np.zeros(3)), "costs of shape"), (lambda: dtw(np.zeros((0, 3))), "costs of shape"),
        (lambda: dtw(np.full((2, 2), np.nan)), "with NaN or -inf"), (lambda: dtw(np.zeros((2, 2)), band=-1), "the band is -1"),
        (lambda: dtw(np.zeros((2, 2)), band=1, subsequence=True), "the band is 1 where the ends are free"),
        (lambda: soft_dtw(torch.zeros(2, 2)), "soft_dtw of costs"), (lambda: soft_dtw(torch.zeros(1, 2, 2), gamma=0.0), "gamma is 0.0"),
        (lambda: soft_dtw(torch.zeros(1, 2, 2), rows_B=torch.tensor([3])), "lengths \\[3\\]"),
        (lambda: soft_dtw(torch.zeros(1, 2, 2), columns_B=torch.tensor([1, 1])), "whole numbers from 1 to 2"),
    ):  # fmt: skip
        with pytest.raises(ConfigError, match=said):
            call()
