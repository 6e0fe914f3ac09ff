"""A mixture becomes rows that are trained on: the same bytes each time, exact counts in the report, everything left out by its reason."""

import hashlib
import json
import random
from collections import Counter
from pathlib import Path

import pytest

from tests.instructing.sets import caption, write_picture, write_rows, write_sound
from tests.people import write_people
from tests.toys import chat_model
from unifusion import catalog
from unifusion.conversation import Line
from unifusion.datasets.mixture import Mixture, read_parts
from unifusion.errors import ConfigError, DatasetError
from unifusion.instructing import InstructChoices, instruct
from unifusion.instructing.making import REPORT, ROWS
from unifusion.processor.messages import to_conversation
from unifusion.prompts import load_template
from unifusion.training.corpus import Corpus, Rows

TALK = [{"role": "user", "content": "<audio>What?"}, {"role": "assistant", "content": "A bell, as <audio> says."}]


@pytest.fixture(scope="module")
def people(tmp_path_factory):
    """Published sets in miniature, and a mixture of them with clip world."""
    root = write_people(tmp_path_factory.mktemp("people"))
    sets = [
        "voices: {dataset: emodb, path: emodb, weight: 2}",
        "digits: {dataset: fsdd, path: fsdd}",
        "faces: {dataset: fer2013, path: fer2013}",
    ]
    sets += [
        "world: {dataset: clip_world, options: {count: 12}}",
        "lines: {dataset: meld, path: meld}",
        "unused: {dataset: esc10, path: esc10, weight: 0}",
    ]
    (root / "all.yaml").write_text("\n".join(sets), encoding="utf-8")
    return root


def make(root, out, **options):
    return instruct(read_parts(root / "all.yaml"), out, InstructChoices(**options), data=root, name="all.yaml")


def rows_of(out):
    return [json.loads(line) for line in (out / ROWS).read_text(encoding="utf-8").splitlines()]


@pytest.fixture(scope="module")
def made(people, tmp_path_factory):
    out = tmp_path_factory.mktemp("made")
    return out, make(people, out)


def test_the_same_input_gives_the_same_bytes_in_any_folder(people, made, tmp_path):
    out, report = made
    assert json.loads((out / REPORT).read_text(encoding="utf-8")) == json.loads(json.dumps(report))
    make(people, tmp_path / "again")
    for name in (ROWS, REPORT):
        assert (tmp_path / "again" / name).read_bytes() == (out / name).read_bytes()
    assert not [p for p in out.iterdir() if p.name.startswith(".")]
    other = make(people, tmp_path / "other", seed=1)
    assert other["output"]["sha256"] != report["output"]["sha256"]
    assert {n: s["sha256"] for n, s in other["sources"].items()} == {n: s["sha256"] for n, s in report["sources"].items()}


def test_the_report_tells_what_was_made_of_what(made):
    out, report = made
    rows = rows_of(out)
    raw = (out / ROWS).read_bytes()
    assert report["output"] == {"file": ROWS, "rows": len(rows), "bytes": len(raw), "sha256": hashlib.sha256(raw).hexdigest()}
    assert "unused" not in report["sources"] and sum(s["weight"] for s in report["sources"].values()) == pytest.approx(1, abs=1e-5)
    for name, told in report["sources"].items():
        own = [r for r in rows if r.get("part") == name]
        assert told["conversations"] == len(own) == sum(told["tasks"].values()) == sum(told["kinds"].values())
        assert Counter(r["kind"] for r in own) == told["kinds"] and Counter(r["task"] for r in own) == told["tasks"]
    assert report["sources"]["lines"]["left_out"] == {"no clip": 2} and report["sources"]["world"]["rows"] == 48
    assert set(report["sources"]["digits"]["tasks"]) == {"digit"} and set(report["sources"]["faces"]["tasks"]) == {"emotion"}
    assert {"open_qa", "caption", "match", "which_of", "valence_arousal"} <= set(report["sources"]["world"]["tasks"])
    for name, known in report["prompts"].items():
        assert len(known["phrasings"]) == len(load_template(name).source.phrasings)
        assert max(known["phrasings"]) - min(known["phrasings"]) <= 1
        assert sum(known["phrasings"]) == sum(r["task"] == name for r in rows)


def test_rows_are_read_by_the_reader_and_make_token_rows(made):
    """The reader of messages gives what was meant: clips, mutes, levels, questions, and answers as the only supervised text."""
    out, report = made
    corpus, rows = Corpus(out / ROWS), rows_of(out)
    assert len(corpus) == report["output"]["rows"] and len({r["id"] for r in rows}) == len(rows)
    for row, (_, make_one) in zip(rows, corpus.in_order(), strict=True):
        talk = make_one()
        assert [m.role for m in talk.messages] == ["user", "assistant"] and talk.id == row["id"] and talk.media
        assert [m.supervised for m in talk.messages] == [False, True]
        assert all(set(m.mute) == set(row.get("mute", ())) for m in talk.media)
        assert (row["task"] in ("digit", "sound")) == all(m.at_least_db == -18.0 for m in talk.media)
    _, processor = chat_model()
    sample = [next(n for n, r in enumerate(rows) if r["part"] == part) for part in ("voices", "faces", "world")]
    fitted = Rows(corpus, processor, max_tokens=900)
    order = {r["id"]: n for n, r in enumerate(rows)}
    for n in range(len(corpus)):
        if order[corpus.conversation(n).id] in sample:
            row = fitted[n]
            said = processor.decode([i for i, label in zip(row.ids, row.labels, strict=True) if label != -100])
            assert said.startswith(corpus.conversation(n).messages[-1].text)


def test_kinds_are_what_they_say(made):
    for row in rows_of(made[0]):
        answer, question = row["messages"][-1]["content"], row["messages"][0]["content"][-1]["text"]
        assert row["kind"] != "negative" or (row["task"], answer) == ("match", "no")
        assert ("mute" not in row) or (row["kind"] == "refusal" and answer.startswith("there is no ") and answer.endswith("in this clip."))
        assert row["task"] != "match" or row["kind"] == "refusal" or answer in ("yes", "no")
        assert row["task"] != "which_of" or row["kind"] == "refusal" or f"\n{answer}. " in question


def test_balance_tasks_and_rows_that_are_wanted(people, tmp_path):
    report = make(people, tmp_path / "b", balance="label", tasks=("emotion",), refusals=0.0)
    for name in ("voices", "faces"):
        own = [r["messages"][-1]["content"] for r in rows_of(tmp_path / "b") if r["part"] == name]
        assert own and len(set(Counter(own).values())) == 1 and report["sources"][name]["kinds"] == {"asked": len(own)}
    assert set(report["prompts"]) == {"emotion"}
    few = make(people, tmp_path / "f", rows=30)
    read = {n: s["rows"] for n, s in few["sources"].items()}
    assert read["world"] == round(30 / 6) == read["faces"] and read["voices"] == 3, "ten are wanted, three are there"
    hashed = make(people, tmp_path / "h", tasks=("digit",), hash_media=True)
    assert len(hashed["sources"]["digits"]["media_sha256"]) == 64 and "media_sha256" not in few["sources"]["digits"]


def test_a_hash_changes_with_what_rows_say_and_not_with_their_place(tmp_path):
    hashes = []
    for name, feeling in (("a", "joy"), ("b", "joy"), ("c", "anger")):
        write_sound(tmp_path / name / "1.wav")
        write_rows(tmp_path / name / "rows.jsonl", [{"id": "r", "path": "1.wav", "emotion": feeling}])
        report = instruct(
            {"x": {"dataset": "messages", "path": str(tmp_path / name / "rows.jsonl")}}, tmp_path / f"{name}.out", InstructChoices()
        )
        hashes.append(report["sources"]["x"]["sha256"])
    assert hashes[0] == hashes[1] != hashes[2]


def test_conversations_clips_in_shards_and_what_cannot_be_used(tmp_path):
    """Rows' own talks stay; bytes become files by content; missing, broken and made-up clips are counted, none is written."""
    write_sound(tmp_path / "1.wav")
    write_picture(tmp_path / "out" / "2.png")
    (tmp_path / "broken.wav").write_bytes(b"RIFF")
    typed = [
        {"role": "user", "content": [{"type": "text", "text": "A <video>?"}]},
        {"role": "assistant", "content": "a", "weight": 0},
        {"role": "user", "content": "B?"},
        {"role": "assistant", "content": "b"},
    ]
    rows = [
        {"id": "talk", "messages": [*TALK[:1], {"role": "assistant", "content": "A bell."}], "audios": ["1.wav"]},
        {"id": "typed", "messages": typed},
        {"path": "none.wav", "emotion": "joy"},
        {"path": "broken.wav", "emotion": "joy"},
        {"path": "1.wav", "emotion": "joy"},
        {"path": "out/2.png", "emotion": "joy"},
        {"emotion": "joy"},
        {"messages": TALK[:1] + typed[3:], "audios": ["gone.wav"]},
        {"path": "1.wav", "unknown": 3},
    ]
    write_rows(tmp_path / "rows.jsonl", rows)
    parts = {"own": {"dataset": "messages", "path": "rows.jsonl"}, "said": {"dataset": "said", "options": {"count": 2}}}
    report = instruct(parts, tmp_path / "out", InstructChoices(refusals=0.0), data=tmp_path)
    assert report["sources"]["own"]["left_out"] == {"its clip is not there": 2, "its clip cannot be read": 1, "no clip": 1}
    assert report["sources"]["said"]["left_out"] == {"its clip is made when it is opened": 2} and report["sources"]["own"]["kinds"] == {
        "told": 2,
        "asked": 2,
    }
    talk, text, sound, picture = rows_of(tmp_path / "out")
    assert (
        talk["messages"][0]["content"][0] == {"type": "audio", "path": str(tmp_path / "1.wav")}
        and talk["kind"] == "told"
        and "phrasing" not in talk
    )
    assert [m.get("supervised") for m in text["messages"]] == [None, False, None, None]
    assert sound["messages"][0]["content"][0]["path"] == str(tmp_path / "1.wav")
    assert picture["messages"][0]["content"][0]["path"] == "2.png", "below the folder that is written"
    again = [to_conversation(r.labels["messages"]) for r in catalog.load("datasets", "messages")(tmp_path / "out" / ROWS)]
    assert [m.supervised for m in again[1].messages] == [False, False, False, True] and again[1].messages[0].text == "A <video>?"


KEYS = "caption captions question answer options option emotion sound valence arousal span time_s event history reply"
KEYS += " stream_needs needs evidence rationale description digit match texts refusal"


def test_labels_of_any_kind_are_asked_or_counted_and_never_written_wrong(tmp_path):
    """Rows with labels of every wrong type: none stops the making, and every answer that is written is a text."""
    rng, keys = random.Random(0), KEYS.split()
    values = [
        "x",
        "",
        3,
        -1.5,
        True,
        None,
        [],
        ["a", "b"],
        [1, [2]],
        {"a": 1},
        [{"role": "user"}],
        "happy",
        "rain",
        [3, 1],
        "video",
    ]
    rows = [{"video": f"clip-world://0/{n}?split=train&size=112&duration=6", "messages": None} for n in range(400)]
    rows = [{"id": f"r{n}", **row, **{k: rng.choice(values) for k in rng.sample(keys, 9)}} for n, row in enumerate(rows)]
    write_rows(tmp_path / "rows.jsonl", rows)
    report = instruct({"x": {"dataset": "messages", "path": "rows.jsonl"}}, tmp_path / "out", InstructChoices(refusals=0.3), data=tmp_path)
    assert report["output"]["rows"] > 100 and report["sources"]["x"]["left_out"]
    for row in rows_of(tmp_path / "out"):
        answer = row["messages"][-1]
        assert answer["role"] == "assistant" and isinstance(answer["content"], str) and answer["content"].strip()


def test_timed_words_come_along_and_are_muted_with_the_sound(tmp_path):
    write_sound(tmp_path / "a.wav")
    lines = [{"start_s": 0.05, "end_s": 0.15, "text": "Rain again."}]
    row = {"audio": "a.wav", "emotion": "sad", "subtitles": lines, "words_from": "a.srt"}
    write_rows(tmp_path / "rows.jsonl", [{**row, "id": str(n), "start_s": n / 100} for n in range(10)])
    instruct({"r": {"dataset": "messages", "path": str(tmp_path / "rows.jsonl")}}, tmp_path / "out", InstructChoices(refusals=0.5))
    talks = [make_one() for _, make_one in Corpus(tmp_path / "out" / ROWS).in_order()]
    said = (Line(0.05, 0.15, "Rain again."),)
    assert len(talks) == 10 and all((m.subtitles, m.words_from) == (said, "a.srt") for t in talks for m in t.media)
    refused = [t for t in talks if t.messages[-1].text == "there is no sound in this clip."]
    assert len(refused) == 5 and all(m.lines(1.0) == () and set(m.mute) == {"audio", "text"} for t in refused for m in t.media)
    assert all(not m.mute for t in talks if t not in refused for m in t.media)


def test_clips_in_tables_are_written_once(tmp_path):
    datasets = pytest.importorskip("datasets")
    sound = write_sound(tmp_path / "1.wav").read_bytes()
    rows = {"audio": [{"bytes": sound, "path": "1.wav"}] * 3, "caption": [caption(n) for n in (0, 11, 22)], "group": ["a", "b", "c"]}
    datasets.Dataset.from_dict(rows).cast_column("audio", datasets.Audio()).to_parquet(tmp_path / "t.parquet")
    instruct({"t": {"dataset": "huggingface", "path": str(tmp_path / "t.parquet")}}, tmp_path / "out", InstructChoices(tasks=("caption",)))
    written = list((tmp_path / "out" / "media").iterdir())
    assert len(written) == 1 and written[0].read_bytes() == sound and written[0].suffix == ".wav"
    assert {r["messages"][0]["content"][0]["path"] for r in rows_of(tmp_path / "out")} == {f"media/{written[0].name}"}


def test_marks_in_answers_come_back(tmp_path):
    write_sound(tmp_path / "1.wav")
    write_rows(tmp_path / "rows.jsonl", [{"id": "mark", "path": "1.wav", "question": "HTML?", "answer": "<audio>"}])
    instruct({"x": {"dataset": "messages", "path": "rows.jsonl"}}, tmp_path / "out", InstructChoices(refusals=0.0), data=tmp_path)
    (mark,) = (to_conversation(r.labels["messages"]) for r in catalog.load("datasets", "messages")(tmp_path / "out" / ROWS))
    assert mark.messages[-1].text == "<audio>" and len(mark.media) == 1


def test_tasks_of_a_part_as_tune_has_them(tmp_path):
    write_sound(tmp_path / "1.wav")
    write_rows(tmp_path / "rows.jsonl", [{"path": "1.wav", "emotion": "worried", "caption": "A voice."}])
    part = {"dataset": "messages", "path": "rows.jsonl", "task": "emotion", "task_options": {"labels": ["worried", "calm"]}}
    report = instruct({"x": part}, tmp_path / "out", InstructChoices(), data=tmp_path)
    assert (
        report["sources"]["x"]["tasks"] == {"emotion": 1}
        and "worried, calm" in rows_of(tmp_path / "out")[0]["messages"][0]["content"][1]["text"]
    )
    for wrong, found in (({"task": "emotoin"}, "no task 'emotoin'"), ({"task_options": {"seed": 3}}, "task_options are")):
        with pytest.raises(ConfigError, match=found):
            instruct({"x": {**part, **wrong}}, tmp_path / "out", InstructChoices(), data=tmp_path)
    with pytest.raises(DatasetError, match=r"nothing can be asked: 1 rows, none with what digit asks for"):
        instruct({"x": {**part, "task": "digit"}}, tmp_path / "out2", InstructChoices(), data=tmp_path)


@pytest.mark.parametrize(
    ("options", "found"),
    [
        ({"tasks": ("captoin",)}, "no task 'captoin'"),
        ({"balance": "all"}, "balance is 'all'"),
        ({"refusals": 1.5}, "refusals 1.5"),
        ({"rows": 0}, "rows 0"),
    ],
)
def test_choices_that_mean_nothing(options, found):
    with pytest.raises(ConfigError, match=found):
        InstructChoices(**options)


def test_the_real_packs_and_clip_world_make_one_file(data, tmp_path):
    parts = {"sounds": {"dataset": "esc10", "path": "esc10"}, "world": {"dataset": "clip_world", "options": {"count": 10}}}
    report = instruct(parts, tmp_path, InstructChoices(rows=80, tasks=("sound", "match", "which_of")), data=data)
    rows = rows_of(tmp_path)
    assert {r["part"] for r in rows} == {"sounds", "world"} and report["sources"]["sounds"]["left_out"] == {}
    matched = Counter(r["messages"][-1]["content"] for r in rows if (r["task"], r["part"]) == ("match", "sounds"))
    assert abs(matched["yes"] - matched["no"]) <= 1 and sum(matched.values()) == 40
    assert all(Path(r["messages"][0]["content"][0]["path"]).is_file() for r in rows if r["part"] == "sounds")
    assert isinstance(
        Mixture(tmp_path / "x.yaml", written={"m": {"dataset": "messages", "path": str(tmp_path / ROWS)}})[0].labels["messages"], list
    )
