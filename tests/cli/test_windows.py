"""`unifusion data windows`, and `--subtitles` and `--transcribe` of chat, emotion and predict."""

import json

import pytest

from tests.cli.films import frames, write
from tests.engine.listeners import HIGH, LOW, placed, save_whisper, taught_whisper


@pytest.fixture(scope="module")
def ear(tmp_path_factory):
    return save_whisper(tmp_path_factory.mktemp("ear") / "toy", taught_whisper())


@pytest.fixture
def film(tmp_path):
    """Two seconds of picture in which two words are heard."""
    return str(write(tmp_path / "film.mp4", shown=frames(2.0), heard=(placed([(0.2, LOW), (1.2, HIGH)], 2.0) * 32767).astype("<i2")))


@pytest.fixture
def subtitles(tmp_path):
    path = tmp_path / "words.srt"
    path.write_text("1\n00:00:00,500 --> 00:00:01,500\nGood evening.\n")
    return str(path)


def test_windows_are_written_and_predicted_from(run, rows_of, toy_folder, tmp_path, ear):
    film = write(tmp_path / "film.wav", heard=(placed([(0.2, LOW), (1.0, HIGH)], 1.8) * 32767).astype("<i2"))
    code, out, _ = run("data", "windows", film, "-o", tmp_path / "w.jsonl", "--asr", ear, "--window", "1", "--json")
    told = json.loads(out)
    assert code == 0 and told["clips"] == 1 and told["rows"] == 2 and told["spoken"] == 2
    code, out, _ = run("data", "windows", film, "-o", tmp_path / "w.jsonl", "--asr", ear, "--window", "1")
    assert code == 0 and "2 windows (2 with words); 0 clips cut, 1 were there already" in out
    answers = tmp_path / "o.jsonl"
    model = ("--model", toy_folder, "--max-new-tokens", "2")
    assert run("predict", tmp_path / "w.jsonl", "--task", "caption", "-o", answers, *model)[0] == 0
    assert [r["report"]["words"][0]["source"] for r in rows_of(answers)] == ["whisper toy"] * 2


def test_wrong_use_is_told(run, film, tmp_path):
    out = ("-o", tmp_path / "w.jsonl")
    assert run("data", "windows", film, *out, "--language", "en")[0] == 2
    assert run("data", "windows", film, *out, "--tag-names", "rain")[0] == 2
    assert run("data", "windows", film, *out, "--asr", tmp_path / "none")[0] == 4
    assert run("data", "windows", film, *out, "--shard", "2/2")[0] == 2
    assert run("data", "windows", film, *out, "--shots", "--shot-detector", "eyes")[0] == 2
    (tmp_path / "bad.mp4").write_text("no clip")
    assert run("data", "windows", tmp_path / "bad.mp4", *out, "--on-bad-media", "skip")[0] == 3


def test_chat_reads_a_file_or_listens_and_says_which(run, toy_folder, film, subtitles, ear):
    ask = ("chat", film, "-q", "What?", "--json", "--max-new-tokens", "2", "--model", toy_folder)
    code, out, _ = run(*ask, "--subtitles", subtitles)
    assert code == 0 and json.loads(out)["report"]["words"] == [{"source": "words.srt", "lines": 1, "seconds": 1.0, "place": "prompt"}]
    code, out, _ = run(*ask, "--transcribe", ear, "--language", "en")
    assert code == 0 and json.loads(out)["report"]["words"][0]["source"] == "whisper toy"
    code, out, err = run(*ask, "--subtitles", "auto")
    assert code == 0 and "words" not in json.loads(out)["report"] and "no words were found" in err
    assert json.loads(run(*ask)[1])["answer"] == json.loads(out)["answer"]
    assert run(*ask, "--subtitles", subtitles, "--transcript", "hello")[0] == 2
    assert run(*ask, "--language", "en")[0] == 2 and run(*ask, "--subtitles", "none.srt")[0] == 3


def test_emotion_and_predict_take_them(run, rows_of, toy_folder, film, subtitles, ear, tmp_path, evidence):
    code, out, _ = run("emotion", film, "--json", "--model", toy_folder, "--subtitles", subtitles)
    assert code == 0 and json.loads(out)["report"]["words"][0]["lines"] == 1
    manifest = tmp_path / "m.jsonl"
    mine = [{"start_s": 0.0, "end_s": 1.0, "text": "mine"}]
    rows = [{"id": "a", "path": film}, {"id": "b", "path": film, "subtitles": mine, "words_from": "me"}]
    manifest.write_text("".join(json.dumps(row) + "\n" for row in rows))
    for command in (("predict", manifest, "--task", "emotion"), ("emotion", manifest)):
        answers = tmp_path / f"{command[0]}.jsonl"
        words = (*command, "-o", answers, "--model", toy_folder)
        assert run(*words, "--transcribe", ear)[0] == 0
        assert [r["report"]["words"][0]["source"] for r in rows_of(answers)] == ["whisper toy", "me"]
        assert run(*words)[0] == 2, "answers with other words are another run's"
        assert run(*words, "--subtitles", subtitles)[0] == 2, "one file for many clips"
    assert run("emotion", film, film, "--json", "--model", toy_folder, "--subtitles", subtitles)[0] == 2
    assert run("emotion", film, "--stream", "--model", toy_folder, "--subtitles", subtitles)[0] == 2
