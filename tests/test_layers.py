"""Shared blocks: attention against torch's own, masks, time order, pooling, latents."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from unifusion.batch import Features
from unifusion.layers import MLP, Attention, LatentResampler, Latents, in_time_order, pool_in_time, time_embedding


def features(times, mask=None, width=3):
    times_BS = torch.tensor(times, dtype=torch.float32)
    mask_BS = torch.ones_like(times_BS, dtype=torch.bool) if mask is None else torch.tensor(mask)
    tokens = torch.arange(times_BS.numel() * width, dtype=torch.float32).view(*times_BS.shape, width)
    return Features(tokens_BSD=tokens, mask_BS=mask_BS, times_BS=times_BS)


def test_attention_equals_torchs_multihead_attention():
    torch.manual_seed(0)
    ours, theirs = Attention(12, 3, context_width=12), nn.MultiheadAttention(12, 3, batch_first=True)
    with torch.no_grad():
        theirs.in_proj_weight.copy_(torch.cat([ours.query.weight, ours.key.weight, ours.value.weight]))
        theirs.in_proj_bias.copy_(torch.cat([ours.query.bias, torch.zeros(12), ours.value.bias]))
        theirs.out_proj.load_state_dict(ours.out.state_dict())
    x, context = torch.randn(2, 4, 12), torch.randn(2, 7, 12)
    mask = torch.tensor([[True] * 7, [True] * 3 + [False] * 4])
    expected = theirs(x, context, context, key_padding_mask=~mask)[0]
    torch.testing.assert_close(ours(x, context, mask), expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("masked", [True, False])
def test_absorbed_attention_is_the_same_function_with_the_same_gradients(masked):
    torch.manual_seed(1)
    plain = Attention(16, 4, context_width=10)
    fast = Attention(16, 4, context_width=10, absorb=True)
    fast.load_state_dict(plain.state_dict())
    x, context = torch.randn(3, 2, 16), torch.randn(3, 6, 10)
    mask = torch.rand(3, 6) > 0.4 if masked else None
    outs, grads = [], []
    for module in (plain, fast):
        seen = context.clone().requires_grad_()
        out = module(x, seen, mask)
        out.square().sum().backward()
        outs.append(out)
        grads.append([seen.grad, *(p.grad for p in module.parameters())])
    torch.testing.assert_close(outs[0], outs[1], atol=1e-5, rtol=1e-5)
    for a, b in zip(*grads, strict=True):
        torch.testing.assert_close(a, b, atol=1e-4, rtol=1e-4)


def test_absorbed_attention_calls_wrapped_projections():
    """A LoRA around the key projection must take part, so the weights are not read past it."""

    class Doubled(nn.Module):
        def __init__(self, inner):
            super().__init__()
            self.inner = inner

        def forward(self, x):
            return 2 * self.inner(x)

    module = Attention(8, 2, absorb=True)
    x, context = torch.randn(1, 2, 8), torch.randn(1, 5, 8)
    before = module(x, context)
    module.value = Doubled(module.value)
    assert not torch.allclose(before, module(x, context))


@pytest.mark.parametrize("absorb", [True, False])
def test_an_item_without_real_tokens_gives_the_bias_and_finite_gradients(absorb):
    module = Attention(8, 2, absorb=absorb)
    context = torch.randn(2, 3, 8, requires_grad=True)
    out = module(torch.randn(2, 1, 8), context, torch.tensor([[True, True, False], [False] * 3]))
    torch.testing.assert_close(out[1, 0], module.out.bias)
    out.sum().backward()
    assert torch.isfinite(context.grad).all() and context.grad[1].abs().sum() == 0


def test_width_that_heads_do_not_divide_is_refused():
    with pytest.raises(ValueError, match="width 10 cannot be split over 4 heads"):
        Attention(10, 4)


@pytest.mark.parametrize("style", ["cross", "concat"])
def test_resampler_ignores_masked_context_and_its_length(style):
    torch.manual_seed(2)
    module = LatentResampler(8, 8, n_latents=3, n_layers=2, n_heads=2, style=style, ff_mult=2)
    context = torch.randn(1, 4, 8)
    alone = module(context, torch.ones(1, 4, dtype=torch.bool))
    longer = torch.cat([context, 1e3 * torch.randn(1, 5, 8)], dim=1)
    padded = module(longer, torch.tensor([[True] * 4 + [False] * 5]))
    assert alone.shape == (1, 3, 8)
    torch.testing.assert_close(alone, padded, atol=1e-5, rtol=1e-5)


def test_concat_resampler_wants_one_width():
    with pytest.raises(ValueError, match="project it first"):
        LatentResampler(8, 6, n_latents=2, n_layers=1, n_heads=2, style="concat")


def test_latents_keep_what_from_pretrained_read():
    latents = Latents(4, 6)
    before = latents.weight.detach().clone()
    latents.weight._is_hf_initialized = True
    latents.init_weights()
    assert torch.equal(before, latents.weight)
    latents.weight._is_hf_initialized = False
    latents.init_weights()
    assert not torch.equal(before, latents.weight)
    assert latents(3).shape == (3, 4, 6)
    assert isinstance(latents, nn.Embedding), "PreTrainedModel._init_weights initialises embeddings by itself"


def test_mlp_maps_widths():
    assert MLP(5, 7, 3)(torch.randn(2, 4, 5)).shape == (2, 4, 3)


@pytest.mark.parametrize("width", [1, 2, 7, 64])
def test_time_embedding_tells_times_apart(width):
    table = time_embedding(torch.tensor([0.0, 0.1, 0.2, 4.9]), width, shortest_s=0.5, longest_s=100.0)
    assert table.shape == (4, width) and torch.isfinite(table).all()
    if width > 1:
        assert torch.cdist(table, table).fill_diagonal_(9).min() > 1e-3


def test_time_embedding_has_the_asked_periods():
    a, b = time_embedding(torch.tensor([0.3, 0.3 + 0.5]), 6, shortest_s=0.5, longest_s=50.0)
    torch.testing.assert_close(a[[0, 3]], b[[0, 3]], atol=1e-5, rtol=0)
    assert abs(a[1] - b[1]) > 0.1


def test_time_order_sorts_packs_and_trims():
    found = in_time_order(features([[3.0, 1.0, 2.0, 9.0], [5.0, 5.0, 7.0, 0.0]], [[True, True, True, False], [False, True, False, True]]))
    assert found.times_BS.tolist() == [[1.0, 2.0, 3.0], [0.0, 5.0, 0.0]]
    assert found.mask_BS.tolist() == [[True] * 3, [True, True, False]]
    assert found.tokens_BSD[0, :, 0].tolist() == [3.0, 6.0, 0.0] and found.tokens_BSD[1, :, 0].tolist() == [21.0, 15.0, 0.0]


def test_time_order_of_nothing():
    found = in_time_order(features([[1.0, 2.0]], [[False, False]]))
    assert found.tokens_BSD.shape == (1, 0, 3) and found.mask_BS.shape == (1, 0)


def test_pooling_averages_tokens_and_times():
    found = pool_in_time(features([[0.0, 1.0, 2.0, 3.0, 4.0]]), 2)
    assert found.times_BS.tolist() == [[0.5, 2.5, 4.0]]
    assert found.tokens_BSD[0, :, 0].tolist() == [1.5, 7.5, 12.0]


@settings(max_examples=40, deadline=None)
@given(
    rows=st.lists(st.lists(st.tuples(st.floats(0, 50, width=32), st.booleans()), min_size=6, max_size=6), min_size=1, max_size=3),
    stride=st.integers(1, 4),
)
def test_pooling_keeps_the_mean_of_real_tokens(rows, stride):
    found = features([[t for t, _ in row] for row in rows], [[m for _, m in row] for row in rows], width=1)
    pooled = pool_in_time(found, stride)
    for b, row in enumerate(rows):
        n = sum(m for _, m in row)
        assert int(pooled.mask_BS[b].sum()) == -(-n // stride)
        times = pooled.times_BS[b][pooled.mask_BS[b]]
        assert (times.diff() >= -1e-5).all()
        if n and n % stride == 0:
            expected = found.tokens_BSD[b][found.mask_BS[b]].mean()
            torch.testing.assert_close(pooled.tokens_BSD[b][pooled.mask_BS[b]].mean(), expected, atol=1e-4, rtol=1e-4)
