"""Which rows a part has, why others are left out, and what a file of parts may say."""

import json

import pytest

from unifusion.conversation import Example
from unifusion.errors import ConfigError, DatasetError
from unifusion.evaluation.suite.parts import Source, part_of, read_parts, read_sources


def manifest(folder, rows, name="rows.jsonl"):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text("".join(json.dumps(r) + "\n" for r in rows))
    return folder / name


def sounds(count):
    return [{"id": f"s{i}", "audio": f"{i}.wav", "sound": "bark" if i % 2 else "bell", "group": f"g{i}"} for i in range(count)]


def test_labels_are_those_of_the_set(tmp_path):
    part = part_of("x", Source(dataset="messages", task="sound"), manifest(tmp_path, sounds(6)))
    assert part.labels == ("bark", "bell") and part.task.choices(part.rows[0]) == ("bark", "bell") and part.truth(part.rows[1]) == "bark"


def test_rows_that_cannot_be_asked_are_counted_by_reason(tmp_path):
    rows = [*sounds(4), {"id": "nothing", "sound": "bark"}, {"id": "no truth", "audio": "x.wav"}]
    part = part_of("x", Source(dataset="messages", task="sound"), manifest(tmp_path, rows))
    assert len(part.rows) == 4
    assert part.left_out == {"its clip is not there": 1, "it lacks what the task shows or scores": 1}


def test_a_question_with_one_option_is_left_out(tmp_path):
    rows = [
        {"id": str(n), "audio": "x.wav", "question": "?", "options": o, "option": 0} for n, o in enumerate((["a", "b"], ["a"], ["a", "a"]))
    ]
    part = part_of("x", Source(dataset="messages", task="multiple_choice"), manifest(tmp_path, rows))
    assert [r.id for r in part.rows] == ["0"] and sum(part.left_out.values()) == 2


def test_nothing_left_is_an_error_that_says_why(tmp_path):
    with pytest.raises(DatasetError, match=r"no row can be asked by task 'emotion'.*lacks what the task shows or scores \(4\)"):
        part_of("x", Source(dataset="messages", task="emotion"), manifest(tmp_path, sounds(4)))


def test_rows_of_one_id_are_refused(tmp_path):
    with pytest.raises(DatasetError, match="x: ids of more than one row, 1 such as 's0'"):
        part_of("x", Source(dataset="messages", task="sound"), manifest(tmp_path, [*sounds(4), sounds(1)[0]]))


def test_rows_are_thinned_evenly(tmp_path):
    part = part_of("x", Source(dataset="messages", task="sound"), manifest(tmp_path, sounds(10)), most=4)
    assert [r.id for r in part.rows] == ["s0", "s2", "s5", "s7"]


def test_only_rows_of_some_labels(tmp_path):
    part = part_of("x", Source(dataset="messages", task="open_qa", keep={"kind": ("a",)}), manifest(tmp_path, [
        {"id": str(i), "audio": "x.wav", "question": "?", "answer": "yes", "kind": "ab"[i % 2]} for i in range(4)
    ]))  # fmt: skip
    assert [r.id for r in part.rows] == ["0", "2"]


def test_a_talk_is_asked_for_its_last_answer(tmp_path):
    talk = [
        {"role": "user", "content": [{"type": "audio", "path": "a.wav"}, {"type": "text", "text": "What is it?"}]},
        {"role": "assistant", "content": "A bell."},
        {"role": "user", "content": "And then?"}, {"role": "assistant", "content": "A dog barks."},
    ]  # fmt: skip
    part = part_of("x", Source(dataset="messages", task="instruction"), manifest(tmp_path, [{"id": "t", "messages": talk}]))
    (row,) = part.rows
    asked = part.task.conversation(row)
    assert part.truth(row) == "A dog barks." and [m.text for m in asked.messages] == ["What is it?", "A bell.", "And then?"]
    assert len(asked.media) == 1 and asked.messages[-1].role == "user"
    blind = part.task.conversation(Example(id="t", texts=row.texts, labels=row.labels))
    assert blind.media == () and [m.text for m in blind.messages] == [m.text for m in asked.messages]


def test_sets_that_are_not_there_are_told(tmp_path):
    manifest(tmp_path, sounds(4))
    sources = {
        "here": Source(dataset="messages", task="sound", path="rows.jsonl"),
        "gone": Source(dataset="esc10", task="sound", path="esc10"),
    }
    parts, absent = read_parts(sources, tmp_path)
    assert [p.name for p in parts] == ["here"] and absent == {"gone": "esc10 is not in the folder of data"}
    _, unnamed = read_parts({**sources, "world": Source.world("sound", 40, "sound_kind")}, None)
    assert set(unnamed) == {"here", "gone"} and "--data" in unnamed["here"]
    with pytest.raises(ConfigError, match=r"none of the sets can be asked: here: .*gone"):
        read_parts(sources, None)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("[]", "holds no parts"), ("{", "cannot read"), ("a: {dataset: esc10, task: sound, spllit: val}", "unknown key 'spllit'.*split"),
        ("a: {dataset: esc11, task: sound}", "dataset is 'esc11'.*esc10"), ("a: {dataset: esc10, task: sond}", "task is 'sond'.*sound"),
        ("a: {dataset: esc10, task: sound, most: -1}", "most is -1.*whole number"),
        ("a: {dataset: esc10, task: sound, max_new_tokens: 0}", "max_new_tokens is 0"),
        ("a: {dataset: esc10, task: sound, split: 3}", "split is 3.*a word"),
        ("a: {dataset: esc10, task: sound, options: [b]}", "options is .*keys and values"),
        ("a: {dataset: esc10, task: sound, keep: {kind: b}}", "keep.kind is 'b'.*list"),
        ("a: {dataset: esc10}", "task is None"), ("a: 3", "holds no parts"),
    ],
)  # fmt: skip
def test_a_file_of_parts_that_is_none(tmp_path, text, found):
    path = tmp_path / "parts.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=found):
        read_sources(path)


def test_a_file_of_parts(tmp_path):
    path = tmp_path / "parts.yaml"
    path.write_text("mine: {dataset: messages, task: sound, path: rows.jsonl, split: val, most: 3}\n")
    assert read_sources(path) == {"mine": Source(dataset="messages", task="sound", path="rows.jsonl", split="val", most=3)}


def test_clip_world_is_asked_about_clips_that_training_never_drew():
    part = part_of("w", Source.world("open_qa", 10, "expression", "sound_kind"), None)
    assert part.rows and all("/1000/test_iid/" in r.id for r in part.rows) and not any(r.labels.get("refusal") for r in part.rows)
