"""`unifusion eval`: suites by name and path, their flags, and reports from predictions."""

import json

import numpy as np
import pytest
import soundfile

from tests.evaluation.told import told
from unifusion import catalog
from unifusion.engine import emotion
from unifusion.evaluation.predictions import write_predictions


def test_help_lists_the_suites(run):
    code, out, _ = run("eval", "--help")
    assert code == 0 and all(name in out for name in catalog.names("suites")) and "report" in out


@pytest.mark.parametrize("suite", catalog.names("suites"))
def test_each_suite_tells_its_flags(run, capsys, suite):
    with pytest.raises(SystemExit) as end:
        run("eval", suite, "--help")
    out = capsys.readouterr().out
    assert end.value.code in (0, None) and f"usage: unifusion eval {suite}" in out and "--out" in out


def test_a_wrong_name_gets_the_nearest(run, tmp_path):
    code, _, err = run("eval", "peple")
    assert code == 2 and "did you mean 'people'" in err
    code, _, err = run("eval", tmp_path / "absent.py")
    assert code == 2 and "no suite file" in err


def test_a_copy_is_run(run, tmp_path):
    (tmp_path / "mine.py").write_text("def main(argv):\n    print('ran with', argv)\n    return 5\n")
    code, out, _ = run("eval", tmp_path / "mine.py", "--x", "1")
    assert code == 5 and "ran with ['--x', '1']" in out


def test_report_of_files_of_seeds(run, tmp_path):
    paths = [write_predictions(tmp_path / f"{s}.jsonl", told(24, seeds=(s,), draw=s)) for s in (0, 1)]
    code, out, _ = run("eval", "report", *paths, "-o", tmp_path / "out", "--examples", "clips", "--groups", "speakers", "--resamples", 100)
    assert code == 0 and "24 clips of 12 speakers" in out and "mean of 2 seeds" in out
    assert out.splitlines()[-1] == str(tmp_path / "out" / "index.html")
    assert json.loads((tmp_path / "out" / "results.json").read_text())["splits"]["test"]["conditions"]["all"]["seeds"] == [0, 1]


def test_support_of_a_chat_model(run, toy_folder, tmp_path, monkeypatch):
    told = "Emotion: happy.\nSound 0.0-0.5 s: a loud voice."
    monkeypatch.setattr(emotion, "_generate", lambda engine, rows, most, begun: [told if b else "valence 0.1, arousal 0.2" for b in begun])
    for i in range(4):
        soundfile.write(tmp_path / f"{i}.wav", np.random.default_rng(i).normal(0, 0.1, 16_000), 16_000)
    lines = [f"{i}.wav,{('happy', 'sad')[i % 2]},s{i},test" for i in range(4)]
    (tmp_path / "labels.csv").write_text("\n".join(["path,label,speaker,split", *lines]) + "\n")
    rows = ("--dataset", "folder", "--data", tmp_path / "labels.csv", "--count", "2")
    code, out, err = run("eval", "support", "--model", toy_folder, *rows, "--out", tmp_path / "o")
    assert code == 0, err
    told = json.loads((tmp_path / "o" / "results.json").read_text())
    assert "| support |" in out and "2 claims about 2 clips" in out and [p["id"] for p in told["predictions"]] == ["0.wav", "2.wav"]


@pytest.mark.parametrize(
    ("text", "said"), [('{"id": "a"\n', "line 1"), ("", "no predictions"), ('{"id": "a", "probabilities": {"x": 0.2}}', "sum to 0.200")]
)
def test_a_bad_file_is_one_line(run, tmp_path, text, said):
    (tmp_path / "bad.jsonl").write_text(text)
    code, out, err = run("eval", "report", tmp_path / "bad.jsonl", "-o", tmp_path / "out")
    assert code == 2 and said in err and out == "" and len(err.splitlines()) == 1
    code, _, err = run("eval", "report")
    assert code == 2 and "--predictions is not given" in err
