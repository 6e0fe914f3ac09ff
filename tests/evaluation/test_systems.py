"""Systems that a suite can measure: a server that is really sent what the conversation shows, and models of this machine."""

import base64
import io
import threading
import time

import numpy as np
import pytest
from PIL import Image

from tests.evaluation.servers import frames, looks, serving, told, tone
from tests.existing import folder_of
from tests.toys import chat_model, talk, video
from unifusion.conversation import Clip, Conversation, Line, Media, Message
from unifusion.engine import Engine
from unifusion.errors import ConfigError, LimitError, MediaError
from unifusion.evaluation.systems_endpoint import EndpointSystem
from unifusion.limits import Limits
from unifusion.media.written import jpegs, wav, write_film
from unifusion.processor.layout import stamped
from unifusion.wire import EndpointError


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A film that is red and low for 2 s, then blue and high for 2 s; its sound; a blue picture."""
    folder = tmp_path_factory.mktemp("clips")
    shown = np.concatenate([frames("red", 16), frames("blue", 16)])
    sound = np.concatenate([tone("low", 2.0), tone("high", 2.0)])
    clip = Clip(frames_THWC=shown, frame_times_s=np.arange(32) / 8.0, waveform_N=sound, duration_s=4.0)
    write_film(clip, folder / "film.mp4")
    (folder / "sound.wav").write_bytes(wav(clip))
    (folder / "blue.jpg").write_bytes(jpegs(Clip(frames_THWC=frames("blue", 1)), 1)[0])
    return folder


def ask(url, *media, **options):
    """The answer of a server about clips."""
    system = EndpointSystem.at(url, "big", retries=0, timeout_s=20.0, **options)
    [answer] = system.answer([talk(media, name="one")], max_new_tokens=9)
    return answer


def film(files, **options):
    return Media(kind="video", source=str(files / "film.mp4"), **options)


def test_a_whole_file_is_sent_byte_for_byte_and_its_report_is_of_its_header(files):
    with serving() as (url, asked):
        answer = ask(url, film(files))
    content = asked[0]["body"]["messages"][0]["content"]
    assert [p["type"] for p in content] == ["video_url", "text"] and content[1]["text"] == "what happens?"
    assert base64.b64decode(content[0]["video_url"]["url"].split(",")[1]) == (files / "film.mp4").read_bytes()
    assert answer.text.startswith("film of red then blue with") and answer.report.streams["audio"].present
    assert answer.report.streams["video"].seconds == pytest.approx(4.0, abs=0.3) and answer.stopped and answer.timing["new_tokens"] == 3
    body = asked[0]["body"]
    assert (asked[0]["path"], body["model"], body["max_tokens"], body["temperature"]) == ("/v1/chat/completions", "big", 9, 0)


@pytest.mark.parametrize(
    ("span", "mute", "style", "expected"),
    [
        ((2.2, 3.8), (), "video_url", "film of blue with high"),
        ((0.0, 1.8), (), "video_url", "film of red with low"),
        ((2.2, 3.8), ("audio",), "video_url", "film of blue with no sound"),
        ((2.2, 3.8), ("video",), "video_url", "sound of high 1.6 s"),
        ((None, None), ("audio",), "video_url", "film of red then blue with no sound"),
        ((None, None), ("video", "audio"), "video_url", "nothing"),
        ((0.0, 1.8), (), "split", "film of red with no sound, sound of low 1.8 s"),
        ((0.0, 1.8), (), "frames", "picture of red, picture of red, sound of low 1.8 s"),
        ((None, None), ("audio",), "frames", "picture of red, picture of blue"),
    ],
)
def test_what_is_cut_or_muted_is_really_not_in_what_is_sent(files, span, mute, style, expected):
    with serving() as (url, _):
        answer = ask(url, film(files, start_s=span[0], end_s=span[1], mute=mute), style=style, media={"frames": 2})
    assert answer.text == expected
    for stream in mute:
        assert not answer.report.streams[stream].present and answer.report.streams[stream].reason == "muted on request"
    for stream in {"video", "audio"} - set(mute):
        assert answer.report.streams[stream].present and answer.report.streams[stream].seconds > 1.5


def test_timed_words_stand_behind_the_clip_as_in_every_prompt(files):
    lines = (Line(start_s=0.5, end_s=1.0, text="hello"), Line(start_s=3.0, end_s=3.5, text="bye"))
    with serving() as (url, asked):
        whole = ask(url, film(files, subtitles=lines, words_from="talk.srt"))
        ask(url, film(files, subtitles=lines, start_s=2.5, end_s=3.8))
        ask(url, film(files, subtitles=lines, mute=("text",)))
    texts = [[p["text"] for p in a["body"]["messages"][0]["content"] if p["type"] == "text"] for a in asked]
    engine = Engine(*chat_model())
    shown = [stamped(line).text for line in lines]
    assert texts[0] == [*shown, "what happens?"]
    assert len(texts[1]) == 2 and "bye" in texts[1][0] and texts[2] == ["what happens?"]
    assert whole.report.words == engine.answer([talk([film(files, subtitles=lines, words_from="talk.srt")])])[0].report.words


def test_sounds_pictures_arrays_and_several_clips(files):
    sound, picture = Media(kind="audio", source=str(files / "sound.wav")), Media(kind="image", source=(files / "blue.jpg").read_bytes())
    arrays = Media(kind="video", source=Clip(frames_THWC=frames("red", 8), frame_times_s=np.arange(8) / 8.0, duration_s=1.0))
    heard = Media(kind="audio", source=str(files / "film.mp4"), start_s=0.0, end_s=1.0)
    with serving() as (url, _):
        assert ask(url, sound).text in ("sound of low 4.0 s", "sound of high 4.0 s")
        answer = ask(url, picture, arrays, heard)
        assert ask(url).text == "nothing"
        bitmap = io.BytesIO()
        Image.open(files / "blue.jpg").save(bitmap, "BMP")  # no server knows it, so it is written anew
        assert ask(url, Media(kind="image", source=bitmap.getvalue())).text == "picture of blue"
        long = ask(url, film(files), media={"max_seconds": 1.5})
    assert answer.text == "picture of blue, film of red with no sound, sound of low 1.0 s"
    assert [c["streams"]["video"]["present"] for c in answer.report.clips] == [True, True, False]
    assert answer.report.streams["audio"].seconds == 1.0
    assert long.text == "film of red with low" and long.report.streams["video"].cropped_s == pytest.approx(2.5, abs=0.2)


def test_a_failing_item_holds_its_error_and_the_others_are_answered(files):
    def answer(body):
        content = body["messages"][-1]["content"]
        text = content if isinstance(content, str) else ""
        bad = (400, {"error": {"message": "no ears"}})
        replies = {"bad": bad, "odd": (200, {"x": 1}), "null": told(None), "long": told("so", "length")}
        return replies.get(text, told(looks(body)))

    asked = [
        talk([Media(kind="video", source="/nowhere.mp4")]), talk(question="bad"), talk(question="odd"), talk(question="null"),
        talk(question="long"), talk([film(files)], name="heavy"), talk([film(files)] * 17, name="many"), talk(question="fine"),
    ]  # fmt: skip
    with serving(answer) as (url, _):
        system = EndpointSystem.at(url, "big", retries=0, max_bytes=1000)
        found = system.answer(asked, max_new_tokens=4)
    kinds = [MediaError, EndpointError, EndpointError, EndpointError, None, LimitError, LimitError, None]
    assert [type(f) if k else None for f, k in zip(found, kinds, strict=True)] == kinds
    assert "no ears" in str(found[1]) and "heavy" in str(found[5]) and "17 clips" in str(found[6])
    assert (found[4].text, found[4].stopped) == ("so", False) and found[7].text == "nothing"


def test_answers_come_in_order_some_at_a_time_and_a_busy_server_is_asked_again():
    state, lock = {"now": 0, "most": 0, "busy": 0}, threading.Lock()

    def answer(body):
        with lock:
            state["now"] += 1
            state["most"] = max(state["most"], state["now"])
            state["busy"] += 1
            busy = state["busy"] == 1
        time.sleep(0.05)
        with lock:
            state["now"] -= 1
        return (503, {}) if busy else told(body["messages"][-1]["content"].upper())

    with serving(answer) as (url, _):
        system = EndpointSystem.at(url, "big", concurrency=3, retries=2)
        object.__setattr__(system.wire, "wait_s", 0.01)
        found = system.answer([talk(question=f"q{i}") for i in range(9)])
    assert [a.text for a in found] == [f"Q{i}" for i in range(9)] and 2 <= state["most"] <= 3


def test_a_server_that_is_slow_or_gone_is_the_items_error():
    def slow(body):
        time.sleep(0.6 if body["messages"][0]["content"] == "slow" else 0.0)
        return told([{"type": "text", "text": " in "}, {"type": "text", "text": "parts"}, "odd"])

    with serving(slow) as (url, _):
        found = EndpointSystem.at(url, "big", retries=0, timeout_s=0.3).answer([talk(question="slow"), talk(question="fast")])
    assert isinstance(found[0], EndpointError) and "0.3 s" in str(found[0]) and found[1].text == "in parts"
    [gone] = EndpointSystem.at(url, "big", retries=0, timeout_s=1.0).answer([talk()])
    assert isinstance(gone, EndpointError) and "cannot reach" in str(gone)
    assert EndpointSystem.at(url, "big").answer([]) == []


def test_texts_above_the_limit_are_not_sent():
    with serving() as (url, asked):
        [found] = EndpointSystem.at(url, "big", limits=Limits(max_text_chars=10)).answer([talk(question="x" * 11, name="long")])
    assert isinstance(found, LimitError) and "long" in str(found) and not asked


def test_keys_bodies_and_choices(monkeypatch):
    monkeypatch.setenv("THE_KEY", "sk-1")
    history = (Message(role="system", parts=("be short",)), Message(role="user", parts=("hi",)))
    with serving() as (url, asked):
        system = EndpointSystem.at(url, "big", key_env="THE_KEY", body={"seed": 3, "max_completion_tokens": 7, "max_tokens": None})
        system.answer([Conversation(messages=history)])
    assert asked[0]["key"] == "Bearer sk-1" and "sk-1" not in repr(system) and system.name == f"big at {url[7:-3]}"
    assert asked[0]["body"]["messages"] == [{"role": "system", "content": "be short"}, {"role": "user", "content": "hi"}]
    assert asked[0]["body"]["seed"] == 3 and "max_tokens" not in asked[0]["body"]
    assert not system.can_score and system.weights == "" and system.forget() is None
    refused = {
        "NO_KEY": {"key_env": "NO_KEY"}, "not named": {"model": ""}, "0 requests": {"concurrency": 0}, "no address": {"url": "ftp://x"},
    }  # fmt: skip
    for match, wrong in refused.items():
        with pytest.raises(ConfigError, match=match):
            EndpointSystem.at(**{"url": "http://x/v1", "model": "m", **wrong})
    with pytest.raises(ConfigError, match="how likely"):
        system.score_labels([], [])
    [odd] = EndpointSystem.at("http://x/v1", "m", style="gif").answer([talk([video()])])
    assert isinstance(odd, ConfigError) and "gif" in str(odd)


@pytest.mark.parametrize("kind", ["ours", "qwen2_5_omni"])
def test_models_of_this_machine_are_asked_by_the_same_calls(kind, tmp_path):
    engine = Engine(*chat_model()) if kind == "ours" else Engine.from_pretrained(folder_of(kind, tmp_path))
    asked = [talk([video(seconds=1.0, seed=1)], name="a"), talk([Media(kind="video", source="/nowhere.mp4")], name="b"), talk(name="c")]
    with serving() as (url, _):
        for system in (engine, EndpointSystem.at(url, "big", retries=0)):
            first, second, third = system.answer(asked, max_new_tokens=4, batch_size=3)
            assert isinstance(first.text, str) and isinstance(second, MediaError) and first.report.streams["video"].present
            assert third.report.summary() and first.timing["total_s"] > 0
    scored = engine.score_labels([asked[0], asked[2]], [("yes", "no"), ("a", "b", "c")], batch_size=2)
    assert [len(s.log_probs) for s in scored] == [2, 3]
