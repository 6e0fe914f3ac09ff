"""A folder becomes searchable; what has not changed is not embedded again; several read while one writes."""

import json
import os
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

from tests.retrieval.toys import TONES, Quiet, ToyBackend, ToyEmbedder, axis, picture, tone
from tests.test_readme import ROOT
from unifusion.conversation import Media
from unifusion.errors import CheckpointError, ConfigError, DatasetError, MediaError
from unifusion.retrieval.library import Library
from unifusion.retrieval.summary import IndexOptions

BACKEND = "tests.retrieval.toys:ToyBackend"


def names(found):
    return [Path(one.path).name for one in found]


def spans(found):
    return sorted((Path(one.path).name, one.start_s, one.end_s) for one in found)


def everything(library):
    return library.get([int(id) for id in library.vectors()[0]])


def test_a_folder_becomes_searchable(library, clips):
    assert len(library) == 8 and library.clips == 6 and library.spaces == ["clip", "audio", "video"]
    best = library.search("red", k=1)[0]
    assert best.path == str(clips / "red.png") and (best.start_s, best.end_s) == (0.0, 0.0)
    assert (best.kind, best.streams) == ("image", ("video",))
    best = library.search("high", k=2, space="audio")
    assert spans(best) == [("high.wav", 0.0, 1.0), ("long.wav", 12.0, 15.0)]
    assert {**best[0].to_dict(), "score": 0, "id": 0} == {
        "path": best[0].path, "kind": "audio", "start_s": best[0].start_s, "end_s": best[0].end_s, "score": 0, "streams": ["audio"],
        "texts": {}, "metadata": {}, "id": 0,
    }  # fmt: skip
    assert [one.id for one in library.search("low", k=100)] == [one.id for one in library.search("low", k=8)]
    scores = [one.score for one in library.search("low", k=8)]
    assert scores == sorted(scores, reverse=True)
    assert library.relevant(best) is True and library.relevant([]) is False
    library.manifest.embedder.calibration.clear()
    assert library.relevant(best) is None


def test_queries_of_all_kinds(library, clips, tmp_path):
    like = Media(kind="audio", source=str(tone(tmp_path / "q.wav", "middle")))
    assert spans(library.search(like, k=1)) == [("long.wav", 6.0, 12.0)]
    assert names(library.search(np.float32(3) * axis("green"), k=1)) == ["green.png"]
    both = library.search(["red", "blue"], k=2)
    assert set(names(both)) == {"red.png", "blue.png"}
    assert names(library.search(["red", "blue"], k=1, weights=[1, -0.5])) == ["red.png"]
    assert names(library.search("red", k=1, where={"name": "blue.png"})) == ["blue.png"]
    assert names(library.search("low", k=9, where={"folder": "sounds"})) and library.search("low", where={"label": "none"}) == []
    with pytest.raises(ConfigError, match="no space 'smell'"):
        library.search("red", space="smell")
    assert names(library.get([library.search("red", k=1)[0].id])) == ["red.png"]
    with pytest.raises(ConfigError, match="no window 99"):
        library.get([99])


def test_nothing_changed_nothing_done(library, clips, embedder, monkeypatch):
    opened = len(embedder.opened)
    written = {p: p.stat().st_mtime_ns for p in library.folder.rglob("*") if p.is_file() and p.name != "lock"}
    told = library.index([clips])
    assert (told.there, told.clips, told.windows, told.decode_s) == (6, 0, 0, 0.0) and len(embedder.opened) == opened
    assert written == {p: p.stat().st_mtime_ns for p in library.folder.rglob("*") if p.is_file() and p.name != "lock"}
    os.utime(clips / "red.png")
    told = library.index([clips])
    assert (told.there, told.known_anew) == (5, 1) and len(embedder.opened) == opened
    assert library.index([clips]).there == 6


def test_renamed_changed_copied_vanished(library, clips, embedder):
    id = library.search("red", k=1)[0].id
    (clips / "red.png").rename(clips / "sounds" / "rot.png")
    shutil.copy(clips / "sounds" / "long.wav", clips / "twin.wav")
    opened = len(embedder.opened)
    told = library.index([clips])
    assert (told.there, told.moved, told.copied, told.clips, told.vanished) == (5, 1, 1, 0, 0) and len(embedder.opened) == opened
    assert library.search("red", k=1)[0].id == id and names(library.search("red", k=1)) == ["rot.png"]
    assert names(library.search("red", k=1, where={"folder": "sounds", "kind": "image"})) == ["rot.png"], "the back end knows the new name"
    assert spans(library.search("middle", k=2, space="audio")) == [("long.wav", 6.0, 12.0), ("twin.wav", 6.0, 12.0)]
    tone(clips / "twin.wav", "low")
    picture(clips / "blue.png", "green")
    (clips / "green.png").unlink()
    told = library.index([clips])
    assert (told.there, told.clips, told.copied, told.moved, told.vanished) == (4, 0, 1, 1, 0), "both have a content that is known"
    assert "twin.wav" in names(library.search("low", k=3, space="audio")) and len(library) == 8
    (clips / "twin.wav").unlink()
    told = library.index([clips])
    assert (told.vanished, told.pruned, len(library)) == (1, 0, 8)
    told = library.index([clips], IndexOptions(prune=True))
    assert (told.vanished, told.pruned, len(library)) == (0, 1, 7)
    fresh = Library.create(library.folder.parent / "fresh", embedder, backend=BACKEND)
    fresh.index([clips])
    assert spans(everything(fresh)) == spans(everything(library))
    assert [(names([a]), round(a.score, 5)) for a in fresh.search("middle", k=7)] == [
        (names([b]), round(b.score, 5)) for b in library.search("middle", k=7)
    ]


def test_two_files_change_places(library, clips):
    (clips / "red.png").rename(clips / "x")
    (clips / "blue.png").rename(clips / "red.png")
    (clips / "x").rename(clips / "blue.png")
    library.index([clips])
    assert names(library.search("red", k=1)) == ["blue.png"] and names(library.search("blue", k=1)) == ["red.png"] and len(library) == 8


def test_equal_files_are_embedded_once(made, clips, embedder):
    for n in range(5):
        shutil.copy(clips / "red.png", clips / f"red{n}.png")
    library = made()
    told = library.index([clips])
    assert (told.clips, told.copied, len(library)) == (6, 5, 13)
    assert sum(name.startswith("red") for name, _, _ in embedder.opened) == 1
    assert [len(group) for group in library.duplicates(0.99)] == [6, 2, 2]
    assert set(names(library.duplicates(0.99)[0])) == {"red.png", *(f"red{n}.png" for n in range(5))}
    assert library.duplicates(0.99)[0][1].score == pytest.approx(1.0, abs=1e-6)


def test_metadata_and_words(made, clips, embedder, tmp_path):
    (clips / "sounds" / "long.srt").write_text("1\n00:00:07,000 --> 00:00:09,000\nthe kettle sings\n")
    (clips / "red.txt").write_text("a warm square")
    rows = [{"path": "clips/sounds/low.wav", "label": "hum", "loud": 3, "tags": ["x"]}, {"path": "clips/sounds/high.wav", "label": "beep"}]
    (tmp_path / "m.jsonl").write_text("\n".join(map(json.dumps, rows)))
    library = made()
    library.index([clips, tmp_path / "m.jsonl"])
    found = library.search("kettle", k=1, space="text")[0]
    assert (found.start_s, found.end_s, found.texts) == (6.0, 12.0, {"transcript": "the kettle sings"}) and "text" in found.streams
    assert library.search("warm square", k=1, space="text")[0].texts == {"transcript": "a warm square"}
    hum = library.search("low", k=1, where={"label": "hum"})[0]
    assert hum.metadata == {"label": "hum", "loud": 3, "tags": ["x"]} and names([hum]) == ["low.wav"]
    opened = len(embedder.opened)
    rows[0]["label"] = "drone"
    (tmp_path / "m.jsonl").write_text("\n".join(map(json.dumps, rows)))
    told = library.index([tmp_path / "m.jsonl"])
    assert (told.there, told.known_anew) == (1, 1) and len(embedder.opened) == opened
    assert library.search("low", where={"label": "hum"}) == [] and library.search("low", where={"label": "drone"})
    assert library.index([clips]).there == 6, "a folder takes nothing away from what a manifest told"
    assert library.search("low", where={"label": "drone"})
    (clips / "red.txt").write_text("a cold square")
    assert library.index([clips]).clips == 1, "other words, another vector"
    assert library.search("cold", k=1, space="text")[0].texts == {"transcript": "a cold square"}


def test_spans_of_a_manifest(made, clips, tmp_path, embedder):
    rows = [{"path": "clips/sounds/long.wav", "start_s": s, "end_s": s + 5} for s in (0, 5, 10)]
    (tmp_path / "m.jsonl").write_text("\n".join(map(json.dumps, [*rows, {"path": "clips/sounds/long.wav", "start_s": 20}])))
    library = made()
    told = library.index([tmp_path / "m.jsonl"])
    assert (told.clips, told.bad) == (3, 1) and spans(library.search("high", k=1, space="audio")) == [("long.wav", 10.0, 15.0)]
    assert library.index([tmp_path / "m.jsonl"]).there == 3


def test_rendered_clips_need_no_file(made, tmp_path):
    (tmp_path / "m.jsonl").write_text(json.dumps({"path": "clip-world://0/3?size=32", "id": "three"}))
    library = made()
    assert library.index([tmp_path / "m.jsonl"]).clips == 1 and library.index([tmp_path / "m.jsonl"]).there == 1
    assert library.search("red", k=1)[0].path == "clip-world://0/3?size=32" and library.search("red", k=1)[0].metadata == {"id": "three"}


def test_bad_files_are_noted_and_tried_again_when_they_change(library, clips, caplog):
    (clips / "bad.mp4").write_text("no clip")
    (clips / "cut.wav").write_bytes((clips / "sounds" / "low.wav").read_bytes()[:30])
    told = library.index([clips])
    assert (told.there, told.clips, told.bad) == (6, 0, 2) and "bad.mp4" in caplog.text
    noted = [json.loads(line) for line in (library.folder / "quarantine.jsonl").read_text().splitlines()]
    assert {Path(row["name"]).name for row in noted} == {"bad.mp4", "cut.wav"} and "no known format" in noted[0]["reason"]
    told = library.index([clips])
    assert (told.there, told.bad, told.decode_s) == (6, 2, 0.0), "an unchanged bad file is not tried again"
    assert library.index([clips], IndexOptions(retry_bad=True)).decode_s > 0
    with pytest.raises(MediaError, match=r"bad\.mp4"):
        library.index([clips], IndexOptions(retry_bad=True, on_bad="stop"))
    tone(clips / "cut.wav", "middle")
    (clips / "bad.mp4").unlink()
    told = library.index([clips])
    assert (told.clips, told.bad) == (1, 0) and (library.folder / "quarantine.jsonl").read_text() == ""


def test_a_window_that_cannot_be_read_costs_that_window(made, clips, monkeypatch, embedder):
    plain = ToyEmbedder.open

    def fail(self, media):
        if media.start_s == 6.0:
            raise MediaError(f"{media.name}: damaged;")
        return plain(self, media)

    monkeypatch.setattr(ToyEmbedder, "open", fail)
    library = made()
    told = library.index([clips])
    assert (told.clips, told.bad, told.bad_windows, len(library)) == (6, 0, 1, 7)
    assert "long.wav @ 6.00-12.00 s" in (library.folder / "quarantine.jsonl").read_text()
    assert library.index([clips]).there == 6
    tone(clips / "sounds" / "long.wav", "low", seconds=2.0)
    library.index([clips])
    assert (library.folder / "quarantine.jsonl").read_text() == "" and len(library) == 6


def test_a_bad_batch_is_embedded_one_by_one(made, clips, monkeypatch):
    plain = ToyEmbedder.embed_opened

    def fail(self, opened):
        if any("green" in clip.name for clip in opened):
            raise MediaError("one of the batch;")
        return plain(self, opened)

    monkeypatch.setattr(ToyEmbedder, "embed_opened", fail)
    library = made()
    assert (library.index([clips]).bad, len(library)) == (1, 7)


@pytest.mark.parametrize("name", ["ünï cödé 語 🎬.png", "a'b\"c $(x) `y`.png", "new\nline\tand\x1b[31m.png", "-o.png", b"bad\xff\xfe.png"])
def test_odd_file_names(made, clips, name):
    shutil.rmtree(clips / "sounds")
    odd = os.fsdecode(name)
    (clips / "red.png").rename(clips / odd)
    (clips / f"{odd[:-4]}.wav").write_text("bad")
    library = made()
    told = library.index([clips])
    assert (told.clips, told.bad) == (3, 1) and library.search("red", k=1)[0].path == str(clips / odd)
    again = Library.open(library.folder, ToyEmbedder())
    assert again.search("red", k=1)[0].path == str(clips / odd) and again.index([clips]).there == 3
    (clips / f"{odd[:-4]}.wav").unlink()
    assert (again.index([clips], IndexOptions(retry_bad=True)).bad, len(again)) == (0, 3)


def test_links_and_the_index_inside_the_folder(clips, embedder, tmp_path):
    (clips / "link.png").symlink_to("red.png")
    (clips / "broken.png").symlink_to("nowhere.png")
    picture(tmp_path / "elsewhere.png", "green")
    (clips / "away.png").symlink_to(tmp_path / "elsewhere.png")
    library = Library.create(clips / "index", embedder, backend=BACKEND)
    picture(clips / "index" / "segments.png", "red")
    told = library.index([clips])
    assert told.bad == 1 and sum(n in ("red.png", "link.png") for n in names(library.search("red", k=2))) == 2
    assert not any("/index/" in one.path for one in everything(library))
    assert library.index([clips]).there == 8


def test_empty_folders_and_words_that_name_nothing(made, tmp_path, library, clips):
    (tmp_path / "empty").mkdir()
    with pytest.raises(DatasetError, match="no clips"):
        library.index([tmp_path / "empty"])
    with pytest.raises(DatasetError, match="is not there"):
        library.index([tmp_path / "none"])
    shutil.rmtree(clips / "sounds")
    for path in clips.glob("*.png"):
        path.unlink()
    assert library.index([clips]).vanished == 6 and len(library) == 8
    assert library.index([clips], IndexOptions(prune=True)).pruned == 6 and len(library) == 0
    assert library.search("red") == []
    with pytest.raises(ConfigError, match="make one: unifusion index DIR"):
        Library.open(tmp_path / "nowhere")


def test_delete(library, clips):
    assert library.delete([clips / "sounds"]) == 5 and len(library) == 3
    assert Library.open(library.folder, ToyEmbedder()).search("low", space="audio", k=3) == []
    assert library.delete([clips / "red.png", clips / "none.png"]) == 1
    assert library.index([clips]).clips == 4


def test_another_embedder_is_refused_with_the_command(library, clips):
    for other in (ToyEmbedder(key="other", name="big"), ToyEmbedder(width=8)):
        with pytest.raises(ConfigError, match=f"unifusion index {clips} -o {library.folder} --overwrite"):
            Library.open(library.folder, other)
    lazy = Library.open(library.folder, load=lambda: ToyEmbedder(key="other"))
    assert lazy.index([clips]).there == 6, "nothing to embed, nothing to load"
    tone(clips / "new.wav", "low", seconds=0.4)
    for work in (lambda: lazy.index([clips]), lambda: lazy.search("red")):
        with pytest.raises(ConfigError, match="holds vectors of the embedder toy"):
            work()
    assert len(Library.open(library.folder)) == 8 and names(Library.open(library.folder).search(axis("red"), k=1)) == ["red.png"]


def test_choices_that_do_not_fit(made, library, tmp_path, embedder):
    for options, told in (({"window_s": 7.0}, "at most 6 s"), ({"hop_s": 0.0}, "at least"), ({"precision": "int4"}, "no precision")):
        with pytest.raises(ConfigError, match=told):
            Library.create(tmp_path / "other", embedder, backend=BACKEND, **options)
    with pytest.raises(ConfigError, match="no choice 'nprobe'"):
        Library.create(tmp_path / "other", embedder, backend=BACKEND, config={"nprobe": 3})
    with pytest.raises(ConfigError, match="holds a library already"):
        made()
    with pytest.raises(ConfigError, match=r"anew.* --window 3"):
        library.expect(window_s=3.0)
    library.expect(window_s=6.0, hop_s=None, precision="")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").write_text("keep")
    for overwrite in (False, True):
        with pytest.raises(ConfigError, match=r"holds mine\.txt"):
            Library.create(tmp_path / "full", embedder, backend=BACKEND, overwrite=overwrite)
    assert [p.name for p in (tmp_path / "full").iterdir()] == ["mine.txt"]
    assert len(made(overwrite=True)) == 0


def test_half_precision(made, clips):
    library = made(precision="float16", window_s=3.0, hop_s=1.5)
    library.index([clips])
    ids, vectors = library.vectors()
    assert len(ids) == len(library) == 14 and np.abs(np.linalg.norm(vectors, axis=1) - 1).max() < 1e-6
    assert library.search("red", k=1)[0].score == pytest.approx(0.84, abs=0.01)
    assert np.load(next(library.folder.glob("segments/*/clip.npy"))).dtype == np.float16


def test_many_small_runs_stay_few_segments(made, clips, embedder):
    library = made()
    for number in range(18):
        tone(clips / f"{number}.wav", list(TONES)[number % 3], seconds=0.3 + number / 100)
        library.index([clips])
    assert len(list((library.folder / "segments").iterdir())) <= 12 and len(library) == 26
    fresh = Library.create(library.folder.parent / "fresh", embedder, backend=BACKEND)
    fresh.index([clips])
    assert spans(everything(fresh)) == spans(everything(library))
    assert len(Library.open(library.folder, ToyEmbedder()).search("low", k=50)) == 26


def test_a_reader_sees_what_was_there_until_it_refreshes(library, clips):
    reader = Library.open(library.folder, ToyEmbedder())
    for number in range(12):  # merges segments, and removes the folders that the reader opened
        tone(clips / f"{number}.wav", "middle", seconds=0.2 + number / 50)
        library.index([clips])
    (clips / "red.png").unlink()
    library.index([clips], IndexOptions(prune=True))
    assert not (library.folder / "segments" / "00000001-00000001").exists()
    assert len(reader) == 8 and names(reader.search("red", k=1)) == ["red.png"] and len(reader.search("middle", k=50, space="audio")) == 5
    reader.refresh()
    assert len(reader) == len(library) == 19 and "red.png" not in names(reader.search("red", k=50))


def test_readers_while_one_writes(made, clips):
    library = made()
    library.index([clips / "red.png"])
    stop, seen, failed = threading.Event(), [], []

    def read():
        while not stop.is_set():
            try:
                reader = Library.open(library.folder, ToyEmbedder())
                assert len(reader.search("red", k=1000)) == len(reader)
                seen.append(len(reader))
            except Exception as error:  # any error at all is what this test is about
                failed.append(error)

    readers = [threading.Thread(target=read) for _ in range(2)]
    for thread in readers:
        thread.start()
    for number in range(40):
        tone(clips / f"{number}.wav", "low", seconds=0.1 + number / 100)
    library.index([clips], IndexOptions(flush_windows=2, batch_size=2))
    for number in range(5):
        (clips / f"{number}.wav").unlink()
        library.index([clips], IndexOptions(prune=True))
    stop.set()
    for thread in readers:
        thread.join()
    assert not failed and len(library) == 43 and min(seen) >= 1 and len(set(seen)) > 2


HOLD = """
import sys, time
from tests.retrieval.toys import ToyEmbedder
from unifusion.retrieval.library import Library
from unifusion.retrieval.lock import writing
from pathlib import Path
with writing(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


def test_one_writer_at_a_time(library, clips):
    other = subprocess.Popen([sys.executable, "-c", HOLD, library.folder], stdout=subprocess.PIPE, cwd=ROOT, text=True)
    assert other.stdout.readline() == "held\n"
    for work in (lambda: library.index([clips]), lambda: library.delete([clips]), library.rebuild, lambda: Library.repair(library.folder)):
        with pytest.raises(ConfigError, match=f"being written by process {other.pid} on"):
            work()
    assert names(Library.open(library.folder, ToyEmbedder()).search("red", k=1)) == ["red.png"]
    other.kill()
    other.wait()
    assert library.index([clips]).there == 6


def test_a_run_that_is_interrupted_keeps_what_it_did(made, clips, monkeypatch):
    library = made()
    monkeypatch.setattr(ToyEmbedder, "embed_opened", Quiet(ToyEmbedder.embed_opened, after=3, error=KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        library.index([clips], IndexOptions(batch_size=1))
    monkeypatch.undo()
    half = Library.open(library.folder, ToyEmbedder())
    assert len(half) == 3
    half.index([clips])
    assert len(half) == 8 and len({(one.path, one.start_s) for one in everything(half)}) == 8


def test_a_long_clip_goes_on_where_it_was_killed(made, clips, monkeypatch, embedder):
    tone(clips / "sounds" / "long.wav", *["low", "high"] * 10, seconds=6.0)
    library = made()
    monkeypatch.setattr(ToyEmbedder, "embed_opened", Quiet(ToyEmbedder.embed_opened, after=12, error=KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        library.index([clips / "sounds" / "long.wav"], IndexOptions(batch_size=1))
    monkeypatch.undo()
    embedder.opened.clear()
    again = Library.open(library.folder, embedder)
    assert len(again) == 12 and len(again.search("low", k=50, space="audio")) == 12, "what is whole can be searched"
    told = again.index([clips / "sounds" / "long.wav"])
    assert (told.windows, len(again), len(embedder.opened)) == (8, 20, 8)
    assert sorted(one.start_s for one in everything(again)) == [6.0 * n for n in range(20)]


def test_what_is_searched_is_made_again_when_it_is_missing_or_broken(library, clips, caplog):
    home = next(library.folder.glob("backends/clip-*"))
    stamp, data = home / "stamp.json", home / "data" / "v.npy"
    wanted = [one.to_dict() for one in library.search("red", k=8)]

    def same():
        return [one.to_dict() for one in Library.open(library.folder, ToyEmbedder()).search("red", k=8)] == wanted

    loads = ToyBackend.loads
    assert same() and ToyBackend.loads == loads + 1
    data.write_bytes(data.read_bytes()[:-4])
    assert same() and "is not what was written" in caplog.text and ToyBackend.loads == loads + 1, "the back end never sees broken files"
    library.index([clips])
    assert same() and ToyBackend.loads > loads + 1 and not home.exists(), "the writer mended it"
    stamp = next(library.folder.glob("backends/clip-*/stamp.json"))
    for text in ("", "{", "[]", json.dumps({**json.loads(stamp.read_text()), "files": {"data/../../../manifest.json": {}}})):
        stamp.write_text(text)
        assert same()
    shutil.rmtree(library.folder / "backends")
    assert same()
    library.rebuild()
    assert same() and len(list(library.folder.glob("backends/*/stamp.json"))) == 3


def test_vectors_of_another_length_are_refused(made, clips, monkeypatch):
    monkeypatch.setattr("tests.retrieval.toys.unit", lambda vector: vector.astype(np.float32))
    with pytest.raises(CheckpointError, match="wanted 16 of length 1"):
        made().index([clips])


@pytest.mark.parametrize(
    ("name", "needs"), [("exact", "numpy"), ("faiss_flat", "faiss"), ("chroma", "chromadb"), ("qdrant", "qdrant_client")]
)
def test_back_ends_of_the_catalog_go_along_with_the_library(clips, tmp_path, embedder, name, needs):
    pytest.importorskip(needs)
    library = Library.create(tmp_path / "index", embedder, backend=name)
    library.index([clips])
    (clips / "red.png").rename(clips / "rot.png")
    (clips / "blue.png").unlink()
    tone(clips / "new.wav", "low", seconds=0.7)
    library.index([clips], IndexOptions(prune=True))
    reader = Library.open(library.folder, ToyEmbedder())
    assert names(reader.search("red", k=1)) == ["rot.png"] == names(reader.search("green", k=1, where={"name": "rot.png"}))
    assert len(reader.search("low", k=20)) == 8 and len(reader.search("low", k=20, where={"folder": "sounds", "start_s": {"$gte": 6}})) == 2
    assert library.index([clips]).there == 6
    library.rebuild(backend="exact")
    assert len(Library.open(library.folder, ToyEmbedder()).search("low", k=20)) == 8


def test_a_long_file_without_an_index_is_decoded_in_stretches(made, clips, monkeypatch, tmp_path):
    from tests.media.clips import encode
    from unifusion.processor import opening

    decoded = []
    plain = opening.decode

    def watched(media, **options):
        decoded.append(media.start_s) if isinstance(media.source, str) else None
        return plain(media, **options)

    monkeypatch.setattr(opening, "decode", watched)
    monkeypatch.setattr("unifusion.retrieval.pieces._LONGEST_S", 20.0)
    shutil.rmtree(clips)
    clips.mkdir()
    tone(clips / "long.wav", *["low", "high", "middle"] * 10, seconds=3.0)
    (clips / "film.ts").write_bytes(encode(format="mpegts", frames=300))
    one_by_one = Library.create(tmp_path / "plain", ToyEmbedder(), backend=BACKEND, window_s=3.0)
    one_by_one.index([clips])
    assert len(decoded) == 34 == len(one_by_one)
    decoded.clear()
    library = Library.create(tmp_path / "stretched", ToyEmbedder(rates=(2.0, 16_000)), backend=BACKEND, window_s=3.0)
    library.index([clips])
    assert sorted(decoded) == [0.0, 0.0, 18.0, 36.0, 54.0, 72.0]
    assert spans(everything(library)) == spans(everything(one_by_one))
    scores = {}
    for space in library.spaces:
        for (id, a), (_, b) in zip(zip(*library.vectors(space), strict=True), zip(*one_by_one.vectors(space), strict=True), strict=True):
            scores.setdefault(names(library.get([int(id)]))[0], []).append(float(a @ b))
    # The film is grey and its tone rises, so that the toy's classes turn on a frame at a border.
    assert min(scores["long.wav"]) > 0.9999 and np.median(scores["film.ts"]) > 0.9999
    decoded.clear()
    monkeypatch.setattr(opening, "decode", lambda media, **options: watched(media, **options) if options["max_seconds"] <= 6 else fail())

    def fail():
        raise MediaError("damaged somewhere;")

    broken = Library.create(tmp_path / "broken", ToyEmbedder(rates=(2.0, 16_000)), backend=BACKEND, window_s=3.0)
    assert broken.index([clips]).bad_windows == 0 and len(broken) == 34 and len(decoded) == 34
