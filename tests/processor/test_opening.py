"""From a clip to each stream's input: what is there, what is cut, what is said about it."""

from dataclasses import replace

import numpy as np
import pytest
import soundfile

from tests.toys import clip, streams, video
from unifusion.conversation import Clip, Media
from unifusion.errors import LimitError, MediaError
from unifusion.limits import Limits
from unifusion.processor import MediaOpener, StreamSpec
from unifusion.processor.opening import at_rate, raised


@pytest.fixture
def opener():
    return MediaOpener(streams(), max_seconds=3.0)


def test_streams_and_reports(opener):
    opened = opener.open(video(seed=1, seconds=2.0))
    assert set(opened.streams) == {"video", "audio"} and opened.duration_s == 2.0
    report = opened.reports["video"]
    assert report.present and report.seconds == 2.0 and report.frames == 8 and report.cropped_s == 0
    assert opened.reports["audio"].samples == 32_000
    for name, item in opened.streams.items():
        assert opened.reports[name].tokens == len(item.token_times_Q)
        assert 0 <= float(item.times_S[item.mask_S].min()) and float(item.times_S[item.mask_S].max()) <= 2.0


def test_what_is_absent_is_said(opener):
    opened = opener.open(video(sound=False))
    assert opened.reports["audio"].reason == "the file has no sound in this span" and "audio" not in opened.streams
    opened = opener.open(video().muted("video"))
    assert opened.reports["video"].reason == "muted on request" and set(opened.streams) == {"audio"}
    opened = opener.open(video().muted("video", "audio"))
    assert not opened.streams
    with pytest.raises(MediaError, match="no stream of the model can use this file"):
        opener.open(video(picture=False, sound=False))


def test_a_breath_of_sound_does_not_cost_the_picture(opener):
    """Less than one feature of sound is an absent stream, not an error."""
    whole = clip(seed=1)
    opened = opener.open(Media(kind="video", source=Clip(**{**vars(whole), "waveform_N": whole.waveform_N[:100]})))
    assert set(opened.streams) == {"video"} and "20 ms" in opened.reports["audio"].reason
    with pytest.raises(MediaError, match="20 ms"):
        opener.open(Media(kind="audio", source=Clip(waveform_N=whole.waveform_N[:100], duration_s=0.00625)))


def test_long_clips_are_cropped_and_said_so(opener):
    opened = opener.open(video(seconds=5.0))
    assert opened.duration_s == 3.0
    for report in opened.reports.values():
        assert report.cropped_s == 2.0 and "first 3.0 s" in report.reason and report.seconds <= 3.0


def test_spans_begin_at_zero(opener):
    whole = clip(seconds=4.0, seed=3)
    opened = opener.open(Media(kind="video", source=whole, start_s=1.0, end_s=2.5))
    assert opened.duration_s == 1.5
    assert opened.reports["audio"].samples == 24_000
    item = opened.streams["video"]
    assert float(item.times_S.min()) < 0.5
    alone = Clip(
        frames_THWC=whole.frames_THWC[8:20],
        frame_times_s=whole.frame_times_s[8:20] - 1.0,
        waveform_N=whole.waveform_N[16_000:40_000],
        duration_s=1.5,
    )
    other = opener.open(Media(kind="video", source=alone))
    for name in opened.streams:
        for key, tensor in opened.streams[name].tensors.items():
            assert tensor.equal(other.streams[name].tensors[key])
    with pytest.raises(MediaError, match=r"span 2-1 s is empty"):
        opener.open(Media(kind="video", source=whole, start_s=2.0, end_s=1.0))


def test_late_sound_keeps_its_place(opener):
    late = Clip(**{**vars(clip(seconds=1.0)), "waveform_start_s": 0.5, "duration_s": 1.5})
    item = opener.open(Media(kind="video", source=late)).streams["audio"]
    assert float(item.times_S[0]) == pytest.approx(0.51)


def test_files_are_opened_like_arrays(opener, tmp_path):
    sound = clip(seconds=1.0, seed=4).waveform_N
    soundfile.write(tmp_path / "a.wav", sound, 16_000, subtype="FLOAT")
    for kind in ("audio", "video"):
        from_file = opener.open(Media(kind=kind, source=tmp_path / "a.wav")).streams["audio"]
        from_array = opener.open(Media(kind="audio", source=Clip(waveform_N=sound, duration_s=1.0))).streams["audio"]
        assert from_file.times_S.equal(from_array.times_S)
        assert np.allclose(from_file.tensors["input_features"], from_array.tensors["input_features"], atol=1e-3)
    cut = opener.open(Media(kind="audio", source=tmp_path / "a.wav", start_s=0.25, end_s=0.5))
    assert cut.reports["audio"].samples == 4_000
    with pytest.raises(MediaError, match="starts at 7 s but the file is 1"):
        opener.open(Media(kind="audio", source=tmp_path / "a.wav", start_s=7.0))
    assert (
        MediaOpener(streams(), isolate=True).open(Media(kind="audio", source=(tmp_path / "a.wav").read_bytes())).reports["audio"].samples
        == 16_000
    )


def test_limits_come_before_decoding(tmp_path):
    soundfile.write(tmp_path / "long.wav", np.zeros(16_000 * 30, np.int16), 16_000)
    opener = MediaOpener(streams(), max_seconds=100.0, limits=Limits(max_span_seconds=10.0))
    with pytest.raises(LimitError, match="above the limit of 10 s"):
        opener.open(Media(kind="audio", source=tmp_path / "long.wav"))
    assert opener.open(Media(kind="audio", source=tmp_path / "long.wav", end_s=5.0)).reports["audio"].seconds == 5.0


def test_frames_are_thinned_to_the_encoders_rate():
    dense = clip(seconds=2.0, rate_hz=16.0)
    thin = at_rate(dense, 4.0)
    assert len(thin.frames_THWC) == 8
    assert np.allclose(thin.frame_times_s, np.arange(8) / 4, atol=1 / 16)
    assert at_rate(thin, 4.0) is thin


def test_several_streams_of_one_modality():
    both = streams()
    fast = StreamSpec(**{**vars(both["video"]), "encoder_config": {**both["video"].encoder_config, "rate_hz": 8.0}})
    opened = MediaOpener({"slow": both["video"], "fast": fast}).open(video(seconds=2.0))
    assert opened.reports["slow"].frames == 8 and opened.reports["fast"].frames == 16


def test_a_large_picture_is_scaled_to_fit_in_memory_and_the_report_says_so(tmp_path):
    from unifusion.cli.checks.codecs import make_clip
    from unifusion.media import probe

    make_clip(tmp_path / "clip.mp4", "libx264", "aac")
    media = Media(kind="video", source=tmp_path / "clip.mp4")
    info = probe(media.source)
    plain = MediaOpener(streams()).open(media)
    frame_bytes = info.width * info.height * 3
    small = MediaOpener(streams(), limits=Limits(decode_memory_bytes=4 * frame_bytes)).open(media)
    assert not plain.notes and "scaled to" in small.notes[0]
    assert small.reports["video"].frames == plain.reports["video"].frames


def test_streams_at_different_sampling_rates_hear_the_same_clip(tmp_path):
    """CLAP wants 48 kHz and Whisper 16: the file is read once at the higher rate."""
    from unifusion.encoders.clap import CLAP
    from unifusion.encoders.whisper import Whisper

    t = np.arange(44_100) / 44_100
    soundfile.write(tmp_path / "a.wav", 0.3 * np.sin(2 * np.pi * 440 * t), 44_100)
    clap = {
        "backbone": CLAP.tiny().backbone,
        "mel": {**CLAP.tiny().mel, "sampling_rate": 48_000, "fft_window_size": 1024, "hop_length": 480},
    }
    specs = {
        "events": StreamSpec(encoder="clap", encoder_config=clap, adapter="linear"),
        "speech": StreamSpec(encoder="whisper", encoder_config={"backbone": Whisper.tiny().backbone}, adapter="linear"),
    }
    opened = MediaOpener(specs).open(Media(kind="audio", source=tmp_path / "a.wav"))
    assert opened.reports["events"].samples == 48_000 and opened.reports["speech"].samples == 16_000
    alone = MediaOpener({"speech": specs["speech"]}).open(Media(kind="audio", source=tmp_path / "a.wav"))
    a, b = (o.streams["speech"].tensors["input_features"] for o in (opened, alone))
    assert (a - b).abs().mean() < 0.05
    arrays = MediaOpener(specs).open(Media(kind="audio", source=clip(seconds=1.0)))
    assert arrays.reports["events"].samples == 48_000 and arrays.reports["speech"].samples == 16_000


def moments(waveform_N):
    return 10 * np.log10(np.square(waveform_N[: len(waveform_N) // 400 * 400].reshape(-1, 400)).mean(axis=1).max())


@pytest.mark.parametrize("softer_db", [0.0, -20.0, -40.0])
def test_soft_sound_is_raised_to_a_level_and_the_notes_say_by_how_much(opener, softer_db):
    heard = clip(seconds=1.0)
    soft = replace(heard, waveform_N=heard.waveform_N * np.float32(10 ** (softer_db / 20)))
    media = Media(kind="audio", source=soft)
    found = raised(soft, -12.0)
    assert moments(found.waveform_N) == pytest.approx(max(-12.0, moments(soft.waveform_N)), abs=0.05)
    assert np.abs(found.waveform_N).max() <= 1.0 and (raised(soft, None) is soft)
    opened = opener.open(replace(media, at_least_db=-12.0))
    gain = -12.0 - moments(soft.waveform_N)
    assert any(n == f"the sound was raised by {gain:.1f} dB" for n in opened.notes) == (gain > 0)
    assert not opener.open(media).notes


def test_what_may_not_be_raised():
    loud = Clip(waveform_N=np.full(16_000, 0.5, np.float32), duration_s=1.0)
    assert raised(loud, -12.0) is loud
    nothing = Clip(waveform_N=np.zeros(16_000, np.float32), duration_s=1.0)
    assert raised(nothing, -12.0) is nothing and raised(Clip(duration_s=1.0), -12.0).waveform_N is None
    click = np.full(16_000, 1e-3, np.float32)
    click[8_000] = 0.5
    assert np.abs(raised(Clip(waveform_N=click, duration_s=1.0), -6.0).waveform_N).max() == pytest.approx(1.0), "no further than full scale"
    short = Clip(waveform_N=np.full(100, 0.01, np.float32), duration_s=0.01)
    assert moments(np.resize(raised(short, -20.0).waveform_N, 400)) == pytest.approx(-20.0, abs=0.05)
