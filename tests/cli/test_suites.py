"""Suites of a chat model by the command line: a set of one's own, twice to the byte, broken files, faithfulness, wrong choices."""

import json

import numpy as np
import pytest
import soundfile

from tests.evaluation.servers import frames, serving, tone
from tests.peers import folder_of
from unifusion.conversation import Clip
from unifusion.media.written import write_film


@pytest.fixture(scope="module")
def sounds(tmp_path_factory):
    """Eight sounds of two kinds in a manifest, and one file that is no sound."""
    folder = tmp_path_factory.mktemp("sounds")
    rows = []
    for i in range(8):
        rng = np.random.default_rng(i)
        soundfile.write(folder / f"{i}.wav", rng.normal(0, 0.05, 8000) + 0.2 * np.sin(np.arange(8000) * (0.1 + 0.2 * (i % 2))), 16_000)
        rows.append({"id": f"s{i}", "audio": f"{i}.wav", "sound": ("bell", "rain")[i % 2], "group": f"g{i}", "question": "High?",
                     "answer": ("yes", "no")[i % 2], "options": ["yes", "no", "perhaps"], "option": i % 2})  # fmt: skip
    (folder / "broken.wav").write_bytes(b"RIFF nothing")
    rows.append({**rows[0], "id": "broken", "audio": "broken.wav"})
    (folder / "rows.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows))
    return folder / "rows.jsonl"


def of_sounds(run, toy_folder, sounds, out, *more, task="sound", suite="small"):
    given = ("--model", toy_folder, "--dataset", "messages", "--task", task, "--data", sounds, "-o", out, "--resamples", "50")
    return run("eval", suite, *given, *more)


def test_a_set_of_ones_own_twice(run, toy_folder, sounds, tmp_path):
    code, out, err = of_sounds(run, toy_folder, sounds, tmp_path / "a")
    assert code == 0, err
    assert "messages" in out and "chance" in out and out.splitlines()[-1] == str(tmp_path / "a" / "index.html")
    assert of_sounds(run, toy_folder, sounds, tmp_path / "b", "--batch-size", "3")[0] == 0
    results, again = (json.loads((tmp_path / name / "results.json").read_text()) for name in "ab")
    assert results == again
    whole = results["parts"]["messages"]["conditions"]["all"]["likelihood"]
    assert (whole["n"], whole["errors"]) == (8, 1) and results["parts"]["messages"]["chance"] == 0.5
    records = [json.loads(line) for line in (tmp_path / "a" / "predictions.jsonl").read_text().splitlines()]
    (bad,) = {r["error"] for r in records if "error" in r}
    assert "1 of 9 rows failed, counted apart: broken (MediaError)" in err
    assert "broken (MediaError)" in (tmp_path / "a" / "index.html").read_text()
    line = out.splitlines()[3].split()
    assert line[:3] == ["messages", "accuracy", "↑"] and line[-1] == "1"
    assert "broken.wav" in bad
    assert all(
        r["report"]["streams"]["audio"]["present"] == (r["condition"] == "all") for r in records if "report" in r and r["report"]["streams"]
    )


def test_options_are_shown_three_ways(run, toy_folder, sounds, tmp_path):
    code, out, err = of_sounds(run, toy_folder, sounds, tmp_path, "--conditions", "blind", task="multiple_choice")
    assert code == 0, err
    part = json.loads((tmp_path / "results.json").read_text())["parts"]["messages"]
    assert set(part["conditions"]["all"]) == {"likelihood", "generation", "rotated"} and part["chance"] == pytest.approx(1 / 3, abs=1e-5)
    assert "rotated" in out


def test_faithfulness_of_a_set(run, toy_folder, sounds, tmp_path):
    code, out, err = of_sounds(run, toy_folder, sounds, tmp_path, suite="faithfulness")
    assert code == 0, err
    assert "What tampering with a stream costs" in out and "other clip" in out and "other sound" not in out  # there is no picture


def test_sets_that_are_not_there_are_told(run, toy_folder, tmp_path):
    few = ("--parts", "clip_world,fsdd", "--most", "2", "--conditions", "blind", "--resamples", "20")
    code, out, err = run("eval", "audio", "--model", toy_folder, "-o", tmp_path, *few)
    assert code == 0 and "fsdd is not measured: no folder of data was given (--data)" in err and "clip_world" in out
    assert set(json.loads((tmp_path / "results.json").read_text())["absent"]) == {"fsdd"}


def test_the_emotion_sets_of_a_folder(run, toy_folder, sounds, tmp_path):
    """Those that are there are asked and the paper's table has their figures; one set by its task is asked alike."""
    rows = [{"id": f"m{i}", "audio": f"{i}.wav", "sentiment": (-1.0, 2.0)[i % 2], "emotion": ("sad", "happy")[i % 2]} for i in range(4)]
    (sounds.parent / "mosi.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows))
    few = ("--model", toy_folder, "--most", "2", "--conditions", "blind", "--resamples", "20")
    code, out, err = run("eval", "emotion", *few, "--data", sounds.parent, "--parts", "CMU-MOSI,clip_world,ravdess", "-o", tmp_path / "a")
    assert code == 0, err
    assert "ravdess_speech is not in the folder of data" in err and "clip_world" in out
    assert "| CMU-MOSI |" in out and (tmp_path / "a" / "unibench.md").read_text() in out
    one = ("--dataset", "messages", "--task", "emotions_open", "--data", sounds.parent / "mosi.jsonl")
    assert run("eval", "emotion", *few, *one, "-o", tmp_path / "b")[0] == 0
    assert json.loads((tmp_path / "b" / "results.json").read_text())["parts"]["messages"]["metric"] == "emotion_wheel_f"
    (sounds.parent / "parts.yaml").write_text("mine: {dataset: messages, task: sentiment, path: mosi.jsonl}\n")
    assert run("eval", "emotion", *few, "--data", sounds.parent / "parts.yaml", "-o", tmp_path / "c")[0] == 0
    assert list(json.loads((tmp_path / "c" / "results.json").read_text())["parts"]) == ["mine"]


def test_a_set_without_its_clips_is_left_out(run, toy_folder, sounds, tmp_path):
    """The others are asked; alone it is the error that says why."""
    (sounds.parent / "gone.jsonl").write_text(json.dumps({"id": "g", "question": "High?", "answer": "yes"}) + "\n")
    parts = [f"{name}: {{dataset: messages, task: open_qa, path: {name}.jsonl, most: 2}}\n" for name in ("gone", "rows")]
    (sounds.parent / "two.yaml").write_text("".join(parts))
    few = ("--model", toy_folder, "--data", sounds.parent / "two.yaml", "--conditions", "blind", "--resamples", "20", "-o", tmp_path / "a")
    code, out, err = run("eval", "small", *few)
    assert code == 0 and "gone is not measured: no row can be asked by task 'open_qa': its clip is not there (1)" in err and "rows" in out
    code, _, err = run("eval", "small", *few, "--parts", "gone")
    assert code == 2 and "gone: no row can be asked by task 'open_qa'" in err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--parts", "ravdes"), "no part 'ravdes'"), (("--conditions", "deaf"), "no condition 'deaf'"), ((), "--out is not given"),
        (("--data", "nowhere", "--parts", "esc10"), "none of the sets of nowhere can be asked: esc10: esc10 is not in the folder"),
        (("--dataset", "esc10", "--task", "sound"), "--dataset esc10 reads files, and nothing says where they are; name them with --data"),
        (("--dataset", "esc11", "--task", "sound"), "esc10"),
        (("--batch-size", "0"), "--batch-size is 0; give 1 or more"), (("--most", "-1"), "--most is -1; give 0 or more"),
    ],
)  # fmt: skip
def test_wrong_choices_are_one_line(run, toy_folder, tmp_path, words, said):
    out = ("-o", tmp_path / "out") if words else ()
    code, _, err = run("eval", "small", "--model", toy_folder, *out, *words)
    assert code == 2 and said in err and len(err.strip().splitlines()) == 1


@pytest.fixture(scope="module")
def films(tmp_path_factory):
    """Films of a colour with a tone, asked about the tone."""
    folder = tmp_path_factory.mktemp("films")
    rows = []
    for i in range(6):
        colour, pitch = ("red", "blue")[i // 2 % 2], ("low", "high")[i % 2]
        shown = Clip(frames_THWC=frames(colour, 8), frame_times_s=np.arange(8) / 8, waveform_N=tone(pitch, 1.0), duration_s=1.0)
        write_film(shown, folder / f"{i}.mp4")
        rows.append(
            {"id": f"f{i}", "video": f"{i}.mp4", "question": "Low or high?", "answer": pitch, "options": ["low", "high"], "group": f"g{i}"}
        )
    (folder / "rows.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows))
    return folder / "rows.jsonl"


def test_a_server_that_listens_is_seen_to_listen(run, films, tmp_path):
    """It answers from the bytes it is sent alone: with another film's sound it says that one's tone."""
    with serving() as (url, asked):
        given = ("--endpoint", url, "--endpoint-model", "ears", "--dataset", "messages", "--task", "open_qa", "--data", films)
        few = ("--conditions", "no sound,other sound,other picture", "--resamples", "50")
        code, out, err = run("eval", "faithfulness", *given, "-o", tmp_path, *few)
    assert code == 0, err
    results = json.loads((tmp_path / "results.json").read_text())
    part = results["parts"]["messages"]
    assert set(part["conditions"]["all"]) == {"generation"} and part["conditions"]["all"]["generation"]["value"] == 1.0
    assert part["tampering"]["other sound"]["follows"] == 1.0 and part["tampering"]["other picture"]["stays"] == 1.0
    assert part["conditions"]["no sound"]["generation"]["unparsed"] == 1.0 and results["model"]["weights"] == ""
    assert "ears" in out and len(asked) == 6 * 4


def test_a_server_that_is_not_there_is_told(run, films, tmp_path):
    given = ("--endpoint", "http://127.0.0.1:9/v1", "--endpoint-model", "x", "--dataset", "messages", "--task", "open_qa", "--data", films)
    code, _, err = run("eval", "small", *given, "-o", tmp_path, "--conditions", "all", "--most", "1")
    told = json.loads((tmp_path / "results.json").read_text())["parts"]["messages"]["conditions"]["all"]["generation"]
    assert code == 0 and (told["n"], told["errors"], told["value"]) == (0, 1, None)
    code, _, err = run("eval", "small", "--endpoint", "http://127.0.0.1:9/v1", "-o", tmp_path)
    assert code == 2 and "--endpoint-model" in err
    code, _, err = run("eval", "small", *given, "--endpoint-style", "film", "-o", tmp_path)
    assert code == 2 and "--endpoint-style is 'film'" in err


@pytest.mark.parametrize("name", ["audio_flamingo_3", "gemma4"])
def test_any_model_of_transformers_is_measured_twice_alike(run, sounds, tmp_path, name):
    """By likelihood, in words and with rotated options; the report says what it got."""
    folder = folder_of(name, str(tmp_path))
    few = ("--task", "multiple_choice", "--resamples", "20", "--conditions", "blind,no sound")
    given = ("eval", "small", "--model", folder, "--dataset", "messages", "--data", sounds, *few)
    for out, batch in (("a", "16"), ("b", "3")):
        code, _, err = run(*given, "-o", tmp_path / out, "--batch-size", batch)
        assert code == 0, err
    assert (tmp_path / "a" / "results.json").read_bytes() == (tmp_path / "b" / "results.json").read_bytes()
    conditions = json.loads((tmp_path / "a" / "results.json").read_text())["parts"]["messages"]["conditions"]
    assert set(conditions["all"]) == {"likelihood", "generation", "rotated"}
    whole = conditions["all"]["likelihood"]
    assert (whole["n"], whole["errors"], conditions["blind"]["likelihood"]["n"]) == (8, 1, 9)
    records = [json.loads(line) for line in (tmp_path / "a" / "predictions.jsonl").read_text().splitlines()]
    told = {(r["condition"], *(n for n, s in r["report"]["streams"].items() if s["present"])) for r in records if "report" in r}
    assert told == {("all", "audio"), ("blind",)}
    code, _, err = run(*given, "-o", tmp_path / "c", "--frames", "0")
    assert code == 2 and "--frames is 0" in err
