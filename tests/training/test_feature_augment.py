"""Mixed and left-out features: what is real stays real, what is absent stays absent, and the generator decides."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from unifusion.batch import Features
from unifusion.errors import ConfigError
from unifusion.losses.label_smoothing_cross_entropy import label_smoothing_cross_entropy
from unifusion.models.fusions.fusion import Inputs
from unifusion.training.feature_augment import drop_streams, drop_windows, mixup, soft_targets


def stream(lengths, size=6, width=3, seed=0, rate_hz=2.0):
    """Rows of so many real tokens; the padding is NaN, which must reach nothing."""
    generator = torch.Generator().manual_seed(seed)
    mask = torch.arange(size)[None] < torch.tensor(lengths)[:, None]
    tokens = torch.randn(len(lengths), size, width, generator=generator).masked_fill(~mask[..., None], torch.nan)
    return Features(tokens_BSD=tokens, mask_BS=mask, times_BS=(torch.arange(size) / rate_hz).expand(len(lengths), -1).clone())


def batch(*streams):
    return Inputs(streams=dict(zip(("video", "audio", "text"), streams, strict=False)), metadata={"values": torch.zeros(4, 1)})


class Fixed:
    """A generator that turns the batch round by one and draws one share."""

    def __init__(self, share):
        self.share = share

    def permutation(self, count):
        return np.roll(np.arange(count), -1)

    def beta(self, a, b, count):
        return np.full(count, self.share)


def test_mixing_by_hand():
    inputs = batch(stream([3, 5, 0, 4]), stream([2, 2, 2, 0]))
    targets = {"emotion": soft_targets(torch.tensor([0, 1, 2, 0]), 3), "valence": torch.tensor([0.0, 1.0, -1.0, 0.5])}
    mixed, told = mixup(inputs, targets, 1.0, Fixed(0.75))
    old, new = inputs.streams["video"].tokens_BSD, mixed.streams["video"].tokens_BSD
    torch.testing.assert_close(new[0, :3], 0.75 * old[0, :3] + 0.25 * old[1, :3])
    torch.testing.assert_close(new[0, 3:5], old[1, 3:5])
    assert mixed.streams["video"].mask_BS.sum(1).tolist() == [5, 5, 0, 4], "the longer row; a row that lacks the stream gets none"
    torch.testing.assert_close(new[1, :5], old[1, :5])
    torch.testing.assert_close(told["emotion"][0], torch.tensor([0.75, 0.25, 0.0]))
    torch.testing.assert_close(told["valence"][:2], torch.tensor([0.25, 0.5]))
    assert told["emotion"][2].tolist() == [0.0, 0.0, 1.0], "rows 2 and 3 have no stream in common"
    torch.testing.assert_close(new[3, :3], 0.75 * old[3, :3] + 0.25 * old[0, :3])
    assert mixed.metadata is inputs.metadata


def test_a_row_is_not_mixed_with_one_whose_label_is_unknown():
    inputs = batch(stream([3, 3, 3, 3]))
    targets = {"emotion": soft_targets(torch.tensor([0, -100, -100, 1]), 2)}
    mixed, told = mixup(inputs, targets, 1.0, Fixed(0.5))
    same = [torch.equal(mixed.streams["video"].tokens_BSD[i, :3], inputs.streams["video"].tokens_BSD[i, :3]) for i in range(4)]
    assert same == [True, False, True, False]
    assert told["emotion"][[0, 3]].tolist() == [[1.0, 0.0], [0.5, 0.5]] and told["emotion"][1:3].isnan().all()
    assert torch.isfinite(label_smoothing_cross_entropy(torch.randn(4, 2), told["emotion"]))


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 1000), st.lists(st.integers(0, 6), min_size=1, max_size=5), st.floats(0.05, 4))
def test_mixing_keeps_what_is_real_finite_and_shares_whole(seed, lengths, alpha):
    inputs = batch(stream(lengths, seed=seed), stream(lengths[::-1], seed=seed + 1))
    targets = {"emotion": soft_targets(torch.arange(len(lengths)) % 3, 3)}
    mixed, told = mixup(inputs, targets, alpha, np.random.default_rng(seed))
    again, _ = mixup(inputs, targets, alpha, np.random.default_rng(seed))
    torch.testing.assert_close(told["emotion"].sum(1), torch.ones(len(lengths)))
    for name, f in mixed.streams.items():
        assert torch.isfinite(f.tokens_BSD[f.mask_BS]).all()
        assert torch.equal(f.mask_BS.any(1), inputs.streams[name].mask_BS.any(1))
        assert torch.equal(f.mask_BS, again.streams[name].mask_BS)
        torch.testing.assert_close(f.tokens_BSD, again.streams[name].tokens_BSD, equal_nan=True)


def test_mixing_nothing_and_what_cannot_be_mixed():
    inputs = batch(stream([2, 1]))
    targets = {"emotion": soft_targets(torch.tensor([0, 1]), 2)}
    assert mixup(inputs, targets, 0.0, np.random.default_rng(0)) == (inputs, targets)
    with pytest.raises(ConfigError, match="soft_targets"):
        mixup(inputs, {"emotion": torch.tensor([0, 1])}, 1.0, np.random.default_rng(0))
    with pytest.raises(ConfigError, match="alpha -1"):
        mixup(inputs, targets, -1.0, np.random.default_rng(0))


def test_streams_are_left_out_as_often_as_said_and_never_all():
    inputs = batch(stream([3] * 4000), stream([2] * 3000 + [0] * 1000))
    left = drop_streams(inputs, 0.3, np.random.default_rng(1))
    there = torch.stack([f.mask_BS.any(1) for f in left.streams.values()], 1)
    assert there.any(1).all() and there[3000:, 0].all() and not there[3000:, 1].any()
    # Left out alone: 0.3 * 0.7, or both (0.09) and the other one saved (half of it).
    assert float(1 - there[:3000].float().mean()) == pytest.approx(0.3 * 0.7 + 0.09 / 2, abs=0.015)
    all_out = drop_streams(inputs, 1.0, np.random.default_rng(1))
    assert torch.stack([f.mask_BS.any(1) for f in all_out.streams.values()], 1).sum(1).tolist() == [1] * 4000
    assert inputs.streams["video"].mask_BS.all(1).logical_not().all() and inputs.streams["video"].mask_BS.any(1).all()


def test_windows_are_left_out_whole():
    inputs = batch(stream([20] * 500 + [0], size=20, rate_hz=4.0))
    left = drop_windows(inputs, 0.4, np.random.default_rng(2), window_s=1.0)
    windows = left.streams["video"].mask_BS[:500].reshape(500, 5, 4)
    assert torch.equal(windows.all(2), windows.any(2)), "four tokens a second go or stay together"
    assert windows.any(2).any(1).all() and not left.streams["video"].mask_BS[500].any()
    assert float(windows.float().mean()) == pytest.approx(0.6 + 0.4**5 / 5, abs=0.03)
    assert drop_windows(inputs, 1.0, np.random.default_rng(2), window_s=1.0).streams["video"].mask_BS[:500].sum(1).tolist() == [4] * 500


@pytest.mark.parametrize("drop", [drop_streams, drop_windows])
def test_dropping_nothing_and_what_is_no_probability(drop):
    inputs = batch(stream([3, 0, 2]), stream([0, 0, 0]))
    same = drop(inputs, 0.0, np.random.default_rng(0))
    assert all(torch.equal(same.streams[n].mask_BS, f.mask_BS) for n, f in inputs.streams.items())
    with pytest.raises(ConfigError, match="a probability of 2"):
        drop(inputs, 2, np.random.default_rng(0))
    one, other = (drop(inputs, 0.5, np.random.default_rng(7)).streams["video"].mask_BS for _ in range(2))
    assert torch.equal(one, other)
    with pytest.raises(ConfigError, match="windows of 0 s"):
        drop_windows(inputs, 0.5, np.random.default_rng(0), window_s=0)
