"""Sound: 16 kHz mono, in its place, no holes hidden, no values that are not numbers."""

import io
import wave
from fractions import Fraction

import av
import numpy as np
import pytest
import soundfile

from tests.media import clips
from unifusion.errors import LimitError, MediaError
from unifusion.limits import Limits
from unifusion.media import Sampling, probe, read_audio, read_clip
from unifusion.media.sound import resampled


def wav(samples, rate=16_000, subtype="FLOAT", format="WAV"):
    sink = io.BytesIO()
    soundfile.write(sink, samples, rate, subtype=subtype, format=format)
    return sink.getvalue()


@pytest.mark.parametrize(("format", "subtype"), [("WAV", "FLOAT"), ("WAV", "PCM_16"), ("FLAC", "PCM_16"), ("WAV", "DOUBLE")])
def test_16_khz_mono_comes_back_sample_for_sample(format, subtype):
    tone = clips.tone(1.5, 16_000)
    read = read_audio(wav(tone, subtype=subtype, format=format))
    assert read.waveform_N.dtype == np.float32
    assert len(read.waveform_N) == len(tone)
    assert np.abs(read.waveform_N - tone).max() < 1e-4
    assert (read.sampling_rate_hz, read.waveform_start_s, read.frames_THWC) == (16_000, 0.0, None)


@pytest.mark.parametrize("rate", [8_000, 22_050, 44_100, 48_000, 96_000])
def test_resampling_neither_shifts_nor_bends_the_tone(rate):
    read = read_audio(wav(clips.tone(2.0, rate), rate))
    wanted = clips.tone(2.0, 16_000)
    assert len(read.waveform_N) == pytest.approx(len(wanted), abs=2)
    n = len(wanted) - 400
    assert np.abs(read.waveform_N[200:n] - wanted[200:n]).max() < 0.01


@pytest.mark.parametrize("isolate", [False, True])
def test_sound_at_another_rate(isolate):
    """An encoder that hears above 8 kHz gets what is there; a 10 kHz tone survives, and times stay."""
    t = np.arange(44_100) / 44_100
    high = (0.4 * np.sin(2 * np.pi * 10_000 * t)).astype(np.float32)
    read = read_clip(wav(high, 44_100), start_s=0.25, end_s=0.75, video=None, audio=True, sampling_rate_hz=48_000, isolate=isolate)
    assert read.sampling_rate_hz == 48_000 and len(read.waveform_N) == 24_000 and read.duration_s == pytest.approx(0.5)
    spectrum = np.abs(np.fft.rfft(read.waveform_N))
    assert abs(int(spectrum.argmax()) * 2 - 10_000) <= 4 and np.abs(read.waveform_N).max() == pytest.approx(0.4, abs=0.02)
    assert np.abs(read_clip(wav(high, 44_100), video=None, audio=True).waveform_N[400:-400]).max() < 0.01, "16 kHz cannot hold it"


def test_resampled_arrays_equal_a_file_at_that_rate():
    tone = clips.tone(1.0, 48_000)
    found, wanted = resampled(tone, 48_000, 16_000), clips.tone(1.0, 16_000)
    assert found.dtype == np.float32 and len(found) == 16_000 and np.abs(found[200:-400] - wanted[200:-400]).max() < 0.01
    up = resampled(wanted, 16_000, 48_000)
    assert len(up) == 48_000 and np.abs(up[600:-1200] - tone[600:-1200]).max() < 0.01
    assert resampled(tone, 48_000, 48_000) is tone and len(resampled(tone[:0], 48_000, 16_000)) == 0


@pytest.mark.parametrize(
    ("codec", "format", "lead"), [("libmp3lame", "mp3", 1152), ("aac", "adts", 1024), ("libopus", "ogg", 960), ("flac", "ogg", 1)]
)
def test_compressed_sound_is_within_one_codec_frame(codec, format, lead):
    sink = io.BytesIO()
    with av.open(sink, "w", format=format) as out:
        stream = out.add_stream(codec, rate=48_000, layout="mono")
        frame = av.AudioFrame.from_ndarray(clips.tone(2.0)[None], format="flt", layout="mono")
        frame.sample_rate, frame.pts, frame.time_base = 48_000, 0, Fraction(1, 48_000)
        out.mux(stream.encode(frame))  # PyAV converts to the codec's format and frame size
        out.mux(stream.encode(None))
    read = read_audio(sink.getvalue())
    whole, piece = clips.tone(3.0, 16_000), read.waveform_N[4000:20000]
    shifts = range(-600, 601)
    best = max(shifts, key=lambda s: float(piece @ whole[4000 + s : 4000 + s + len(piece)]))
    assert abs(best) <= lead / 3 + 1


def test_stereo_is_the_mean_of_both():
    left, right = clips.tone(1.0, 16_000), -0.5 * clips.tone(1.0, 16_000)
    read = read_audio(wav(np.stack([left, right], 1)))
    assert np.abs(read.waveform_N - (left + right) / 2).max() < 1e-4


def test_a_span_is_cut_to_the_sample():
    tone = clips.tone(3.0, 16_000)
    read = read_audio(wav(tone), start_s=1.0, end_s=2.25)
    assert len(read.waveform_N) == 20_000
    assert np.abs(read.waveform_N - tone[16_000:36_000]).max() < 1e-4


def test_late_sound_is_not_moved_to_the_start():
    """Sound that begins 0.5 s after the picture."""
    sink = io.BytesIO()
    with av.open(io.BytesIO(clips.encode(audio=None))) as source, av.open(sink, "w", format="matroska") as out:
        video = out.add_stream_from_template(source.streams.video[0])
        sound = out.add_stream("pcm_s16le", rate=16_000, layout="mono")
        frame = av.AudioFrame.from_ndarray((clips.tone(1.0, 16_000) * 32767).astype(np.int16)[None], format="s16", layout="mono")
        frame.sample_rate, frame.pts = 16_000, 8_000
        for packet in source.demux():
            if packet.dts is not None:
                packet.stream = video
                out.mux(packet)
        out.mux(sound.encode(frame))
        out.mux(sound.encode(None))
    read = read_clip(sink.getvalue(), video=Sampling(count=2), audio=True)
    assert read.waveform_start_s == pytest.approx(0.5, abs=1e-3)
    assert np.abs(read.waveform_N - clips.tone(1.0, 16_000)).max() < 1e-3
    assert read_audio(sink.getvalue(), start_s=0.25).waveform_start_s == pytest.approx(0.25, abs=1e-3)


def test_a_hole_stays_a_hole_and_is_said():
    sink = io.BytesIO()
    with av.open(sink, "w", format="matroska") as out:
        sound = out.add_stream("pcm_s16le", rate=16_000, layout="mono")
        data = (clips.tone(2.0, 16_000) * 32767).astype(np.int16)
        for start in (0, 1600, 3200, 16_000, 17_600):
            frame = av.AudioFrame.from_ndarray(data[None, start : start + 1600], format="s16", layout="mono")
            frame.sample_rate, frame.pts = 16_000, start
            out.mux(sound.encode(frame))
        out.mux(sound.encode(None))
    read = read_audio(sink.getvalue())
    assert len(read.waveform_N) == 19_200
    assert not read.waveform_N[4_800:16_000].any()
    assert np.abs(read.waveform_N[16_000:] - data[16_000:19_200] / 32768).max() < 1e-3
    assert any("no sound from 0.30 s to 1.00 s" in note for note in read.notes)


def test_values_that_are_not_numbers():
    bad = clips.tone(1.0, 16_000)
    bad[5000:5010] = np.nan
    bad[6000] = np.inf
    with pytest.raises(MediaError, match="not numbers"):
        read_audio(wav(bad))
    read = read_audio(wav(bad), strict=False)
    assert np.isfinite(read.waveform_N).all()
    assert any("11 samples that were not numbers" in note for note in read.notes)
    with pytest.raises(MediaError, match="not one sample"):
        read_audio(wav(np.full(8000, np.nan, np.float32)), strict=False)


def test_sound_far_above_full_scale_is_clipped_with_a_note():
    read = read_audio(wav(1000 * clips.tone(0.5, 16_000)))
    assert np.abs(read.waveform_N).max() == 1.0
    assert any("peak is" in note for note in read.notes)


def test_absent_streams_are_none_with_a_note():
    silent = read_clip(clips.encode(frames=10, audio=None), video=Sampling(count=2), audio=True)
    assert silent.waveform_N is None
    assert "the file has no sound" in silent.notes
    unseen = read_clip(wav(clips.tone(1.0, 16_000)), video=Sampling(count=2), audio=True)
    assert unseen.frames_THWC is None
    assert "the file has no picture" in unseen.notes
    assert read_audio(clips.encode(frames=10, audio=None)).notes == ("the file has no sound",)


def test_cover_art_is_no_picture(tmp_path):
    sink = io.BytesIO()
    png = io.BytesIO()
    from PIL import Image

    Image.fromarray(clips.barcode(3)).save(png, "PNG")
    with av.open(sink, "w", format="mp4") as out:
        sound = out.add_stream("aac", rate=48_000, layout="mono")
        art = out.add_stream("png")
        art.width, art.height, art.pix_fmt = clips.WIDTH, clips.HEIGHT, "rgb24"
        art.disposition = av.stream.Disposition.attached_pic
        frame = av.AudioFrame.from_ndarray(clips.tone(0.5)[None, :1024], format="fltp", layout="mono")
        frame.sample_rate, frame.pts = 48_000, 0
        out.mux(sound.encode(frame))
        packet = av.Packet(png.getvalue())
        packet.stream, packet.pts, packet.dts, packet.time_base = art, 0, 0, Fraction(1, 25)
        packet.is_keyframe = True
        out.mux(packet)
        out.mux(sound.encode(None))
    info = probe(sink.getvalue())
    assert (info.has_video, info.has_audio, info.n_streams) == (False, True, 2)
    assert "the file has no picture" in read_clip(sink.getvalue(), video=Sampling(count=1), audio=True).notes


def test_a_wav_without_samples_is_an_error():
    sink = io.BytesIO()
    with wave.open(sink, "wb") as out:
        out.setnchannels(1)
        out.setsampwidth(2)
        out.setframerate(16_000)
    with pytest.raises(MediaError, match="no picture and no sound"):
        read_audio(sink.getvalue())


def test_more_sound_than_the_limit_is_refused():
    with pytest.raises(LimitError, match="shorter span"):
        read_audio(wav(clips.tone(3.0, 16_000)), limits=Limits(max_span_seconds=2.0))
    assert read_audio(wav(clips.tone(3.0, 16_000)), end_s=1.5, limits=Limits(max_span_seconds=2.0)).duration_s == 1.5
