"""Turns in blocks: the loss and every gradient are those of the masked rows, whatever the rows hold."""

from __future__ import annotations

import pytest
import torch

from tests.toys import chat_model, clip
from unifusion.conversation import Media
from unifusion.training.blocks import collate_blocks, in_blocks, takes_blocks
from unifusion.training.talks import collate_turns, media_prefix, text_prefix, turns_row

TURNS = [("what is it?", "a dog"), ("and then?", "it barks twice and then it runs away over there"), ("where", "there")]


def gradients(model, batch):
    model.zero_grad()
    out = model(**batch)
    out.loss.backward()
    return out, {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("apart", [(True, True), (True, False), (False, False)])
def test_loss_and_gradients_equal_the_masked_rows(apart):
    model, processor = chat_model()
    model.eval()
    media = [Media(kind="video", source=clip(1.0 + i, seed=i, sound=i != 1)) for i in range(2)]
    prefixes = [media_prefix(processor, [processor.open(m)]) for m in media]
    rows = [turns_row(processor, p, TURNS[i:], apart=a) for i, (p, a) in enumerate(zip(prefixes, apart, strict=True))]
    dense, expected = gradients(model, collate_turns(processor, rows))
    assert takes_blocks(model.language_model)
    with in_blocks(model.language_model):
        flat, found = gradients(model, collate_blocks(processor, rows))
    assert int(dense.n_targets) == int(flat.n_targets) and set(found) == set(expected)
    torch.testing.assert_close(flat.loss, dense.loss, atol=1e-5, rtol=1e-5)
    for name, gradient in expected.items():
        torch.testing.assert_close(found[name], gradient, atol=1e-5, rtol=1e-3, msg=name)


def test_a_batch_of_one_row_without_media_and_the_attention_is_put_back():
    model, processor = chat_model()
    rows = [turns_row(processor, text_prefix(processor, "seen: a dog. "), TURNS, apart=True)]
    before = model.language_model.config._attn_implementation
    with in_blocks(model.language_model):
        flat = model(**collate_blocks(processor, rows)).loss
    assert model.language_model.config._attn_implementation == before
    torch.testing.assert_close(flat, model(**collate_turns(processor, rows)).loss, atol=1e-5, rtol=1e-5)


def test_a_sliding_window_is_left_to_the_masked_rows():
    model, _ = chat_model()
    model.language_model.config.sliding_window = 8
    assert not takes_blocks(model.language_model)
