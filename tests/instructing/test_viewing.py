"""What a view shows: which tokens are supervised, their number, and nothing that could steer a terminal or a page."""

import re

import pytest

from tests.toys import chat_model, talk, video
from unifusion.conversation import Conversation, Media, Message
from unifusion.instructing.viewing import Run, View, as_page, as_text, view_of, view_of_row


@pytest.fixture(scope="module")
def processor():
    return chat_model()[1]


def test_every_token_is_shown_once_and_counted(processor):
    asked = talk((video(seconds=2.0),), "what is it?", "a dog 😀", name="t")
    row = processor.row(asked)
    view = view_of_row(row, processor, "t")
    assert view.counts["tokens"] == len(row.ids) == sum(r.tokens for r in view.runs)
    assert view.counts["supervised"] == sum(label != -100 for label in row.labels) == sum(r.tokens for r in view.runs if r.supervised)
    assert {n: view.counts[n] for n in ("video", "audio")} == {n: row.ids.count(i) for n, i in processor.placeholder_ids.items()}
    learnt = "".join(r.text for r in view.runs if r.supervised)
    assert learnt == "a dog 😀<|end|>" and "what is it?" in "".join(r.text for r in view.runs if not r.supervised)
    text = as_text(view)
    assert f"\x1b[32m{learnt}\x1b[0m" in text and re.search(r"\x1b\[36m\[video x \d+\]\x1b\[0m", text)
    assert f"{view.counts['tokens']} tokens, {view.counts['supervised']} supervised" in text


def test_without_a_model_texts_and_clips_are_shown():
    clip = Media(kind="video", source="a.mp4", start_s=1.0, mute=("audio", "text"))
    turns = (Message(role="user", parts=(clip, "What?")), Message(role="assistant", parts=("No.",)), Message(role="user", parts=("So?",)),
             Message(role="assistant", parts=("Yes.",), supervised=True))  # fmt: skip
    view = view_of(Conversation(messages=turns, id="t"))
    assert [r.text for r in view.runs if r.supervised] == ["Yes."] and view.counts == {}
    text = as_text(view)
    assert (
        "\x1b[36m[video a.mp4 1- s, without audio and text]\x1b[0mWhat?" in text
        and "\x1b[32mYes.\x1b[0m" in text
        and "\x1b[32mNo." not in text
    )
    still = view_of(Conversation(messages=(Message(role="user", parts=(Media(kind="image", source=b"xy", end_s=2.5),)),)))
    assert still.runs[1].text == "image <2 bytes> 0-2.5 s"


@pytest.mark.parametrize("hostile", ["<script>alert(1)</script>", "\x1b]0;x\x07", '"><img src=x onerror=y>', "&lt;", "=cmd|'/c'!A1"])
def test_no_text_steers_a_terminal_or_a_page(hostile):
    runs = (Run(text=hostile), Run(text=hostile, supervised=True), Run(text=hostile, media=True, tokens=3))
    views = [View(name=hostile, runs=runs, counts={"tokens": 3}), View(name="x", problem=hostile)]
    page = as_page(views, hostile)
    inner = re.sub(
        r"</?(?:html|meta|title|style|h1|h2|p|section|mark|i|b|span|small)(?: lang=\"en\"| charset=\"utf-8\")?>|<!doctype html>", "", page
    )
    assert "<" not in inner and "\x1b" not in page and "http" not in page
    shown = "".join(as_text(v) for v in views)
    assert set(re.findall(r"\x1b\[[0-9;]*m", shown)) == set(re.findall(r"\x1b.?[^a-zA-Z]*[a-zA-Z]?", shown)), "only our own colours"


def test_a_page_marks_what_is_learnt_and_says_what_is_wrong():
    page = as_page(
        [View(name="r1", runs=(Run(text="Q"), Run(text="A", supervised=True)), counts={"tokens": 2}), View(name="r2", problem="gone")],
        "f.jsonl",
    )
    assert (
        "<mark>A</mark>" in page
        and "<span>Q</span>" in page
        and "2 tokens" in page
        and "<b>gone</b>" in page
        and page.count("<section>") == 2
    )
