"""What a person points at: the reader that a layout tells, mixtures, options; and every command over hostile rows."""

import json
import tarfile

import numpy as np
import pytest
import soundfile
import yaml

from tests.curation import hostile
from tests.curation.test_validating import jsonl
from tests.datasets import question_trees, test_instruct_sets
from tests.datasets.test_readers import put
from tests.datasets.trees import TREES
from unifusion import catalog
from unifusion.curation.converting import ConvertOptions, convert
from unifusion.curation.dividing import divide
from unifusion.curation.inspecting import inspect
from unifusion.curation.sampling import sample
from unifusion.curation.source import guess, open_source, taken
from unifusion.curation.spellings import FORMS
from unifusion.datasets.messages import Messages
from unifusion.errors import ConfigError, DatasetError, LayoutError, UniFusionError

EVERY = {**TREES, **question_trees.TREES, **test_instruct_sets.TREES}


@pytest.mark.parametrize("name", sorted(EVERY))
def test_the_layout_of_a_set_tells_its_reader(name, tmp_path):
    EVERY[name](tmp_path)
    assert guess(tmp_path) == name
    source = open_source(tmp_path)
    assert source.said == f"read as {name} (guessed; --dataset names another)"
    rows = list(taken(source))
    assert rows and all(t.error is None and t.number == n for n, t in enumerate(rows, 1)) and rows[0].where.startswith(str(tmp_path))


def test_files_tell_their_reader_by_their_names(tmp_path):
    for name, reader in (
        ("a.jsonl", "messages"),
        ("a.json", "messages"),
        ("a.tar", "webdataset"),
        ("a.parquet", "huggingface"),
        ("a.yaml", "mixture"),
        ("a.YML", "mixture"),
    ):
        (tmp_path / name).write_bytes(b"")
        assert guess(tmp_path / name) == reader
    (tmp_path / "a.jsonl.gz").write_bytes(b"")
    with pytest.raises(ConfigError, match="is compressed; unpack it first"):
        guess(tmp_path / "a.jsonl.gz")
    for name in ("a.csv", "a.txt", "a"):
        (tmp_path / name).write_bytes(b"")
        with pytest.raises(ConfigError, match="does not say how it is read"):
            guess(tmp_path / name)


def test_a_folder_of_labelled_clips_or_of_tars(tmp_path):
    for label in ("happy", "sad"):
        (tmp_path / "clips" / label).mkdir(parents=True)
        soundfile.write(tmp_path / "clips" / label / f"{label}.wav", np.zeros(800), 16_000)
    assert guess(tmp_path / "clips") == "folder"
    (tmp_path / "shards").mkdir()
    with tarfile.open(tmp_path / "shards" / "0.tar", "w") as tar:
        tar.add(tmp_path / "clips" / "sad" / "sad.wav", "0001.wav")
    assert guess(tmp_path / "shards") == "webdataset"
    (tmp_path / "empty").mkdir()
    with pytest.raises(ConfigError, match="has the layout of no known set; name its reader"):
        guess(tmp_path / "empty")
    (tmp_path / "empty" / "rows.jsonl").write_text("{}\n")
    with pytest.raises(ConfigError, match=r"name one of its files \(rows.jsonl\), or its reader"):
        guess(tmp_path / "empty")


def test_a_layout_of_several_sets_is_asked_about(tmp_path, monkeypatch):
    TREES["clotho"](tmp_path)
    TREES["webvid"](tmp_path)
    with pytest.raises(ConfigError, match="can be read as clotho or webvid; say which"):
        guess(tmp_path)
    assert open_source(tmp_path, dataset="clotho").said == "read as clotho"


def test_a_set_that_is_a_special_case_of_another_is_meant(tmp_path):
    put(tmp_path / "MERR_fine_grained.txt", "sample_00000047 85 happy\n")
    assert guess(tmp_path) == "merr"
    put(tmp_path / "train-label.csv", "name,discrete,valence\nsample_00000007,worried,-1.5\n")
    assert guess(tmp_path) == "mer", "it finds more rows"
    put(tmp_path / "qa" / "test_qa.json", json.dumps([{"id": 0, "video_id": 1, "question": "who is chewing?", "answer": "chipmunk"}]))
    assert guess(tmp_path / "qa") == "msvd_qa", "rows of MSRVTT-QA have a category"


@pytest.mark.parametrize(
    ("name", "table", "old", "new", "said"),
    [
        ("vggsound", "vggsound.csv", ",30,", ",3x0,", r"vggsound: .*vggsound\.csv, line \d+: '3x0'"),
        ("audiocaps", "train.csv", "UDGBjjwyaqE,20", "UDGBjjwyaqE,soon", r"audiocaps: .*train\.csv, line 3: 'soon'"),
        ("msrvtt_qa", "train_qa.json", '"id": 1, "video_id": 0', '"id": 1, "video_id": "0"', r"msrvtt_qa: .*entry 1: video_id '0'"),
    ],
)
def test_a_broken_row_is_named_where_the_reader_is_guessed(name, table, old, new, said, tmp_path):
    EVERY[name](tmp_path)
    text = (tmp_path / table).read_text()
    assert old in text
    (tmp_path / table).write_text(text.replace(old, new, 1))
    with pytest.raises(ConfigError, match=f"cannot be read: .*{said}.*--dataset"):
        guess(tmp_path)


def test_tables_of_hugging_face_are_known_and_classes_of_clips_are_not_taken_for_one(tmp_path):
    datasets = pytest.importorskip("datasets")
    table = datasets.Dataset.from_dict({"emotion": ["joy", "fear"]})
    table.save_to_disk(tmp_path / "one")
    datasets.DatasetDict({"test": table}).save_to_disk(tmp_path / "splits")
    (tmp_path / "hub" / "data").mkdir(parents=True)
    table.to_parquet(tmp_path / "hub" / "data" / "validation-00000-of-00001.parquet")
    found = {place: [t.example.split for t in taken(open_source(tmp_path / place))] for place in ("one", "splits", "hub")}
    assert found == {"one": ["", ""], "splits": ["test", "test"], "hub": ["val", "val"]}
    (tmp_path / "clips" / "happy").mkdir(parents=True)
    soundfile.write(tmp_path / "clips" / "happy" / "a.wav", np.zeros(800), 16_000)
    assert guess(tmp_path / "clips") == "folder"
    with pytest.raises(LayoutError, match="holds no table"):
        open_source(tmp_path / "clips", dataset="huggingface")


def test_parts_of_a_mixture(tmp_path):
    lines = [{"path": "a.wav", "emotion": "joy", "split": s} for s in ("train", "val", "train")]
    jsonl(tmp_path, *lines)
    written = {
        "one": {"dataset": "messages", "path": "rows.jsonl", "task": ["emotion", "caption"], "weight": 3},
        "two": {"dataset": "messages", "path": "rows.jsonl", "weight": 0, "only": "val", "options": {"root": str(tmp_path)}},
    }
    (tmp_path / "mix.yaml").write_text(yaml.safe_dump(written))
    whole, val = open_source(tmp_path / "mix.yaml"), open_source(tmp_path / "mix.yaml", split="val")
    assert [(p.name, len(p.rows), [n for n, _ in p.tasks]) for p in whole.parts] == [("one", 3, ["emotion", "caption"]), ("two", 3, [])]
    assert [(p.name, len(p.rows)) for p in val.parts] == [("one", 1), ("two", 1)]
    stream = open_source(tmp_path / "mix.yaml", stream=True)
    assert [p.rows for p in stream.parts] == [None, None] and stream.parts[1].options == {"root": str(tmp_path)}
    assert stream.parts[0].path == tmp_path / "rows.jsonl"
    (tmp_path / "mix.yaml").write_text(yaml.safe_dump({"one": {**written["one"], "task": "emotoin"}}))
    with pytest.raises(ConfigError, match="no task 'emotoin'"):
        open_source(tmp_path / "mix.yaml")


def test_options_and_splits_of_a_reader(tmp_path):
    path = jsonl(tmp_path, {"path": "a.wav", "split": "val"}, {"path": "b.wav", "split": "train"})
    assert [t.example.split for t in taken(open_source(path, split="val"))] == ["val"]
    (bound,) = open_source(path, options={"root": str(tmp_path / "in")}).parts
    with pytest.raises(DatasetError, match="leads out of"):
        bound.rows[0]
    with pytest.raises(ConfigError, match="unexpected keyword"):
        open_source(path, options={"rot": "x"})
    with pytest.raises(ConfigError, match="no task"):
        open_source(path, task="nothing")


def test_a_row_that_cannot_be_read_has_its_error(tmp_path):
    rows = list(taken(open_source(jsonl(tmp_path, {"path": "a.wav"}, b"{", {"path": "b.wav"}))))
    assert [t.error is None for t in rows] == [True, False, True] and "not JSON" in str(rows[1].error) and rows[1].example is None
    assert rows[1].where == f"{tmp_path / 'rows.jsonl'}, row 2"


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return hostile.write(tmp_path_factory.mktemp("hostile") / "in", 300, heavy=0)


def test_hostile_rows_are_inspected(made):
    found = inspect(open_source(made.path))
    assert sum(found.rows.values()) + len(found.broken) == len(made.kinds)
    assert len(found.broken) > 60 and {kind for _, kind, _ in found.bad_files} == {"missing", "empty_file", "not_a_file", "broken_file"}


@pytest.mark.parametrize("form", sorted(FORMS))
def test_hostile_rows_are_converted_or_listed(made, tmp_path, form):
    done = convert(open_source(made.path), tmp_path / "out", ConvertOptions(to=form, skip_bad=True))
    assert done.rows + done.bad == len(made.kinds) and done.bad > 100
    good = {f"row {n}" for n, kind in made.kinds.items() if kind == "good"}
    if form in ("messages", "manifest", "openai"):
        (tmp_path / "out").rename(tmp_path / "out.jsonl")
        assert good <= {row.id for row in Messages(tmp_path / "out.jsonl")}
    elif form == "webdataset":
        rows = catalog.load("datasets", "webdataset")(tmp_path / "out")
        assert good <= {row.id for row in rows}
    else:
        assert good <= {json.loads(line)["id"] for line in (tmp_path / "out").read_text().splitlines() if "id" in json.loads(line)}


def test_hostile_rows_are_not_sampled_with_what_is_no_clip(made, tmp_path):
    source = open_source(made.path, options={"root": str(made.path.parent)})
    done = sample(source, tmp_path / "few", count=60)
    assert done.rows == 60 and done.passed_over > 0
    copied = {p.read_bytes() for p in (tmp_path / "few" / "media").iterdir()}
    assert copied <= {p.read_bytes() for p in made.path.parent.iterdir() if p.is_file() and not p.is_symlink()}
    with pytest.raises(UniFusionError):
        divide(source, tmp_path / "split", val=0.1, test=0.1)
    assert not (tmp_path / "split").exists()
