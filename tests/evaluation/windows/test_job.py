"""Runs over many clips: rows that are true, kills, parts, Ray, and who reads the file."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from tests.cli.films import frames, noise, write
from tests.engine.listeners import HIGH, LOW, placed, save_whisper, taught_whisper
from tests.media.test_subtitles import VTT
from unifusion.conversation import Line
from unifusion.curation.source import open_source
from unifusion.curation.validating import validate
from unifusion.datasets.messages import Messages
from unifusion.engine.sounds import SoundTagger
from unifusion.errors import CheckpointError, ConfigError, MediaError
from unifusion.evaluation.clips import named_clips
from unifusion.evaluation.manifest import read_manifest
from unifusion.evaluation.windows.job import WindowJob, make_windows
from unifusion.evaluation.windows.maker import WindowChoices, WindowMaker
from unifusion.retrieval.scan import scan


@pytest.fixture(scope="module")
def ear(tmp_path_factory):
    """A recogniser that knows two words, as a folder."""
    return save_whisper(tmp_path_factory.mktemp("ear") / "toy", taught_whisper())


@pytest.fixture
def clips(tmp_path):
    """A film of two shots with sound and subtitles beside it, speech, a film without sound, a still."""
    folder = tmp_path / "raw"
    folder.mkdir()
    write(folder / "film.mp4", shown=[*frames(3.5), *[f // 3 for f in frames(3.5, seed=5)]], heard=noise(7.0))
    (folder / "film.vtt").write_text(VTT.replace("01:04.250", "00:05.000"))
    (folder / "sub").mkdir()
    write(folder / "sub" / "talk.wav", heard=(placed([(0.2, LOW), (5.2, HIGH)], 6.6) * 32767).astype("<i2"))
    write(folder / "mute.mp4", shown=frames(2.0))
    from PIL import Image

    Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(folder / "still.png")
    return folder


def job(tmp_path, **options):
    choices = {k: options.pop(k) for k in list(options) if k in WindowChoices.__dataclass_fields__}
    return WindowJob(choices=WindowChoices(**{"window_s": 4.0, **choices}), out=tmp_path / "windows.jsonl", **options)


def rows_of(path):
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_rows_are_true(tmp_path, clips, ear):
    found = make_windows(named_clips([clips])[0], job(tmp_path, asr=ear, shots="histogram"))
    assert (found.clips, found.there, found.stills, found.waiting) == (3, 0, 1, 0) and found.spoken == 4
    assert found.told() == f"{found.rows} windows (4 with words); 3 clips cut, 0 were there already, 1 stills passed over"
    rows = rows_of(tmp_path / "windows.jsonl")
    film = [r for r in rows if r["group"] == "raw/film.mp4"]
    assert [(r["start_s"], r["end_s"]) for r in film[:1]] == [(0.0, 2.75)], "in the middle of the gap between two lines"
    assert film[0]["transcript"] == "Hello there." and film[0]["words_from"] == "film.vtt" and film[0]["shot"] == 0
    assert film[0]["subtitles"] == [{"start_s": 1.0, "end_s": 2.5, "text": "Hello there."}]
    assert film[1]["transcript"] == "Two rows of text." and film[1]["end_s"] >= 5.0
    assert "shot" in rows[-1] and [r["shot"] for r in film][-1] == 1
    talk = [r for r in rows if r["group"] == "raw/sub/talk.wav"]
    assert {r["words_from"] for r in talk} == {"whisper toy"} and [r["transcript"][0] for r in talk] == ["l", "h"]
    assert "audio" in talk[0] and "path" in film[0] and [r["id"] for r in film[:2]] == ["raw/film.mp4", "raw/film.mp4#2.750"]
    assert [set(r) for r in rows if r["group"] == "raw/mute.mp4"] == [{"id", "path", "group", "start_s", "end_s", "shot"}]


def test_killed_shared_out_and_repeated_gives_the_same_bytes(tmp_path, clips, monkeypatch):
    named = named_clips([clips])[0]
    make_windows(named, job(tmp_path))
    whole = (tmp_path / "windows.jsonl").read_bytes()
    shutil.rmtree(tmp_path / "windows.jsonl.parts")
    (tmp_path / "windows.jsonl").unlink()
    made, real = [], WindowMaker.rows

    def rows(self, media):
        """Killed at the second clip."""
        made.append(media.name)
        if len(made) == 2:
            raise KeyboardInterrupt
        return real(self, media)

    monkeypatch.setattr(WindowMaker, "rows", rows)
    with pytest.raises(KeyboardInterrupt):
        make_windows(named, job(tmp_path))
    assert not (tmp_path / "windows.jsonl").exists()
    summaries = [make_windows(named, job(tmp_path, part=(n, 3))) for n in range(3)]
    assert (tmp_path / "windows.jsonl").read_bytes() == whole
    assert sum(s.clips for s in summaries) == 2 and sum(s.there for s in summaries) == 1
    assert all("left to other parts" in s.told() for s in summaries if s.waiting) and summaries[-1].waiting == 0
    made.clear()
    again = make_windows(named, job(tmp_path))
    assert made == [] and again.there == 3 and (tmp_path / "windows.jsonl").read_bytes() == whole


def test_other_choices_and_other_subtitles_are_made_anew(tmp_path, clips):
    named = named_clips([clips])[0]
    make_windows(named, job(tmp_path))
    (clips / "film.vtt").write_text("WEBVTT\n\n00:01.000 --> 00:02.000\nOther words.\n")
    found = make_windows(named, job(tmp_path))
    assert (found.clips, found.there) == (1, 2) and "Other words." in (tmp_path / "windows.jsonl").read_text()
    bare = make_windows(named, job(tmp_path, subtitles=""))
    assert bare.clips == 3 and bare.spoken == 0


def test_bad_clips_end_the_run_or_are_noted(tmp_path, clips):
    (clips / "bad.mp4").write_bytes(b"\0\0\0\x18ftypmp42" + b"\0" * 200)
    named = named_clips([clips])[0]
    with pytest.raises(MediaError, match=r"bad\.mp4"):
        make_windows(named, job(tmp_path))
    found = make_windows(named, job(tmp_path, on_bad="skip", max_bad=0.5))
    assert (found.bad, found.clips, found.waiting) == (1, 3, 0)
    assert "bad.mp4" in (tmp_path / "windows.jsonl.parts" / "quarantine.jsonl").read_text()
    assert not any("bad" in r["group"] for r in rows_of(tmp_path / "windows.jsonl"))
    (clips / "film.vtt").write_bytes(b"\0\xff" * 9)
    found = make_windows(named, job(tmp_path, on_bad="skip", max_bad=0.9))
    assert found.bad == 2, "subtitles that cannot be read are told as well"


def test_a_bad_clip_is_one_part_s_to_note(tmp_path, clips):
    for n in range(8):
        (clips / f"bad{n}.mp4").write_bytes(b"\0\0\0\x18ftypmp42" + bytes([n]) * 200)
    named = named_clips([clips])[0]
    summaries = [make_windows(named, job(tmp_path, on_bad="skip", max_bad=1.0, part=(n, 3))) for n in range(3)]
    assert sum(s.bad for s in summaries) == 8 and sum(s.clips for s in summaries) == 3 and summaries[-1].waiting == 0
    assert max(s.bad for s in summaries) < 8


def test_lines_that_outlast_the_clip_end_with_it_and_later_ones_are_told(tmp_path, clips, caplog):
    (clips / "film.vtt").unlink()
    said = ["00:00,500 --> 00:01,000\nFirst.", "00:06,000 --> 00:09,500\nLast.", "01:00:00,000 --> 01:00:01,000\nAnother film's."]
    (clips / "film.srt").write_bytes("\n\n".join(said).encode("utf-16"))
    found = make_windows(named_clips([clips])[0], job(tmp_path))
    lines = [line for row in rows_of(tmp_path / "windows.jsonl") for line in row.get("subtitles", ())]
    assert found.bad == 0 and [line["text"] for line in lines] == ["First.", "Last."] and lines[1]["start_s"] == 6.0
    assert lines[1]["end_s"] == pytest.approx(7.0, abs=0.1) and "1 of 3 lines begin after its 7" in caplog.text


def test_a_file_elsewhere_names_whole_paths_and_reads_from_anywhere(tmp_path, clips, monkeypatch):
    elsewhere = tmp_path / "out" / "deep"
    elsewhere.mkdir(parents=True)
    monkeypatch.chdir(elsewhere)
    make_windows(named_clips(["../../raw"])[0], WindowJob(choices=WindowChoices(), out=Path("windows.jsonl")))
    rows = rows_of(elsewhere / "windows.jsonl")
    assert {r.get("path") or r["audio"] for r in rows} == {str(clips / name) for name in ("film.mp4", "mute.mp4", "sub/talk.wav")}
    assert validate(open_source(elsewhere / "windows.jsonl", stream=True)).errors == 0
    monkeypatch.chdir("/")
    assert [m.kind for row in read_manifest(elsewhere / "windows.jsonl") for m in row.media()][:2] == ["video", "video"]


def test_sounds_of_a_film_whose_sound_ends_before_its_picture(tmp_path, monkeypatch):
    film = write(tmp_path / "film.mp4", shown=frames(6.0), heard=noise(2.0))
    tagger = SoundTagger(lambda wave_N: np.ones(1), ["noise"], rate_hz=16_000, longest_s=10.0, name="toy")
    monkeypatch.setattr(SoundTagger, "load", lambda *args, **options: tagger)
    made = make_windows(named_clips([film])[0], job(tmp_path, tags="toy", window_s=1.5))
    rows = rows_of(tmp_path / "windows.jsonl")
    assert made.bad == 0 and [r.get("sounds") for r in rows if r["start_s"] < 1.9] == [["noise"], ["noise"]]
    assert len(rows) > 3 and all("sounds" not in r for r in rows if r["start_s"] > 2.2)


def test_models_that_are_none_end_it_before_any_work(tmp_path, clips):
    named = named_clips([clips])[0]
    none = str(tmp_path / "none")
    for choices, error in (({"asr": none}, CheckpointError), ({"tags": none}, CheckpointError), ({"shots": "none"}, ConfigError)):
        with pytest.raises(error):
            make_windows(named, job(tmp_path, **choices))
    (tmp_path / "windows.jsonl").mkdir()
    with pytest.raises(ConfigError, match=r"windows\.jsonl is a folder"):
        make_windows(named, job(tmp_path))


def test_manifests_messages_and_indexes_read_them(tmp_path, clips, ear):
    make_windows(named_clips([clips])[0], job(tmp_path, asr=ear))
    path = tmp_path / "windows.jsonl"
    row = read_manifest(path)[0]
    (media,) = row.media()
    assert media.subtitles == (Line(1.0, 2.5, "Hello there."),) and media.words_from == "film.vtt"
    example = Messages(path)[0]
    assert example.group == "raw/film.mp4" and example.media[0].subtitles == media.subtitles
    assert example.labels["subtitles"] == [{"start_s": 1.0, "end_s": 2.5, "text": "Hello there."}]
    assert example.texts["transcript"] == "Hello there."
    wanted, _ = scan([path])
    assert wanted[0].said.cues == ((1.0, 2.5, "Hello there."),) and "subtitles" not in wanted[0].metadata
    assert wanted[0].metadata["group"] == "raw/film.mp4"


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_actors_of_ray_give_the_same_bytes(tmp_path, clips):
    pytest.importorskip("ray", reason="Ray is not installed: pip install 'unifusion-x[ray]'")
    named = named_clips([clips])[0]
    make_windows(named, job(tmp_path))
    whole = (tmp_path / "windows.jsonl").read_bytes()
    shutil.rmtree(tmp_path / "windows.jsonl.parts")
    found = make_windows(named, job(tmp_path, engine="ray", workers=1))
    assert found.clips == 3 and (tmp_path / "windows.jsonl").read_bytes() == whole
