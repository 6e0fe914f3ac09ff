"""Dynamic time warping against brute force; paths are paths; features are taken across in time."""

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from unifusion.batch import Features
from unifusion.errors import ConfigError, LimitError
from unifusion.media import warp
from unifusion.media.warp import align_sequences, cosine_costs, dtw, map_times

COSTS = st.tuples(st.integers(1, 7), st.integers(1, 7), st.integers(0, 2**32 - 1), st.sampled_from([1.0, 100.0, 0.0]))


def costs(n, m, seed, scale):
    """Positive and negative costs; whole numbers (many ties) where the scale is 0."""
    rng = np.random.default_rng(seed)
    return scale * rng.standard_normal((n, m)) if scale else rng.integers(0, 3, (n, m)).astype(float)


def slow(cost, *, subsequence=False, band=None):
    """A cell at a time."""
    rows, columns = cost.shape
    total = np.full(cost.shape, np.inf)
    for i, j in itertools.product(range(rows), range(columns)):
        line = i * (columns - 1) / (rows - 1) if rows > 1 else j
        if band is not None and abs(j - line) > band + 1e-9:
            continue
        before = [total[a, b] for a, b in ((i - 1, j), (i, j - 1), (i - 1, j - 1)) if a >= 0 and b >= 0]
        if i == 0 and (j == 0 or subsequence):
            before.append(0.0)
        total[i, j] = cost[i, j] + min(before)
    return total[-1].min() if subsequence else total[-1, -1]


@settings(max_examples=300, deadline=None)
@given(COSTS, st.booleans())
def test_the_sum_is_that_of_brute_force_and_of_the_path(drawn, subsequence):
    cost = costs(*drawn)
    total, path = dtw(cost, subsequence=subsequence)
    assert total == pytest.approx(slow(cost, subsequence=subsequence), abs=1e-9)
    assert cost[path[:, 0], path[:, 1]].sum() == pytest.approx(total, abs=1e-9)
    assert path[0, 0] == 0 and path[-1, 0] == len(cost) - 1
    assert subsequence or (path[0, 1] == 0 and path[-1, 1] == cost.shape[1] - 1)
    assert {tuple(step) for step in np.diff(path, axis=0)} <= {(0, 1), (1, 0), (1, 1)}


@settings(max_examples=200, deadline=None)
@given(COSTS, st.integers(0, 7))
def test_a_band_leaves_out_what_lies_far_from_the_line(drawn, band):
    cost = costs(*drawn)
    wanted = slow(cost, band=band)
    if not np.isfinite(wanted):
        with pytest.raises(ConfigError, match="band"):
            dtw(cost, band=band)
        return
    total, path = dtw(cost, band=band)
    assert total == pytest.approx(wanted, abs=1e-9)
    line = path[:, 0] * (cost.shape[1] - 1) / max(1, len(cost) - 1)
    assert len(cost) == 1 or (np.abs(path[:, 1] - line) <= band + 1e-9).all()


@pytest.mark.slow
def test_the_same_as_tslearn():
    metrics = pytest.importorskip("tslearn.metrics")
    rng = np.random.default_rng(0)
    for n, m in ((1, 1), (5, 9), (30, 20)):
        a, b = rng.standard_normal((n, 3)), rng.standard_normal((m, 3))
        squared = np.square(a[:, None] - b[None]).sum(-1)
        path, distance = metrics.dtw_path(a, b)
        total, mine = dtw(squared)
        assert np.sqrt(total) == pytest.approx(distance, abs=1e-9)
        assert [tuple(step) for step in mine] == path


def test_a_part_is_found_in_a_longer_sequence():
    rng = np.random.default_rng(1)
    whole = rng.standard_normal((80, 6))
    total, path = dtw(cosine_costs(whole[20:45], whole), subsequence=True)
    assert total == pytest.approx(0.0, abs=1e-9)
    assert path.tolist() == [[k, 20 + k] for k in range(25)]
    assert dtw(cosine_costs(whole[20:45], whole))[0] > 1.0


@pytest.mark.parametrize(
    ("cost", "options", "told"),
    [
        (np.zeros((0, 3)), {}, "shape"), (np.zeros(3), {}, "shape"), (np.array([[np.nan]]), {}, "NaN"), (np.array([[np.inf]]), {}, "NaN"),
        (np.zeros((2, 2)), {"band": -1}, "band"), (np.zeros((2, 2)), {"band": 1, "subsequence": True}, "band"),
    ],
)  # fmt: skip
def test_what_has_no_path_is_refused(cost, options, told):
    with pytest.raises(ConfigError, match=told):
        dtw(cost, **options)


def test_too_many_cells_are_refused(monkeypatch):
    monkeypatch.setattr(warp, "MAX_CELLS", 5)
    with pytest.raises(LimitError, match="2 against 3"):
        dtw(np.zeros((2, 3)))


def features(tokens, times, mask=None):
    """Features of one clip."""
    real = torch.ones(len(times), dtype=torch.bool) if mask is None else torch.tensor(mask)
    return Features(torch.as_tensor(tokens, dtype=torch.float32)[None], real[None], torch.as_tensor(times, dtype=torch.float32)[None])


def test_times_of_one_are_taken_to_the_other():
    rng = np.random.default_rng(2)
    words = rng.standard_normal((4, 8))
    frames = np.repeat(words, [1, 3, 2, 4], axis=0)
    given_times = np.arange(10) * 0.5
    path, times = align_sequences(features(words, [0.0, 1.0, 2.0, 3.0]), features(frames, given_times))
    assert path[:, 0].tolist() == [0, 1, 1, 1, 2, 2, 3, 3, 3, 3] and path[:, 1].tolist() == list(range(10))
    assert times[:, 1].tolist() == given_times.tolist()
    np.testing.assert_allclose(map_times(np.array([0.0, 1.0, 2.0, 3.0, 1.5, -1.0, 9.0]), times), [0.0, 1.0, 2.25, 3.75, 1.625, 0.0, 3.75])


def test_padding_takes_no_part_and_the_scale_does_not_count():
    rng = np.random.default_rng(3)
    tokens, times = rng.standard_normal((5, 4)), np.arange(5.0)
    plain = align_sequences(features(tokens, times), features(3 * tokens, times))
    padded = np.concatenate([tokens, np.full((2, 4), 7.0)])
    again = align_sequences(features(padded, np.arange(7.0), [True] * 5 + [False] * 2), features(tokens, times))
    for a, b in zip(plain, again, strict=True):
        np.testing.assert_array_equal(a, b)
    inside = align_sequences(features(tokens[1:3], times[1:3]), features(tokens, times), subsequence=True)[1]
    assert inside.tolist() == [[1.0, 1.0], [2.0, 2.0]]


def test_features_that_do_not_go_together_are_refused():
    one = features(np.ones((2, 4)), [0.0, 1.0])
    with pytest.raises(ConfigError, match="widths 4 and 3"):
        align_sequences(one, features(np.ones((2, 3)), [0.0, 1.0]))
    with pytest.raises(ConfigError, match="second features hold 1 clips, 0 real"):
        align_sequences(one, features(np.ones((2, 4)), [0.0, 1.0], [False, False]))
    two = Features(torch.ones(2, 1, 4), torch.ones(2, 1, dtype=torch.bool), torch.zeros(2, 1))
    with pytest.raises(ConfigError, match="first features hold 2 clips"):
        align_sequences(two, one)
