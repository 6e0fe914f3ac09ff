"""ChatUniFusion keeps LangChain's contract, hears and sees what content blocks hold, and fetches nothing."""

import base64
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest

from tests.toys import chat_model
from unifusion.conversation import Media
from unifusion.engine import Engine
from unifusion.errors import ConfigError, LimitError
from unifusion.limits import Limits

pytest.importorskip("langchain_core")
pytest.importorskip("langchain_tests")

from langchain_core.messages import AIMessage, HumanMessage, SystemMessage, ToolMessage
from langchain_tests.integration_tests import ChatModelIntegrationTests
from langchain_tests.integration_tests import chat_models as suite
from langchain_tests.unit_tests import ChatModelUnitTests

from unifusion.integrations.langchain import ChatUniFusion
from unifusion.integrations.langchain.chat import _Shown
from unifusion.integrations.langchain.content import turns_of


class Toy:
    """A random model as the parameter that LangChain's suites make the class with."""

    made = None

    @property
    def chat_model_class(self):
        return ChatUniFusion

    @property
    def chat_model_params(self):
        Toy.made = Toy.made or Engine(*chat_model(seed=1))
        return {"engine": Toy.made}

    @property
    def supports_model_override(self):
        return False


class TestUnit(Toy, ChatModelUnitTests):
    """LangChain's own."""


class TestIntegration(Toy, ChatModelIntegrationTests):
    """LangChain's own; the picture and the sound that they would fetch from the network are made here."""

    @pytest.fixture(autouse=True)
    def offline(self, files, monkeypatch):
        picture = SimpleNamespace(content=(files / "a picture.png").read_bytes())
        monkeypatch.setattr(suite, "httpx", SimpleNamespace(get=lambda *args, **options: picture))
        monkeypatch.setattr(suite, "_get_base64_from_url", lambda url: coded(files / "sound.wav"))

    @property
    def supports_image_inputs(self):
        return True

    @property
    def supports_audio_inputs(self):
        return True


@pytest.fixture()
def model(tiny_engine):
    return ChatUniFusion(engine=tiny_engine, max_tokens=24)


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A picture and a sound, as a messenger would send them."""
    import soundfile
    from PIL import Image

    folder, rng = tmp_path_factory.mktemp("media"), np.random.default_rng(0)
    Image.fromarray(rng.integers(0, 255, (40, 48, 3), dtype=np.uint8)).save(folder / "a picture.png")
    soundfile.write(folder / "sound.wav", rng.normal(0, 0.1, 16_000).astype(np.float32), 16_000)
    return folder


def coded(path):
    return base64.b64encode(path.read_bytes()).decode()


def test_an_answer_is_the_engines_own(model, tiny_engine, files):
    message = HumanMessage([{"type": "text", "text": "what?"}, {"type": "audio", "url": str(files / "sound.wav")}])
    answer = model.invoke([message])
    session = tiny_engine.session()
    session.add(Media(kind="audio", source=str(files / "sound.wav")))
    wanted = session.ask("what?", max_new_tokens=24)
    assert answer.content.strip() == wanted.text
    assert answer.response_metadata["modality_report"] == wanted.report.to_dict()
    streams = answer.response_metadata["modality_report"]["streams"]
    assert streams["audio"]["present"] and not streams["video"]["present"]
    usage = answer.usage_metadata
    assert usage["output_tokens"] == len(wanted.ids) and usage["total_tokens"] == usage["input_tokens"] + usage["output_tokens"]
    assert usage["input_tokens"] > streams["audio"]["tokens"] > 0
    assert answer.response_metadata["finish_reason"] == ("stop" if wanted.stopped else "length")


def test_one_clip_in_every_spelling(model, files):
    picture, sound = files / "a picture.png", files / "sound.wav"
    spelled = {
        "image": [
            {"type": "image", "url": str(picture)}, {"type": "image", "url": picture.as_uri()},
            {"type": "image", "base64": coded(picture), "mime_type": "image/png"},
            {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{coded(picture)}"}},
        ],
        "audio": [
            {"type": "audio", "url": str(sound)}, {"type": "audio", "base64": coded(sound), "mime_type": "audio/wav"},
            {"type": "input_audio", "input_audio": {"data": coded(sound), "format": "wav"}}, {"type": "video", "url": str(sound)},
        ],
    }  # fmt: skip
    for kind, blocks in spelled.items():
        answers = [model.invoke([HumanMessage(["what?", block])]) for block in blocks]
        assert len({a.content for a in answers}) == 1
        assert all(a.response_metadata["modality_report"]["streams"]["video" if kind == "image" else kind]["present"] for a in answers)
    assert model.invoke("what?").response_metadata["modality_report"]["streams"] == {}


def test_spans_are_heeded(model, files):
    block = {"type": "audio", "url": str(files / "sound.wav"), "extras": {"start_s": 0.25, "end_s": 0.75}}
    report = model.invoke([HumanMessage(["what?", block])]).response_metadata["modality_report"]
    assert report["streams"]["audio"]["seconds"] == pytest.approx(0.5, abs=0.05)
    with pytest.raises(ConfigError, match="extras end"):
        model.invoke([HumanMessage(["what?", {"type": "audio", "url": "x.wav", "extras": {"end": 3}}])])


def test_a_conversation_is_told_as_it_was(model, tiny_engine, files):
    clip = {"type": "audio", "url": str(files / "sound.wav")}
    messages = [
        SystemMessage("be"), SystemMessage("brief"), HumanMessage(["one", clip]), HumanMessage("two"), AIMessage("three"),
        AIMessage("four"), HumanMessage("five"),
    ]  # fmt: skip
    session = tiny_engine.session(system="be\nbrief")
    session.add(Media(kind="audio", source=str(files / "sound.wav")))
    session.tell("one\ntwo", "three\nfour")
    assert model.invoke(messages).content.strip() == session.ask("five", max_new_tokens=24).text
    assert model.invoke([AIMessage("hello"), HumanMessage("you")]).content is not None


def test_the_stream_is_the_answer_in_pieces(model):
    pieces = list(model.stream("tell me"))
    whole = model.invoke("tell me")
    assert len(pieces) > 2 and "".join(p.content for p in pieces) == whole.content
    assert [p.usage_metadata is not None for p in pieces] == [False] * (len(pieces) - 1) + [True]
    assert pieces[-1].response_metadata["modality_report"] == whole.response_metadata["modality_report"]
    assert model.batch(["a", "b", "tell me"])[2].content == whole.content


def test_an_answer_ends_before_a_stop_text(model):
    whole = model.invoke("tell me").content
    stop = whole[5:8]
    at = whole.find(stop)
    cut = model.invoke("tell me", stop=[stop])
    assert cut.content == whole[:at] and cut.response_metadata["finish_reason"] == "stop"
    assert 0 < cut.usage_metadata["output_tokens"] <= model.invoke("tell me").usage_metadata["output_tokens"]
    assert ChatUniFusion(engine=model.engine, max_tokens=24, stop=[stop]).invoke("tell me").content == whole[:at]


@pytest.mark.parametrize("size", [1, 2, 3, 7])
def test_what_may_begin_a_stop_text_waits(size):
    text = "aab aabc<end>more"
    cases = {("<end>",): "aab aabc", ("abc", "<end>"): "aab a", ("zzz",): text, ("",): text, ("more!",): text, ("aab",): ""}
    for stops, wanted in cases.items():
        shown, said = _Shown(list(stops)), ""
        for start in range(0, len(text), size):
            said += shown.take(text[start : start + size])
            if shown.stopped:
                break
        assert said + shown.rest() == wanted


def test_options_of_one_call(model):
    assert model.invoke("tell me", max_tokens=3).usage_metadata["output_tokens"] == 3
    assert model.invoke("tell me", max_tokens=3).response_metadata["finish_reason"] == "length"
    drawn = {model.invoke("tell me", temperature=1.0, seed=seed).content for seed in range(4)}
    assert len(drawn) > 1
    assert model.invoke("tell me", temperature=1.0, seed=2).content == model.invoke("tell me", temperature=1.0, seed=2).content
    with pytest.raises(ConfigError, match="options frequency_penalty"):
        model.invoke("x", frequency_penalty=1)
    late = ChatUniFusion(engine=model.engine, timeout=0.0).invoke("tell me")
    assert late.response_metadata["finish_reason"] == "timeout" and late.usage_metadata["output_tokens"] <= 2


def test_tools_and_structured_output_are_not_there(model):
    with pytest.raises(NotImplementedError):
        model.bind_tools([])
    with pytest.raises(NotImplementedError):
        model.with_structured_output({"title": "x", "type": "object", "properties": {}})


@pytest.mark.parametrize(
    ("messages", "said"),
    [
        ([HumanMessage("a"), AIMessage("b")], "nothing is asked"),
        ([SystemMessage("a")], "nothing is asked"),
        ([HumanMessage("a"), AIMessage("", tool_calls=[{"name": "f", "args": {}, "id": "1"}]), HumanMessage("b")], "calls tools"),
        ([HumanMessage("a"), ToolMessage("b", tool_call_id="1"), HumanMessage("c")], "of the type 'tool'"),
        ([HumanMessage([{"type": "video", "url": "https://example.org/a.mp4"}])], "is not fetched"),
        ([HumanMessage([{"type": "video", "url": "file://host/a.mp4"}])], "is not fetched"),
        ([HumanMessage([{"type": "image", "url": "ftp://example.org/a.png"}])], "is not fetched"),
        ([HumanMessage([{"type": "video", "file_id": "x"}])], "without media"),
        ([HumanMessage([{"type": "audio", "base64": "%%%", "mime_type": "audio/wav"}])], "base64 cannot be read"),
        ([HumanMessage([{"type": "file", "base64": "aGk=", "mime_type": "application/pdf"}])], "of the type 'file'"),
        ([HumanMessage([{"type": "weird", "x": 1}])], "of the type 'weird'"),
    ],
)
def test_what_is_not_taken_is_told(model, messages, said):
    with pytest.raises(ConfigError, match=said):
        model.invoke(messages)


def test_strangers_read_one_folder_alone(files, tmp_path):
    def read(url, folder):
        return turns_of([HumanMessage(["x", {"type": "audio", "url": url}])], limits=Limits(), media_folder=folder)[1][0].media[0].source

    assert read(str(files / "sound.wav"), files) == str(files / "sound.wav")
    (tmp_path / "link.wav").symlink_to(files / "sound.wav")
    for url, folder in ((str(files / "sound.wav"), tmp_path), (f"{tmp_path}/../x.wav", tmp_path), (str(tmp_path / "link.wav"), tmp_path)):
        with pytest.raises(ConfigError, match="lies outside"):
            read(url, folder)
    with pytest.raises(LimitError, match="the limit is 3"):
        turns_of([HumanMessage([{"type": "audio", "base64": "aGVsbG8=", "mime_type": "audio/wav"}])], limits=Limits(max_bytes=3))


def test_without_langchain_the_extra_is_named():
    code = "import sys; sys.modules['langchain_core'] = None\nimport unifusion.integrations.langchain"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert "unifusion-x[langchain]" in done.stderr
