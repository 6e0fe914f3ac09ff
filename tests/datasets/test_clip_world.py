"""Clip world as a dataset, and as files."""

import json
from collections import Counter

import pytest

from unifusion import catalog
from unifusion.datasets.clip_world import ClipWorld, write_world
from unifusion.errors import ConfigError, DatasetError
from unifusion.world.questions import FAMILIES
from unifusion.world.render import parse_reference
from unifusion.world.script import Script


def test_the_catalog_finds_it():
    assert catalog.load("datasets", "clip_world") is ClipWorld


def test_rows_are_examples_that_can_be_asked_and_scored():
    data = ClipWorld(count=12, per_clip=3)
    rows = list(data)
    assert len(data) == len(rows) == 36 and len({r.id for r in rows}) == 36
    for index, row in enumerate(rows):
        assert row == data[index] and row.split == "train"
        assert row.media[0].kind == "video" and parse_reference(row.media[0].source) == data.script(index // 3)
        assert row.texts["question"] and row.texts["answer"] and row.texts["caption"]
        assert row.labels["family"] in FAMILIES and row.labels["checker"] in ("exact", "set", "number", "time", "free")
        assert all(s["start_s"] < s["end_s"] <= 6.0 for s in row.labels["spans"])
        assert "emotion" not in row.labels or row.labels["emotion"]


def test_two_readers_with_equal_choices_are_equal_and_start_moves_the_window():
    whole, later = ClipWorld(count=6, per_clip=2, seed=4), ClipWorld(count=3, per_clip=2, seed=4, start=3)
    assert list(later) == list(whole)[6:]
    assert ClipWorld(count=1, seed=5)[0].media != whole[0].media


def test_chosen_families_only():
    data = ClipWorld(count=40, per_clip=2, families=["on_screen_at", "agreement"])
    counts = Counter(row.labels["family"] for row in data)
    assert set(counts) == {"on_screen_at", "agreement"} and sum(counts.values()) == len(data) < 80


def test_times_of_words_are_filled_in_for_families_that_need_them():
    data = ClipWorld(count=8, families=["emotion_rationale"], per_clip=1)
    assert len(data) > 0
    for row in data:
        assert row.texts["answer"].startswith(f"Emotion: {row.labels['emotion']}.")
        for item in row.labels["evidence"]:
            assert 0 <= item["start_s"] < item["end_s"] <= 6.0


def test_groups_are_people_and_held_out_splits_share_none():
    train = {row.group for row in ClipWorld(count=60, per_clip=1)}
    others = {row.group for row in ClipWorld(count=60, per_clip=1, split="test_new_people")}
    assert len(train) > 40 and not {g for g in train & others if g.startswith("person")}


def test_open_qa_scores_its_rows():
    tasks = pytest.importorskip("unifusion.tasks.open_qa")
    task = tasks.OpenQa()
    for row in ClipWorld(count=40, per_clip=4, seed=2):
        if row.labels["family"] not in ("valence_arousal",):
            assert task.score(row.texts["answer"], row).value == 1.0, row
            assert task.score("zebra", row).value == 0.0, row
        assert row.texts["question"] in task.conversation(row, with_answer=True).messages[-2].text


@pytest.mark.parametrize(
    ("task", "family"),
    [
        ("emotion", "overall_emotion"), ("emotion_rationale", "emotion_rationale"), ("match", "match"), ("when", "sound_start"),
        ("valence_arousal", "valence_arousal"), ("caption", "caption"), ("dense_description", "dense_description"),
    ],
)  # fmt: skip
def test_other_tasks_take_its_rows(task, family):
    asked = catalog.load("tasks", task)()
    for row in ClipWorld(count=20, families=[family], per_clip=1, seed=3):
        if row.labels.get("refusal"):
            continue
        answer = asked.conversation(row, with_answer=True).messages[-1].text
        assert asked.score(answer, row).value > 0.95, (answer, row)


def test_wrong_choices_are_refused_at_construction():
    with pytest.raises(ConfigError, match="did you mean 'expression'"):
        ClipWorld(families=["expresion"])
    with pytest.raises(ConfigError, match="no split"):
        ClipWorld(split="dev")
    with pytest.raises(ConfigError, match="0 clips"):
        ClipWorld(count=0)
    with pytest.raises(IndexError):
        ClipWorld(count=2, per_clip=1)[2]
    with pytest.raises(DatasetError, match="lower per_clip"):
        ClipWorld(count=1, per_clip=60)[59]


def test_writing_makes_files_and_a_manifest(tmp_path):
    av = pytest.importorskip("av")
    written = []
    manifest = write_world(tmp_path, count=3, seed=1, per_clip=2, size_px=48, duration_s=2.0, on_clip=written.append)
    rows = [json.loads(line) for line in manifest.read_text().splitlines()]
    assert len(rows) == 6 and len(written) == 3 and manifest.name == "manifest.jsonl"
    assert {r["path"] for r in rows} == {str(p.relative_to(tmp_path)) for p in written}
    data = ClipWorld(count=3, seed=1, size_px=48, duration_s=2.0)
    for row in rows:
        script = Script.from_json(json.dumps(row["script"]))
        assert row["question"] and row["answer"] and (script.utterance is None or script.utterance.words)
        assert script.objects == data.script(script.index).objects
        with av.open(str(tmp_path / row["path"])) as container:
            assert bool(container.streams.video) == script.has_picture and bool(container.streams.audio) == script.has_sound
    assert not list(tmp_path.glob("*.part"))


def test_an_unknown_layout_is_refused(tmp_path):
    with pytest.raises(ConfigError, match=r"did you mean 'meld'. known: avamerg, crema_d, jsonl, meld, ravdess"):
        write_world(tmp_path, layout="melt")
