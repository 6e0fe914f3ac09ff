"""Adapters that know neighbours in the picture: which patches and frames become one token."""

import pytest
import torch

from unifusion.adapters.stc import Stc
from unifusion.adapters.token_pool import TokenPool
from unifusion.batch import Features


def video(frames, side, width=8, rate=4.0, seed=0):
    torch.manual_seed(seed)
    times = torch.arange(frames).repeat_interleave(side * side) / rate
    return Features(torch.randn(1, frames * side * side, width), torch.ones(1, len(times), dtype=torch.bool), times[None])


def moved(adapter, given, at, row=0):
    """Which tokens change when one feature does."""
    tokens = given.tokens_BSD.clone()
    tokens[row, at] += torch.randn(tokens.shape[-1])
    with torch.no_grad():
        change = adapter(Features(tokens, given.mask_BS, given.times_BS)).tokens_BSD - adapter(given).tokens_BSD
    return change[row].abs().sum(dim=-1).gt(1e-5).nonzero()[:, 0].tolist()


def test_token_pool_averages_cells_of_the_picture():
    given = video(frames=3, side=4)
    pool = TokenPool(8, 6, TokenPool.Config(side=2)).eval()
    assert pool(given).tokens_BSD.shape == (1, 3 * 4, 6)
    assert [moved(pool, given, at)[0] for at in (0, 1, 4, 5, 2, 10, 15, 16)] == [0, 0, 0, 0, 1, 3, 3, 4]
    grid = given.tokens_BSD.view(3, 4, 4, 8)
    wanted = pool.projection(pool.norm(grid.unflatten(1, (2, 2)).unflatten(3, (2, 2)).mean(dim=(2, 4)).flatten(0, 2)))
    torch.testing.assert_close(pool(given).tokens_BSD[0], wanted)
    assert pool(given).times_BS[0].tolist() == [0.0] * 4 + [0.25] * 4 + [0.5] * 4


def test_token_pool_over_time_and_odd_edges():
    pool = TokenPool(8, 6, TokenPool.Config(side=2, stride=2)).eval()
    out = pool(video(frames=5, side=3))
    assert out.times_BS[0].tolist() == [0.125] * 4 + [0.625] * 4 + [1.0] * 4
    given = video(frames=5, side=3)
    assert moved(pool, given, 0) == moved(pool, given, 9) == [0] and moved(pool, given, 8) == [3] and moved(pool, given, 36) == [8]


def test_token_pool_takes_sound_moment_by_moment():
    sound = Features(torch.randn(1, 7, 8), torch.ones(1, 7, dtype=torch.bool), torch.arange(7.0)[None] / 10)
    out = TokenPool(8, 6, TokenPool.Config(side=2, stride=3))(sound)
    torch.testing.assert_close(out.times_BS[0], torch.tensor([0.1, 0.4, 0.6]))


@pytest.mark.parametrize(
    ("padding", "frames", "side", "tokens"), [(1, 4, 4, 3 * 9), (1, 8, 16, 5 * 81), (0, 4, 4, 2 * 4), (0, 5, 3, 3 * 4)]
)
def test_stc_halves_time_rows_and_columns(padding, frames, side, tokens):
    stc = Stc(8, 6, Stc.Config(width=6, depth=1, padding=padding)).eval()
    given = video(frames, side)
    out = stc(given)
    assert out.tokens_BSD.shape == (1, tokens, 6) and torch.all(out.times_BS[0].diff() >= 0)
    convolved = stc.sampler[0]
    assert convolved.kernel_size == convolved.stride == (2, 2, 2)


def test_stc_is_local_in_time():
    stc = Stc(8, 6, Stc.Config(width=6, depth=1, padding=0)).eval()
    given = video(frames=6, side=2)
    assert [moved(stc, given, at) for at in (0, 7, 8, 23)] == [[0], [0], [1], [2]]
    assert stc(given).times_BS[0].tolist() == [0.125, 0.625, 1.125]


def test_stc_of_sound_and_of_uneven_frames_halves_time_alone():
    stc = Stc(8, 6, Stc.Config(width=6, depth=1, padding=0)).eval()
    times = torch.tensor([[0.0, 0.0, 0.25, 0.5, 0.5]])
    out = stc(Features(torch.randn(1, 5, 8), torch.ones(1, 5, dtype=torch.bool), times))
    assert out.times_BS[0].tolist() == [0.0, 0.375, 0.5]


def test_stc_has_videollama2s_names_and_sizes():
    stc = Stc(16, 32, Stc.Config(depth=4))
    names = set(stc.state_dict())
    assert {"s1.b1.conv1.conv.weight", "s1.b1.conv1.bn.weight", "s1.b1.se.fc1.bias", "s1.b1.downsample.bn.bias", "s2.b4.conv3.conv.weight",
            "sampler.0.weight"} <= names  # fmt: skip
    assert not any(n.startswith("s2.b1.downsample") for n in names)
    assert stc.s1.b1.conv2.conv.weight.shape == (32, 1, 3, 3) and stc.s1.b2.se.fc1.weight.shape == (8, 32, 1, 1)
    assert Stc(16, 32, Stc.Config(depth=0, width=24))(video(4, 2, width=16)).tokens_BSD.shape == (1, 12, 32)
