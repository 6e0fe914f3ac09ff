"""Clips as content parts: what is sent as it is and what anew, and that nothing is sent which was not asked for."""

import base64
import io

import av
import numpy as np
import pytest
from PIL import Image

from tests.evaluation.servers import RATE_HZ, frames, of_part, tone
from unifusion.conversation import Clip, Media
from unifusion.errors import ConfigError, LimitError, MediaError
from unifusion.evaluation.systems_media import STYLES, sent
from unifusion.limits import Limits
from unifusion.media.written import wav, write_film


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A red film of 2 s with a low tone, the same without sound, a sound as WAV and as FLAC, a picture, a film of two containers."""
    folder = tmp_path_factory.mktemp("files")
    film = Clip(frames_THWC=frames("red", 16), frame_times_s=np.arange(16) / 8.0, waveform_N=tone("low", 2.0), duration_s=2.0)
    write_film(film, folder / "film.mp4")
    write_film(Clip(**{**vars(film), "waveform_N": None}), folder / "silent.mp4")
    (folder / "sound.wav").write_bytes(wav(film))
    with av.open(str(folder / "sound.flac"), "w") as container:
        stream = container.add_stream("flac", rate=RATE_HZ, layout="mono")
        frame = av.AudioFrame.from_ndarray((tone("high", 1.0) * 32767).astype("<i2")[None], format="s16", layout="mono")
        frame.sample_rate = RATE_HZ
        container.mux(stream.encode(frame))
        container.mux(stream.encode())
    Image.fromarray(frames("blue", 1)[0]).save(folder / "blue.png")
    return folder


def media(files, name, kind="video", **options):
    return Media(kind=kind, source=str(files / name), **options)


def data_of(part):
    inner = part[part["type"]]
    return base64.b64decode(inner["data"] if "data" in inner else inner["url"].split(",")[1])


@pytest.mark.parametrize(
    ("name", "kind", "style", "head"),
    [
        ("film.mp4", "video", "video_url", "data:video/mp4;base64"), ("silent.mp4", "video", "split", "data:video/mp4;base64"),
        ("blue.png", "image", "frames", "data:image/png;base64"), ("blue.png", "video", "video_url", "data:image/png;base64"),
        ("sound.wav", "audio", "video_url", "wav"), ("sound.wav", "video", "split", "wav"),
    ],
)  # fmt: skip
def test_whole_files_are_sent_as_they_are(files, name, kind, style, head):
    done = sent(media(files, name, kind), style=style)
    [part] = done.parts
    inner = part[part["type"]]
    assert data_of(part) == (files / name).read_bytes() and done.n_bytes == (files / name).stat().st_size
    assert inner.get("format", inner.get("url", "").split(",")[0]) == head


@pytest.mark.parametrize(
    ("name", "kind", "options", "style", "told"),
    [
        ("film.mp4", "audio", {}, "video_url", ["sound of low 2.0 s"]), ("film.mp4", "image", {}, "video_url", ["picture of red"]),
        ("film.mp4", "video", {}, "split", ["film of red with no sound", "sound of low 2.0 s"]),
        ("film.mp4", "video", {"at_least_db": -3.0}, "video_url", ["film of red with low"]),
        ("sound.flac", "audio", {}, "video_url", ["sound of high 1.0 s"]),
        ("sound.wav", "audio", {"start_s": 1.5}, "frames", ["sound of low 0.5 s"]),
        ("film.mp4", "video", {"mute": ("text",)}, "frames", ["picture of red"] * 3 + ["sound of low 2.0 s"]),
        ("silent.mp4", "video", {"mute": ("video",)}, "video_url", []), ("blue.png", "image", {"mute": ("image",)}, "split", []),
    ],
)  # fmt: skip
def test_what_is_not_whole_is_written_anew(files, name, kind, options, style, told):
    done = sent(media(files, name, kind, **options), style=style, frames=3)
    assert [of_part(p) for p in done.parts] == told and done.n_bytes == sum(len(data_of(p)) for p in done.parts)
    seen = any(t.startswith(("film", "picture")) for t in told)
    reports = done.opened.reports
    assert reports["video"].present == seen and reports["audio"].present == any("low" in t or "high" in t for t in told)
    assert all(r.present or r.reason for r in reports.values()) and all(r.present or not r.seconds for r in reports.values())


def test_a_picture_has_no_sound_and_a_sound_no_picture(files):
    with pytest.raises(MediaError):
        sent(media(files, "blue.png", "audio"))
    with pytest.raises(MediaError, match=r"neither picture nor sound|no "):
        sent(media(files, "sound.wav", "image"))


def test_bytes_and_arrays_are_clips_too(files):
    content = (files / "film.mp4").read_bytes()
    assert data_of(sent(Media(kind="video", source=content)).parts[0]) == content
    bare = Media(kind="audio", source=Clip(waveform_N=tone("high", 1.0), duration_s=1.0), start_s=0.5)
    assert [of_part(p) for p in sent(bare).parts] == ["sound of high 0.5 s"]
    soft = Media(kind="audio", source=Clip(waveform_N=tone("high", 1.0) / 30, duration_s=1.0))
    assert of_part(sent(soft).parts[0]).startswith("sound of silent")
    raised = sent(Media(kind="audio", source=soft.source, at_least_db=-18.0))
    assert of_part(raised.parts[0]) == "sound of high 1.0 s"


def test_long_clips_are_cropped_and_it_is_told(files):
    done = sent(media(files, "film.mp4"), max_seconds=0.5)
    assert done.opened.reports["video"].seconds <= 0.7 and done.opened.reports["video"].cropped_s == pytest.approx(1.5, abs=0.2)
    kept = sent(media(files, "film.mp4", start_s=0.5, end_s=1.0), max_seconds=0.5)
    assert kept.opened.reports["audio"].cropped_s == 0.0 and kept.opened.reports["audio"].seconds == pytest.approx(0.5, abs=0.1)


def test_large_pictures_are_made_small_and_small_ones_left(files, tmp_path):
    wide = Clip(frames_THWC=np.zeros((4, 600, 1200, 3), np.uint8), frame_times_s=np.arange(4) / 8.0, duration_s=0.5)
    write_film(wide, tmp_path / "wide.mp4", side_px=1200)
    [part] = sent(media(tmp_path, "wide.mp4", start_s=0.1)).parts
    with av.open(io.BytesIO(data_of(part))) as container:
        assert (container.streams.video[0].width, container.streams.video[0].height) == (512, 256)
    [still] = sent(media(files, "film.mp4", "image")).parts
    assert Image.open(io.BytesIO(data_of(still))).size == (48, 48)


def test_limits_hold_and_styles_are_named(files, tmp_path):
    with pytest.raises(LimitError):
        sent(media(files, "film.mp4"), limits=Limits(max_bytes=100))
    with pytest.raises(MediaError, match="protocol"):
        sent(Media(kind="video", source="http://host/film.mp4"))
    with pytest.raises(MediaError):
        sent(media(files, "film.mp4", start_s=9.0, end_s=10.0))
    with pytest.raises(ConfigError, match="split"):
        sent(media(files, "film.mp4"), style="gif")
    assert set(STYLES) == {"video_url", "split", "frames"}
