"""Handlers: talks about clips, mistakes that lose nothing, stopping, emotion. No browser, no Gradio."""

import logging
import re
import threading
from itertools import pairwise

import pytest

from unifusion.limits import Limits

KEY = "tab"
NO_SPAN = ("", "")


@pytest.fixture
def do(part, engine):
    return part("handlers").Handlers(engine=engine, max_new_tokens=24)


@pytest.fixture
def paths(clip):
    return {"video": str(clip), "audio": None, "image": None}


def ask(do, paths, question="What happens?", *, kind="video", span=NO_SPAN, keep=False, key=KEY):
    do.begin(key)
    return list(do.ask(key, kind, paths, span, question, keep))


@pytest.fixture
def opened(engine, monkeypatch):
    """Names of the clips that the engine opens."""
    names, real = [], engine.open
    monkeypatch.setattr(engine, "open", lambda media: names.append(media.name) or real(media))
    return names


def test_an_answer_streams_and_carries_its_report(do, paths, engine):
    views = ask(do, paths)
    assert views[0].turns[-1].answer == "Looking and listening …"
    turn = views[-1].turns[-1]
    session = engine.session()
    session.add(do.visits.get(KEY).choice.media)
    assert turn.answer == session.ask("What happens?", max_new_tokens=24).text
    assert "<b>video</b> 6.0 s" in turn.report and "<b>audio</b> 6.0 s" in turn.report and "clip read in" in turn.report
    assert turn.clip == "happy-face-angry-voice.mp4"
    assert (views[-1].question, views[-1].notice) == ("", "")


def test_pieces_come_before_the_end(do, paths, engine):
    engine.pace.seconds = 0.06
    views = ask(do, paths)
    partial = [v.turns[-1].answer for v in views[1:-1]]
    assert len(partial) >= 5
    assert all(after.startswith(before) and len(after) > len(before) for before, after in pairwise(partial))
    assert all(v.turns[-1].report == "" for v in views[:-1])


def test_the_second_question_reuses_the_clip(do, paths, opened):
    ask(do, paths)
    turn = ask(do, paths, "And then?")[-1].turns[-1]
    assert len(opened) == 1
    assert "clip reused" in turn.report
    assert turn.clip == ""
    assert len(do.visits.get(KEY).turns) == 2


def test_another_span_begins_a_new_talk(do, paths, opened):
    ask(do, paths)
    first = do.visits.get(KEY).session
    turns = ask(do, paths, span=("1", "3"))[-1].turns
    assert len(opened) == 2 and len(turns) == 2
    assert do.visits.get(KEY).session is not first
    assert turns[-1].clip.endswith("1 s to 3 s")
    assert "<b>video</b> 2.0 s" in turns[-1].report


def test_another_clip_can_join_the_talk(do, paths):
    ask(do, paths)
    turn = ask(do, paths, "Which is louder?", span=("1", "3"), keep=True)[-1].turns[-1]
    assert len(do.visits.get(KEY).session.row.media) == 2
    assert 7.5 <= float(re.search(r"<b>video</b> ([\d.]+) s", turn.report)[1]) <= 8.0


def test_tabs_do_not_mix(do, paths):
    ask(do, paths, "first?", key="one")
    assert len(ask(do, paths, "second?", key="two")[-1].turns) == 1
    assert do.visits.get("one").session is not do.visits.get("two").session


@pytest.mark.parametrize(
    ("kind", "span", "question", "words"),
    [("video", NO_SPAN, "  ", "question is empty"), ("audio", NO_SPAN, "hm?", "no audio yet"), ("video", ("soon", ""), "hm?", "no time"),
     ("video", ("4", "2"), "hm?", "span"), ("video", ("99", ""), "hm?", "starts at 99 s")],
)  # fmt: skip
def test_a_mistake_is_told_and_nothing_is_lost(do, paths, kind, span, question, words):
    ask(do, paths)
    session = do.visits.get(KEY).session
    view = ask(do, paths, question, kind=kind, span=span)[-1]
    assert words in view.notice
    assert view.question == question
    assert len(view.turns) == 1
    assert do.visits.get(KEY).session is session
    assert "clip reused" in ask(do, paths, "Go on?")[-1].turns[-1].report


def test_a_wrong_file_is_told_without_saying_where_it_lies(do, paths, tmp_path):
    ask(do, paths)
    wrong = tmp_path / "notes.mp4"
    wrong.write_text("this is no film")
    view = ask(do, {**paths, "video": str(wrong)})[-1]
    assert "notes.mp4" in view.notice and str(tmp_path) not in view.notice
    assert "\n" not in view.notice
    assert "clip reused" in ask(do, paths, "Go on?")[-1].turns[-1].report


def test_too_long_is_told(part, engine, paths, monkeypatch):
    monkeypatch.setattr(engine.processor, "limits", engine.limits)
    engine.processor.use(limits=Limits(max_seconds=2.0))
    try:
        view = ask(part("handlers").Handlers(engine=engine), paths)[-1]
    finally:
        engine.processor.use(limits=engine.limits)
    assert "limit" in view.notice
    assert view.turns == []


def test_a_talk_that_is_full_is_told_and_can_begin_again(do, paths, engine, monkeypatch):
    ask(do, paths)
    monkeypatch.setattr(engine, "context", 200)
    view = ask(do, paths, "x" * 300)[-1]
    assert "start a new one" in view.notice and len(view.question) == 300 and len(view.turns) == 1
    assert do.clear(KEY).turns == []
    monkeypatch.undo()
    assert len(ask(do, paths)[-1].turns) == 1


def test_an_unexpected_error_is_logged_and_not_shown(do, paths, engine, monkeypatch, caplog):
    ask(do, paths)

    def broken(*_, **__):
        raise RuntimeError("secret /etc/place")

    with monkeypatch.context() as patch, caplog.at_level(logging.ERROR):
        patch.setattr(engine.processor, "collate", broken)
        view = ask(do, paths, "And?")[-1]
    assert "secret" not in view.notice and "logged" in view.notice
    assert "secret /etc/place" in caplog.text
    assert view.question == "And?" and len(view.turns) == 1
    assert ask(do, paths, "And?")[-1].notice == ""


def test_stop_ends_the_answer_and_the_talk_goes_on(do, paths, engine):
    engine.pace.seconds = 0.06
    stream = do.ask(KEY, "video", paths, NO_SPAN, "What happens?")
    views = [next(stream), next(stream)]
    do.stop(KEY)
    views += list(stream)
    turn = views[-1].turns[-1]
    assert "stopped by you" in turn.report
    assert len(do.visits.get(KEY).session.answer.ids) < 24
    engine.pace.seconds = 0.0
    do.begin(KEY)
    assert "clip reused" in ask(do, paths, "Go on?")[-1].turns[-1].report


def test_a_stop_while_waiting_in_the_queue_counts(do, paths):
    do.begin(KEY)
    do.stop(KEY)
    view = list(do.ask(KEY, "video", paths, NO_SPAN, "What?"))[-1]
    assert view.turns == [] and view.question == "What?"
    assert "Stopped" in view.notice


def test_leaving_in_the_middle_frees_the_talk(do, paths, engine):
    engine.pace.seconds = 0.06
    stream = do.ask(KEY, "video", paths, NO_SPAN, "What happens?")
    next(stream), next(stream)
    stream.close()
    visit = do.visits.get(KEY)
    assert not visit.busy.locked()
    assert "the page was left" in visit.turns[-1].report
    engine.pace.seconds = 0.0
    assert "clip reused" in ask(do, paths, "Go on?")[-1].turns[-1].report


def test_a_new_talk_in_the_middle_stays_new(do, paths, engine):
    engine.pace.seconds = 0.06
    stream = do.ask(KEY, "video", paths, NO_SPAN, "What happens?")
    next(stream), next(stream)
    do.clear(KEY)
    assert list(stream)[-1].turns == []
    assert do.visits.get(KEY).session is None


def test_two_questions_of_one_tab_do_not_run_at_once(do, paths):
    stream = do.ask(KEY, "video", paths, NO_SPAN, "What happens?")
    next(stream)
    view = ask(do, paths, "And?")[-1]
    assert "still being answered" in view.notice and view.question == "And?"
    list(stream)
    assert ask(do, paths, "And?")[-1].notice == ""


def test_closing_from_another_thread_frees_it_too(do, paths):
    stream = do.ask(KEY, "video", paths, NO_SPAN, "What happens?")
    next(stream)
    closer = threading.Thread(target=stream.close)
    closer.start()
    closer.join()
    assert not do.visits.get(KEY).busy.locked()


def test_emotion_shows_every_label_and_its_report(do, paths):
    view = do.feel("video", paths, NO_SPAN)
    assert view.label.count('role="listitem"') == 7
    assert "<b>audio</b> 6.0 s" in view.report
    assert view.rationale and view.circle and view.evidence
    assert view.notice == ""


def test_emotion_of_a_wrong_file_is_told(do, paths, tmp_path):
    wrong = tmp_path / "notes.mp4"
    wrong.write_text("this is no film")
    assert "notes.mp4" in do.feel("video", {"video": str(wrong)}, NO_SPAN).notice
    assert "no image yet" in do.feel("image", paths, NO_SPAN).notice


def test_emotion_that_fails_is_logged_and_not_shown(do, paths, engine, monkeypatch, caplog):
    def broken(*_, **__):
        raise RuntimeError("secret")

    monkeypatch.setattr(engine, "emotion", broken)
    with caplog.at_level(logging.ERROR):
        view = do.feel("video", paths, NO_SPAN)
    assert "secret" not in view.notice and "secret" in caplog.text
