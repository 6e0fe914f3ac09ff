"""Prediction over a manifest: one row per row, errors kept to their own, a kill spoils nothing, batches change nothing."""

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace

import pytest

from unifusion import catalog
from unifusion.cli import main
from unifusion.cli.checks.codecs import make_clip
from unifusion.conversation import Example, Media
from unifusion.errors import UniFusionError
from unifusion.evaluation.predict import ask, predict_batch, read_manifest


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A manifest of nine rows: sounds, a clip, a missing and a broken file."""
    base = tmp_path_factory.mktemp("rows")
    make_clip(base / "a.wav", "", "pcm_s16le")
    make_clip(base / "b.mp4", "libx264", "aac")
    (base / "broken.mp4").write_bytes(b"\0\0\0\x18ftypisom" + bytes(100))
    files = ["a.wav", "b.mp4", "missing.wav", "a.wav", "broken.mp4", "b.mp4", "a.wav", "b.mp4", "a.wav"]
    rows = [{"id": f"r{i}", "path": name} for i, name in enumerate(files)]
    rows[3]["question"] = "Which feeling do you hear?"
    (base / "m.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return base


@pytest.fixture(scope="module")
def task():
    return catalog.load("tasks", "emotion")(labels=("happy", "angry", "sad"))


@pytest.fixture(scope="module")
def predicted(tiny_engine, folder, task):
    return predict_batch(tiny_engine, read_manifest(folder / "m.jsonl"), task, max_new_tokens=8)


def test_one_row_each_in_order(predicted):
    assert [row["id"] for row in predicted] == [f"r{i}" for i in range(9)]
    assert [row["id"] for row in predicted if "error" in row] == ["r2", "r4"]
    for row in predicted:
        assert row.keys() >= ({"error"} if "error" in row else {"answer", "label", "probabilities", "report"})
    assert "missing.wav" in predicted[2]["error"]


def test_closed_answers_are_scored(predicted):
    for row in (r for r in predicted if "error" not in r):
        assert list(row["probabilities"]) == ["happy", "angry", "sad"]
        assert sum(row["probabilities"].values()) == pytest.approx(1, abs=1e-5)
        assert row["label"] == row["answer"] == max(row["probabilities"], key=row["probabilities"].get)
    assert predicted[0]["report"]["streams"]["video"]["present"] is False
    assert predicted[1]["report"]["streams"]["video"]["present"] is True


def test_batches_change_nothing(tiny_engine, folder, task, predicted):
    rows = read_manifest(folder / "m.jsonl")
    single = [predict_batch(tiny_engine, [row], task, max_new_tokens=8)[0] for row in rows]
    assert [r.get("label") for r in single] == [r.get("label") for r in predicted]


def test_the_same_file_gets_the_same_answer(predicted):
    assert predicted[1]["probabilities"].keys() == predicted[5]["probabilities"].keys()
    assert predicted[6]["report"] == predicted[8]["report"]


def test_free_answers_are_generated_and_parsed(tiny_engine, folder):
    free = catalog.load("tasks", "caption")()
    rows = [row for row in read_manifest(folder / "m.jsonl") if row.id in ("r0", "r2")]
    good, bad = predict_batch(tiny_engine, rows, free, max_new_tokens=8)
    assert isinstance(good["answer"], str)
    assert good["probabilities"] is None
    assert "error" in bad


def test_a_row_that_lacks_what_the_task_shows_is_an_error_of_its_own(tiny_engine, folder):
    task = catalog.load("tasks", "open_qa")()
    rows = [row for row in read_manifest(folder / "m.jsonl") if row.id in ("r0", "r3")]
    lacking, asked = predict_batch(tiny_engine, rows, task, max_new_tokens=4)
    assert "question" in lacking["error"]
    assert "answer" in asked


def test_a_rows_own_question_is_asked(task):
    media = (Media(kind="audio", source="a.wav"),)
    own = ask(task, Example(id="x", media=media, texts={"question": "Is she glad?"}))
    assert own.messages[-1].text == "Is she glad?"
    assert own.media == media
    shown = ask(catalog.load("tasks", "open_qa")(), Example(id="x", media=media, texts={"question": "Is she glad?"}))
    assert shown.messages[-1].text.count("Is she glad?") == 1
    assert ask(task, Example(id="x", media=media)) == task.conversation(Example(id="x", media=media))


def test_lines_without_a_clip_are_asked_about(tiny_engine, tmp_path, task):
    path = tmp_path / "m.jsonl"
    path.write_text('{"id": "a", "transcript": "I lost it."}\n{"id": "b", "question": "Is a cat an animal?"}\n')
    rows = read_manifest(path)
    words = [ask(task, row.example()).messages[-1].text for row in rows]
    assert words[0].startswith('Somebody says: "I lost it." ') and "angry" in words[0] and words[1] == "Is a cat an animal?"
    found = predict_batch(tiny_engine, rows, task, max_new_tokens=4)
    assert all(row["label"] in ("happy", "angry", "sad") and not row["report"]["streams"] for row in found)


def test_what_is_asked_of_a_stream_that_is_not_there_is_a_guess(tiny_engine, folder, tmp_path):
    make_clip(tmp_path / "silent.mp4", "libx264", "")
    (tmp_path / "m.jsonl").write_text(f'{{"id": "a", "path": "silent.mp4"}}\n{{"id": "b", "path": "{folder / "a.wav"}"}}\n')
    rows, digit = read_manifest(tmp_path / "m.jsonl"), catalog.load("tasks", "digit")()
    guess, heard = predict_batch(tiny_engine, rows, digit, max_new_tokens=4)
    assert "nothing was perceived of audio" in guess["note"] and guess["label"] and "note" not in heard
    guess, heard = predict_batch(tiny_engine, rows, digit, max_new_tokens=4, abstain=True)
    assert guess["abstained"] and guess["label"] is None and not heard["abstained"]


def test_a_written_label_must_be_one_of_those_offered(tiny_engine, folder, monkeypatch):
    said = iter(["Emotion: happy.", "Emotion: furious."])
    answer = type(tiny_engine).answer
    monkeypatch.setattr(
        type(tiny_engine), "answer", lambda self, talks, **k: [replace(a, text=next(said)) for a in answer(self, talks, **k)]
    )
    rows = [row for row in read_manifest(folder / "m.jsonl") if row.id in ("r0", "r1")]
    found = predict_batch(tiny_engine, rows, catalog.load("tasks", "emotion_rationale")(labels=("happy", "sad")), max_new_tokens=4)
    assert [row["label"] for row in found] == ["happy", None]


@pytest.mark.parametrize("labels", [("happy",), ("sad", "sad")])
def test_labels_that_cannot_be_told_apart(tiny_engine, folder, labels):
    task = catalog.load("tasks", "emotion")(labels=labels)
    row = predict_batch(tiny_engine, read_manifest(folder / "m.jsonl")[:1], task, max_new_tokens=4)[0]
    assert "cannot choose" in row["error"]


def test_below_the_checkpoints_threshold_no_label_is_given(tiny_engine, folder, task, monkeypatch):
    rows = read_manifest(folder / "m.jsonl")[:2]
    monkeypatch.setattr(tiny_engine.model.config, "calibration", {"emotion": {"temperature": 1.0, "threshold": 1.1}})
    told = predict_batch(tiny_engine, rows, task, max_new_tokens=1, abstain=True)
    assert all(r["label"] is None and r["abstained"] and r["answer"] for r in told)
    assert all(r["label"] == r["answer"] and "abstained" not in r for r in predict_batch(tiny_engine, rows, task, max_new_tokens=1))
    monkeypatch.setattr(tiny_engine.model.config, "calibration", {"emotion": {"temperature": 1.0, "threshold": 0.0}})
    assert all(r["label"] and not r["abstained"] for r in predict_batch(tiny_engine, rows, task, max_new_tokens=1, abstain=True))


def test_words_alone_have_a_calibration_of_their_own(tiny_engine, folder, task, monkeypatch):
    (folder / "words.jsonl").write_text('{"id": "w", "transcript": "We won!"}\n')
    rows = [*read_manifest(folder / "m.jsonl")[:1], *read_manifest(folder / "words.jsonl")]
    plain = predict_batch(tiny_engine, rows, task, max_new_tokens=1)
    fitted = {"temperature": 1.0, "biases": {task.choices(rows[0].example())[0]: 100.0}, "threshold": 0.0}
    for key, moved in (("emotion", 0), ("text_emotion", 1)):
        monkeypatch.setattr(tiny_engine.model.config, "calibration", {key: fitted})
        told = predict_batch(tiny_engine, rows, task, max_new_tokens=1)
        assert max(told[moved]["probabilities"].values()) == 1.0
        assert told[1 - moved]["probabilities"] == plain[1 - moved]["probabilities"]


def test_an_engine_error_stays_with_its_row(folder, task):
    class Failing:
        def score_labels(self, conversations, labels, *, task, batch_size):
            return [UniFusionError(f"no {c.id};") for c in conversations]

    rows = read_manifest(folder / "m.jsonl")[:2]
    assert [row["error"] for row in predict_batch(Failing(), rows, task, max_new_tokens=1)] == ["no r0;", "no r1;"]


@pytest.mark.parametrize("command", [("predict", "--task", "emotion"), ("emotion",)])
def test_killed_and_started_again_gives_the_same_file(folder, tmp_path, command):
    from tests.toys import chat_model
    from unifusion import checkpoint

    model = checkpoint.save(*chat_model(seed=1), tmp_path / "toy", provenance={}, self_contained=True)
    out, whole = tmp_path / "o.jsonl", tmp_path / "whole.jsonl"
    words = [command[0], str(folder / "m.jsonl"), *command[1:], "--labels", "happy,angry", "--model", str(model)]
    words += ["--batch-size", "1", "-o"]
    process = subprocess.Popen([sys.executable, "-m", "unifusion", *words, str(out)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 240
    while process.poll() is None and time.monotonic() < deadline:
        if out.exists() and b"\n" in out.read_bytes():
            os.kill(process.pid, signal.SIGKILL)
            break
        time.sleep(0.002)
    assert process.wait() == -signal.SIGKILL
    assert 1 <= out.read_bytes().count(b"\n") < 9
    assert main([*words, str(out)]) == 0
    assert main([*words, str(whole)]) == 0
    assert _told(out) == _told(whole)
    assert [json.loads(line)["id"] for line in out.read_text().splitlines()] == [f"r{i}" for i in range(9)]


def _told(path):
    """The rows without how long they took."""
    return [{k: v for k, v in json.loads(line).items() if k != "timing"} for line in path.read_text().splitlines()]
