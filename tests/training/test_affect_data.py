"""Rows to train emotion models on: readers' options and splits, labels that do not fit, rows that cannot be opened, sources by name."""

import json

import numpy as np
import pytest
import soundfile
import torch
import yaml

from tests.training.test_affect import ended, stream
from unifusion import catalog
from unifusion.conversation import Example
from unifusion.errors import ConfigError, DatasetError, MediaError
from unifusion.evaluation.predictions import read_predictions
from unifusion.models.affect_files import load_affect
from unifusion.training.affect_data import read_examples, target_of

NAN = float("nan")


@pytest.fixture(scope="module")
def voices(tmp_path_factory):
    """Eight short sounds."""
    folder = tmp_path_factory.mktemp("voices")
    for i in range(8):
        soundfile.write(folder / f"{i}.wav", np.random.default_rng(i).normal(0, 0.1, 4800), 16_000)
    (folder / "broken.wav").write_bytes(b"no sound")
    return folder


@pytest.fixture
def table(voices):
    """A table of rows (label, split, further fields) on the sounds; the name `broken` stands for a file that is none."""

    def write(name, *rows, columns="label,split"):
        lines = [f"path,{columns}", *(f"{'broken' if 'broken' in r else i}.wav,{r.replace('broken', 'sad')}" for i, r in enumerate(rows))]
        (voices / name).write_text("\n".join(lines) + "\n")
        return voices / name

    return write


SOUND = {"streams": {"audio": stream("whisper")}, "epochs": 1, "affect": "auto"}
FEW = ("happy,train", "sad,train", "happy,val", "sad,test")


@pytest.mark.parametrize(
    ("labels", "wanted"),
    [
        ({"emotion": "sad"}, ("sad", NAN, NAN)),
        ({"emotion": None, "valence": 0, "arousal": "-0.5"}, ("", 0.0, -0.5)),
        ({"emotion": "sad", "valence": 0.1}, ("sad", 0.1, NAN)),
        ({"valence": 0.1}, None),
        ({}, None),
    ],
)
def test_what_is_to_be_told_of_a_row(labels, wanted):
    found = target_of(Example(id="r", labels=labels))
    np.testing.assert_equal(found, wanted)


def test_rows_without_emotion_or_anything_to_open_are_left_out_and_counted(table, caplog):
    path = table("some.csv", "happy,train", ",train", "sad,val")
    caplog.set_level("INFO")
    rows = read_examples(path, "train", dataset="folder")
    assert [r.id for r in rows] == ["0.wav"] and "1 rows of split train, 1 others have no emotion" in caplog.text
    with pytest.raises(DatasetError, match="no row of split train with an emotion"):
        read_examples(table("none.csv", ",train"), "train", dataset="folder")


def test_splits_by_the_names_that_the_data_have(table):
    path = table("named.csv", *FEW)
    options = {"splits": {"test": "val", "val": None}}
    (row,) = read_examples(path, "test", dataset="folder", options=options)
    assert row.id == "2.wav" and row.split == "test"
    assert read_examples(path, "val", dataset="folder", options=options) == []
    assert len(read_examples(path, "train", dataset="folder", options=options)) == 2


def test_splits_of_a_mixture_have_names_too(table, voices, tmp_path):
    path = table("mixed.csv", *FEW)
    (tmp_path / "mix.yaml").write_text(yaml.safe_dump({"mine": {"dataset": "folder", "path": str(path)}}))
    assert [r.id.split("/")[-1] for r in read_examples(tmp_path / "mix.yaml", "test", options={"splits": {"test": "val"}})] == ["2.wav"]
    with pytest.raises(ConfigError, match="the option 'columns' is of no reader; write it into the YAML"):
        read_examples(tmp_path / "mix.yaml", "test", options={"columns": {}})


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"colums": {"path": "file"}}, "no option 'colums'; did you mean 'columns'"),
        ({"split": "val"}, "no option 'split'"),
        ({"path": "elsewhere"}, "no option 'path'"),
        ({"splits": "val"}, "splits is 'val'"),
        ({"splits": {"tets": "val"}}, "what the data call train, val or test"),
    ],
)
def test_options_that_no_reader_has(table, options, said):
    with pytest.raises(ConfigError, match=said):
        read_examples(table("x.csv", *FEW), "train", dataset="folder", options=options)


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        (("happy,train", "sad,train", "fear,val", "sad,test"), "split val, row 2.wav: the label 'fear' is none of the model's"),
        (("happy,train", "happy,train", "happy,val", "happy,test"), "every row to learn from is 'happy'"),
        (("happy,train", "sad,train", "happy,val"), "no rows of split 'test'"),
        (("happy,train", "sad,train", "broken,val", "sad,test"), "broken.wav: no known format .*--on-bad-media skip"),
    ],
)
def test_data_that_do_not_fit_are_told_before_training(table, tmp_path, rows, said):
    with pytest.raises((ConfigError, MediaError), match=said):
        ended(tmp_path, tmp_path / "m", data=str(table("wrong.csv", *rows)), **SOUND)
    assert not (tmp_path / "m.fit").exists() and not (tmp_path / "m.choices.json").exists()


def test_rows_that_nobody_can_be_judged_by_are_told(table, tmp_path):
    felt = ("0.5,0.1,train", "-0.5,0.2,train", "0.1,0.1,val", "0.2,0.1,test")
    data = str(table("felt.csv", *felt, columns="valence,arousal,split"))
    with pytest.raises(DatasetError, match="no rows of split val have two valence and arousal"):
        ended(tmp_path, tmp_path / "m", data=data, **SOUND)


def test_a_label_that_only_test_rows_have_is_wrong_and_no_error(table, tmp_path):
    data = str(table("new.csv", "happy,train", "sad,train", "happy,val", "fear,test"))
    ended(tmp_path, tmp_path / "m", data=data, **SOUND)
    (row,) = (r for r in read_predictions(tmp_path / "m" / "predictions.jsonl") if r.split == "test")
    assert row.truth == "fear" and set(row.probabilities) == {"happy", "sad"}


def test_a_set_without_a_test_split(table, tmp_path):
    data = str(table("two.csv", "happy,train", "sad,train", "happy,val"))
    ended(tmp_path, tmp_path / "m", data=data, options={"splits": {"test": None}}, **SOUND)
    assert {r.split for r in read_predictions(tmp_path / "m" / "predictions.jsonl")} == {"val"}


@pytest.mark.parametrize("features", ["auto", "none"])
def test_files_that_cannot_be_read_are_left_out_where_that_is_allowed(table, tmp_path, features):
    rows = ("happy,train", "sad,train", "happy,val", "sad,val", "broken,val", "sad,test")
    data = str(table("bad.csv", *rows))
    with pytest.raises(DatasetError, match="1 of 3 rows of split val cannot be opened; mend them, or allow a larger share with --max-bad"):
        ended(tmp_path, tmp_path / "n", data=data, features=features, on_bad_media="skip", **SOUND)
    ended(tmp_path, tmp_path / "m", data=data, features=features, on_bad_media="skip", max_bad=0.4, **SOUND)
    assert [r.id for r in read_predictions(tmp_path / "m" / "predictions.jsonl")] == ["2.wav", "3.wav", "5.wav"]


def test_metadata_that_no_row_has_is_told_when_it_is_asked_for_by_name(table, tmp_path):
    data = str(table("meta.csv", *(f"{r},young" for r in FEW), columns="label,split,speaker_age"))
    with pytest.raises(ConfigError, match="no row to learn from has the metadata 'turn'"):
        ended(tmp_path, tmp_path / "m", data=data, metadata="speaker_age,turn", **SOUND)
    ended(tmp_path, tmp_path / "m", data=data, metadata="all", **SOUND)
    assert dict(load_affect(tmp_path / "m").config.metadata.values) == {"speaker_age": ("young",)}


def test_a_source_by_a_relative_path_is_found_from_anywhere(table, tmp_path, monkeypatch):
    cls = catalog.load("encoders", "hubert")
    torch.manual_seed(1)
    data = str(table("named.csv", *FEW))
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    cls.build(cls.resolve(cls.tiny())).backbone.save_pretrained("weights")
    ended(tmp_path, tmp_path / "m", data=data, streams={"audio": {"encoder": "hubert", "source": "weights"}}, epochs=1)
    monkeypatch.chdir(tmp_path)
    assert load_affect("m").encoders["audio"] is not None
    told = json.loads((tmp_path / "m" / "config.json").read_text())
    assert told["streams"]["audio"]["encoder_config"]["source"] == str(tmp_path / "here" / "weights")
