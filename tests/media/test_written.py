"""Decoded clips as files that others open."""

import io
import wave

import numpy as np
import pytest

from tests.toys import clip
from unifusion.conversation import Clip
from unifusion.errors import MediaError
from unifusion.media import Sampling, probe, read_clip
from unifusion.media.written import jpegs, wav, write_film


def test_a_film_has_the_pictures_and_the_sound_at_their_times(tmp_path):
    made = clip(seconds=2.0, size=41, rate_hz=8.0)
    late = Clip(**{**vars(made), "waveform_N": made.waveform_N[:16_000], "waveform_start_s": 1.0})
    write_film(late, tmp_path / "film.mp4")
    info = probe(tmp_path / "film.mp4")
    assert info.has_video and info.has_audio and info.duration_s == pytest.approx(2.0, abs=0.2)
    back = read_clip(tmp_path / "film.mp4", video=Sampling(rate_hz=8.0), audio=True)
    assert len(back.frames_THWC) == 16 and back.frames_THWC.shape[1:3] == (40, 40)
    assert back.frame_times_s == pytest.approx(made.frame_times_s, abs=0.01)
    loud = np.abs(back.waveform_N).reshape(-1)
    start = int((0.9 - back.waveform_start_s) * back.sampling_rate_hz)
    assert loud[: start - 1000].max() < 0.05 < loud[start + 4000 :].max()


def test_a_film_of_large_pictures_is_made_smaller_and_one_without_is_none(tmp_path):
    write_film(clip(seconds=0.5, size=700, sound=False), tmp_path / "film.mp4", side_px=128)
    assert probe(tmp_path / "film.mp4").width == 128 and not probe(tmp_path / "film.mp4").has_audio
    with pytest.raises(MediaError, match="no pictures"):
        write_film(clip(picture=False), tmp_path / "none.mp4")


def test_pictures_lie_evenly_over_the_clip():
    from PIL import Image

    frames = np.repeat(np.arange(0, 240, 30, dtype=np.uint8), 16 * 16 * 3).reshape(8, 16, 16, 3)
    made = Clip(frames_THWC=frames, frame_times_s=np.arange(8.0))
    seen = [np.asarray(Image.open(io.BytesIO(data))).mean() for data in jpegs(made, 4)]
    assert seen == pytest.approx([30, 90, 150, 210], abs=3)
    assert len(jpegs(made, 99)) == 8 and jpegs(clip(picture=False), 4) == []


def test_sound_as_a_file():
    made = clip(seconds=1.0, picture=False)
    with wave.open(io.BytesIO(wav(made))) as file:
        assert (file.getframerate(), file.getnchannels(), file.getnframes()) == (16_000, 1, 16_000)
    back = read_clip(wav(made), video=None, audio=True)
    assert back.waveform_N == pytest.approx(made.waveform_N.clip(-1, 1), abs=1e-4)
    assert wav(clip(sound=False)) is None and wav(Clip(waveform_N=np.zeros(0, np.float32))) is None


def test_a_film_begins_at_its_first_picture_and_takes_any_size(tmp_path):
    late = Clip(**{**vars(clip(seconds=1.0, size=33, sound=False)), "frame_times_s": np.arange(8) / 8.0 + 5.0})
    write_film(late, tmp_path / "late.mp4")
    info = probe(tmp_path / "late.mp4")
    assert info.duration_s == pytest.approx(1.0, abs=0.2) and (info.width, info.height) == (32, 32)
