"""Windows of time: edges, holes, independence of windows, time within a window, and a plain loop as reference."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from unifusion.adapters.windowed_qformer import WindowedQFormer, Windows, window_number
from unifusion.batch import Features
from unifusion.layers import time_embedding


def build(**choices):
    torch.manual_seed(0)
    config = WindowedQFormer.Config(**{"window_s": 1.0, "n_queries": 2, "width": 16, "n_heads": 2, "ff_mult": 2, **choices})
    return WindowedQFormer(8, 12, config).eval()


def one(times, seed=0):
    torch.manual_seed(seed)
    times_S = torch.tensor(times, dtype=torch.float32)
    return Features(torch.randn(1, len(times), 8), torch.ones(1, len(times), dtype=torch.bool), times_S[None])


def test_tokens_stand_at_equal_steps_in_each_window_that_has_features():
    config = WindowedQFormer.Config(window_s=2.0, n_queries=2)
    times = WindowedQFormer.token_times(config, torch.tensor([0.1, 1.9, 4.0, 99.0]), torch.tensor([True, True, True, False]))
    assert times.tolist() == [0.5, 1.5, 4.5, 5.5]


@pytest.mark.parametrize("window_s", [0.04, 0.1, 0.2, 0.25, 0.3, 0.7, 1.0, 2.0])
def test_a_time_on_an_edge_opens_the_next_window_whatever_float32_makes_of_it(window_s):
    edges = torch.tensor([k * window_s for k in range(600)], dtype=torch.float32)
    assert window_number(edges, window_s).tolist() == list(range(600))
    just_before = torch.tensor([(k + 0.999) * window_s for k in range(600)], dtype=torch.float32)
    assert window_number(just_before, window_s).tolist() == list(range(600))


@settings(max_examples=15, deadline=None)
@given(
    rows=st.lists(st.lists(st.tuples(st.floats(0, 6, width=32), st.booleans()), min_size=7, max_size=7), min_size=1, max_size=3),
    window_s=st.sampled_from([0.3, 1.0, 2.5]),
)
def test_forward_equals_a_plain_loop_over_windows(rows, window_s):
    adapter = build(window_s=window_s)
    times_BS = torch.tensor([[t for t, _ in row] for row in rows], dtype=torch.float32)
    mask_BS = torch.tensor([[m for _, m in row] for row in rows])
    features = Features(torch.randn(*times_BS.shape, 8, generator=torch.Generator().manual_seed(len(rows))), mask_BS, times_BS)
    out = adapter(features)
    for b in range(len(rows)):
        expected = []
        for k in sorted(set(window_number(times_BS[b][mask_BS[b]], window_s).tolist())):
            inside = mask_BS[b] & (window_number(times_BS[b], window_s) == k)
            within = (times_BS[b][inside].double() - k * window_s).float()
            context = adapter.norm(features.tokens_BSD[b][inside])
            context = context + time_embedding(within, 8, shortest_s=window_s / 16, longest_s=4 * window_s)
            expected.append(adapter.projection(adapter.resampler(context[None], torch.ones(1, len(context), dtype=torch.bool)))[0])
        found = out.tokens_BSD[b][out.mask_BS[b]]
        assert len(found) == 2 * len(expected)
        if expected:
            torch.testing.assert_close(found, torch.cat(expected), atol=2e-5, rtol=1e-4)


def test_windows_do_not_see_each_other():
    adapter, features = build(), one([0.1, 0.5, 1.2, 1.8, 3.3])
    tokens = features.tokens_BSD.clone()
    tokens[0, 2] += torch.randn(8)
    changed = (
        (adapter(Features(tokens, features.mask_BS, features.times_BS)).tokens_BSD - adapter(features).tokens_BSD).abs().amax(dim=-1)[0]
    )
    assert (changed > 1e-6).tolist() == [False, False, True, True, False, False]


def test_a_clip_moved_by_whole_windows_gives_the_same_tokens_later():
    adapter, features = build(), one([0.125, 0.5, 1.25])
    moved = adapter(Features(features.tokens_BSD, features.mask_BS, features.times_BS + 7))
    torch.testing.assert_close(moved.tokens_BSD, adapter(features).tokens_BSD, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(moved.times_BS, adapter(features).times_BS + 7)


def test_when_in_its_window_a_feature_lies_matters_and_its_place_in_the_list_does_not():
    adapter, features = build(), one([0.1, 0.5, 0.9])
    before = adapter(features).tokens_BSD
    reversed_time = adapter(Features(features.tokens_BSD, features.mask_BS, features.times_BS.flip(1))).tokens_BSD
    assert (before - reversed_time).abs().max() > 1e-3
    order = torch.tensor([2, 0, 1])
    shuffled = Features(features.tokens_BSD[:, order], features.mask_BS, features.times_BS[:, order])
    torch.testing.assert_close(adapter(shuffled).tokens_BSD, before, atol=1e-5, rtol=1e-5)


def test_windows_of_a_batch_keep_rows_apart():
    times, mask = torch.tensor([[0.0, 2.0, 2.5], [2.1, 0.2, 9.0]]), torch.tensor([[True, True, True], [True, True, False]])
    found = Windows.of(times, mask, 1.0)
    assert found.row_K.tolist() == [0, 0, 1, 1] and found.slot_K.tolist() == [0, 1, 0, 1] and found.number_K.tolist() == [0, 2, 0, 2]
    assert found.index_KL.tolist() == [[0, -1], [1, 2], [4, -1], [3, -1]]


def test_sound_before_the_span_has_windows_below_zero():
    """A decoder may give a first time a hair below 0."""
    adapter, features = build(), one([-0.3, 0.2])
    assert adapter(features).times_BS[0].tolist() == [-0.75, -0.25, 0.25, 0.75]


def test_absorbed_and_plain_attention_agree_in_the_whole_adapter():
    adapter, features = build(n_layers=3), one([0.1, 0.5, 1.2, 1.8, 3.3])
    fast = adapter(features).tokens_BSD
    for block in adapter.resampler.blocks:
        assert block.cross.absorb
        block.cross.absorb = False
    torch.testing.assert_close(adapter(features).tokens_BSD, fast, atol=1e-5, rtol=1e-5)
