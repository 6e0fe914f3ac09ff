"""Conversations made to fit: coarser clips before shorter texts, answers whole, times right, and every loss told."""

from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.toys import byte_tokenizer, chat_model, clip, streams, talk, video
from unifusion.conversation import Conversation, Media, Message
from unifusion.errors import LimitError
from unifusion.features import encode_all, stored_opener
from unifusion.processor import FusedSpec, UniFusionProcessor
from unifusion.processor.fitting import tally, thinned, windows
from unifusion.processor.processor import IGNORED


@pytest.fixture(scope="module")
def processor():
    return UniFusionProcessor(byte_tokenizer(), streams=streams(), window_s=0.5)


@pytest.fixture(scope="module")
def opened(processor):
    """Clips of 8, 2 and 1 seconds, the last with sound alone."""
    return [
        processor.open(video(seed=1, seconds=8.0)),
        processor.open(video(seed=2, seconds=2.0)),
        processor.open(video(seed=3, picture=False)),
    ]


def turns(*texts, media=(), name="talk-7", system=""):
    """A conversation of questions and supervised answers in turn, the clips first."""
    messages = [Message(role="system", parts=(system,))] if system else []
    for number, text in enumerate(texts):
        parts = (*media, text) if number == 0 else (text,)
        messages.append(Message(role="assistant" if number % 2 else "user", parts=parts, supervised=bool(number % 2)))
    return Conversation(messages=tuple(messages), id=name)


def answers(processor, row):
    return processor.tokenizer.decode([i for i in row.labels if i != IGNORED])


def test_what_fits_is_left_as_it_is(processor, opened):
    conversation = turns("what?", "this", media=[c.media for c in opened])
    plain = processor.row(conversation, opened=opened)
    row = processor.fit(conversation, len(plain.ids), opened=opened)
    assert (row.ids, row.labels, row.media) == (plain.ids, plain.labels, plain.media)
    assert row.report.to_dict() == plain.report.to_dict() and not row.fitted.clips


@pytest.mark.parametrize("generate", [True, False])
def test_a_clip_keeps_its_span_and_its_times(processor, opened, generate):
    conversation = turns("what happens?", media=[opened[0].media])
    row = processor.fit(conversation, 120, opened=opened[:1], generate=generate)
    assert len(row.ids) <= 120
    shown, there = row.fitted.windows
    assert there == 16 and 2 < shown < 16
    assert row.report.notes == [f"shown {shown} of 16 windows to fit 120 tokens"]
    before, after = opened[0].streams["video"], row.media[0].streams["video"]
    assert set(after.token_times_Q.tolist()) < set(before.token_times_Q.tolist())
    kept = windows(row.media[0], 0.5)
    assert (kept[0], kept[-1], len(kept)) == (0, 15, shown)
    gaps = {b - a for a, b in pairwise(kept)}
    assert max(gaps) - min(gaps) <= 1
    text = processor.tokenizer.decode(row.ids)
    assert all(f"t={w * 0.5:.1f}s" in text for w in kept) and text.count("t=") == shown
    assert row.report.streams["video"].tokens == text.count("<|video|>") == len(after.token_times_Q)
    assert processor.fit(conversation, 120, opened=opened[:1], generate=generate).ids == row.ids


def test_the_longest_clip_gives_way_first(processor, opened):
    conversation = turns("which?", media=[c.media for c in opened])
    whole = len(processor.row(conversation, opened=opened).ids)
    row = processor.fit(conversation, whole - 60, opened=opened)
    assert [len(windows(c, 0.5)) for c in row.media][1:] == [4, 2] and len(windows(row.media[0], 0.5)) < 16
    row = processor.fit(conversation, 130, opened=opened)
    left = [len(windows(c, 0.5)) for c in row.media]
    assert len(row.ids) <= 130 and left[0] <= 4 and left[1] < 4
    assert row.fitted.clips == len([n for n, full in zip(left, (16, 4, 2), strict=True) if n < full])


def test_text_is_cut_after_the_clips_oldest_first_and_never_an_answer(processor, opened):
    conversation = turns(
        "é" * 40, "first answer", "second " * 6, "second answer", "third?", "third answer", media=[opened[0].media], system="be brief"
    )
    whole = processor.row(conversation, opened=opened[:1])
    row = processor.fit(conversation, 150, opened=opened[:1])
    assert len(row.ids) <= 150 and row.fitted.windows == (1, 16)
    text = processor.tokenizer.decode(row.ids)
    assert answers(processor, row) == answers(processor, whole)
    assert "third?" in text and "be brief" in text and "second" in text
    assert "é" * 40 not in text and "\ufffd" not in text
    assert row.fitted.text_tokens + row.fitted.media_tokens == len(whole.ids) - len(row.ids)
    assert row.report.notes[-1] == f"{row.fitted.text_tokens} tokens of text were left out to fit 150 tokens"


def test_what_cannot_fit_is_named(processor, opened):
    conversation = turns("a question that is asked", "an answer " * 20, media=[opened[0].media])
    with pytest.raises(LimitError, match=r"conversation talk-7 has \d+ tokens, and \d+ when .* the limit is 100;"):
        processor.fit(conversation, 100, opened=opened[:1])


def test_the_last_question_keeps_its_end(processor):
    row = processor.fit(turns("old " * 30 + "and what is it now?", "yes"), 40)
    assert "t is it now?<|end|>" in processor.tokenizer.decode(row.ids) and len(row.ids) <= 40
    with pytest.raises(LimitError):
        processor.fit(turns("old " * 30 + "and what is it now?", "yes"), 20)


def test_the_processors_own_limit_holds_too(processor, opened):
    from unifusion.limits import Limits

    strict = UniFusionProcessor(byte_tokenizer(), streams=streams(), window_s=0.5).use(limits=Limits(max_tokens=90))
    assert len(strict.fit(turns("hm?", media=[opened[0].media]), 1000, opened=opened[:1]).ids) <= 90


@settings(max_examples=40, deadline=None)
@given(
    limit=st.integers(60, 500),
    texts=st.lists(st.text("ab é", min_size=1, max_size=60), min_size=2, max_size=6).filter(lambda t: len(t) % 2 == 0),
    which=st.lists(st.integers(0, 2), max_size=3), system=st.sampled_from(["", "short", "long " * 20]),
)  # fmt: skip
def test_whatever_is_asked_it_fits_or_is_refused(processor, opened, limit, texts, which, system):
    clips = [opened[i] for i in which]
    conversation = turns(*texts, media=[c.media for c in clips], system=system)
    whole = processor.row(conversation, opened=clips)
    try:
        row = processor.fit(conversation, limit, opened=clips)
    except LimitError:
        assert len(whole.ids) > limit
        return
    assert len(row.ids) <= limit and len(row.ids) == len(row.labels)
    assert answers(processor, row) == answers(processor, whole)
    assert row.fitted.media_tokens + row.fitted.text_tokens == len(whole.ids) - len(row.ids)
    assert not row.fitted.text_tokens or row.fitted.windows[0] == len(clips)
    for name, token in processor.placeholder_ids.items():
        given_by = sum(len(c.streams[name].token_times_Q) for c in row.media if name in c.streams)
        assert row.ids.count(token) == given_by


@pytest.mark.parametrize("adapter", ["windowed_qformer", "mlp", "linear", "token_pool", "stc", "perceiver"])
def test_the_model_takes_coarser_clips_with_every_adapter(adapter):
    model, processor = chat_model(adapter, fused={"both": FusedSpec(of=["video", "audio"])}, window_s=0.25)
    conversation = talk([video(seed=1, seconds=3.0), video(seed=2, seconds=1.0, sound=False)], "what?", "this")
    whole = processor.row(conversation)
    for limit in (len(whole.ids) - 20, len(whole.ids) * 2 // 3):
        row = whole
        try:
            row = processor.fit(conversation, limit)
        except LimitError:
            assert adapter == "perceiver"  # a fixed number of tokens
        assert row is whole or len(row.ids) <= limit
        assert bool(torch.isfinite(model(**processor.collate([row, whole])).loss))


def test_stored_features_are_thinned_as_clips_are(tmp_path):
    model, processor = chat_model(window_s=0.25)
    media = Media(kind="video", source=clip(3.0, seed=1))
    stores = stored_opener(processor, model, tmp_path)
    encode_all(model, processor, [media], stores)
    conversation = talk([media], "what happens here?", "this")
    fresh, stored = processor.fit(conversation, 90), processor.with_opener(stores).fit(conversation, 90)
    assert (fresh.ids, fresh.fitted) == (stored.ids, stored.fitted) and fresh.fitted.clips == 1
    losses = [model(**processor.collate([row])).loss for row in (fresh, stored)]
    torch.testing.assert_close(*losses, atol=2e-2, rtol=2e-2)  # the store holds bfloat16


def test_thinning_to_one_window_takes_the_middle_and_leaves_the_clip_alone(processor, opened):
    one = thinned(opened[0], processor.specs, 0.5, 1)
    assert windows(one, 0.5) == [8] and len(windows(opened[0], 0.5)) == 16
    assert thinned(opened[0], processor.specs, 0.5, 16) is opened[0]


def test_the_tally_counts_rows_and_tokens(processor, opened):
    talks = [turns("hi", "ho"), turns("what?", "this", media=[opened[0].media]), turns("x" * 200, "this", media=[opened[0].media])]
    rows = [processor.fit(c, 120, opened=opened[: len(c.media)]) for c in talks]
    found = tally([*rows, processor.row(talks[0])])
    assert (found["rows"], found["rows_with_coarser_clips"], found["rows_with_cut_text"]) == (4, 2, 1)
    assert found["media_tokens_left_out"] == sum(r.fitted.media_tokens for r in rows) > 0
    assert found["text_tokens_left_out"] == rows[2].fitted.text_tokens > 0
