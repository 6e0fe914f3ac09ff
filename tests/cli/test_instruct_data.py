"""`unifusion data instruct` and `data view`: from labelled files to conversations that are looked at and trained on."""

import json

import pytest
from typer.testing import CliRunner

from tests.instructing.sets import caption, write_rows, write_sound
from tests.people import write_people
from tests.toys import chat_model
from unifusion import checkpoint
from unifusion.cli import main
from unifusion.cli.app import app


def run(*words):
    return CliRunner().invoke(app, ["data", *map(str, words)], catch_exceptions=False, color=True)


@pytest.fixture(scope="module")
def here(tmp_path_factory):
    """Sounds with captions of different groups, a toy checkpoint, and what is made of them."""
    folder = tmp_path_factory.mktemp("cli")
    rows = [{"id": f"r{n}", "path": f"{n}.wav", "caption": caption(n), "group": f"g{n}"} for n in range(12)]
    for n in range(12):
        write_sound(folder / f"{n}.wav", 0.2 + n / 50)
    write_rows(folder / "rows.jsonl", rows)
    checkpoint.save(*chat_model(), folder / "toy", provenance={}, self_contained=True)
    result = run("instruct", "--dataset", "messages", "--data", folder / "rows.jsonl", "-o", folder / "out", "--seed", 3)
    assert result.exit_code == 0, result.output
    return folder


def test_what_was_made_is_told(here):
    result = run("instruct", "--dataset", "messages", "--data", here / "rows.jsonl", "-o", here / "again", "--seed", 3)
    assert "messages: 12 rows, 36 conversations" in result.output and "caption 12, match 12, which_of 12" in result.output
    assert "each phrasing: caption 2-2 times" in result.output and result.output.rstrip().endswith("conversations.jsonl")
    for name in ("conversations.jsonl", "mixture.json"):
        assert (here / "again" / name).read_bytes() == (here / "out" / name).read_bytes()


def test_a_mixture_by_its_weights(tmp_path):
    root = write_people(tmp_path / "sets")
    (root / "mine.yaml").write_text("voices: {dataset: emodb, path: emodb, weight: 3}\nworld: {dataset: clip_world, options: {count: 9}}\n")
    result = run(
        "instruct", root / "mine.yaml", "-o", tmp_path / "out", "--rows", 8, "--tasks", "emotion, valence_arousal", "--balance", "label"
    )
    assert result.exit_code == 0 and "world: 2 rows" in result.output
    assert {json.loads(line)["task"] for line in (tmp_path / "out" / "conversations.jsonl").open()} <= {"emotion", "valence_arousal"}
    assert main(["data", "instruct", "-o", str(tmp_path / "x")]) == 2, "neither a mixture nor a dataset"
    assert main(["data", "instruct", "--dataset", "x", "--data", ".", "-o", str(tmp_path / "y")]) == 2


def test_what_cannot_be_made_or_shown_is_told_and_leaves_no_folder(here, tmp_path, capsys):
    made = ["data", "instruct", "--dataset", "messages", "--data", str(here / "rows.jsonl"), "-o", str(tmp_path / "x")]
    assert main([*made, "--tasks", "emotion,digit"]) == 2
    assert "nothing can be asked: 12 rows, none with what emotion or digit asks for;" in capsys.readouterr().err
    assert not (tmp_path / "x").exists()
    assert main(["data", "view", str(here / "out" / "conversations.jsonl"), "--first", "99"]) == 2
    assert "has fewer than 99 conversations of split train; begin earlier" in capsys.readouterr().err


def test_conversations_are_shown_with_their_tokens(here, tmp_path):
    file = here / "out" / "conversations.jsonl"
    plain = run("view", file, "-n", 2, "--first", 3).output
    assert plain.count("\x1b[32m") == 2 and "rows" not in plain and f"[audio {here / '1.wav'}" in plain
    told = run("view", file, "--model", here / "toy", "-n", 3, "--html", tmp_path / "v.html").output
    assert told.count(" supervised, ") == 3 and "[audio x " in told and "\x1b[32m" in told and str(tmp_path / "v.html") in told
    page = (tmp_path / "v.html").read_text(encoding="utf-8")
    assert page.count("<section>") == 3 and "<mark>" in page and "conversations.jsonl" in page


def test_rows_that_cannot_be_shown_say_why_and_the_others_are(here, tmp_path):
    rows = [
        {"messages": [{"role": "user", "content": "<audio>x"}]},
        {"messages": [{"role": "user", "content": "Q"}, {"role": "assistant", "content": "A"}]},
        {"path": str(here / "1.wav"), "emotion": "joy"},
    ]
    write_rows(tmp_path / "rows.jsonl", rows)
    shown = run("view", tmp_path / "rows.jsonl", "-n", 9).output
    assert "names 0 audio file(s)" in shown and "assistant: \x1b[32mA" in shown and "name the task" in shown
    assert "\x1b[32mhappy" in run("view", tmp_path / "rows.jsonl", "--first", 3, "--task", "emotion").output
    assert main(["data", "view", str(tmp_path / "rows.jsonl"), "--model", str(tmp_path / "no")]) == 4


def test_conversations_are_trained_on(here, tmp_path):
    """Four steps of the recipe on what `data instruct` wrote; nothing of it is refused."""
    out = here / "out" / "conversations.jsonl"
    words = [
        "train",
        "tune",
        "--start",
        here / "toy",
        "--data",
        out,
        "--out",
        tmp_path / "tuned",
        "--steps",
        4,
        "--batch-size",
        2,
        "--features",
        "none",
    ]
    parts = ["--parts", '{"language_model": {"train": "full"}}', "--max-tokens", 700, "--precision", "float32"]
    result = CliRunner().invoke(app, [*map(str, words), *map(str, parts)], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    assert (tmp_path / "tuned" / "config.json").is_file() and not (tmp_path / "tuned.fit" / "quarantine.jsonl").exists()
