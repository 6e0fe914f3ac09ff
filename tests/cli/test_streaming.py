"""`unifusion emotion --stream`: lines, JSON, CSV and curve of a recording, and what happens where it is short, silent or broken off."""

import csv
import io
import json
import re
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from tests.cli import films
from unifusion.engine import recording
from unifusion.errors import MediaError

LABELS = ("--labels", "calm,angry")


@pytest.fixture(scope="module")
def film(tmp_path_factory):
    """Six seconds: picture and sound, then both blank for two seconds (AAC smears sound a little over the edges), then sound alone."""
    path = tmp_path_factory.mktemp("films") / "film.mp4"
    pictures = [*films.frames(2), *films.frames(4, blank=True)]
    return films.write(path, pictures, np.concatenate([films.noise(1.8), films.noise(2.4, silent=True), films.noise(1.8, seed=1)]))


@pytest.fixture
def tell(run, toy_folder, evidence):
    return lambda *words: run("emotion", *words, "--stream", *LABELS, "--model", toy_folder)


@pytest.fixture
def fuse(run, fusion_folder):
    return lambda *words: run("emotion", *words, "--stream", "--model", fusion_folder)


def objects(result):
    """What was printed, and its exit code was 0."""
    code, out, err = result
    assert code == 0, err
    return [json.loads(line) for line in out.splitlines()]


def shares(told):
    """Probabilities of all windows in one list."""
    return [p for w in told for p in w["probabilities"].values()]


def table(path):
    """Rows of a CSV."""
    with path.open(newline="", encoding="utf-8") as handle:
        return list(csv.DictReader(handle))


def test_a_line_a_hop_for_people(tell, film):
    code, out, err = tell(film, "--window", "2", "--hop", "1")
    assert code == 0
    lines = out.splitlines()
    assert [float(line.split()[0]) for line in lines] == [2.0, 3.0, 4.0, 5.0, 6.0]
    assert re.match(r"^     2\.0 s  (calm|angry) [01]\.\d\d  .*\[video, audio\]$", lines[0])
    assert lines[2].startswith("     4.0 s  (nothing to hear or see: ") and "audio: silence" in lines[2]
    assert lines[4].endswith("[audio]")
    assert re.search(r"^\[5 windows of 6\.0 s in [\d.]+ s: real-time factor [\d.]+\]$", err, re.MULTILINE)


def test_json_lines_for_machines(tell, film):
    told = objects(tell(film, "--json", "--window", "2", "--hop", "1"))
    assert [(w["start_s"], w["end_s"]) for w in told] == [(float(i), i + 2.0) for i in range(5)]
    assert set(told[0]) == {"start_s", "end_s", "label", "probabilities", "valence", "arousal", "streams", "absent"}
    assert all(w["label"] == max(w["probabilities"], key=w["probabilities"].get) for w in told if w["label"])
    assert told[2]["label"] is None and told[2]["probabilities"] == {} and set(told[2]["absent"]) == {"audio", "video"}
    assert told[4]["streams"] == ["audio"] and told[4]["absent"] == {"video": "the picture shows nothing"}


@pytest.mark.parametrize("engine", ["tell", "fuse"])
def test_a_window_is_told_as_its_span_is_and_batches_change_nothing(engine, film, run, toy_folder, fusion_folder, request):
    stream = request.getfixturevalue(engine)
    told = objects(stream(film, "--json", "--window", "2", "--hop", "0.5", "--batch-size", "3"))
    assert len(told) == 9
    one_by_one = objects(stream(film, "--json", "--window", "2", "--hop", "0.5", "--batch-size", "1"))
    assert shares(one_by_one) == pytest.approx(shares(told), abs=1e-4)
    model = (*LABELS, "--model", toy_folder) if engine == "tell" else ("--model", fusion_folder)
    alone = json.loads(run("emotion", film, "--json", "--start", "0.5", "--end", "2.5", *model)[1])
    assert list(told[1]["probabilities"].values()) == pytest.approx(list(alone["probabilities"].values()), abs=2e-3)


def test_a_span_of_it_and_one_of_its_streams(tell, film):
    told = objects(tell(film, "--json", "--window", "1", "--start", "0.5", "--end", "3.5", "--no-picture"))
    assert [(w["start_s"], w["end_s"]) for w in told] == [(0.5, 1.5), (1.5, 2.5), (2.5, 3.5)]
    assert [w["streams"] for w in told] == [["audio"], ["audio"], []]
    assert all("video" in w["absent"] for w in told[:2])


@pytest.mark.parametrize("shown", ["picture", "sound"])
def test_recordings_of_one_stream_and_shorter_than_a_window(tell, tmp_path, shown):
    parts = {"shown": films.frames(1.5)} if shown == "picture" else {"heard": films.noise(1.5)}
    path = films.write(tmp_path / ("a.mp4" if shown == "picture" else "a.wav"), **parts)
    (window,) = objects(tell(path, "--json"))
    assert window["start_s"] == 0.0 and window["end_s"] == pytest.approx(1.5, abs=0.1)
    assert window["streams"] == ["video" if shown == "picture" else "audio"] and window["label"] in ("calm", "angry")


def test_silence_alone_is_told_as_nothing(fuse, tmp_path):
    path = films.write(tmp_path / "a.wav", heard=films.noise(3, silent=True))
    code, out, err = fuse(path, "--window", "1", "-o", tmp_path / "a.csv")
    assert code == 0 and out.count("(nothing to hear or see: audio: silence)") == 3 and "real-time factor" in err
    rows = table(tmp_path / "a.csv")
    assert [r["absent"] for r in rows] == ["audio: silence"] * 3 and {r["label"] for r in rows} == {""}


def test_csv_and_curve_hold_what_was_printed(tell, film, tmp_path):
    out = tmp_path / "new" / "told.csv"
    told = objects(tell(film, "--json", "--window", "2", "-o", out))
    rows = table(out)
    assert len(rows) == len(told) == 5 and sorted(p.name for p in out.parent.iterdir()) == ["told.csv", "told.png", "told.svg"]
    for row, window in zip(rows, told, strict=True):
        assert (float(row["start_s"]), float(row["end_s"]), row["label"] or None) == (window["start_s"], window["end_s"], window["label"])
        assert row["streams"].split() == window["streams"]
        for label in ("calm", "angry"):
            wanted = window["probabilities"].get(label)
            assert row[label] == "" if wanted is None else float(row[label]) == pytest.approx(wanted, abs=1e-4)
    assert Image.open(out.with_suffix(".png")).size[0] > 800
    before = out.read_bytes()
    code, _, err = tell(film, "--window", "1", "-o", out)
    assert code == 2 and "--overwrite" in err and out.read_bytes() == before
    assert tell(film, "--window", "1", "-o", out, "--overwrite")[0] == 0 and len(table(out)) == 6


def test_labels_that_a_spreadsheet_would_compute(run, toy_folder, film, tmp_path):
    words = ("--labels", "=1+1,@sum", "--model", toy_folder, "--end", "2", "-o", tmp_path / "a.csv")
    assert run("emotion", film, "--stream", *words)[0] == 0
    head, row = csv.reader(io.StringIO((tmp_path / "a.csv").read_text()))
    assert head[-2:] == ["'=1+1", "'@sum"] and row[2] in ("'=1+1", "'@sum")


def test_smoothing_tells_the_mean_of_what_came_before(fuse, film):
    plain = objects(fuse(film, "--json", "--window", "1"))
    told = objects(fuse(film, "--json", "--window", "1", "--smooth", "2"))
    assert told[0] == plain[0] and told[2] == plain[2] and plain[3]["label"] is None
    for label, share in told[1]["probabilities"].items():
        assert share == pytest.approx((plain[0]["probabilities"][label] + plain[1]["probabilities"][label]) / 2, abs=2e-6)


def broken(after, error):
    """Pieces of a recording that breaks off."""
    read = recording.read_pieces

    def pieces(media, **options):
        for number, piece in enumerate(read(media, **options)):
            if number == after:
                raise error
            yield piece

    return pieces


@pytest.mark.parametrize(("error", "exit_code"), [(KeyboardInterrupt(), 130), (MediaError("a hole;", remedy="mend it."), 3)])
def test_what_was_told_is_kept_where_it_ends_early(tell, film, tmp_path, monkeypatch, error, exit_code):
    monkeypatch.setattr(recording, "_LONGEST_PIECE_S", 1.0)
    monkeypatch.setattr(recording, "read_pieces", broken(4, error))
    out = tmp_path / "told.csv"
    code, printed, err = tell(film, "--window", "1", "--batch-size", "1", "-o", out)
    assert code == exit_code and "Traceback" not in err and "real-time factor" in err
    assert [r["end_s"] for r in table(out)] == ["1.000", "2.000", "3.000", "4.000"] and len(printed.splitlines()) == 4
    assert out.with_suffix(".png").is_file() and out.with_suffix(".svg").is_file()


def test_nothing_is_told_of_a_recording_that_breaks_off_at_once(tell, film, tmp_path, monkeypatch):
    monkeypatch.setattr(recording, "read_pieces", broken(0, KeyboardInterrupt()))
    code, printed, _ = tell(film, "-o", tmp_path / "told.csv")
    assert code == 130 and printed == "" and not (tmp_path / "told.png").exists()


@pytest.fixture
def heard(monkeypatch):
    """What comes on stdin."""
    return lambda raw: monkeypatch.setattr("sys.stdin", SimpleNamespace(buffer=io.BytesIO(raw)))


def test_raw_sound_on_stdin_is_told_as_the_file_is(fuse, tmp_path, heard):
    samples = films.noise(3)
    path = films.write(tmp_path / "a.wav", heard=samples)
    heard(samples.tobytes() + b"\x01")  # half a sample at the end
    told = objects(fuse("-", "--json", "--window", "2", "--hop", "0.5"))
    wanted = objects(fuse(path, "--json", "--window", "2", "--hop", "0.5"))
    assert [w["end_s"] for w in told] == [2.0, 2.5, 3.0] and shares(told) == pytest.approx(shares(wanted), abs=1e-3)
    heard(samples.tobytes())
    assert objects(fuse("-", "--json", "--rate", "8000"))[-1]["end_s"] == 6.0, "half as many a second last twice as long"
    heard(samples.tobytes())
    code, _, err = fuse("-", "--rate", "80")
    assert code == 2 and "--rate" in err


@pytest.mark.parametrize("raw", [b"", b"\x01"])
def test_no_sound_on_stdin(fuse, heard, raw):
    heard(raw)
    code, out, err = fuse("-")
    assert code == 3 and out == "" and "empty" in err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("a.wav", "b.wav"), "one recording"), ((), "name a clip"), (("a.wav", "--features", "store"), "leave --features out"),
        (("a.wav", "--transcript", "hi"), "leave --transcript out"), (("a.wav", "--rate", "8000"), "--rate is of sound on stdin"),
        (("-", "--start", "1"), "sound on stdin"), (("-", "--no-picture"), "sound on stdin"), (("a.wav", "-o", "x.jsonl"), "it is a .csv"),
        (("a.wav", "--start", "2", "--end", "1"), "must come after"), (("a.wav", "--hop", "0"), "--hop"),
        (("a.wav", "--smooth", "-1"), "--smooth"),
        (("a.wav", "--maps"), "--maps goes with"), (("a.wav", "--reply"), "--reply goes with"), (("a.wav", "--labels", "a"), "two or more"),
    ],
)  # fmt: skip
def test_what_does_not_go_together_is_refused_before_anything_is_loaded(run, tmp_path, monkeypatch, words, said):
    monkeypatch.chdir(tmp_path)
    code, out, err = run("emotion", *words, "--stream", "--model", "no/such/model")
    assert code == 2 and said in err and out == "" and list(tmp_path.iterdir()) == []


def test_what_is_no_recording_is_refused(tell, tmp_path):
    Image.fromarray(films.frames(1)[0]).save(tmp_path / "face.png")
    code, out, err = tell(tmp_path / "face.png")
    assert code == 2 and "goes on in time" in err and out == ""
    assert tell("missing.mp4")[0] == 3
    code, _, err = tell(tmp_path / "face.png", "--no-picture")
    assert code != 0 and "Traceback" not in err


def test_windows_longer_than_the_model_sees_are_refused(tell, film):
    code, out, err = tell(film, "--window", "9999")
    assert code == 2 and "9999 s" in err and out == ""
