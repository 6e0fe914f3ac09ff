"""A chunk at a time gives the gradient of the whole batch, in less memory, in training steps and beside other processes too."""

from __future__ import annotations

import json

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from tests.training import cached, forks
from unifusion.errors import ConfigError
from unifusion.losses.clip_loss import clip_loss
from unifusion.training.grad_cache import cached_loss
from unifusion.training.step_memory import _watch


def batch(count=16):
    return cached.collate([cached.Rows(count)[i] for i in range(count)])


def parts(rows, size):
    return [{n: v[i : i + size] for n, v in rows.items()} for i in range(0, len(rows["image"]), size)]


def together(model, chunks):
    """The same without a cache: all graphs at once."""
    made = [model.embed(c) for c in chunks]
    return model.contrast({n: torch.cat([m[n] for m in made]) for n in made[0]})


def gradients(model, loss):
    model.zero_grad()
    loss.backward()
    return {n: p.grad for n, p in model.named_parameters()}


def same(one, other, **tolerance):
    assert set(one) == set(other)
    for name, gradient in one.items():
        torch.testing.assert_close(other[name], gradient, msg=lambda text, name=name: f"{name}: {text}", **tolerance)


@pytest.mark.parametrize("size", [1, 3, 5, 16, 100])
@pytest.mark.parametrize("dropout", [0.0, 0.5])
def test_the_gradient_is_that_of_the_whole_batch(size, dropout):
    """Dropout falls as it did the first time, and random numbers go on after it as they would have without."""
    torch.manual_seed(0)
    model, chunks = cached.Towers(dropout=dropout).double(), parts(batch(), size)
    chunks = [{n: v.double() if v.is_floating_point() else v for n, v in c.items()} for c in chunks]
    torch.manual_seed(1)
    wanted = together(model, chunks)
    after = torch.rand(3)
    expected = gradients(model, wanted)
    torch.manual_seed(1)
    loss = cached_loss(model.embed, chunks, model.contrast, parameters=model.parameters())
    assert torch.equal(torch.rand(3), after)
    torch.testing.assert_close(loss, wanted)
    same(expected, gradients(model, loss), rtol=1e-9, atol=1e-12)


def test_it_is_a_loss_like_any_other():
    """Scaled, added to, gathered over micro-batches."""
    model, chunks = cached.Towers(), parts(batch(), 4)
    one = gradients(model, together(model, chunks))
    one = {n: 3 * g for n, g in one.items()}
    model.zero_grad()
    for weight in (1.0, 2.0):
        (weight * cached_loss(model.embed, chunks, model.contrast, parameters=model.parameters()) + 7).backward()
    same(one, {n: p.grad for n, p in model.named_parameters()}, rtol=1e-4, atol=1e-6)


def test_frozen_parts_have_no_gradient_and_nothing_is_kept_without_one():
    model, chunks = cached.Towers(), parts(batch(), 4)
    model.towers["image"].requires_grad_(False)
    found = gradients(model, cached_loss(model.embed, chunks, model.contrast, parameters=model.parameters()))
    same({n: g for n, g in gradients(model, together(model, chunks)).items()}, found, rtol=1e-4, atol=1e-6)
    assert all((g is None) == ("image" in n) for n, g in found.items())
    with torch.no_grad():
        loss = cached_loss(model.embed, chunks, model.contrast, parameters=model.parameters())
    assert not loss.requires_grad
    torch.testing.assert_close(loss, together(model, chunks).detach())


def test_in_bfloat16_too():
    """Autocast's cache would, in older torch, hand the second pass weights that were cast without a graph."""
    model, chunks, how = cached.Towers(), parts(batch(), 4), []

    def embed(rows):
        made = model.embed(rows)
        how.append((made["image"].dtype, torch.is_autocast_cache_enabled()))
        return made

    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = cached_loss(embed, chunks, model.contrast, parameters=model.parameters())
        assert how == [(torch.bfloat16, False)] * 8 and torch.is_autocast_cache_enabled()
        found = gradients(model, loss)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        wanted = together(model, chunks)
        expected = gradients(model, wanted)
    torch.testing.assert_close(loss, wanted)
    same(expected, found, rtol=0.05, atol=2e-3)
    assert max(float((found[n] - g).abs().max()) for n, g in expected.items()) < 0.05 * max(float(g.abs().max()) for g in expected.values())


def test_memory_is_that_of_a_chunk():
    """256 rows, 16 at a time, through towers of which the inner tokens are what weighs."""

    class Deep(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.last = nn.Linear(8, 256), nn.Linear(256, 16)

        def embed(self, rows):
            x = self.first(rows[:, None] * torch.arange(1.0, 9.0)[:, None])
            for _ in range(4):
                x = torch.tanh(x) * x
            x = self.last(x).mean(dim=1)
            return {"a": x, "b": x.flip(1)}

    def loss(made):
        return clip_loss(made["a"], made["b"], scale=10.0)

    model, rows, peaks, found = Deep(), torch.randn(256, 8), {}, {}
    for size in (256, 16):
        chunks = list(rows.split(size))
        with _watch(model) as live:
            value = cached_loss(model.embed, chunks, loss, parameters=model.parameters())
            value.backward()
            found[size] = {n: p.grad.clone() for n, p in model.named_parameters()}
        peaks[size] = live.memory.peak()
    same(found[256], found[16], rtol=1e-4, atol=1e-6)
    assert peaks[16] < peaks[256] / 8, peaks


def refused(said, model, **changed):
    named = {"embed": model.embed, "chunks": parts(batch(6), 2), "loss": model.contrast, "parameters": model.parameters()} | changed
    with pytest.raises(ConfigError, match=said):
        cached_loss(named["embed"], named["chunks"], named["loss"], parameters=named["parameters"])


def test_a_lost_gradient_is_refused():
    """Of the loss's own scale, of a tower that embeds, and of what comes into the chunks."""
    model, learnt = cached.Towers(), torch.zeros(6, requires_grad=True)
    refused(r"shape \(\) learns and is not among the parameters", model, parameters=model.towers.parameters())
    refused("shape .* learns and is not among the parameters", model, parameters=[model.scale])
    chunks = [c | {"image": c["image"] + learnt} for c in parts(batch(6), 2)]
    refused(r"shape \(6,\) learns and is not among the parameters", model, chunks=chunks)


def test_another_second_pass_is_refused():
    """A generator of one's own goes on between the passes."""
    model, own = cached.Towers(), torch.Generator().manual_seed(0)

    def embed(rows):
        made = model.embed(rows)
        return made | {"image": made["image"] * (torch.rand(made["image"].shape, generator=own) > 0.1)}

    refused("differ by .* the second time", model, embed=embed)


def test_what_does_not_fit_is_refused():
    model, names = cached.Towers(), iter(["audio", "video", "text"])
    refused("no chunk", model, chunks=[])
    refused("the same names in each", model, embed=lambda c: {next(names): c["image"]})
    sharded = nn.Parameter(torch.zeros(1))
    sharded.ds_id = 0
    refused("sharded", model, parameters=[sharded])


def trained(folder, processes=1, **options):
    """Losses of each step, and the weights at the end."""
    folder.mkdir()
    code, said = forks.run("tests.training.cached", str(folder), json.dumps(options), processes=processes)
    assert code == 0, said[-3000:]
    steps = [json.loads(line) for line in (folder / "run" / "log.jsonl").read_text().splitlines()]
    return [r["loss"] for r in steps if "loss" in r], load_file(folder / "weights.safetensors")


@pytest.mark.slow
@pytest.mark.parametrize("accumulate", [1, 2])
def test_fit_trains_the_same_in_chunks_and_in_two_processes(tmp_path, accumulate):
    """Modalities are missing anywhere, so the processes have different numbers of pairs."""
    losses, weights = trained(tmp_path / "whole", chunk=0, accumulate=accumulate)
    assert len(losses) == 12 and losses[-1] < 0.7 * losses[0]
    for processes, chunk in ((1, 3), (2, 0), (2, 3)):
        own_losses, own_weights = trained(tmp_path / f"{processes}-{chunk}", processes, chunk=chunk, accumulate=accumulate)
        assert own_losses == pytest.approx(losses, rel=1e-5, abs=1e-5), (processes, chunk)
        same(weights, own_weights, rtol=1e-3, atol=1e-4)
