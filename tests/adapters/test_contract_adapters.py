"""The contract of every adapter in the catalog, found by name: a new file is tested without touching this one."""

import pytest
import torch

from unifusion import catalog
from unifusion.adapters.adapter import Adapter
from unifusion.batch import Features

IN, OUT = 20, 12


def build(name, seed=0):
    cls = catalog.load("adapters", name)
    torch.manual_seed(seed)
    return cls(IN, OUT, cls.tiny())


def batch(seed=0):
    """Three items of 9, 5 and 2 features; the second begins late, has a hole of two seconds and unsorted features."""
    torch.manual_seed(seed)
    times = torch.zeros(3, 9)
    mask = torch.zeros(3, 9, dtype=torch.bool)
    for row, seconds in enumerate(
        (
            [0.05, 0.05, 0.15, 0.25, 0.3, 0.5, 0.6, 0.75, 0.9],
            [1.1, 1.3, 1.2, 3.4, 3.3],
            [0.0, 0.7],
        )
    ):
        times[row, : len(seconds)] = torch.tensor(seconds)
        mask[row, : len(seconds)] = True
    return Features(tokens_BSD=torch.randn(3, 9, IN) * mask[..., None], mask_BS=mask, times_BS=times)


@pytest.fixture(params=[n for n in catalog.names("adapters") if issubclass(catalog.load("adapters", n), Adapter)])
def name(request):
    return request.param


def test_is_an_adapter_with_its_own_config(name):
    adapter = build(name)
    assert isinstance(adapter, Adapter) and isinstance(adapter.config, Adapter.Config)
    assert (adapter.in_width, adapter.out_width) == (IN, OUT)


def test_tokens_are_as_many_and_when_token_times_says(name):
    adapter, given = build(name).eval(), batch()
    out = adapter(given)
    assert out.tokens_BSD.shape == (*out.mask_BS.shape, OUT) and out.times_BS.shape == out.mask_BS.shape
    for b in range(3):
        expected = adapter.token_times(adapter.config, given.times_BS[b], given.mask_BS[b])
        assert expected.dtype == torch.float32
        assert (expected.diff() >= 0).all(), "ascending"
        n = len(expected)
        assert n == adapter.n_tokens(adapter.config, given.times_BS[b], given.mask_BS[b]) == int(out.mask_BS[b].sum())
        assert out.mask_BS[b, :n].all() and not out.mask_BS[b, n:].any(), "real tokens before padding"
        torch.testing.assert_close(out.times_BS[b, :n], expected)
        assert not out.tokens_BSD[b, n:].any(), "padding is zero"


def test_times_stay_within_the_windows_of_the_features(name):
    adapter, given = build(name).eval(), batch()
    out = adapter(given)
    slack = getattr(adapter.config, "window_s", 0.0)
    for b in range(3):
        real, found = given.times_BS[b][given.mask_BS[b]], out.times_BS[b][out.mask_BS[b]]
        assert found.min() >= real.min() - slack - 1e-6 and found.max() <= real.max() + slack + 1e-6


def test_a_batch_of_mixed_lengths_equals_one_at_a_time(name):
    adapter, given = build(name).eval(), batch()
    out = adapter(given)
    for b in range(3):
        n = int(given.mask_BS[b].sum())
        one = Features(given.tokens_BSD[b : b + 1, :n], given.mask_BS[b : b + 1, :n], given.times_BS[b : b + 1, :n])
        alone = adapter(one)
        real = out.tokens_BSD[b][out.mask_BS[b]]
        torch.testing.assert_close(real, alone.tokens_BSD[0], atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(out.times_BS[b][out.mask_BS[b]], alone.times_BS[0])


def test_what_is_masked_never_matters(name):
    adapter, given = build(name).eval(), batch()
    tokens, times = given.tokens_BSD.clone(), given.times_BS.clone()
    tokens[~given.mask_BS], times[~given.mask_BS] = float("nan"), 777.0
    out, spoiled = adapter(given), adapter(Features(tokens, given.mask_BS, times))
    torch.testing.assert_close(out.tokens_BSD, spoiled.tokens_BSD, atol=1e-6, rtol=1e-6)
    torch.testing.assert_close(out.times_BS, spoiled.times_BS)


def test_an_item_without_features_gives_no_tokens_and_no_nan(name):
    adapter, given = build(name), batch()
    mask = given.mask_BS.clone()
    mask[1] = False
    out = adapter(Features(given.tokens_BSD, mask, given.times_BS))
    assert not out.mask_BS[1].any() and out.mask_BS[0].any()
    assert adapter.n_tokens(adapter.config, given.times_BS[1], mask[1]) == 0
    out.tokens_BSD.square().sum().backward()
    assert all(torch.isfinite(p.grad).all() for p in adapter.parameters() if p.grad is not None)
    empty = adapter(Features(given.tokens_BSD, torch.zeros_like(mask), given.times_BS))
    assert empty.tokens_BSD.shape == (3, 0, OUT) and empty.mask_BS.shape == (3, 0)


def test_gradients_reach_every_parameter_and_the_features(name):
    adapter, given = build(name), batch()
    tokens = given.tokens_BSD.clone().requires_grad_()
    adapter(Features(tokens, given.mask_BS, given.times_BS)).tokens_BSD.square().sum().backward()
    untouched = [n for n, p in adapter.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
    assert untouched == []
    assert (tokens.grad[given.mask_BS].abs().sum(dim=-1) > 0).all() and not tokens.grad[~given.mask_BS].any()


def test_every_feature_matters(name):
    """No feature is dropped on the way: changing any one changes a token."""
    adapter, given = build(name).eval(), batch()
    out = adapter(given).tokens_BSD
    for b, s in given.mask_BS.nonzero().tolist():
        tokens = given.tokens_BSD.clone()
        tokens[b, s] += torch.randn(IN)
        changed = (adapter(Features(tokens, given.mask_BS, given.times_BS)).tokens_BSD - out).abs().amax(dim=(1, 2))
        assert changed[b] > 1e-6
        assert not changed[[i for i in range(3) if i != b]].any(), "rows do not mix"


def test_half_precision_features_are_taken(name):
    """The feature store keeps float16; the adapter works in its own type."""
    adapter, given = build(name).eval(), batch()
    half = adapter(Features(given.tokens_BSD.half(), given.mask_BS, given.times_BS))
    assert half.tokens_BSD.dtype == torch.float32
    torch.testing.assert_close(half.tokens_BSD, adapter(given).tokens_BSD, atol=2e-2, rtol=2e-2)


def test_works_under_autocast(name):
    adapter, given = build(name).eval(), batch()
    with torch.autocast("cpu", torch.bfloat16):
        out = adapter(given)
    torch.testing.assert_close(out.tokens_BSD.float(), adapter(given).tokens_BSD, atol=0.05, rtol=0.05)


def test_works_in_bfloat16(name):
    adapter, given = build(name).eval(), batch()
    exact = adapter(given).tokens_BSD
    adapter = adapter.to(torch.bfloat16)
    out = adapter(Features(given.tokens_BSD.bfloat16(), given.mask_BS, given.times_BS))
    assert out.tokens_BSD.dtype == torch.bfloat16 and out.times_BS.dtype == torch.float32
    torch.testing.assert_close(out.tokens_BSD.float(), exact, atol=0.15, rtol=0.1)


def test_no_bare_parameters_or_hidden_buffers(name):
    """What PreTrainedModel cannot initialise by itself comes up as garbage from the meta device (see test_meta.py)."""
    adapter = build(name)
    bare = [(n, type(m).__name__) for n, m in adapter.named_modules() for _ in m._non_persistent_buffers_set]
    known = (torch.nn.Linear, torch.nn.Embedding, torch.nn.LayerNorm, torch.nn.Conv2d, torch.nn.Conv3d)
    bare += [(n, type(m).__name__) for n, m in adapter.named_modules() if m._parameters and not isinstance(m, known)]
    assert bare == []


def test_layout_needs_no_weights(name):
    """The processor lays out placeholders from the config alone, with plain JSON values."""
    import json
    from dataclasses import asdict

    cls = catalog.load("adapters", name)
    config = cls.Config(**json.loads(json.dumps(asdict(cls.tiny()))))
    assert config == cls.tiny()
    assert cls.n_tokens(config, torch.tensor([0.1, 0.2]), torch.tensor([True, True])) > 0


def test_what_its_queries_look_at_is_real_shared_out_and_follows_the_features(name):
    adapter, given = build(name).eval(), batch()
    looks = adapter.attention(given)
    if looks is None:
        return
    assert looks.shape == given.mask_BS.shape and looks.dtype == torch.float32 and (looks >= 0).all()
    assert not looks[~given.mask_BS].any() and (looks[given.mask_BS] > 0).all()
    assert (looks.sum(1) <= 1 + 1e-5).all() and (looks.sum(1) > 0.1).all()
    order = torch.tensor([4, 2, 0, 1, 3])  # the second item's features in another order
    moved = [t.clone() for t in (given.tokens_BSD, given.mask_BS, given.times_BS)]
    for t in moved:
        t[1, :5] = t[1, order]
    after = adapter.attention(Features(tokens_BSD=moved[0], mask_BS=moved[1], times_BS=moved[2]))
    torch.testing.assert_close(after[1, :5], looks[1, order])
    torch.testing.assert_close(after[[0, 2]], looks[[0, 2]])
