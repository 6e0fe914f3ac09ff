"""Features are taken across in time along the cheapest path; a part is found in the whole."""

import numpy as np
import pytest
import torch

from unifusion.batch import Features
from unifusion.errors import ConfigError
from unifusion.losses.dtw import dtw
from unifusion.words.warping import align_sequences, cosine_costs, map_times


def test_a_part_is_found_in_a_longer_sequence():
    rng = np.random.default_rng(1)
    whole = rng.standard_normal((80, 6))
    path, total = dtw(cosine_costs(whole[20:45], whole), subsequence=True)
    assert total == pytest.approx(0.0, abs=1e-9)
    assert path.tolist() == [[k, 20 + k] for k in range(25)]
    assert dtw(cosine_costs(whole[20:45], whole))[1] > 1.0


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
