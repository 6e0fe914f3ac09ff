"""Emotion answers: evidence is only of what the clip has."""

import pytest

from tests import toys
from unifusion.conversation import Media
from unifusion.engine import emotion
from unifusion.errors import LimitError, MediaError

SAID = """Emotion: sad.
Picture 0.0-0.8 s: inner brows raised.
Sound 0.1-0.5 s: a soft voice.
Words 0.1-0.5 s: I lost it.
Picture 7.0-9.0 s: a tear."""


@pytest.mark.parametrize(
    ("streams", "kept"),
    [
        ({"picture": True, "sound": True}, ["picture", "sound", "words"]),
        ({"picture": True, "sound": False}, ["picture"]),
        ({"picture": False, "sound": True}, ["sound", "words"]),
    ],
)
def test_evidence_of_absent_streams_and_times_is_left_out_with_a_note(tiny_engine, monkeypatch, streams, kept):
    said = {True: SAID, False: "valence 0.1, arousal 0.2"}
    monkeypatch.setattr(emotion, "_generate", lambda engine, rows, limit, begun: [said[bool(begin)] for begin in begun])
    answer = tiny_engine.emotion([toys.video(**streams)], labels=["sad", "happy"])
    assert [e["stream"] for e in answer.evidence] == kept
    assert len(answer.rationale.splitlines()) == 1 + len(kept) and "tear" not in answer.rationale
    assert any("left out" in note for note in answer.report.notes)


def test_groups_of_clips_are_answered_alike_together_and_alone(tiny_engine, tmp_path):
    missing = Media(kind="audio", source=tmp_path / "missing.wav")
    groups = [[toys.video()], [toys.video(sound=False)], [missing], [toys.video(), toys.video()]]
    found = tiny_engine.emotions(groups, labels=["sad", "happy"], batch_size=3)
    assert isinstance(found[2], MediaError)
    for group, answer in zip(groups, found, strict=True):
        if not isinstance(answer, MediaError):
            alone = tiny_engine.emotion(group, labels=["sad", "happy"])
            assert (answer.label, answer.rationale, answer.evidence) == (alone.label, alone.rationale, alone.evidence)
            assert answer.probabilities == pytest.approx(alone.probabilities, abs=1e-4)


def test_clips_that_are_too_long_together_are_told(tiny_engine, monkeypatch):
    monkeypatch.setattr(tiny_engine, "context", 100)
    with pytest.raises(LimitError, match="the model takes 100"):
        tiny_engine.emotion([toys.video()] * 3)
