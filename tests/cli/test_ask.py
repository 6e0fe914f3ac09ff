"""`unifusion ask`: what it prints for people and machines, what answers, and the options that do not go together."""

import io
import json

import pytest

from tests.retrieval.test_endpoint_answers import KEY, reply, serving
from tests.retrieval.test_llm_answers import saved
from tests.retrieval.toys import ToyEmbedder, picture, tone
from unifusion.cli.listening import Listener
from unifusion.retrieval import embedding
from unifusion.retrieval.library import Library


@pytest.fixture
def index(tmp_path, monkeypatch):
    """An index over a red picture and a long sound, whose embedder is the toy."""
    embedder = ToyEmbedder()
    monkeypatch.setattr(embedding, "load_embedder", lambda source, **_: embedder)
    (tmp_path / "clips").mkdir()
    picture(tmp_path / "clips" / "red.png", "red")
    tone(tmp_path / "clips" / "long.wav", "low", "middle", seconds=6.0)
    (tmp_path / "clips" / "long.txt").write_text("one two three four five six seven eight")
    Library.create(tmp_path / "index", embedder).index([tmp_path / "clips"])
    return tmp_path / "index"


@pytest.fixture
def ask(run, index, toy_folder):
    return lambda *words: run("ask", *words, "--index", index, "--model", toy_folder)


def test_json_is_one_object_of_the_promised_shape(ask, index):
    code, out, _ = ask("red", "--max-new-tokens", "6", "--json")
    assert code == 0 and out.count("\n") == 1
    told = json.loads(out)
    assert {"answer", "citations", "relevant", "threshold", "windows", "generator", "report"} <= told.keys()
    assert told["relevant"] is True and told["threshold"] == 0.5 and told["generator"] == "toy, each window by itself"
    assert told["citations"][0]["path"] == str(index.parent / "clips" / "red.png") and told["answer"].endswith("[red.png]")
    assert told["windows"][0]["report"]["streams"]["video"]["present"] is True


def test_people_see_the_answer_and_what_was_used(ask):
    code, out, err = ask("low", "--max-new-tokens", "6", "--threshold", "0.1")
    assert code == 0 and "[long.wav @ 0.0-12.0 s]" in out
    assert "seen and heard" in out and "audio 12.0 s" in out and "video absent" in out
    assert "relevant from 0.100, 1 more below it" in err and "each window by itself" in err


def test_nothing_found_is_a_sentence_and_no_failure(ask):
    code, out, err = ask("unheard of", "--model", "nowhere")
    assert code == 0 and out.startswith("Nothing relevant was found") and "table" not in out and err == ""
    told = json.loads(ask("unheard of", "--json")[1])
    assert told["relevant"] is False and told["citations"] == [] and told["windows"] == []


def test_other_words_can_be_searched_for_and_filters_hold(ask):
    told = json.loads(ask("what is it?", "--find", "red", "--max-new-tokens", "4", "--json")[1])
    assert told["question"] == "what is it?" and told["relevant"] is True
    assert json.loads(ask("red", "--where", "kind=audio", "--json")[1])["relevant"] is False


def test_answers_of_windows_are_told_as_they_come_and_the_answer_is_the_same(ask):
    words = ("low", "--max-new-tokens", "6", "--threshold", "-1")
    plain, live = ask(*words), ask(*words, "--stream")
    assert live[:2] == plain[:2]
    told = live[2].splitlines()
    assert told[0].startswith("1 long.wav @ 0.0-12.0 s: ") and any(line.startswith("2 red.png: ") for line in told)
    assert not any(line.startswith("1 long.wav") for line in plain[2].splitlines())


@pytest.mark.parametrize("words", [("red",), ("red", "--together")])
def test_one_answer_is_written_where_it_belongs(ask, monkeypatch, words):
    """Of one window, or of all together: in pieces, which are the answer."""
    plain = ask(*words, "--max-new-tokens", "12")
    pieces, real = [], Listener._answer
    monkeypatch.setattr(Listener, "_answer", lambda self, text: pieces.append(text) or real(self, text))
    code, out, err = ask(*words, "--max-new-tokens", "12", "--stream")
    assert (code, out) == plain[:2] and len(pieces) > 3
    assert "red.png: " not in err


def test_what_a_generator_takes_back_is_followed_by_the_whole_answer():
    out = io.StringIO()
    listener = Listener(out=out)
    listener.begins([])
    listener.hears(0, "It is\x1b red", False)
    assert out.getvalue() == "It is\\x1b red" and listener.rest("It is\x1b red. [a.png]") == ". [a.png]"
    listener.hears(0, "No", False)
    assert out.getvalue() == "It is\\x1b red" and listener.rest("No.") == "\nNo."


def test_nothing_found_is_not_streamed_and_a_server_answers_at_once(ask):
    assert ask("unheard of", "--stream", "--model", "nowhere")[1].startswith("Nothing relevant was found")
    with serving(reply("It is red [1].")) as (url, _):
        code, out, _ = ask("red", "--endpoint", url, "--endpoint-model", "big", "--stream")
    assert code == 0 and out.startswith("It is red. [red.png]\n")


def test_a_server_answers(ask, monkeypatch):
    monkeypatch.setenv("THE_KEY", KEY)
    with serving(reply("It is red [1][5].")) as (url, asked):
        words = ("--endpoint", url, "--endpoint-model", "big", "--endpoint-key-env", "THE_KEY", "--send-media", "image")
        code, out, err = ask("red", *words)
    assert code == 0 and out.startswith("It is red. [red.png]\n") and "cited what it was not given (5" in err
    assert asked[0]["headers"]["Authorization"] == f"Bearer {KEY}" and KEY not in out + err
    assert asked[0]["body"]["messages"][-1]["content"][1]["type"] == "image_url"


def test_a_server_that_fails_is_one_line(ask):
    with serving((401, {"error": {"message": "no"}})) as (url, _):
        code, out, err = ask("red", "--endpoint", url, "--endpoint-model", "big")
    assert code == 5 and out == "" and err.count("\n") == 1 and "401: no" in err


def test_a_language_model_answers_from_words_and_descriptions(ask, tmp_path, monkeypatch):
    from unifusion.retrieval.llm_answers import LlmAnswers

    folder = saved(tmp_path / "llm")
    monkeypatch.setattr(LlmAnswers, "_generated", lambda self, row, live: ("a tone [1]", True))  # random weights write no words
    told = json.loads(ask("low", "--threshold", "-1", "--llm", folder, "--describe", "--max-new-tokens", "12", "--json")[1])
    assert told["generator"] == "llm, from words alone" and len(told["windows"]) == 2
    assert "a chat model wrote what is seen and heard in 2 of them" in told["report"]["notes"]
    assert told["windows"][0]["report"]["streams"]["audio"]["present"] or told["windows"][1]["report"]["streams"]["audio"]["present"]


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("--llm", "x", "--endpoint", "http://x"), "one of them"), (("--stream", "--json"), "--stream"),
        (("--llm", "x", "--together"), "--together"),
        (("--describe",), "--describe"), (("--send-media", "image"), "need --endpoint"), (("--words", "some"), "--words"),
        (("--endpoint", "http://x/v1"), "--endpoint-model"), (("--endpoint", "x", "--endpoint-model", "m"), "no address"),
        (("--endpoint", "http://x", "--endpoint-model", "m", "--endpoint-key-env", "NO_SUCH_KEY"), "NO_SUCH_KEY"),
        (("--endpoint", "http://x", "--endpoint-model", "m", "--send-media", "smell"), "'smell'"),
    ],
)  # fmt: skip
def test_options_that_do_not_fit_are_refused_before_anything_is_loaded(run, tmp_path, words, told):
    code, out, err = run("ask", "what?", "--index", tmp_path / "none", *words)
    assert code == 2 and out == "" and told in err and err.count("\n") == 1


def test_no_index_is_told(run, tmp_path):
    code, _, err = run("ask", "what?", "--index", tmp_path / "none")
    assert code == 2 and "none" in err
