"""FLV, as CREMA-D's videos are: Sorenson's H.263 with MP3, and H.264 with AAC."""

from fractions import Fraction

import av
import numpy as np
import pytest

from unifusion.errors import MediaError
from unifusion.media import Sampling, probe, read_clip


def write_flv(path, codec, sound, rate_hz):
    """Two seconds of a picture that gets brighter and a tone that begins after one second."""
    with av.open(str(path), "w", format="flv") as container:
        video = container.add_stream(codec, rate=30)
        video.width, video.height, video.pix_fmt, video.time_base = 64, 48, "yuv420p", Fraction(1, 30)
        audio = container.add_stream(sound, rate=rate_hz, layout="mono")
        for i in range(60):
            frame = av.VideoFrame.from_ndarray(np.full((48, 64, 3), 4 * i, np.uint8), format="rgb24")
            frame.pts = i
            container.mux(video.encode(frame))
        container.mux(video.encode())
        tone = (0.3 * np.sin(np.arange(2 * rate_hz) * 2 * np.pi * 440 / rate_hz) * (np.arange(2 * rate_hz) >= rate_hz)).astype(np.float32)
        for start in range(0, len(tone), 1024):
            frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(tone[None, start : start + 1024]), format="fltp", layout="mono")
            frame.sample_rate, frame.pts = rate_hz, start
            container.mux(audio.encode(frame))
        container.mux(audio.encode())


@pytest.mark.parametrize(("codec", "sound", "rate_hz"), [("flv", "libmp3lame", 44100), ("libx264", "aac", 44100)])
def test_picture_and_sound_at_their_times(tmp_path, codec, sound, rate_hz):
    path = tmp_path / "a.flv"
    write_flv(path, codec, sound, rate_hz)
    info = probe(path)
    assert (info.container, info.width, info.height, info.has_audio) == ("flv", 64, 48, True)
    clip = read_clip(path, video=Sampling(rate_hz=30), audio=True)
    grey = clip.frames_THWC[:, 24, 32, 1].astype(float)
    np.testing.assert_allclose(grey, 4 * 30 * (clip.frame_times_s - clip.frame_times_s[0]), atol=8)
    assert len(grey) == 60 and abs(clip.duration_s - 2.0) < 0.15
    loud = np.abs(clip.waveform_N) > 0.1
    assert abs(np.argmax(loud) / clip.sampling_rate_hz - 1.0) < 0.1


def test_a_span(tmp_path):
    write_flv(tmp_path / "a.flv", "flv", "libmp3lame", 44100)
    clip = read_clip(tmp_path / "a.flv", start_s=1.0, end_s=1.5, video=Sampling(rate_hz=10), audio=True)
    assert len(clip.frames_THWC) in (5, 6) and clip.duration_s == pytest.approx(0.5, abs=0.05)
    assert 100 < clip.frames_THWC[0].mean() < 130 and len(clip.waveform_N) == pytest.approx(8000, abs=200)


def test_what_only_begins_like_one_is_refused(tmp_path):
    (tmp_path / "a.flv").write_bytes(b"FLV\x01" + bytes(300))
    with pytest.raises(MediaError, match=r"a\.flv"):
        read_clip(tmp_path / "a.flv", video=Sampling(rate_hz=10), audio=True)
