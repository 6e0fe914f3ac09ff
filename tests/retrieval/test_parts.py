"""Segments, snapshots, writers, back ends on disk, places and locks, each by itself."""

import json
import logging
import shutil
from dataclasses import dataclass, replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.retrieval.toys import ToyBackend, ToyEmbedder, axis, tone
from unifusion.errors import CheckpointError, ConfigError, MediaError
from unifusion.retrieval import embedding
from unifusion.retrieval.backends.backend import Backend
from unifusion.retrieval.bad_files import BadFiles, window_name
from unifusion.retrieval.choosing import chosen
from unifusion.retrieval.derived import Derived, row_of
from unifusion.retrieval.entry import Entry, Window
from unifusion.retrieval.layout import BackendChoice, EmbedderFacts, Manifest, again, new_manifest, read_manifest, write_manifest
from unifusion.retrieval.library import Library
from unifusion.retrieval.lock import writing
from unifusion.retrieval.place import clear, must_be_free, tidy
from unifusion.retrieval.repair import compact
from unifusion.retrieval.segment import Content, Segment, numbers_of, write_segment
from unifusion.retrieval.snapshot import Snapshot, segment_folders
from unifusion.retrieval.writer import Writer

TOY = BackendChoice(name="tests.retrieval.toys:ToyBackend")


@pytest.fixture
def manifest(tmp_path):
    made = new_manifest(ToyEmbedder(), "toy", window_s=None, hop_s=None, precision="float32", backend=TOY)
    write_manifest(tmp_path, made)
    return made


def entry(clip, path="/a.mp4", **options):
    made = {
        "root": "/", "listed": False, "start_s": None, "end_s": None, "asked": "", "size": 1, "mtime_ns": 2, "inode": 3, "sha256": "s",
        "told": "t", "key": f"k{clip}", **options,
    }  # fmt: skip
    return Entry(clip=clip, path=path, **made)


def added(writer, clip, count, path=None, start=0):
    """Put a clip of `count` windows."""
    writer.put(entry(clip, path or f"/{clip}.mp4", kind="video", done=False))
    for n in range(start, start + count):
        vectors = {"clip": axis(f"{clip} {n}"), **({"audio": axis(f"a {clip} {n}")} if n % 2 else {})}
        writer.add(clip, (float(n), float(n + 1)), streams=("x",), texts={}, vectors=vectors)


def at(folder, manifest):
    return Snapshot(folder, manifest)


texts = st.dictionaries(st.text(max_size=5), st.text(max_size=20), max_size=3)


@given(st.integers(0, 2**62), st.text(max_size=30), texts, st.booleans(), st.one_of(st.none(), st.floats(0, 1e6)), st.text(max_size=9))
def test_rows_come_back_as_they_were(number, path, words, flag, seconds, error):
    made = entry(number, path, listed=flag, start_s=seconds, texts=words, metadata={"x": number, "y": [1, None]}, error=error, windows=3)
    assert Entry.of(json.loads(json.dumps(made.to_dict()))) == made and made.state == (1, 2, 3)
    window = Window(id=number, clip=number, start_s=seconds or 0.0, end_s=7, streams=("a", "b"), texts=words)
    assert Window.of(json.loads(json.dumps(window.to_dict()))) == window


@pytest.mark.parametrize("changes", [{"clip": "1"}, {"clip": True}, {"clip": -1}, {"path": 3}, {"start_s": "0"}, {"texts": []}, {"x": 1}])
def test_rows_of_another_kind(changes):
    with pytest.raises((TypeError, ValueError)):
        Entry.of({**entry(0).to_dict(), **changes})


def test_a_segment_comes_back_as_it_was_written(tmp_path):
    windows = [Window(id=n, clip=n // 2, start_s=float(n), end_s=n + 1.0) for n in (3, 4, 7)]
    vectors = {"clip": (np.array([3, 4, 7]), np.eye(3, 16, dtype=np.float32)), "audio": (np.array([4]), np.eye(1, 16, dtype=np.float32))}
    content = Content(entries=[entry(1, "/\udcff.mp4"), entry(2)], gone=[0], windows=windows, vectors=vectors)
    made = write_segment(tmp_path, content, library="me", numbers=(4, 4), next_window=8, next_clip=3, precision="float16")
    assert made.name == "00000004-00000004" and numbers_of(made) == (4, 4) and numbers_of(tmp_path) is None
    read = Segment(made, library="me", width=16, remedy="")
    assert (read.first, read.last, read.next_window, read.next_clip, read.spaces) == (4, 4, 8, 3, ["audio", "clip"])
    assert read.entries == content.entries and read.gone == [0] and [read.window(n) for n in range(3)] == windows
    ids, held = read.vectors("clip")
    assert ids.tolist() == [3, 4, 7] and held.dtype == np.float16 and np.array_equal(held, np.eye(3, 16))
    assert read.vectors("video")[1].shape == (0, 16)
    shutil.rmtree(made)
    assert read.vectors("audio")[0].tolist() == [4], "what was opened stays"
    with pytest.raises(FileNotFoundError):
        Segment(made, library="me", width=16, remedy="")
    with pytest.raises(CheckpointError, match="a space called"):
        bad = Content(vectors={"../x": vectors["clip"]})
        write_segment(tmp_path, bad, library="", numbers=(1, 1), next_window=0, next_clip=0, precision="float32")
    assert not list(tmp_path.iterdir()), "what could not be written leaves nothing"


def test_an_empty_segment(tmp_path):
    made = write_segment(tmp_path, Content(), library="me", numbers=(1, 1), next_window=0, next_clip=0, precision="float32")
    read = Segment(made, library="me", width=16, remedy="")
    assert read.rows == [] and len(read.ids_N) == 0 and read.spaces == []


def test_a_wider_segment_hides_what_it_stands_for(tmp_path):
    for name in ("00000001-00000001", "00000002-00000002", "00000001-00000003", "00000004-00000004", "x", "00000009-00000008"):
        (tmp_path / name).mkdir()
    assert [p.name for p in segment_folders(tmp_path)] == ["00000001-00000003", "00000004-00000004"]
    (tmp_path / "00000006-00000006").mkdir()
    with pytest.raises(CheckpointError, match="after segment 4 comes 00000006"):
        segment_folders(tmp_path)
    assert segment_folders(tmp_path / "none") == []


def test_what_is_written_is_read_in_order(tmp_path, manifest):
    writer = Writer(at(tmp_path, manifest))
    added(writer, writer.new_clip(), 3)
    added(writer, writer.new_clip(), 2)
    writer.flush(force=False)
    assert writer.segments == 0, "neither full nor late"
    writer.flush()
    writer.flush()
    now = at(tmp_path, manifest)
    assert (writer.segments, now.last, now.next_window, now.next_clip, now.spaces) == (1, 1, 5, 2, ["clip", "audio"])
    assert now.entries[0].windows == 3 and now.vectors("audio")[0].tolist() == [1, 4] and now.ids_of([1]).tolist() == [3, 4]
    np.testing.assert_allclose(now.vectors("clip", np.array([3, 1]))[1], [axis("0 1"), axis("1 0")], atol=1e-7)
    assert now.window(4) == Window(id=4, clip=1, start_s=1.0, end_s=2.0, streams=("x",))
    assert now.holds(4) and not now.holds(5) and not now.holds(-1)
    with pytest.raises(KeyError):
        now.window(5)
    writer = Writer(now)
    writer.put(replace(now.entries[0], path="/renamed.mp4"))
    writer.remove(1)
    writer.flush()
    later = at(tmp_path, manifest)
    assert later.entries[0].path == "/renamed.mp4" and list(later.entries) == [0] and later.vectors("clip")[0].tolist() == [0, 1, 2]
    assert not later.holds(4) and later.vectors("clip", after=1)[0].tolist() == [] and not now.is_current() and later.is_current()
    assert set(later.by_name()) == {("/renamed.mp4", None, None, "")} and later.by_key() == {}, "it was never done"
    assert now.holds(4), "an older snapshot stays as it is"


def test_a_new_clip_of_the_same_name_ends_the_old_one(tmp_path, manifest):
    writer = Writer(at(tmp_path, manifest), flush_windows=2)
    added(writer, writer.new_clip(), 1, "/a.mp4")
    writer.flush()
    added(writer, writer.new_clip(), 2, "/a.mp4")
    writer.flush(force=False)
    now = at(tmp_path, manifest)
    assert (writer.segments, list(now.entries), now.vectors("clip")[0].tolist()) == (2, [1], [1, 2])


def test_merging_changes_nothing_but_the_number_of_segments(tmp_path, manifest):
    for clip in range(12):
        writer = Writer(at(tmp_path, manifest))
        added(writer, writer.new_clip(), 2)
        if clip % 3 == 2:
            writer.remove(clip - 1)
        writer.flush()
    before = at(tmp_path, manifest)
    told = {space: before.vectors(space) for space in before.spaces}
    rows = [before.window(int(id)) for id in told["clip"][0]]
    assert compact(before) and not compact(at(tmp_path, manifest))
    after = at(tmp_path, manifest)
    assert [s.folder.name for s in after.segments] == ["00000001-00000012"] and after.entries == before.entries
    assert (after.next_window, after.next_clip, after.last) == (24, 12, 12) and len(after.ids_N) == 16
    for space, (ids, vectors) in told.items():
        assert np.array_equal(after.vectors(space)[0], ids) and np.array_equal(after.vectors(space)[1], vectors)
    assert [after.window(int(id)) for id in told["clip"][0]] == rows
    assert before.vectors("audio")[0].tolist() == told["audio"][0].tolist(), "who read before goes on"


def test_large_segments_are_left_alone(tmp_path, manifest):
    writer = Writer(at(tmp_path, manifest))
    for _ in range(2):
        added(writer, writer.new_clip(), 100)
    writer.flush()
    for clip in range(10):
        writer = Writer(at(tmp_path, manifest))
        added(writer, writer.new_clip(), 1)
        if clip in (3, 7):
            writer.remove(clip // 4)  # of the large segment: that it is gone has to outlive the merging
        writer.flush()
    assert compact(at(tmp_path, manifest))
    now = at(tmp_path, manifest)
    assert [s.folder.name for s in now.segments] == ["00000001-00000001", "00000002-00000011"]
    assert sorted(now.entries) == list(range(2, 12)) and now.vectors("clip")[0].tolist() == list(range(200, 210))


class Server(ToyBackend):
    """A back end whose vectors live elsewhere."""

    remote = True
    stores: dict = {}  # noqa: RUF012 - that is the server

    @dataclass(kw_only=True)
    class Config(Backend.Config):
        collection: str = "c"
        replace: bool = False

    def __init__(self, width, config):
        super().__init__(width, config)
        if self.stores.get(config.collection) and not config.replace:
            raise ConfigError("it holds vectors;")
        self.held = self.stores[config.collection] = {}

    def save(self, folder):
        (folder / "where.json").write_text("{}")

    @classmethod
    def load(cls, folder, width, config):
        made = cls.__new__(cls)
        Backend.__init__(made, width, config)
        made.held = cls.stores[config.collection]
        return made


def test_only_a_writer_writes_to_a_server(tmp_path, clips, caplog):
    Server.stores.clear()
    library = Library.create(tmp_path / "ix", ToyEmbedder(), backend=f"{__name__}:Server", config={"collection": "mine"})
    library.index([clips])
    names = sorted(Server.stores)
    assert names == [f"mine-{library.manifest.id[:12]}-{space}" for space in ("audio", "clip", "video")]
    assert len(Server.stores[names[1]]) == 8
    reader = Library.open(library.folder, ToyEmbedder())
    assert len(reader.search("red", k=20)) == 8
    tone(clips / "more.wav", "low", seconds=0.3)
    writer = Writer(Snapshot(library.folder, library.manifest))
    writer.remove(0)
    writer.flush()
    late = Library.open(library.folder, ToyEmbedder())
    assert len(late.search("red", k=20)) == 7 and "not what the index holds now" in caplog.text and len(Server.stores[names[1]]) == 8
    library.index([clips])
    assert len(Server.stores[names[1]]) == 9 and len(Library.open(library.folder, ToyEmbedder()).search("red", k=20)) == 9
    shutil.rmtree(library.folder / "backends")
    with pytest.raises(ConfigError, match=f"unifusion index -o {library.folder} --rebuild"):
        Library.open(library.folder, ToyEmbedder()).search("red")
    library.rebuild()
    assert len(Library.open(library.folder, ToyEmbedder()).search("red", k=20)) == 9


def test_a_back_end_follows_the_segments(tmp_path, manifest):
    def grown(writer):
        added(writer, writer.new_clip(), 3)
        writer.flush()
        return at(tmp_path, manifest)

    def same(derived, space="clip"):
        ids, _ = derived.snapshot.vectors(space)
        return sorted(derived.backend(space).held) == ids.tolist()

    first = grown(Writer(at(tmp_path, manifest)))
    derived = Derived(first, TOY, writable=True)
    derived.save()
    (home,) = (tmp_path / "backends").glob("clip-*")
    assert home.name.startswith("clip-00000001-")
    loads = ToyBackend.loads
    second = grown(Writer(first))
    reader = Derived(second, TOY)
    assert same(reader) and same(reader, "audio") and ToyBackend.loads == loads + 2 and home.exists(), "older ones are brought up in memory"
    writer = Writer(second)
    writer.put(replace(second.entries[1], path="/new name.mp4", metadata={"label": "x", "list": [1]}))
    writer.remove(0)
    third = grown(writer)
    newer = Derived(third, TOY, writable=True)
    assert same(newer) and newer.backend("clip").held[3][1] == {
        "kind": "video", "folder": "", "name": "new name.mp4", "label": "x", "path": "/new name.mp4", "start_s": 0.0, "end_s": 1.0,
    }  # fmt: skip
    newer.save()
    assert not home.exists() and len(list((tmp_path / "backends").iterdir())) == 2
    assert same(Derived(first, TOY)), "an older snapshot does not take a newer back end"
    before = {p: p.stat().st_mtime_ns for p in (tmp_path / "backends").rglob("*")}
    Derived(third, TOY, writable=True).save()
    assert before == {p: p.stat().st_mtime_ns for p in (tmp_path / "backends").rglob("*")}
    other = Derived(third, BackendChoice(name="exact"), writable=True)
    other.save()
    assert len(other.backend("clip")) == 6 and len(list((tmp_path / "backends").iterdir())) == 2
    with pytest.raises(ConfigError, match="no choice 'x'"):
        Derived(third, BackendChoice(name="exact", config={"x": 1}), writable=True).save(anew=True)


def test_two_folders_of_one_back_end(tmp_path, manifest, caplog):
    writer = Writer(at(tmp_path, manifest))
    added(writer, writer.new_clip(), 3)
    writer.flush()
    Derived(at(tmp_path, manifest), TOY, writable=True).save()
    (home,) = (tmp_path / "backends").glob("clip-*")
    shutil.copytree(home, home.with_name("clip-00000000-00000000"))
    shutil.copytree(home, home.with_name("smell-00000001-00000000"))
    Derived(at(tmp_path, manifest), TOY, writable=True).save()
    assert [p.name for p in (tmp_path / "backends").glob("[cs]*")] == [home.name]


def test_what_a_window_is_filtered_by():
    known = {"label": "dog", "n": 3, "ok": True, "list": [1], "none": None, "path": "x", "folder": "mine"}
    row = row_of(entry(0, "/clips/dogs/a.mp4", kind="video", metadata=known), Window(id=0, clip=0, start_s=1.0, end_s=2.0))
    assert row == {
        "kind": "video", "folder": "mine", "name": "a.mp4", "label": "dog", "n": 3, "ok": True, "path": "/clips/dogs/a.mp4", "start_s": 1.0,
        "end_s": 2.0,
    }  # fmt: skip


def test_choosing_a_back_end():
    small, named = chosen("", {}, 100, 512), chosen("faiss_flat", {}, 10**7, 512)
    assert small.name == "exact" and "100 vectors" in small.reason and not small.fixed
    assert named.name == "faiss_flat" and named.fixed
    for name, config, told in (("", {"a": 1}, "without its name"), ("exakt", {}, "exact"), ("exact", {"nprobe": 3}, "no choice 'nprobe'")):
        with pytest.raises(ConfigError, match=told):
            chosen(name, config, 0, 16)


def test_the_place_of_a_library(tmp_path, manifest):
    must_be_free(tmp_path / "new", False)
    with pytest.raises(ConfigError, match="holds a library already"):
        must_be_free(tmp_path, False)
    must_be_free(tmp_path, True)
    (tmp_path / "segments").mkdir()
    (tmp_path / "quarantine.jsonl").write_text("{}")
    (tmp_path / ".x.tmp").mkdir()
    clear(tmp_path)
    tidy(tmp_path)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["manifest.json"]
    (tmp_path / "mine.txt").write_text("")
    with pytest.raises(ConfigError, match=r"holds mine\.txt"):
        must_be_free(tmp_path, True)
    with pytest.raises(ConfigError, match="is a file"):
        must_be_free(tmp_path / "mine.txt", True)


def test_a_lock_is_held_once_and_ends_with_an_error(tmp_path):
    with writing(tmp_path / "a"), pytest.raises(ConfigError, match="being written by process"), writing(tmp_path / "a"):
        pass
    with pytest.raises(RuntimeError), writing(tmp_path / "a"):
        raise RuntimeError
    with writing(tmp_path / "a"):
        (tmp_path / "a" / "lock").write_text("half")
        with pytest.raises(ConfigError, match="by another process"), writing(tmp_path / "a"):
            pass


def test_the_list_of_bad_files(tmp_path):
    path = tmp_path / "quarantine.jsonl"
    first = BadFiles(path, skip=True)
    for name in ("/a.mp4", window_name("/b.mp4", 6, 12), "/\udcff.mp4", "/c.mp4"):
        first.note(name, MediaError(f"{name}: bad;"))
    path.write_text(path.read_text() + '{"name": "/d.m')
    again = BadFiles(path, skip=True)
    again.heal()
    assert len(path.read_text().splitlines()) == 5, "nothing mended, nothing changed"
    again.note("/c.mp4", MediaError("/c.mp4: bad;"))
    again.mended |= {"/a.mp4", "/b.mp4", "/c.mp4"}
    again.heal()
    assert [json.loads(line)["name"] for line in path.read_text().splitlines()] == ["/\udcff.mp4", "/c.mp4"]
    with pytest.raises(MediaError, match="bad"):
        BadFiles(path, skip=False).note("/e.mp4", MediaError("/e.mp4: bad;"))


def test_manifests_come_back_and_name_the_command(tmp_path, manifest):
    assert read_manifest(tmp_path) == manifest and isinstance(manifest, Manifest)
    write_manifest(tmp_path, replace(manifest, roots=("/my clips", "/b")))
    assert read_manifest(tmp_path).roots == ("/my clips", "/b")
    assert again(tmp_path, ("/my clips",)) == f"unifusion index '/my clips' -o {tmp_path} --overwrite" and "DIR.." in again(tmp_path, [3])
    assert manifest.embedder == EmbedderFacts.of(ToyEmbedder(), "toy") and manifest.embedder.strict and manifest.window_s == 6.0
    assert EmbedderFacts.place("tiny-embed") == "tiny-embed" and EmbedderFacts.place(str(tmp_path / ".." / tmp_path.name)) == str(tmp_path)


def test_files_of_a_checkpoint_and_what_is_loaded(tmp_path, monkeypatch):
    assert embedding.files_of(str(tmp_path / "none")) == ""
    (tmp_path / "m").mkdir()
    (tmp_path / "m" / "w").write_text("a")
    before = embedding.files_of(str(tmp_path / "m"))
    assert before and before == embedding.files_of(str(tmp_path / "m"))
    (tmp_path / "m" / "w").write_text("ab")
    assert embedding.files_of(str(tmp_path / "m")) != before
    with pytest.raises(CheckpointError):
        embedding.load_embedder("tiny-emotion")
    for vector, told in ((np.ones(16), "length 4"), (np.ones(3), "3 numbers"), (np.full(16, np.nan), "nan")):
        with pytest.raises(CheckpointError, match=told):
            embedding.unit(vector, 16, "x")


def test_a_model_whose_files_changed_is_loaded_and_compared(tmp_path, clips):
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "w").write_text("a")
    library = Library.create(tmp_path / "ix", ToyEmbedder(), source=str(tmp_path / "model"), backend=TOY.name)
    library.index([clips])
    (tmp_path / "model" / "w").write_text("ab")
    loads = []

    def load(key):
        loads.append(key)
        return ToyEmbedder(key=key, calibration={"threshold": 0.75})

    with pytest.raises(ConfigError, match="holds vectors of the embedder"):
        Library.open(library.folder, load=lambda: load("other")).index([clips])
    same = Library.open(library.folder, load=lambda: load("k" * 64))
    assert same.index([clips]).there == 6 and loads == ["other", "k" * 64]
    assert Library.open(library.folder, load=lambda: load("never")).index([clips]).there == 6 and len(loads) == 2
    assert read_manifest(library.folder).embedder.calibration == {"threshold": 0.75}


def test_a_space_that_nobody_has(library, caplog):
    caplog.set_level(logging.WARNING)
    for work in (library.vectors, lambda space: library.search("red", space=space), lambda space: library.duplicates(space=space)):
        with pytest.raises(ConfigError, match=r"no space 'smell'.*clip, audio, video"):
            work("smell")
