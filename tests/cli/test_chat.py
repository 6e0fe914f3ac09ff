"""`unifusion chat`: what it prints for people and machines, the conversation at the prompt, the exit codes."""

import io
import json
import os
import signal
import threading

import pytest

from unifusion.cli import common
from unifusion.conversation import Media
from unifusion.engine import Engine


@pytest.fixture
def ask(run, toy_folder):
    return lambda *words: run("chat", *words, "--model", toy_folder, "--max-new-tokens", "12")


def typed(monkeypatch, *lines):
    monkeypatch.setattr("sys.stdin", io.StringIO("".join(line + "\n" for line in lines)))


def test_json_is_one_object_of_the_promised_shape(ask, clip):
    code, out, _ = ask(clip, "-q", "What happens?", "--json")
    assert code == 0
    assert out.count("\n") == 1
    answer = json.loads(out)
    assert {"answer", "report", "timing"} <= answer.keys()
    assert answer["report"].keys() >= {"streams", "notes"}
    for name in ("video", "audio"):
        stream = answer["report"]["streams"][name]
        assert stream["present"] is True
        assert stream["seconds"] == pytest.approx(1.0, abs=0.15)
        assert stream["tokens"] > 0
    assert answer["report"]["streams"]["video"]["frames"] > 0
    assert {"decode_s", "encode_s", "prefill_s", "first_token_s", "total_s"} <= answer["timing"].keys()


def test_the_answer_is_the_engines(ask, clip, toy_folder):
    session = Engine.from_pretrained(toy_folder).session()
    session.add(Media(kind="video", source=clip))
    wanted = session.ask("What happens?", max_new_tokens=12).text
    assert json.loads(ask(clip, "-q", "What happens?", "--json")[1])["answer"] == wanted
    code, out, err = ask(clip, "-q", "What happens?")
    assert code == 0
    assert out.strip() == common.visible(wanted).strip()
    assert err.startswith("[video")
    assert "audio 1.0 s" in err


@pytest.mark.parametrize(("flag", "absent", "there"), [("--no-sound", "audio", "video"), ("--no-picture", "video", "audio")])
def test_a_stream_can_be_left_out_and_the_report_says_so(ask, clip, flag, absent, there):
    streams = json.loads(ask(clip, "-q", "What?", "--json", flag)[1])["report"]["streams"]
    assert streams[absent]["present"] is False
    assert streams[absent]["tokens"] == 0
    assert "muted" in streams[absent]["reason"]
    assert streams[there]["present"] is True


def test_a_span(ask, clip):
    streams = json.loads(ask(clip, "-q", "What?", "--json", "--start", "0.2", "--end", "0.7")[1])["report"]["streams"]
    assert streams["audio"]["seconds"] == pytest.approx(0.5, abs=0.1)


def test_a_sound_file_has_no_picture(ask, sound):
    streams = json.loads(ask(sound, "-q", "What?", "--json")[1])["report"]["streams"]
    assert streams["video"]["present"] is False
    assert streams["audio"]["present"] is True


def test_several_clips_are_one_conversation(ask, clip, sound):
    report = json.loads(ask(clip, sound, "-q", "What?", "--json")[1])["report"]
    assert len(report["clips"]) == 2


def test_lines_of_stdin_are_a_conversation(ask, clip, monkeypatch, toy_folder):
    typed(monkeypatch, "What happens?", "", "And what do you hear?", "/quit", "never asked")
    code, out, _ = ask(clip, "--json")
    answers = [json.loads(line) for line in out.splitlines()]
    assert code == 0
    assert len(answers) == 2
    session = Engine.from_pretrained(toy_folder).session()
    session.add(Media(kind="video", source=clip))
    assert [a["answer"] for a in answers] == [session.ask(q, max_new_tokens=12).text for q in ("What happens?", "And what do you hear?")]
    assert answers[1]["timing"].get("decode_s", 0.0) == 0.0


def test_commands_of_the_prompt(ask, clip, sound, monkeypatch):
    typed(monkeypatch, "/report", "/nonsense", "/add missing.mp4", f"/add {sound}", "What?", "/report")
    code, out, err = ask(clip)
    assert code == 0
    assert "nothing was asked yet" in err
    assert "Ask anything" in err
    assert "missing.mp4" in err
    assert out.count("\n") == 1
    assert err.rstrip().splitlines()[-1].startswith("video")


def test_the_first_interrupt_stops_the_answer_the_second_the_program(monkeypatch):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    monkeypatch.setattr("sys.stdin", Terminal())
    cancel = threading.Event()
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt), common.interrupt_sets(cancel):
        os.kill(os.getpid(), signal.SIGINT)
        assert cancel.wait(2)
        os.kill(os.getpid(), signal.SIGINT)
        cancel.wait(0.1)
    assert signal.getsignal(signal.SIGINT) is before


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        ((), 2, "Missing argument"),
        (("{clip}", "--nonsense"), 2, "unifusion chat --help"),
        (("{clip}", "-q", "x", "--start", "2", "--end", "1"), 2, "must come after"),
        (("{clip}", "-q", "x", "--no-sound", "--no-picture"), 2, "nothing of the clip"),
        (("{clip}", "-q", "x", "--max-new-tokens", "0"), 2, "--max-new-tokens"),
        (("missing.mp4", "-q", "x"), 3, "missing.mp4"),
        (("{broken}", "-q", "x"), 3, "broken.mp4"),
        (("http://127.0.0.1:9/a.mp4", "-q", "x"), 3, "local files"),
        (("{clip}", "-q", "x", "--start", "5"), 3, "earlier start"),
        (("{clip}", "-q", "x", "--model", "no/such-model"), 4, "no/such-model"),
        (("{clip}", "-q", "x", "--model", "{empty}"), 4, "empty"),
    ],
)
def test_a_mistake_is_one_line_with_its_exit_code(run, clip, toy_folder, tmp_path, monkeypatch, words, code, said):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    broken, empty = tmp_path / "broken.mp4", tmp_path / "empty"
    broken.write_bytes(b"\0\0\0\x18ftypisom" + bytes(200))
    empty.mkdir()
    words = [w.format(clip=clip, broken=broken, empty=empty) for w in words]
    model = [] if "--model" in words or not words else ["--model", toy_folder]
    got, out, err = run("chat", *words, *model)
    assert got == code, err
    assert out == ""
    assert err.count("\n") == 1
    assert err.startswith("unifusion: ")
    assert said in err


def test_an_interrupt_ends_with_130(run, clip, monkeypatch):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(common, "load_engine", interrupted)
    assert run("chat", clip, "-q", "x")[0] == 130


def test_a_crash_keeps_its_traceback(run, clip, monkeypatch):
    def crash(*_, **__):
        raise ZeroDivisionError("a bug")

    monkeypatch.setattr(common, "load_engine", crash)
    with pytest.raises(ZeroDivisionError, match="a bug"):
        run("chat", clip, "-q", "x")


def test_an_answer_cannot_steer_the_terminal():
    assert common.visible("a\x1b]0;title\x07\tb\nc é 中") == "a\\x1b]0;title\\x07\tb\nc é 中"


def test_what_libraries_print_does_not_reach_stdout(ask, clip, monkeypatch):
    load = common.load_engine

    def noisy(*words, **options):
        print("loading ..")
        return load(*words, **options)

    monkeypatch.setattr(common, "load_engine", noisy)
    _, out, err = ask(clip, "-q", "x", "--json")
    assert "loading" not in out
    assert "loading" in err


@pytest.mark.parametrize(("words", "gpu", "wanted"), [((), False, "cpu"), ((), True, "cuda"), (("--device", "cpu"), True, "cpu")])
def test_a_gpu_is_used_where_there_is_one(run, clip, toy_folder, tmp_path, monkeypatch, words, gpu, wanted):
    devices, load = [], Engine.from_pretrained

    def on_the_cpu(folder, *, device, **options):
        devices.append(device)
        return load(folder, **options)

    monkeypatch.setattr("torch.cuda.is_available", lambda: gpu)
    monkeypatch.setattr(Engine, "from_pretrained", on_the_cpu)
    (tmp_path / "m.jsonl").write_text(json.dumps({"path": clip}) + "\n")
    manifest = ("predict", tmp_path / "m.jsonl", "--task", "emotion", "--labels", "x,y", "-o", tmp_path / "o.jsonl")
    for command in (("chat", clip, "-q", "?", "--max-new-tokens", "1"), ("emotion", clip), manifest):
        assert run(*command, "--model", toy_folder, *words)[0] == 0
    assert devices == [wanted] * 3
