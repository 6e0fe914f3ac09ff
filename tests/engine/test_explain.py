"""Explanations: with models of which it is known what they look at, occlusion finds that and nothing else."""

import copy
from dataclasses import dataclass, replace

import pytest
import torch
from torch import nn

from tests import toys
from tests.models.test_affect import example, model
from unifusion.conversation import Media
from unifusion.engine import EmotionAnswer, LabelScores, emotion
from unifusion.engine.affect import AffectEngine
from unifusion.engine.explain import AskedFusion, ask_about, explain, occluded
from unifusion.errors import ConfigError, MediaError
from unifusion.models.fusions.fusion import Fused, Fusion
from unifusion.processor import StreamItem

LABELS = ("sad", "happy")


class Loudest(Fusion):
    """Tells by the largest number among all tokens of all streams: what stands elsewhere cannot count."""

    @dataclass(kw_only=True)
    class Config(Fusion.Config):
        """Nothing to choose."""

    width = 1

    @classmethod
    def tiny(cls):
        return cls.Config()

    def forward(self, inputs, *, want_weights=False):
        each = [f.tokens_BSD[..., :1].masked_fill(~f.mask_BS[..., None], -9.0).amax(1) for f in inputs.streams.values() if f.mask_BS.any()]
        return Fused(outputs={"emotion": torch.stack(each).amax(0)}, weights={})


def hot(seconds=4.0, at=(), width=16, rate_hz=4.0, value=5.0):
    """A stream of zeros but for some moments."""
    times = torch.arange(0.0, seconds, 1 / rate_hz)
    tokens = torch.zeros(len(times), width)
    for start, end in at:
        tokens[(times >= start) & (times < end)] = value
    return StreamItem(times_S=times, mask_S=torch.ones(len(times), dtype=torch.bool), token_times_Q=times, tokens_SD=tokens)


@pytest.fixture(scope="module")
def known():
    """An engine whose second label is as likely as the loudest token is large."""
    own = model(fusion="tests.engine.test_explain:Loudest", fusion_config={}, labels=LABELS, affect=False)
    own.heads["emotion"] = nn.Linear(1, 2)
    with torch.no_grad():
        own.heads["emotion"].weight.copy_(torch.tensor([[0.0], [1.0]]))
        own.heads["emotion"].bias.zero_()
    return AffectEngine(own.eval())


def asked(engine, **streams):
    """Streams of known features, as if a clip had been opened."""
    row = engine.opener.open(example(1))
    return AskedFusion(engine, replace(row, streams={**streams}), None)


def said(*evidence):
    """An answer with evidence."""
    pieces = [{"stream": s, "start_s": a, "end_s": b, "text": "so it is"} for s, a, b in evidence]
    return EmotionAnswer(label="happy", probabilities={}, valence=None, arousal=None, rationale="", evidence=pieces, report=None)


def test_the_window_that_carries_the_label_is_found_and_no_other(known):
    found = explain(asked(known, audio=hot(at=[(2.0, 3.0)]), video=hot()), said())
    drops = {(w.stream, w.start_s): w.drop for w in found.windows}
    assert set(drops) == {(s, t) for s in ("audio", "video") for t in (0.0, 1.0, 2.0, 3.0)}
    assert drops.pop(("audio", 2.0)) == pytest.approx(found.probability - 0.5) and found.probability > 0.98
    assert set(drops.values()) == {0.0}
    assert found.without["video"] == found.probability and found.without["audio"] == pytest.approx(0.5)
    assert found.support is None and found.claims == ()


@pytest.mark.parametrize(
    ("claim", "supported"),
    [
        (("sound", 2.0, 3.0), True), (("words", 2.0, 3.0), True), (("sound", 1.0, 4.0), True), (("sound", 0.0, 1.5), False),
        (("sound", 2.0, 2.5), False), (("picture", 2.0, 3.0), False),
    ],
)  # fmt: skip
def test_a_claim_is_supported_where_it_is_right(known, claim, supported):
    (tried,) = explain(asked(known, audio=hot(at=[(2.0, 3.0)]), video=hot()), said(claim)).claims
    assert tried.supported is supported and (tried.drop > 0.4) is supported
    assert (tried.stream, tried.start_s, tried.end_s, tried.text) == (*claim, "so it is")


def test_support_is_the_share_of_right_claims(known):
    clip = asked(known, audio=hot(at=[(2.0, 3.0)]), video=hot())
    assert explain(clip, said(("sound", 2.0, 3.0), ("picture", 2.0, 3.0), ("sound", 0.0, 1.0), ("words", 2.0, 3.5))).support == 0.5


def test_one_stream_alone_has_nothing_to_leave_out(known):
    found = explain(asked(known, audio=hot(at=[(0.0, 1.0)])), said())
    assert found.without == {} and {w.stream for w in found.windows} == {"audio"}


def test_what_was_said_before_is_left_out_as_a_whole_only(known):
    found = explain(asked(known, audio=hot(), before=hot(at=[(1.0, 2.0)])), said(("words", 1.0, 2.0)))
    assert {w.stream for w in found.windows} == {"audio"} and found.without["before"] == pytest.approx(0.5)
    assert not found.claims[0].supported, "its seconds are not those of the clip"


def test_windows_of_another_length(known):
    found = explain(asked(known, audio=hot(at=[(2.5, 3.0)])), said(), window_s=0.5)
    assert len(found.windows) == 8 and [w.start_s for w in found.windows if w.drop > 0.1] == [2.5]
    for wrong in (0.0, -1.0, float("nan")):
        with pytest.raises(ConfigError, match="windows of"):
            explain(asked(known, audio=hot()), said(), window_s=wrong)


def test_occluding_keeps_the_rest_and_takes_the_mean_of_it():
    item = hot(at=[(1.0, 2.0)], value=3.0)
    item = replace(item, tensors={"deep": item.tokens_SD[:, None].repeat(1, 2, 1), "grid": torch.ones(3)})
    out = occluded(item, 0.0, 1.0)
    assert torch.equal(out.tokens_SD[4:], item.tokens_SD[4:]) and torch.equal(out.times_S, item.times_S)
    assert torch.allclose(out.tokens_SD[:4], torch.full((4, 16), 1.0))  # four of the twelve others are 3
    assert torch.allclose(out.tensors["deep"][:4], torch.ones(4, 2, 16)) and torch.equal(out.tensors["grid"], torch.ones(3))
    assert occluded(item, 9.0, 10.0) is None and not occluded(item, 0.0, 9.0).tokens_SD.any()
    masked = replace(item, mask_S=item.times_S < 1.0)
    assert occluded(masked, 1.0, 4.0) is None, "padding is no window"


def heard(rows, labels, stream):
    """Scores by the largest feature of a stream, the words of the label after it."""
    found = []
    for row in rows:
        levels = [float(clip.streams[stream].tokens_SD[:, 0].max()) for clip in row.media if stream in clip.streams]
        found.append(LabelScores(labels=tuple(labels[0]), log_probs=(0.0, max(levels, default=0.0)), report=row.report))
    return found


@pytest.fixture
def listening(tiny_engine, monkeypatch):
    """A chat engine that scores labels by the loudest moment of its sound; evidence is what `said` tells."""
    monkeypatch.setattr(emotion, "score_batch", lambda model, processor, rows, labels: heard(rows, labels, "audio"))
    lines = "Emotion: happy.\nSound 1.0-2.0 s: a laugh.\nPicture 1.0-2.0 s: a smile.\nSound 0.0-1.0 s: steps."
    monkeypatch.setattr(emotion, "_generate", lambda engine, rows, most, begun: [lines if b else "valence 0.1, arousal 0.2" for b in begun])
    return tiny_engine


def with_sound(clips, at):
    """Clips asked about, their sound hot at given moments of given clips."""
    opened = []
    for number, clip in enumerate(clips.moment.opened):
        item = clip.streams["audio"]
        tokens = torch.zeros_like(item.tokens_SD)
        for wanted, start, end in at:
            if wanted == number:
                tokens[(item.times_S >= start) & (item.times_S < end)] = 5.0
        opened.append(replace(clip, streams={**clip.streams, "audio": replace(item, tokens_SD=tokens)}))
    clips.moment = replace(clips.moment, opened=opened)
    clips.clips = [clip.streams for clip in opened]
    return clips


def test_a_chat_model_is_tried_alike(listening):
    clip = with_sound(ask_about(listening, [toys.video(seconds=3.0)], LABELS), [(0, 1.0, 2.0)])
    answer = clip.answer()
    found = explain(clip, answer)
    drops = {(w.stream, w.start_s): w.drop for w in found.windows}
    assert drops.pop(("audio", 1.0)) > 0.4 and set(drops.values()) == {0.0} and len(drops) == 5
    assert [c.supported for c in found.claims] == [True, False, False] and found.support == pytest.approx(1 / 3)
    assert found.without["video"] == found.probability and found.without["audio"] == 0.5


def test_several_clips_have_windows_of_their_own(listening):
    both = with_sound(ask_about(listening, [toys.video(seconds=2.0), toys.video(seconds=2.0, seed=1)], LABELS), [(1, 0.0, 1.0)])
    found = explain(both, both.answer())
    assert [(w.clip, w.stream, w.start_s) for w in found.windows if w.drop > 0.1] == [(1, "audio", 0.0)]
    assert {w.clip for w in found.windows} == {0, 1}


def test_sound_alone(listening):
    clip = with_sound(ask_about(listening, [Media(kind="audio", source=toys.clip(seconds=2.0))], LABELS), [(0, 0.0, 1.0)])
    found = explain(clip, clip.answer())
    assert found.without == {} and {w.stream for w in found.windows} == {"audio"} and found.windows[0].drop > 0.4


def every(found):
    """All numbers of an explanation."""
    return [found.probability, *(w.drop for w in found.windows), *found.without.values(), *(c.drop for c in found.claims)]


@pytest.mark.parametrize("kind", ["chat", "fusion"])
def test_the_batch_size_and_another_time_change_nothing_and_encoders_run_once(kind, tiny_engine, monkeypatch):
    engine = tiny_engine if kind == "chat" else AffectEngine(model())
    media = [toys.video(seconds=2.0)]
    labels = LABELS if kind == "chat" else None
    runs, encode = [], type(engine.model).features
    monkeypatch.setattr(type(engine.model), "features", lambda self, n, b: runs.append("tokens" not in b) or encode(self, n, b))
    clip = ask_about(engine, media, labels)
    answer = replace(clip.answer(), evidence=said(("sound", 0.0, 1.0)).evidence)
    found = [explain(clip, answer, batch_size=size, window_s=0.5) for size in (1, 3, 16, 16)]
    assert sum(runs) == 2, "each of two streams once"
    for other in found[1:]:
        assert every(other) == pytest.approx(every(found[0]), abs=2e-5)
    assert found[2] == found[3] and any(abs(x) > 1e-6 for x in every(found[0])[1:])
    assert found[0].probability == pytest.approx(answer.probabilities[answer.label], abs=2e-5)
    assert found[0].to_dict()["windows"][0].keys() == {"stream", "start_s", "end_s", "probability", "drop", "clip"}


def test_what_cannot_be_explained_is_told(tiny_engine):
    clip = ask_about(tiny_engine, [toys.video()], LABELS)
    with pytest.raises(ConfigError, match="'bored' is not among sad, happy"):
        explain(clip, replace(said(), label="bored"))
    with pytest.raises(MediaError):
        ask_about(tiny_engine, [Media(kind="audio", source="missing.wav")])
    with pytest.raises(ConfigError, match="does not know the label"):
        ask_about(AffectEngine(model()), [toys.video()], ["angry", "boredom"])


def test_features_are_not_changed_in_place(known):
    clip = asked(known, audio=hot(at=[(2.0, 3.0)]))
    before = copy.deepcopy(clip.clips[0]["audio"].tokens_SD)
    explain(clip, said(("sound", 0.0, 4.0)))
    assert torch.equal(clip.clips[0]["audio"].tokens_SD, before)
