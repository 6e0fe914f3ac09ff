"""The engine as a system: clips opened once, muted without opening again; answers are the engine's own."""

import threading

import pytest

from tests.toys import chat_model, talk, video
from unifusion.engine import Engine
from unifusion.errors import MediaError
from unifusion.evaluation.suite.system import EngineSystem


@pytest.fixture
def engine():
    return Engine(*chat_model(seed=1))


def opened_by(engine, monkeypatch):
    """What is opened, and in which thread."""
    opener, told = engine.processor.opener, []
    real = opener.open

    def noting(media, **more):
        told.append((media, threading.current_thread().name))
        return real(media, **more)

    monkeypatch.setattr(opener, "open", noting)
    return told


def test_a_clip_is_opened_once_for_all_that_is_asked(engine, monkeypatch):
    clip, told = video(seed=1), opened_by(engine, monkeypatch)
    system = EngineSystem(engine, "folder/toy")
    talks = [talk((m,), words) for m in (clip, clip.muted("audio")) for words in ("what?", "and why?")]
    said = system.answer(talks, max_new_tokens=4, batch_size=2)
    scored = system.score_labels(talks, [("a", "b")] * 4, task="", batch_size=4)
    assert len(told) == 1 and system.name == "toy" and system.can_score
    assert [a.ids for a in said] == [a.ids for a in Engine(*chat_model(seed=1)).answer(talks, max_new_tokens=4)]
    assert [s.report.streams["audio"].present for s in scored] == [True, True, False, False]
    system.forget()
    system.answer(talks[:1], max_new_tokens=1, batch_size=1)
    assert len(told) == 2


def test_weights_are_known_by_what_they_are_and_how_labels_are_weighed(engine):
    same, other = EngineSystem(Engine(*chat_model(seed=1)), "elsewhere/toy"), EngineSystem(Engine(*chat_model(seed=2)), "folder/toy")
    first = EngineSystem(engine, "folder/toy").weights
    assert first == same.weights != other.weights
    engine.model.config.calibration = {"sound": {"temperature": 2.0}}
    assert EngineSystem(engine, "folder/toy").weights != first


def test_a_clip_that_fails_fails_its_own_question(engine, tmp_path):
    from dataclasses import replace

    bad = replace(video(seed=1), source=str(tmp_path / "none.mp4"))
    system = EngineSystem(engine, "toy")
    first, second = system.answer([talk((bad,), "what?"), talk((video(seed=2),), "what?")], max_new_tokens=2, batch_size=2)
    assert isinstance(first, MediaError) and "none.mp4" in str(first) and second.text is not None
