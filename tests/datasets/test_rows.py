"""Conversations and labelled clips from JSON lines, WebDataset shards and Hugging Face tables."""

import gzip
import io
import json
import tarfile

import numpy as np
import pytest
import soundfile

from unifusion import catalog
from unifusion.errors import DatasetError

TALK = [
    {"role": "user", "content": [{"type": "audio", "path": "a.wav"}, {"type": "text", "text": "What?"}]},
    {"role": "assistant", "content": "A bell."},
]


def read(name, *args, **options):
    return catalog.load("datasets", name)(*args, **options)


def sound(seconds=0.1):
    file = io.BytesIO()
    soundfile.write(file, np.zeros(int(16_000 * seconds)), 16_000, format="WAV")
    return file.getvalue()


def test_messages(tmp_path):
    rows = [
        {"id": "x", "messages": TALK, "group": "s1", "split": "train"},
        {"path": "b.wav", "emotion": "joy", "split": "val", "start_s": 1.0, "transcript": "hello"},
        {"video": ["c.mp4", "d.mp4"], "image": "e.png", "valence": 0.5},
    ]
    path = tmp_path / "rows.jsonl"
    path.write_text("\n".join(json.dumps(r) for r in rows) + "\n\n")
    talk, joy, many = read("messages", path)
    assert (talk.id, talk.group, talk.split) == ("x", "s1", "train")
    assert talk.labels["messages"][0]["content"][0]["path"] == str(tmp_path / "a.wav")
    assert joy.id == "2" and joy.media[0].kind == "audio" and joy.media[0].start_s == 1.0 and joy.media[0].transcript == "hello"
    assert joy.labels["emotion"] == joy.texts["emotion"] == "joy"
    assert [m.kind for m in many.media] == ["video", "video", "image"] and many.labels == {"valence": 0.5}
    assert [r.id for r in read("messages", path, split="val")] == ["1", "2"]  # numbers count the split's own rows
    with pytest.raises(IndexError):
        read("messages", path)[3]


@pytest.mark.parametrize(("line", "message"), [
    ("{", "row 1: not JSON"), ("[]", "row 1: list, wanted an object"), ('{"messages": 3}', "messages are int"),
    ('{"path": "x.dat"}', "does not say whether it is a video"), ('{"audio": [1]}', "give a file's name"),
])  # fmt: skip
def test_lines_that_are_none(tmp_path, line, message):
    (tmp_path / "rows.jsonl").write_text(line + "\n")
    with pytest.raises(DatasetError, match=message):
        read("messages", tmp_path / "rows.jsonl")[0]


def test_messages_of_no_file(tmp_path):
    with pytest.raises(DatasetError, match="cannot read"):
        read("messages", tmp_path / "none.jsonl")
    (tmp_path / "empty.jsonl").write_text("\n")
    with pytest.raises(DatasetError, match="has no rows"):
        read("messages", tmp_path / "empty.jsonl")


def shard(path, members):
    with tarfile.open(path, "w") as tar:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))


def test_webdataset(tmp_path):
    talk = [{**TALK[0], "content": [{"type": "audio", "path": "0001.wav"}, TALK[0]["content"][1]]}, TALK[1]]
    shard(tmp_path / "00000.tar", {
        "d/0001.wav": sound(), "d/0001.json": json.dumps({"messages": talk}).encode(),
        "d/0002.wav": sound(0.2), "d/0002.json": b'{"emotion": "joy"}', "0003.wav": sound(), "0003.txt": b" a bell \n", "0003.cls": b"7",
    })  # fmt: skip
    shard(tmp_path / "00001.tar", {"0004.jpg": b"x", "0004.json": b'{"audio": "0004.wav"}', "0005.json": b"{", "0006.json": b"[" * 100_000})
    data = read("webdataset", tmp_path)
    assert len(data) == 6 and len(read("webdataset", str(tmp_path / "*0.tar"))) == 3
    assert data[0].labels["messages"][0]["content"][0]["path"] == sound()
    assert data[1].media[0].source == sound(0.2) and data[1].media[0].kind == "audio" and data[1].labels["emotion"] == "joy"
    assert data[2].texts["caption"] == "a bell" and data[2].labels["class"] == "7" and data[2].media[0].source == sound()
    with pytest.raises(DatasetError, match=r"sample 0004: names '0004.wav', it has jpg, json"):
        data[3]
    for number in (4, 5):
        with pytest.raises(DatasetError, match=rf"sample 000{number + 1}: its \.json is none"):
            data[number]
    (tmp_path / "packed.tar").write_bytes(
        gzip.compress((tmp_path / "00000.tar").read_bytes())
    )  # offsets in it would be of what is unpacked
    with pytest.raises(DatasetError, match="must be unpacked"):
        read("webdataset", tmp_path / "packed.tar")
    (tmp_path / "broken.tar").write_bytes(b"x" * 2000)
    for wrong, said in ((tmp_path / "none", "is no tar"), (tmp_path / "broken.tar", "copy the shard again")):
        with pytest.raises(DatasetError, match=said):
            read("webdataset", wrong)


def test_huggingface_tables_whole_and_streamed(tmp_path):
    datasets = pytest.importorskip("datasets")
    rows = {"audio": [{"bytes": sound(), "path": f"{i}.wav"} for i in range(6)], "mood": [f"m{i}" for i in range(6)]}
    table = datasets.Dataset.from_dict(rows).cast_column("audio", datasets.Audio())
    table.to_parquet(tmp_path / "t.parquet")
    table.save_to_disk(tmp_path / "saved")
    for path in (tmp_path / "t.parquet", tmp_path / "saved"):
        whole = read("huggingface", path, columns={"mood": "emotion"})
        assert len(whole) == 6 and whole[4].labels["emotion"] == "m4" and whole[4].media[0].source == sound()
        with pytest.raises(IndexError):
            whole[6]
    for text in ("{", "[" * 100_000):
        datasets.Dataset.from_dict({"messages": [text]}).to_parquet(tmp_path / "m.parquet")
        with pytest.raises(DatasetError, match="its messages are no JSON"):
            read("huggingface", tmp_path / "m.parquet")[0]
    streamed = read("huggingface", tmp_path / "t.parquet", streaming=True, count=6, shuffle=4)
    first = [streamed[i].labels["mood"] for i in range(12)]
    assert sorted(first[:6]) == sorted(first[6:]) == rows["mood"] and first[:6] != first[6:]
    assert [streamed[i].labels["mood"] for i in (3, 9, 2)] == [first[i] for i in (3, 9, 2)], "any order, forward is quick"
    with pytest.raises(DatasetError, match="nobody says how many rows"):
        read("huggingface", tmp_path / "t.parquet", streaming=True)
    short = read("huggingface", tmp_path / "t.parquet", streaming=True, count=9)
    with pytest.raises(DatasetError, match="has 6 rows, 9 were told"):
        short[6]
    with pytest.raises(DatasetError, match="cannot load the table"):
        read("huggingface", tmp_path / "none.parquet")


def test_huggingface_splits_classes_and_lists_of_clips(tmp_path):
    datasets = pytest.importorskip("datasets")
    rows = {"audio": [{"bytes": sound(), "path": None}] * 3, "label": [0, 1, -1], "who": ["a", "b", "c"]}
    table = datasets.Dataset.from_dict(rows).cast_column("audio", datasets.Audio())
    table = table.cast_column("label", datasets.ClassLabel(names=["dog", "cat"]))
    splits = datasets.DatasetDict({"train": table, "validation": table.select([1])})
    splits.save_to_disk(tmp_path / "s")
    whole = read("huggingface", tmp_path / "s", split=None, columns={"who": "group"})
    assert [(r.split, r.labels.get("label"), r.group) for r in whole] == [
        ("train", "dog", "a"), ("train", "cat", "b"), ("train", None, "c"), ("val", "cat", "b"),
    ]  # fmt: skip
    assert all(r.media[0].source == sound() for r in whole)
    assert [r.split for r in read("huggingface", tmp_path / "s", split="val")] == ["val"] and len(read("huggingface", tmp_path / "s")) == 3
    with pytest.raises(DatasetError, match=r"has no split 'test'; known: train, validation"):
        read("huggingface", tmp_path / "s", split="test")
    with pytest.raises(DatasetError, match="name the one that is streamed"):
        read("huggingface", tmp_path / "s", split=None, streaming=True, count=2)
    assert read("huggingface", tmp_path / "s", split="val", streaming=True, count=1)[0].labels["label"] == "cat"
    datasets.DatasetDict({"train": table, "test": datasets.Dataset.from_dict({"who": [1]})}).save_to_disk(tmp_path / "other")
    with pytest.raises(DatasetError, match="have other columns"):
        read("huggingface", tmp_path / "other", split=None)
    talk = [{"role": "user", "content": "<audio>What?"}, {"role": "assistant", "content": "A dog."}]
    columns = datasets.Features(
        {"messages": [{k: datasets.Value("string") for k in ("role", "content")}], "audios": datasets.List(datasets.Audio())}
    )
    held = [{"messages": talk, "audios": [{"bytes": sound(), "path": None}]}]
    pyarrow = pytest.importorskip("pyarrow")
    datasets.Dataset(pyarrow.Table.from_pylist(held, schema=columns.arrow_schema)).save_to_disk(tmp_path / "talks")
    (part, text) = read("huggingface", tmp_path / "talks")[0].labels["messages"][0]["content"]
    assert part["type"] == "audio" and part["path"] == sound() and text["text"] == "What?"
