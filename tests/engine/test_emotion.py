"""Emotion answers: evidence is only of what the clip has."""

import pytest

from tests import toys
from unifusion.engine import emotion

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
    monkeypatch.setattr(emotion, "_generate", lambda engine, row, limit, begin="": SAID if begin else "valence 0.1, arousal 0.2")
    answer = tiny_engine.emotion([toys.video(**streams)], labels=["sad", "happy"])
    assert [e["stream"] for e in answer.evidence] == kept
    assert len(answer.rationale.splitlines()) == 1 + len(kept) and "tear" not in answer.rationale
    assert any("left out" in note for note in answer.report.notes)
