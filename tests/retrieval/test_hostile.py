"""Index folders that somebody cut, changed or made up: a typed error with the way to mend it, nothing executed, nothing wrong found."""

import json
import os
import pickle
import random
import shutil

import numpy as np
import pytest

from tests.retrieval.toys import ToyEmbedder
from unifusion.errors import CheckpointError, ConfigError, UniFusionError
from unifusion.retrieval.library import Library
from unifusion.retrieval.segment import sha256_of

SEGMENT = "segments/00000001-00000001"


class Canary:
    """Touches a file when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


def used(folder):
    """Open a library and read all of it."""
    library = Library.open(folder, ToyEmbedder())
    for space in library.spaces:
        library.search("red", k=20, space=space)
        library.vectors(space)
    return library


def resealed(folder):
    """Write hashes that fit what lies there, as somebody would who means harm."""
    path = folder / "segment.json"
    told = json.loads(path.read_text())
    told["files"] = {p.name: sha256_of(p) for p in folder.iterdir() if p != path}
    path.write_text(json.dumps(told))


@pytest.fixture
def index(library):
    return library.folder


def manifest_with(index, **changes):
    raw = json.loads((index / "manifest.json").read_text())
    (index / "manifest.json").write_text(json.dumps({**raw, **changes}))


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"version": 2}, "version 2, this release reads 1"), ({"version": "1"}, "version '1'"), ({"embedder": 3}, "damaged"),
        ({"normalisation": "none"}, "normalisation 'none'"), ({"format": "other"}, "no manifest of a library"), ({"roots": 3}, "damaged"),
        ({"window_s": "6"}, "damaged"), ({"window_s": -1}, "damaged"), ({"precision": "object"}, "damaged"),
        ({"backend": {"name": 3}}, "damaged"), ({"embedder": {"width": 10**9}}, "damaged"),
    ],
)  # fmt: skip
def test_manifests_of_another_kind(index, clips, changes, told):
    if isinstance(changes.get("embedder"), dict):
        raw = json.loads((index / "manifest.json").read_text())
        changes = {"embedder": {**raw["embedder"], **changes["embedder"]}}
    manifest_with(index, **changes)
    with pytest.raises(CheckpointError, match=told) as caught:
        used(index)
    if "format" not in changes and "roots" not in changes:
        assert f"unifusion index {clips} -o {index} --overwrite" in str(caught.value)


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '"x"', "[" * 100_000, "\ud800".encode("utf-8", "surrogatepass")])
def test_manifests_that_are_no_json(index, text):
    (index / "manifest.json").write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(CheckpointError):
        used(index)


def test_another_width_or_key_in_the_manifest(index):
    raw = json.loads((index / "manifest.json").read_text())
    manifest_with(index, embedder={**raw["embedder"], "width": 8})
    with pytest.raises(UniFusionError):
        used(index)
    with pytest.raises(CheckpointError, match="wanted a width of 8"):
        Library.open(index)
    manifest_with(index, embedder={**raw["embedder"], "key": "other"})
    with pytest.raises(ConfigError, match="holds vectors of the embedder"):
        used(index)


def test_every_file_cut_at_every_tenth(index, clips):
    """A cut file of a segment is refused; a cut file of a back end is made again."""
    wanted = [one.id for one in used(index).search("red", k=8)]
    refused = 0
    for path in sorted(p for p in index.rglob("*") if p.is_file() and p.name not in ("lock", "quarantine.jsonl")):
        whole = path.read_bytes()
        for tenth in range(10):
            path.write_bytes(whole[: len(whole) * tenth // 10])
            try:
                assert [one.id for one in used(index).search("red", k=8)] == wanted, path
                assert "backends" in path.parts, path
            except CheckpointError as error:
                assert "backends" not in path.parts and "unifusion index" in str(error), path
                refused += 1
        path.write_bytes(whole)
    assert refused >= 90


def test_changed_bytes_are_seen(index):
    rng = random.Random(0)
    files = [p for p in (index / "segments").rglob("*") if p.is_file()]
    wanted = [one.to_dict() for one in used(index).search("red", k=8)]
    refused = 0
    for _ in range(150):
        path = rng.choice(files)
        whole = path.read_bytes()
        at = rng.randrange(len(whole))
        path.write_bytes(whole[:at] + bytes([whole[at] ^ (1 << rng.randrange(8))]) + whole[at + 1 :])
        try:
            assert [one.to_dict() for one in used(index).search("red", k=8)] == wanted, "a blank in JSON, at most"
        except CheckpointError:
            refused += 1
        path.write_bytes(whole)
    assert refused > 130


def test_bytes_changed_by_somebody_who_knows_the_hashes(index):
    """Whatever the bytes are, there is an answer or a typed error."""
    rng = random.Random(1)
    files = [p for p in (index / SEGMENT).iterdir() if p.name != "segment.json"]
    shutil.rmtree(index / "backends")
    seal = (index / SEGMENT / "segment.json").read_bytes()
    for _ in range(150):
        path = rng.choice(files)
        whole = path.read_bytes()
        at, length = rng.randrange(len(whole)), rng.choice([1, 4, 20])
        path.write_bytes(whole[:at] + rng.randbytes(length) + whole[at + length :])
        resealed(index / SEGMENT)
        try:
            used(index)
        except UniFusionError:
            pass
        path.write_bytes(whole)
        (index / SEGMENT / "segment.json").write_bytes(seal)
    used(index)


@pytest.mark.parametrize("name", ["clip.npy", "clip.ids.npy", "windows.npy"])
@pytest.mark.parametrize("way", ["object", "pickle", "npz", "float64", "wrong shape", "version 9"])
def test_arrays_of_another_kind(index, tmp_path, name, way):
    path, canary = index / SEGMENT / name, tmp_path / "canary"
    shutil.rmtree(index / "backends")
    if way == "object":
        np.save(path, np.array([Canary(canary)], dtype=object), allow_pickle=True)
    elif way == "pickle":
        path.write_bytes(pickle.dumps(Canary(canary)))
    elif way == "npz":
        with path.open("wb") as file:
            np.savez(file, x=np.zeros(3))
    elif way == "float64":
        np.save(path, np.full((8, 16), np.nan))
    elif way == "wrong shape":
        np.save(path, np.zeros((3, 3, 3), np.float32))
    else:
        path.write_bytes(b"\x93NUMPY\x09\x00" + path.read_bytes()[8:])
    with pytest.raises(CheckpointError, match="00000001-00000001"):
        used(index)
    resealed(index / SEGMENT)
    with pytest.raises(CheckpointError, match=r"00000001-00000001.*--repair"):
        used(index)
    assert not canary.exists()


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("clips.jsonl", "{}"), ("clips.jsonl", '{"clip": "a", "gone": true}'), ("clips.jsonl", "[]"), ("clips.jsonl", "\xff"),
        ("windows.jsonl", ""), ("windows.jsonl", "{}\n" * 8), ("windows.jsonl", "\n" * 8),
    ],
)  # fmt: skip
def test_rows_of_another_kind(index, name, text):
    shutil.rmtree(index / "backends")
    (index / SEGMENT / name).write_text(text, encoding="latin-1")
    resealed(index / SEGMENT)
    with pytest.raises(CheckpointError, match="is damaged"):
        used(index)


def test_segment_files_that_point_elsewhere(index, tmp_path):
    path = index / SEGMENT / "segment.json"
    raw = json.loads(path.read_text())
    for changes in ({"spaces": ["../../../x"]}, {"spaces": [3]}, {"library": "other"}, {"first": 2}, {"version": 7}, {"files": []}):
        path.write_text(json.dumps({**raw, **changes}))
        with pytest.raises(CheckpointError, match="--repair"):
            used(index)


def test_a_segment_of_another_library_or_number(index, clips, tmp_path):
    other = Library.create(tmp_path / "other", ToyEmbedder(), backend="tests.retrieval.toys:ToyBackend")
    other.index([clips / "red.png"])
    shutil.copytree(other.folder / SEGMENT, index / "segments" / "00000002-00000002")
    with pytest.raises(CheckpointError, match=r"calls itself|of library"):
        used(index)
    shutil.rmtree(index / "segments" / "00000002-00000002")
    shutil.rmtree(index / SEGMENT)
    shutil.copytree(other.folder / SEGMENT, index / SEGMENT)
    with pytest.raises(CheckpointError, match="of library"):
        used(index)


def test_a_missing_segment_is_told_and_mended(index, clips, embedder):
    for colour in ("red", "green"):
        (clips / f"{colour}.png").unlink()
        (clips / f"{colour}2.png").write_bytes((clips / "blue.png").read_bytes() + colour.encode())
        Library.open(index, embedder).index([clips])
    shutil.rmtree(index / "segments" / "00000002-00000002")
    with pytest.raises(CheckpointError, match=r"after segment 1 comes 00000003-00000003.*--repair"):
        used(index)
    assert Library.repair(index) == ["segments 2 to 2 are missing"]
    library = used(index)
    library.index([clips])
    paths = sorted(one.path for one in library.get([int(i) for i in library.vectors()[0]]) if one.path.endswith("2.png"))
    assert paths == [str(clips / "green2.png"), str(clips / "red2.png")]


def test_repair_encodes_again_what_was_in_a_damaged_segment(index, clips, embedder):
    path = index / SEGMENT / "clip.npy"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(CheckpointError, match="--repair"):
        used(index)
    assert "clip.npy has" in Library.repair(index)[0] and Library.repair(index) == []
    assert (index / "broken" / "00000001-00000001").is_dir()
    library = used(index)
    assert len(library) == 0
    embedder.opened.clear()
    assert (library.index([clips]).clips, len(library)) == (6, 8)
    assert len(used(index).search("red", k=20)) == 8


def test_half_of_a_clip_is_lost(made, clips, embedder):
    from unifusion.retrieval.summary import IndexOptions

    library = made()
    library.index([clips / "sounds" / "long.wav", clips / "red.png"], IndexOptions(flush_windows=1, batch_size=1))
    assert len(list((library.folder / "segments").iterdir())) == 4
    shutil.rmtree(library.folder / "segments" / "00000002-00000002")
    Library.repair(library.folder)
    again = used(library.folder)
    assert [one.path for one in again.search("red", k=9)] == [str(clips / "red.png")], "a clip without its middle is no clip"
    again.index([clips / "sounds" / "long.wav", clips / "red.png"])
    assert len(again) == 4


def test_litter_and_foreign_files_do_not_matter(index, clips):
    (index / "segments" / ".00000002-00000002-abc.tmp").mkdir()
    (index / "segments" / ".00000002-00000002-abc.tmp" / "clip.npy").write_bytes(b"half")
    (index / "segments" / "notes.txt").write_text("hello")
    (index / "backends" / ".clip-x.tmp").mkdir()
    assert len(used(index)) == 8
    assert Library.open(index, ToyEmbedder()).index([clips]).there == 6
    assert not list(index.rglob(".*.tmp")) and (index / "segments" / "notes.txt").exists()
