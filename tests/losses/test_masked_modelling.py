"""What was hidden is told: against loops, and against CAV-MAE's own pre-training."""

from __future__ import annotations

import math

import pytest
import torch

from tests.losses.brute import MANY, SEEDS, close, cosine, drawn, given, log_sum, rows, st
from unifusion.cav_mae import CAVMAEConfig, CAVMAEForPreTraining, patch_targets
from unifusion.errors import ConfigError
from unifusion.losses.masked_modelling import masked_modelling

FORMS = st.sampled_from(["regression", "cosine", "contrast", "pixels", "tokens"])


def patch(x):
    mean = sum(x) / len(x)
    spread = math.sqrt(sum((v - mean) ** 2 for v in x) / max(len(x) - 1, 1) + 1e-6)
    return [(v - mean) / spread for v in x]


def brute_force(told, there, masked, form, heat, within):
    """Token by token."""
    places = [(b, s) for b, row in enumerate(masked.tolist()) for s, hidden in enumerate(row) if hidden]
    total = 0.0
    for b, s in places:
        guess, truth = told[b][s].tolist(), there[b][s].tolist()
        if form == "tokens":
            total += log_sum(guess) - guess[truth]
        elif form == "cosine":
            total += 1 - cosine(guess, truth)
        elif form == "contrast":
            others = [there[c][t].tolist() for c, t in places if not within or c == b]
            among = [truth] + [x for x in others if x != truth]
            total += log_sum([cosine(guess, x) / heat for x in among]) - cosine(guess, truth) / heat
        else:
            truth = patch(truth) if form == "pixels" else truth
            total += sum((v - w) ** 2 for v, w in zip(guess, truth, strict=True)) / len(guess)
    return total / len(places) if places else 0.0


@MANY
@given(SEEDS, st.integers(1, 3), st.integers(1, 3), st.integers(1, 4), FORMS, st.sampled_from([0.05, 0.5]), st.booleans())
def test_equals_the_definition(seed, count, length, width, form, heat, within):
    g = drawn(seed)
    told, masked = rows(g, count, length, width), torch.rand(count, length, generator=g) < 0.6
    there = torch.randint(0, width, (count, length), generator=g) if form == "tokens" else rows(g, count, length, width)
    got = masked_modelling(told, there, masked, form=form, temperature=heat, within_rows=within)
    close(got, brute_force(told, there, masked, form, heat, within))


def test_pixels_are_those_of_cav_mae():
    torch.manual_seed(0)
    config = CAVMAEConfig(
        hidden_size=16, num_attention_heads=2, audio_layers=1, video_layers=1, patch_size=4, audio_frames=16, num_mel_bins=8, image_size=8,
        decoder_hidden_size=16, decoder_layers=1, decoder_attention_heads=2,
    )  # fmt: skip
    model, seen = CAVMAEForPreTraining(config).eval(), {}
    model.decoder_pred_v.register_forward_hook(lambda module, given, out: seen.update(told=out))
    own = model.own
    model.own = lambda stream, x, kept=None: seen.update({stream: kept}) or own(stream, x, kept)
    pixels = torch.randn(3, 3, 8, 8)
    with torch.no_grad():
        losses = model(torch.randn(3, 16, 8), pixels)
    masked = torch.ones(3, 4).scatter(1, seen["video"], 0.0).bool()
    raw = pixels.reshape(3, 3, 2, 4, 2, 4).permute(0, 2, 4, 3, 5, 1).reshape(3, 4, -1)
    assert masked.sum() == 9
    close(masked_modelling(seen["told"], raw, masked, form="pixels"), float(losses.video))
    close(masked_modelling(seen["told"], patch_targets(pixels, 4), masked, form="regression"), float(losses.video))


def test_nothing_masked_is_zero_and_part_of_the_graph():
    told = torch.randn(2, 3, 4, requires_grad=True)
    loss = masked_modelling(told, torch.randn(2, 3, 4), torch.zeros(2, 3, dtype=torch.bool), form="contrast")
    loss.backward()
    assert float(loss) == 0.0 and not told.grad.any()


def test_only_masked_tokens_learn_and_targets_never_do():
    told, there = torch.randn(2, 3, 4, requires_grad=True), torch.randn(2, 3, 4, requires_grad=True)
    masked = torch.tensor([[True, False, True], [False, False, True]])
    spoiled = torch.where(masked[..., None], there, torch.nan)
    masked_modelling(told, spoiled, masked, form="contrast").backward()
    assert told.grad[masked].any(dim=1).all() and not told.grad[~masked].any() and there.grad is None


def test_what_does_not_fit_is_refused():
    x, masked = torch.randn(2, 3, 4), torch.ones(2, 3, dtype=torch.bool)
    for told, there, mask, form, said in (
        (x, x[:1], masked, "regression", r"give \(B, S, D\) of both"), (x, x, masked, "tokens", "whole numbers"),
        (x, x, masked.float(), "cosine", "masked_BS is torch.float32"), (x, x, masked, "mse", "take one of regression"),
    ):  # fmt: skip
        with pytest.raises(ConfigError, match=said):
            masked_modelling(told, there, mask, form=form)
