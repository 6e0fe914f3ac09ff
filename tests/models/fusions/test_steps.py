"""Steps of a stream: averaged in time by each row's own clock, and weights go back to the tokens they were made of."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.models.fusions.toys import padded
from unifusion.batch import Features
from unifusion.models.fusions._recurrent import Recurrent
from unifusion.models.fusions._streams import in_steps


def of(times, tokens=None, mask=None):
    """One row."""
    times = torch.tensor([times], dtype=torch.float32)
    tokens = torch.arange(times.shape[1], dtype=torch.float32)[None, :, None] if tokens is None else tokens
    return Features(tokens, torch.ones_like(times, dtype=torch.bool) if mask is None else mask, times)


@pytest.mark.parametrize(
    ("times", "most", "steps"),
    [
        ([0.0, 0.0, 0.5, 0.5, 1.0], 8, [0, 0, 1, 1, 2]),  # patches of three frames: a step a frame
        ([0.0, 0.1, 0.2, 0.3], 8, [0, 1, 2, 3]),
        ([0.0, 1.0, 2.0, 3.0, 4.0, 5.0], 3, [0, 0, 1, 1, 2, 2]),
        ([0.0, 0.1, 0.2, 10.0], 2, [0, 0, 0, 1]),  # by the clock, not by their number
        ([0.0, 0.1, 0.2, 9.9, 10.0], 4, [0, 0, 0, 1, 1]),  # the empty middle is no step
        ([2.0, 2.0, 2.0, 2.0, 2.0, 2.0], 3, [0, 0, 1, 1, 2, 2]),  # no clock: in their order
        ([2.0, 2.0], 3, [0, 1]),
        ([1.0, 0.0, 0.5], 3, [2, 0, 1]),
        ([0.0, 0.0, 0.5, 0.5], 0, [0, 1, 2, 3]),  # all of them
        ([0.0, 3.0, 7.0], 1, [0, 0, 0]),
        ([5.0], 4, [0]),
    ],
)
def test_which_step_a_token_goes_into(times, most, steps):
    found = in_steps(of(times), most, torch.float32)
    assert found.step_BS.tolist() == [steps]
    for step in set(steps):
        members = [i for i, s in enumerate(steps) if s == step]
        assert float(found.tokens_BND[0, step, 0]) == pytest.approx(sum(members) / len(members))
        assert float(found.times_BN[0, step]) == pytest.approx(sum(times[i] for i in members) / len(members))
    assert found.mask_BN.tolist() == [[True] * (max(steps) + 1)]


@settings(max_examples=60, deadline=None)
@given(
    lengths=st.lists(st.integers(0, 12), min_size=1, max_size=4), most=st.integers(0, 6), moments=st.integers(1, 4), seed=st.integers(0, 99)
)
def test_steps_are_ascending_without_gaps_and_keep_sums_and_weights(lengths, most, moments, seed):
    generator = torch.Generator().manual_seed(seed)
    longest = max(lengths)
    mask = torch.arange(longest)[None] < torch.tensor(lengths)[:, None]
    times = torch.rand(len(lengths), longest, generator=generator).sort(dim=1).values.mul(10 / moments).floor().mul(moments)
    features = Features(torch.randn(len(lengths), longest, 3, generator=generator), mask, times)
    found = in_steps(features, most, torch.float32)
    counts = found.mask_BN.sum(dim=1)
    assert found.mask_BN.shape[1] == max(1, int(counts.max())) and bool((counts <= (most or longest)).all())
    for row, count in enumerate(counts.tolist()):
        assert found.mask_BN[row, :count].all()
        assert bool((found.times_BN[row, :count].diff() >= 0).all())
    total = (found.tokens_BND * found.count_BN[..., None]).sum(dim=1)
    torch.testing.assert_close(total, features.tokens_BSD.masked_fill(~mask[..., None], 0.0).sum(dim=1), rtol=1e-4, atol=1e-4)
    weights = torch.rand(found.mask_BN.shape, generator=generator) * found.mask_BN
    torch.testing.assert_close(found.spread(weights).sum(dim=1), weights.sum(dim=1))
    wider = in_steps(padded(features, before=min(1, longest)), most, torch.float32)
    assert torch.equal(wider.tokens_BND, found.tokens_BND) and torch.equal(wider.mask_BN, found.mask_BN)


@pytest.mark.parametrize("both_ways", [False, True])
def test_an_lstm_skips_gaps_as_if_they_were_not_there(both_ways):
    torch.manual_seed(0)
    lstm = Recurrent(3, 4, layers=2, both_ways=both_ways).eval()
    tokens = torch.randn(2, 3, 3)
    states, last = lstm(tokens, torch.tensor([[True, True, True], [True, True, False]]))
    gaps = torch.full((2, 6, 3), float("nan"))
    mask = torch.tensor([[True, False, True, False, False, True], [False, True, True, False, False, False]])
    gaps[0, mask[0]], gaps[1, mask[1]] = tokens[0], tokens[1, :2]
    spread, last_of_gaps = lstm(gaps, mask)
    torch.testing.assert_close(last, last_of_gaps)
    torch.testing.assert_close(spread[0, mask[0]], states[0])
    torch.testing.assert_close(spread[1, mask[1]], states[1, :2])
    assert float(spread[~mask].abs().max()) == 0.0
    alone, _ = lstm.lstm(tokens[:1])
    torch.testing.assert_close(alone, states[:1])


def test_an_odd_width_cannot_be_shared_by_two_directions():
    with pytest.raises(ValueError, match="even"):
        Recurrent(3, 5, both_ways=True)
