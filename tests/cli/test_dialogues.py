"""`unifusion emotion --dialogue`: a talk turn by turn, printed, as JSON, into a file that is gone on with, with replies."""

import json

import pytest

from tests.cli import films
from unifusion.engine import Engine

LABELS = ("--labels", "calm,angry")


@pytest.fixture
def rows(tmp_path):
    """A talk of words, of a clip with words, and of a clip alone."""
    films.write(tmp_path / "b.wav", heard=films.noise(1))
    films.write(tmp_path / "c.wav", heard=films.noise(1, seed=1))
    return [
        {"speaker": "Ann", "text": "I lost my keys again."}, {"speaker": "Bob", "text": "Oh no!", "path": "b.wav", "end": 0.5},
        {"speaker": "Ann", "path": "c.wav", "metadata": {"topic": "keys"}}, {"speaker": "Bob", "text": "There they are.", "path": "b.wav"},
    ]  # fmt: skip


@pytest.fixture
def talk(tmp_path):
    """Write turns to a file."""

    def write(rows, name="talk.jsonl"):
        path = tmp_path / name
        path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
        return path

    return write


@pytest.fixture
def tell(run, toy_folder, evidence, monkeypatch):
    answer = Engine.answer
    monkeypatch.setattr(Engine, "answer", lambda self, talks, **o: answer(self, talks, **{**o, "max_new_tokens": 4}))
    return lambda path, *words: run("emotion", "--dialogue", path, *words, *LABELS, "--model", toy_folder)


@pytest.fixture
def fuse(run, fusion_folder):
    return lambda path, *words: run("emotion", "--dialogue", path, *words, "--model", fusion_folder)


def objects(result):
    """What was printed, and its exit code was 0."""
    code, out, err = result
    assert code == 0, err
    return [json.loads(line) for line in out.splitlines()]


def alike(told, wanted):
    """The same turns told the same; batches of another size round otherwise."""
    assert [t["id"] for t in told] == [t["id"] for t in wanted]
    for one, other in zip(told, wanted, strict=True):
        assert {k: one.get(k) for k in ("label", "text", "turns_before", "error")} == {
            k: other.get(k) for k in ("label", "text", "turns_before", "error")
        }
        assert one.get("probabilities", {}) == pytest.approx(other.get("probabilities", {}), abs=1e-4)


def test_people_see_who_said_what_and_how_it_was_meant(tell, talk, rows):
    code, out, _ = tell(talk(rows))
    assert code == 0
    lines = out.splitlines()
    assert lines[::2] == ["Ann: I lost my keys again.", "Bob: Oh no!", "Ann: 3", "Bob: There they are."]
    assert all(line.startswith(("  calm 0.", "  angry 0.", "  calm 1.", "  angry 1.")) for line in lines[1::2])


@pytest.mark.parametrize("engine", ["tell", "fuse"])
def test_json_has_each_turn_with_how_much_it_knew(engine, talk, rows, request):
    tell = request.getfixturevalue(engine)
    told = objects(tell(talk(rows), "--json"))
    assert [t["id"] for t in told] == ["1", "2", "3", "4"] and [t["turns_before"] for t in told] == [0, 1, 2, 2]
    assert [t["speaker"] for t in told] == ["Ann", "Bob", "Ann", "Bob"] and told[2]["text"] == ""
    for turn in told:
        assert sum(turn["probabilities"].values()) == pytest.approx(1.0, abs=1e-4) and "reply" not in turn
        assert turn["label"] == max(turn["probabilities"], key=turn["probabilities"].get)
    alike(objects(tell(talk(rows), "--json", "--batch-size", "1")), told)


@pytest.mark.parametrize("engine", ["tell", "fuse"])
def test_what_was_said_before_counts_and_what_comes_later_does_not(engine, talk, rows, request):
    tell = request.getfixturevalue(engine)
    whole = objects(tell(talk(rows), "--json"))
    other = objects(tell(talk([{**rows[0], "text": "We won, we won!"}, *rows[1:]], "other.jsonl"), "--json"))
    for one, changed in zip(whole[1:], other[1:], strict=True):
        assert one["probabilities"] != pytest.approx(changed["probabilities"], abs=1e-6), "the first turn is context of all others"
    alike(objects(tell(talk([*rows[:2], {"speaker": "Ann", "text": "Leave me alone!"}], "short.jsonl"), "--json"))[:2], whole[:2])


@pytest.mark.parametrize("engine", ["tell", "fuse"])
def test_a_file_is_gone_on_with_after_a_kill(engine, talk, rows, tmp_path, rows_of, request):
    tell, out = request.getfixturevalue(engine), tmp_path / "told.jsonl"
    path = talk(rows)
    code, printed, err = tell(path, "-o", out)
    assert code == 0 and printed == "" and "4 rows, 0 were there already, 0 hold an error" in err
    whole = rows_of(out)
    alike(whole, objects(tell(path, "--json")))
    out.write_bytes(b"".join(out.read_bytes().splitlines(keepends=True)[:2]) + b'{"id": "3", "la')
    code, _, err = tell(path, "-o", out)
    assert code == 0 and "4 rows, 2 were there already" in err
    alike(rows_of(out), whole)
    code, _, err = tell(talk([{**rows[0], "text": "We won!"}, *rows[1:]]), "-o", out)
    assert code != 0 and "Traceback" not in err, "answers of another talk are not taken for those of this one"
    assert tell(path, "-o", out, "--overwrite")[0] == 0 and len(rows_of(out)) == 4


def test_replies(tell, talk, rows, tmp_path, rows_of):
    told = objects(tell(talk(rows), "--json", "--reply"))
    assert all(isinstance(t["reply"], str) for t in told)
    code, out, _ = tell(talk(rows), "--reply")
    assert code == 0 and out.count("  reply: ") == sum(bool(t["reply"]) for t in told)
    file = tmp_path / "told.jsonl"
    assert tell(talk(rows), "-o", file, "--reply")[0] == 0 and [r["reply"] for r in rows_of(file)] == [t["reply"] for t in told]
    code, _, err = tell(talk(rows), "-o", file)
    assert code != 0 and "--overwrite" in err, "answers without replies are another file"


def test_a_fusion_has_no_words_to_reply_with(fuse, talk, rows):
    code, out, err = fuse(talk(rows), "--reply")
    assert code == 2 and "no words to reply with" in err and out == ""


def test_a_bad_clip_spoils_its_own_turn(fuse, talk, rows, tmp_path, rows_of):
    spoilt = [rows[0], {**rows[1], "path": "missing.wav"}, *rows[2:]]
    code, out, _ = fuse(talk(spoilt))
    assert code == 0 and out.splitlines()[2] == "Bob: Oh no!" and "missing.wav" in out.splitlines()[3]
    file = tmp_path / "told.jsonl"
    assert "1 hold an error" in fuse(talk(spoilt), "-o", file)[2]
    films.write(tmp_path / "missing.wav", heard=films.noise(1))
    assert "error" in rows_of(file)[1] and fuse(talk(spoilt), "-o", file, "--retry-errors")[0] == 0
    assert ["error" in row for row in rows_of(file)] == [False] * 4


def test_nothing_that_can_be_told(fuse, talk, tmp_path):
    path = talk([{"speaker": "A", "path": "missing.wav"}])
    assert fuse(path)[0] == 3 and fuse(path, "-o", tmp_path / "told.jsonl")[0] == 3


def test_what_people_say_does_not_steer_the_terminal(fuse, talk):
    code, out, err = fuse(talk([{"speaker": "A\x1b[31m", "text": "=1+1 \x07\x9b2J"}]))
    assert code == 0 and not {"\x1b", "\x07", "\x9b"} & set(out + err) and "\\x1b[31m: =1+1" in out


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        ("", "no turns"), ("[1]\n", "talk.jsonl:1"), ('{"text": "x"}\n{"text": \n', "talk.jsonl:2"), ('{"text": 3}\n', "are words"),
        ('{"speaker": "A"}\n', "names no file"), ('{"text": "x", "end": "later"}\n', "talk.jsonl:1"),
        ('{"id": "a", "text": "x"}\n{"id": "a", "text": "y"}\n', "stands twice"), ('{"text": "x", "history": "y"}\n', "history is"),
    ],
)  # fmt: skip
def test_a_file_that_is_no_talk(run, tmp_path, lines, said):
    (tmp_path / "talk.jsonl").write_text(lines)
    code, out, err = run("emotion", "--dialogue", tmp_path / "talk.jsonl", "--model", "no/such/model")
    assert code not in (0, 4) and said in err and out == "" and "Traceback" not in err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--start", "1"), "one talk"), (("--together",), "one talk"), (("--no-sound",), "one talk"), (("--transcript", "hi"), "one talk"),
        (("a.wav",), "names its own clips"), (("--window", "2"), "--window goes with"), (("--labels", "a"), "two or more"),
        (("--split", "val"), "--split goes with --dataset"), (("-d", "x"), "exclude each other"), (("--batch-size", "0"), "--batch-size"),
    ],
)  # fmt: skip
def test_what_does_not_go_together_is_refused(run, talk, rows, words, said):
    code, out, err = run("emotion", "--dialogue", talk(rows), *words, "--model", "no/such/model")
    assert code == 2 and said in err and out == ""


def test_talks_of_a_data_set(fuse, tmp_path):
    head = "Utterance,Speaker,Emotion,Sentiment,Dialogue_ID,Utterance_ID\n"
    (tmp_path / "dev_sent_emo.csv").write_text(head + "I lost it.,Ann,sadness,negative,0,0\nOh no!,Bob,surprise,negative,0,1\n")
    first, second = objects(fuse(tmp_path, "--dataset", "meld", "--split", "val", "--json"))
    assert (first["speaker"], first["turns_before"], second["text"], second["turns_before"]) == ("Ann", 0, "Oh no!", 1)


def test_a_missing_talk(run):
    code, _, err = run("emotion", "--dialogue", "missing.jsonl")
    assert code not in (0, 1) and "missing.jsonl" in err and "Traceback" not in err
