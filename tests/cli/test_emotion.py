"""`unifusion emotion`: the promised shape, several clips, labels."""

import json
import re

import pytest

KEYS = {"label", "probabilities", "valence", "arousal", "rationale", "evidence", "report"}


@pytest.fixture
def feel(run, toy_folder):
    return lambda *words: run("emotion", *words, "--model", toy_folder)


def test_json_has_the_promised_shape(feel, clip):
    code, out, err = feel(clip, "--json")
    assert code == 0, err
    answer = json.loads(out)
    assert KEYS <= answer.keys()
    assert answer["label"] == max(answer["probabilities"], key=answer["probabilities"].get)
    assert sum(answer["probabilities"].values()) == pytest.approx(1, abs=1e-4)
    assert len(answer["probabilities"]) == 7
    assert answer["report"]["streams"]["audio"]["present"] is True


def test_other_labels(feel, clip):
    answer = json.loads(feel(clip, "--json", "--labels", "calm, angry")[1])
    assert list(answer["probabilities"]) == ["calm", "angry"]


def test_people_see_bars_in_order(feel, clip):
    code, out, err = feel(clip, "--labels", "calm,angry,sad")
    assert code == 0
    shares = [float(share) for share in re.findall(r"^  (?:calm|angry|sad) +([\d.]+)% ", out, re.MULTILINE)]
    assert len(shares) == 3
    assert shares == sorted(shares, reverse=True)
    assert err.startswith("[video")


def test_each_clip_has_its_line_and_a_bad_one_spoils_only_its_own(feel, clip, sound):
    code, out, err = feel(clip, "missing.mp4", sound, "--json", "--labels", "calm,angry")
    assert code == 3
    assert [json.loads(line)["clip"] for line in out.splitlines()] == [clip, sound]
    assert "missing.mp4" in err
    assert "Traceback" not in err


def test_words_are_of_one_moment(feel, clip, sound):
    code, _, err = feel(clip, sound, "--transcript", "hi")
    assert code == 2 and "--together" in err


def test_together_is_one_answer(feel, clip, sound):
    _, out, _ = feel(clip, sound, "--json", "--together", "--labels", "calm,angry")
    answer = json.loads(out)
    assert "clip" not in answer
    assert len(answer["report"]["clips"]) == 2


def test_a_manifest_is_answered_as_its_clips_are_and_gone_on_with(feel, clip, sound, tmp_path, rows_of):
    manifest, out = tmp_path / "m.jsonl", tmp_path / "o.jsonl"
    files = {"a": {"path": clip}, "b": {"path": "missing.mp4"}, "c": {"audio": sound}, "d": {"video": clip, "audio": sound}}
    files["e"] = {"transcript": "I lost it."}
    manifest.write_text("".join(json.dumps({"id": key, **row}) + "\n" for key, row in files.items()))
    code, printed, err = feel(manifest, "-o", out, "--labels", "calm,angry", "--batch-size", 3)
    assert code == 0 and printed == "" and "5 rows, 0 were there already, 2 hold an error" in err
    found = rows_of(out)
    assert [row["id"] for row in found] == [*"abcde"] and "missing.mp4" in found[1]["error"] and "no file" in found[4]["error"]
    alone = [json.loads(feel(*words, "--json", "--labels", "calm,angry")[1]) for words in ([clip], [sound], [clip, sound, "--together"])]
    for row, answer in zip([found[0], *found[2:4]], alone, strict=True):
        assert {k: row[k] for k in KEYS - {"probabilities"}} == {k: answer[k] for k in KEYS - {"probabilities"}}
        assert row["probabilities"] == pytest.approx(answer["probabilities"], abs=1e-4)
    out.write_bytes(b"".join(out.read_bytes().splitlines(keepends=True)[:2]) + b'{"id": "c", "la')
    assert "5 rows, 2 were there already" in feel(manifest, "-o", out, "--labels", "calm,angry")[2]
    assert [row["id"] for row in rows_of(out)] == [*"abcde"]


def test_a_manifest_without_a_place_for_its_answers(feel, tmp_path):
    code, _, err = feel(tmp_path / "m.jsonl")
    assert code == 2 and "-o" in err


@pytest.mark.parametrize("words", [("--start", "1"), ("--transcript", "hi"), ("--together",), ("--no-sound",), ("other.mp4",)])
def test_a_manifest_says_by_itself_what_is_shown(feel, clip, tmp_path, words):
    manifest = tmp_path / "m.jsonl"
    manifest.write_text(json.dumps({"id": "a", "path": clip}) + "\n")
    code, _, err = feel(manifest, *words, "-o", tmp_path / "o.jsonl")
    assert code == 2 and "one manifest" in err


@pytest.mark.parametrize("labels", ["angry", "", "sad,sad", ","])
def test_labels_must_be_two_or_more(feel, clip, labels):
    code, _, err = feel(clip, "--labels", labels)
    assert code == 2
    assert "two or more" in err


def test_a_bad_clip_alone(feel):
    assert feel("missing.mp4", "--json")[0] == 3
