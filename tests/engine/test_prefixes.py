"""Clips that are asked about again are read once, and answers are those of prompts that are read whole."""

from dataclasses import replace

import pytest

from tests.models.families import FAMILIES, HYBRID
from tests.toys import chat_model, mixed, talk, video
from unifusion.engine import Engine
from unifusion.engine.prefixes import Prefixes
from unifusion.evaluation.world import Kept

LABELS = ("happy", "sad", "very very angry indeed")


def engines(llm=None):
    """The same model twice, reading whole prompts and sharing what they begin with; both open a clip once."""
    plain = Engine(*chat_model(llm=llm, seed=1))
    plain.processor = plain.processor.with_opener(Kept.of(Engine(*chat_model(llm=llm, seed=1))))
    sharing = Engine(plain.model, plain.processor)
    sharing.prefixes = Prefixes(sharing.model, sharing.processor)
    return plain, sharing


def asked_again():
    """Each talk and two more questions about its clips, of other lengths."""
    talks = mixed()
    return [
        talk(t.media, f"{words} {t.messages[0].text}", name=f"{t.id}/{i}")
        for i, words in enumerate(("", "what is", "and a very long"))
        for t in talks
    ]


class Counted:
    """How many positions a model was fed as prompts, and after them."""

    def __init__(self, model, monkeypatch):
        self.read = self.fed = 0
        read, go_on = model.read, model.go_on

        def counting_read(batch, cache):
            self.read += int(batch["attention_mask"].sum())
            return read(batch, cache)

        def counting_go_on(ids, mask, positions, cache, **more):
            self.fed += ids.numel()
            return go_on(ids, mask, positions, cache, **more)

        monkeypatch.setattr(model, "read", counting_read)
        monkeypatch.setattr(model, "go_on", counting_go_on)


@pytest.mark.parametrize("llm", [*FAMILIES, *HYBRID])
def test_answers_and_likelihoods_are_the_same(llm):
    plain, sharing = engines({**FAMILIES, **HYBRID}[llm])
    talks = asked_again()
    wanted, found = ([a.ids for a in e.answer(talks, max_new_tokens=6, batch_size=5)] for e in (plain, sharing))
    assert found == wanted and len({tuple(ids) for ids in wanted}) > 3
    scored, shared = (e.score_labels(talks, [LABELS] * len(talks), batch_size=7) for e in (plain, sharing))
    for one, other in zip(scored, shared, strict=True):
        assert other.log_probs == pytest.approx(one.log_probs, abs=1e-4)


def test_a_clip_is_read_once_whatever_is_asked(monkeypatch):
    _, sharing = engines()
    counted = Counted(sharing.model, monkeypatch)
    clip = video(seed=1, seconds=2.0)
    sharing.score_labels([talk((clip,), "short?")], [LABELS])
    first = counted.read
    assert first > 0
    sharing.score_labels([talk((clip,), "another question?"), talk((clip,), "a third?")], [LABELS] * 2)
    sharing.answer([talk((clip,), "short?")], max_new_tokens=2)
    assert counted.read == first and counted.fed > 0
    sharing.prefixes.forget()
    sharing.answer([talk((clip,), "short?")], max_new_tokens=2)
    assert counted.read == 2 * first


def test_other_clips_and_muted_ones_are_not_taken_for_each_other():
    plain, sharing = engines()
    clip = video(seed=1)
    talks = [talk((m,), "what?") for m in (clip, clip.muted("audio"), clip.muted("video"), video(seed=2), replace(clip, transcript="x"))]
    for one in talks:
        assert sharing.answer([one], max_new_tokens=5)[0].ids == plain.answer([one], max_new_tokens=5)[0].ids
    assert len(sharing.prefixes._kept) >= 4


def test_text_alone_is_read_whole_and_beside_clips():
    plain, sharing = engines()
    talks = [talk((), "no clip at all?"), talk((video(seed=1),), "a clip?"), talk((), "?")]
    assert [a.ids for a in sharing.answer(talks, max_new_tokens=5)] == [a.ids for a in plain.answer(talks, max_new_tokens=5)]
    alone = talks[:1]
    assert sharing.answer(alone, max_new_tokens=5)[0].ids == plain.answer(alone, max_new_tokens=5)[0].ids


@pytest.mark.parametrize("llm", ["mistral", "lfm2"])
def test_what_keeps_more_than_keys_and_values_is_read_whole(llm, monkeypatch):
    _, sharing = engines({**FAMILIES, **HYBRID}[llm])
    sharing.answer([talk((video(seed=1),), "a?")], max_new_tokens=2)
    counted = Counted(sharing.model, monkeypatch)
    sharing.answer([talk((video(seed=1),), "a?")], max_new_tokens=2)
    assert counted.read > 20 and not sharing.prefixes._kept
