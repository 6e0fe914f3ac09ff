"""Corpora of clip world in the layouts of published sets: their readers take them without a word, runs go on, choices are held."""

import json
from collections import Counter

import pytest

from tests.datasets.test_readers import read
from unifusion.datasets._empathetic import CLASSES
from unifusion.datasets._layouts import LAYOUTS
from unifusion.datasets.clip_world import ClipWorld, write_world
from unifusion.errors import ConfigError, DatasetError
from unifusion.media import Sampling, read_clip
from unifusion.world.dialogues import dialogue

pytest.importorskip("espeakng_loader", reason="voices need espeakng-loader: pip install 'unifusion-x[world]'")
SMALL = {"size_px": 32}


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    folder = tmp_path_factory.mktemp("corpus")
    assert write_world(folder, layout="avamerg", count=6, **SMALL) == folder / "train.json"
    return folder


def test_avamerg_is_read_back_as_it_was_meant(corpus):
    rows = {r.id: r for r in read("avamerg", corpus)}
    talks = [dialogue(0, i, **SMALL) for i in range(6)]
    assert len(rows) == sum(len(t.lines) for t in talks)
    for talk in talks:
        for k, line in enumerate(talk.lines):
            row = rows[f"avamerg/dia{talk.index:05}utt{k}_{talk.people[k % 2].profile.id}"]
            assert (row.split, row.texts["transcript"], row.labels["valence"]) == (talk.part, line.text, line.valence)
            assert len(row.labels["history"]) == k and row.labels["metadata"]["turn"] == k
            assert row.labels.get("emotion") == (None if k % 2 else line.emotion)
            if not k % 2:
                assert row.labels["emotion32"] in CLASSES[line.emotion] and row.texts["reply"] == talk.lines[k + 1].text
    needed = {f"{who}_{key}" for who in ("speaker", "listener") for key in ("age", "gender", "timbre", "personality")}
    needed |= {"topic", "role", "turn", "scenario", "cause", "goal"}
    assert all(set(r.labels["metadata"]) == needed for r in rows.values())
    people = {part: {i for r in rows.values() if r.split == part for i in r.labels["people"]} for part in ("train", "val", "test")}
    assert all(people.values()) and not people["train"] & people["val"] and not (people["train"] | people["val"]) & people["test"]


def test_clips_of_the_corpus_open(corpus):
    for take, kind in (("video", "video"), ("audio", "audio")):
        row = read("avamerg", corpus, take=take, split="val")[0]
        clip = read_clip(row.media[0].source, video=Sampling(rate_hz=5) if take == "video" else None, audio=True)
        assert row.media[0].kind == kind and (clip.frames_THWC is not None) == (take == "video")
        assert clip.waveform_N is not None and abs(clip.duration_s - 4.0) < 0.2


def test_a_run_goes_on_and_more_is_added_to_less(corpus, tmp_path):
    written = []
    write_world(tmp_path, layout="avamerg", count=1, on_clip=written.append, **SMALL)
    first = written[0]
    kept, stamp = written[1], written[1].stat().st_mtime_ns
    first.unlink()
    (first.parent / f".{first.name}.tmp").write_bytes(b"cut short")
    write_world(tmp_path, layout="avamerg", count=2, **SMALL)
    assert first.is_file() and kept.stat().st_mtime_ns == stamp and not list(tmp_path.rglob("*.tmp"))
    assert kept.read_bytes() == (corpus / kept.relative_to(tmp_path)).read_bytes()
    entries = json.loads((tmp_path / "train.json").read_text())
    assert entries == json.loads((corpus / "train.json").read_text())[:2] and json.loads((tmp_path / "val.json").read_text()) == []
    with pytest.raises(DatasetError, match=r"was begun with .*'seed': 0"):
        write_world(tmp_path, layout="avamerg", count=2, seed=1, **SMALL)


@pytest.mark.parametrize(("layout", "count"), [("meld", 3), ("crema_d", 4), ("ravdess", 3)])
def test_other_layouts_are_read_back(tmp_path, layout, count):
    write_world(tmp_path, layout=layout, count=count, **SMALL)
    rows = list(read(layout, tmp_path))
    assert rows and all(len(r.media) == 1 and r.texts["transcript"] and r.labels["emotion"] for r in rows)
    clip = read_clip(next(r for r in rows if r.media[0].kind == "video").media[0].source, video=Sampling(rate_hz=5), audio=True)
    assert clip.frames_THWC is not None and len(clip.frames_THWC) >= 18 and clip.waveform_N is not None and clip.duration_s > 3.5
    if layout == "meld":
        lines = [line for i in range(count) for line in dialogue(0, i, **SMALL).lines]
        assert Counter(r.labels["emotion"] for r in rows) == Counter(line.emotion for line in lines)
    if layout == "crema_d":
        assert all(r.labels["votes"]["both"] == (r.labels["acted"],) for r in rows) and rows[0].media[0].source.endswith(".flv")
    if layout == "ravdess":
        assert Counter(r.media[0].kind for r in rows) == {"video": count, "audio": count}


def test_wrong_choices_are_refused(tmp_path):
    with pytest.raises(ConfigError, match="has no choice 'split'"):
        write_world(tmp_path, layout="avamerg", split="val")
    with pytest.raises(ConfigError, match="did you mean 'meld'"):
        write_world(tmp_path, layout="melt")
    with pytest.raises(ConfigError, match="0 clips or conversations"):
        write_world(tmp_path, layout="meld", count=0)
    with pytest.raises(ConfigError, match="the set has 336 takes"):
        write_world(tmp_path, layout="ravdess", count=337, **SMALL)
    assert set(LAYOUTS) == {"avamerg", "meld", "crema_d", "ravdess"} and not list(tmp_path.rglob("*.mp4"))


def test_rows_of_clip_world_have_valence_arousal_and_what_is_known_of_the_voice():
    for row in ClipWorld(count=20, per_clip=1):
        assert -1 <= row.labels["valence"] <= 1 and -1 <= row.labels["arousal"] <= 1
        assert row.labels.get("metadata", {}).get("speaker_timbre") in (("high", "low") if "voice_emotion" in row.labels else (None,))
