"""Real files that are odd or broken, as their manifest says."""

import json

import numpy as np
import pytest

from unifusion.errors import MediaError
from unifusion.media import Sampling, probe, read_clip


@pytest.fixture(scope="module")
def odd(data):
    folder = data / "media_odd"
    return [
        (folder / row["path"], row["labels"]["expect"]) for row in map(json.loads, (folder / "manifest.jsonl").read_text().splitlines())
    ]


def read(path, **other):
    return read_clip(path, video=Sampling(count=8, max_side_px=320), audio=True, **other)


def test_odd_files_do_what_their_manifest_expects(odd):
    assert len(odd) >= 20
    for path, expected in odd:
        try:
            clip = read(path)
        except MediaError as error:
            assert "decodes" not in expected, (path.name, error)
            assert path.name in str(error)
        else:
            assert expected != "clear error", path.name
            assert clip.frames_THWC is not None or clip.waveform_N is not None
            assert clip.frames_THWC is None or (np.diff(clip.frame_times_s) > 0).all()
            assert clip.waveform_N is None or np.isfinite(clip.waveform_N).all()


def test_the_corrupt_file_is_read_with_flags_when_lenient(data):
    path = data / "media_odd/files/decord_corrupted.mp4"
    with pytest.raises(MediaError, match=r"damaged picture at 3\.00 s"):
        read(path)
    clip = read(path, strict=False)
    assert 0 < clip.corrupt_T.sum() < 8


def test_what_the_odd_files_hold(data):
    files = data / "media_odd/files"
    late = read(files / "video_starts_1s_late.mp4")
    assert late.frame_times_s[0] >= 1.0
    assert late.waveform_start_s == 0.0
    assert read(files / "audio_only.m4a").frames_THWC is None
    assert len(read(files / "short_50ms.mp4").frames_THWC) == 2
    assert probe(files / "torchcodec_nasa_13013.mp4").width == 480  # the larger of two pictures
    steps = np.diff(read_clip(files / "vfr.mp4", video=Sampling(rate_hz=100), audio=False).frame_times_s)
    assert steps.max() > 1.5 * steps.min()
    assert read(files / "base.mp4").duration_s == pytest.approx(4.0, abs=0.01)


def test_action_clips_are_read_strictly_without_a_word(data):
    for path in sorted((data / "av_demo/video").iterdir()):
        clip = read(path)
        assert clip.frames_THWC.shape[0] == 8
        assert max(clip.frames_THWC.shape[1:3]) <= 320
        assert set(clip.notes) <= {"the file has no sound"}, (path.name, clip.notes)
