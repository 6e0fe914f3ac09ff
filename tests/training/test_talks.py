"""Turns behind a shared prefix cost and teach what one conversation per question would."""

from __future__ import annotations

import torch

from tests.toys import chat_model, clip
from unifusion.conversation import Conversation, Media, Message
from unifusion.training.talks import collate_turns, media_prefix, text_prefix, turns_row

TURNS = [("what is it?", "a dog"), ("and then?", "it barks twice"), ("where", "there")]


def test_turns_apart_have_the_loss_of_single_conversations():
    model, processor = chat_model()
    media = [Media(kind="video", source=clip(1.0, seed=i, sound=i != 1)) for i in range(2)]
    rows = [turns_row(processor, media_prefix(processor, [processor.open(m)]), TURNS, apart=True) for m in media]
    together = model(**collate_turns(processor, rows))
    single = [
        Conversation(messages=(Message(role="user", parts=(m, q)), Message(role="assistant", parts=(a,), supervised=True)))
        for m in media for q, a in TURNS
    ]  # fmt: skip
    alone = model(**processor(single))
    assert int(together.n_targets) == int(alone.n_targets)
    assert torch.allclose(together.loss, alone.loss, atol=1e-5)


def test_turns_of_a_chat_equal_one_conversation():
    model, processor = chat_model()
    row = turns_row(processor, text_prefix(processor, "seen: a dog. "), TURNS, apart=False)
    messages = []
    for i, (question, answer) in enumerate(TURNS):
        messages.append(Message(role="user", parts=(("seen: a dog. " if i == 0 else "") + question,)))
        messages.append(Message(role="assistant", parts=(answer,), supervised=True))
    assert row.row.ids == processor.row(Conversation(messages=tuple(messages))).ids
    assert torch.allclose(
        model(**collate_turns(processor, [row])).loss, model(**processor([Conversation(messages=tuple(messages))])).loss, atol=1e-5
    )


def test_turns_that_do_not_fit_are_left_out_but_the_first():
    _, processor = chat_model()
    row = turns_row(processor, text_prefix(processor, ""), TURNS, apart=True, limit=30)
    assert 1 in row.turns and 3 not in row.turns
    assert turns_row(processor, text_prefix(processor, ""), TURNS, apart=True, limit=1).turns.count(1) > 0
