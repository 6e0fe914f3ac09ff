"""The right frames, at the right times, from whole clips in many containers, codecs and cuts."""

import numpy as np
import pytest

from tests.media import clips
from unifusion.errors import MediaError
from unifusion.limits import Limits
from unifusion.media import Sampling, probe, read_clip, read_image, read_video

made = clips.make


@pytest.mark.parametrize("name", clips.NAMES)
def test_every_frame_is_the_one_on_screen_and_the_sound_is_in_step(name):
    clip = made(name)
    read = read_clip(clip.data, video=Sampling(rate_hz=500), audio=clip.has_audio)
    numbers = [clips.number_of(frame) for frame in read.frames_THWC]
    assert numbers == [clip.number_at(t) for t in read.frame_times_s]
    assert len(numbers) == (36 if name == "ts_cut" else len(clip.numbers))
    assert not read.corrupt_T.any()
    if clip.has_audio:
        assert abs(lag(read, clip.audio_offset_s - clip.zero_s)) <= 24  # 1.5 ms: mp4 stores an edit in milliseconds


def lag(read, offset_s):
    """By how many samples the sound is late against the tone it should be."""
    whole = clips.tone(6.0, read.sampling_rate_hz)
    piece = read.waveform_N[4000:20000]
    at = round((read.waveform_start_s + offset_s) * read.sampling_rate_hz) + 4000
    shifts = range(-150, 151)
    return max(shifts, key=lambda s: float(piece @ whole[at + s : at + s + len(piece)]))


@pytest.mark.parametrize("name", clips.NAMES)
def test_random_times_in_a_span(name):
    clip = made(name)
    rng = np.random.default_rng(len(name))
    start = 0.9
    wanted = tuple(np.sort(rng.uniform(0.2, 0.9, 6)).tolist())
    read = read_clip(clip.data, start_s=start, video=Sampling(times_s=wanted), audio=False)
    assert [clips.number_of(f) for f in read.frames_THWC] == [clip.number_at(start + t) for t in wanted]
    assert read.start_s == start
    assert (read.frame_times_s <= np.asarray(wanted) + 1e-3).all()


@pytest.mark.parametrize("name", ["mp4", "mkv", "open_gop", "hevc_open_gop", "webm_vp9", "fragmented", "mkv_no_index"])
def test_jumping_gives_the_same_pixels_as_reading_through(name):
    source = made(name).data
    whole = read_video(source, Sampling(rate_hz=500))
    few = read_video(source, Sampling(times_s=(0.5, 1.7, 2.3)))
    rows = [int(np.argmin(np.abs(whole.frame_times_s - t))) for t in few.frame_times_s]
    assert (few.frames_THWC == whole.frames_THWC[rows]).all()


@pytest.fixture(scope="module")
def long_clips():
    """40 s with a key frame each 2 s: long enough that a span is sought."""
    return {
        f: clips.encode(format=f, frames=1000, gop=50, options={**clips.X264, "g": "50"}, audio="aac" if f == "mp4" else "libopus")
        for f in ("mp4", "matroska")
    }


@pytest.mark.parametrize("format", ["mp4", "matroska"])
def test_a_span_late_in_a_long_file_is_the_same_as_cut_from_the_whole(long_clips, format):
    whole = read_clip(long_clips[format], video=Sampling(rate_hz=25), audio=True)
    span = read_clip(long_clips[format], start_s=31.3, end_s=34.1, video=Sampling(rate_hz=25), audio=True)
    assert [clips.number_of(f) for f in span.frames_THWC] == list(range(782, 852))
    assert (span.frames_THWC == whole.frames_THWC[782:852]).all()
    first = round((31.3 + span.waveform_start_s - whole.waveform_start_s) * 16_000)
    piece = whole.waveform_N[first : first + len(span.waveform_N)]
    assert len(span.waveform_N) == pytest.approx(2.8 * 16_000, abs=2)
    error = float(np.abs(piece - span.waveform_N).max())
    assert error < 0.01, error
    assert span.duration_s == pytest.approx(2.8, abs=0.01)


def test_a_span_in_the_middle_decodes_only_its_groups(long_clips, monkeypatch):
    """Counted, not timed: how many packets the decoder is fed for two frames of forty seconds."""
    from unifusion.media.decoder import Decoder

    fed = []
    original = Decoder._feed
    monkeypatch.setattr(Decoder, "_feed", lambda self, packet, time_s: fed.append(packet) or original(self, packet, time_s))
    read_video(long_clips["mp4"], Sampling(times_s=(10.1, 30.1)))
    assert len(fed) < 40


def test_rotation_is_applied_and_reported():
    clip = made("rotated")
    assert probe(clip.data).rotation == 180
    assert clips.number_of(read_video(clip.data, Sampling(count=3)).frames_THWC[1]) == clip.number_at(1.2)


def test_real_rotated_clips_are_upright(data):
    info = probe(data / "media_odd/files/decord_video_90.mov")
    read = read_video(data / "media_odd/files/decord_video_90.mov", Sampling(count=2))
    assert (info.width, info.height, info.rotation) == (320, 568, 270)
    assert read.frames_THWC.shape[1:] == (568, 320, 3)


def test_scaling_keeps_the_aspect_and_never_enlarges():
    source = made("mp4").data
    assert read_video(source, Sampling(count=1, max_side_px=96)).frames_THWC.shape == (1, 48, 96, 3)
    assert read_video(source, Sampling(count=1, max_side_px=4000)).frames_THWC.shape == (1, 96, 192, 3)


def test_a_late_picture_keeps_its_time():
    read = read_clip(made("late_video").data, video=Sampling(count=4), audio=True)
    assert read.frame_times_s[0] >= 1.0
    assert read.waveform_start_s == 0.0
    assert probe(made("late_video").data).video_start_s == pytest.approx(1.0)


def test_a_clip_cut_between_key_frames_says_what_is_missing():
    notes = read_video(made("ts_cut").data, Sampling(count=4)).notes
    assert any("cut between key frames" in note for note in notes)


def test_a_span_past_the_end_is_an_error_and_one_that_reaches_past_it_a_note():
    source = made("mp4").data
    with pytest.raises(MediaError, match=r"nothing from 60 s on, the file is 2\.40 s long"):
        read_clip(source, start_s=60.0, video=Sampling(count=2), audio=True)
    read = read_clip(source, start_s=1.0, end_s=9.0, video=Sampling(count=2), audio=True)
    assert read.duration_s == pytest.approx(1.4, abs=0.01)
    assert any("in the span of 8.00 s" in note for note in read.notes)


def test_one_frame_of_a_clip_as_a_picture():
    read = read_image(made("mp4").data)
    assert clips.number_of(read.frames_THWC[0]) == 0
    assert read.frame_times_s.tolist() == [0.0]


def test_frames_and_their_bytes_are_bounded():
    source = made("mp4").data
    with pytest.raises(MediaError, match="frames wanted, at most 10"):
        read_video(source, Sampling(rate_hz=25), limits=Limits(max_decoded_frames=10))
    with pytest.raises(MediaError, match="take 3317760 bytes"):
        read_video(source, Sampling(rate_hz=25), limits=Limits(decode_memory_bytes=1_000_000))


def test_path_text_and_bytes_give_the_same(tmp_path):
    path = made("mkv").write(tmp_path)
    reads = [read_video(source, Sampling(count=3)) for source in (path, str(path), path.read_bytes())]
    assert all((read.frames_THWC == reads[0].frames_THWC).all() for read in reads)


def test_probe_says_what_is_in_the_file():
    info = probe(made("webm_vp9").data)
    assert (info.container, info.video_codec, info.audio_codec) == ("matroska", "vp9", "opus")
    assert (info.width, info.height, info.sampling_rate_hz, info.channels, info.n_streams) == (192, 96, 48_000, 1, 2)
    assert info.duration_s == pytest.approx(2.4, abs=0.03)
    assert not info.is_image


def test_random_pictures_have_a_number_only_by_their_barcode():
    """The measure itself: a wrong frame must not pass for a right one."""
    noise = np.random.default_rng(0).integers(0, 256, (clips.HEIGHT, clips.WIDTH, 3), np.uint8)
    assert clips.number_of(noise) == -1
    blend = (clips.barcode(5).astype(int) + clips.barcode(1000)) // 2
    assert clips.number_of(blend.astype(np.uint8)) == -1
    assert [clips.number_of(clips.barcode(n)) for n in (0, 1, 77, 4095)] == [0, 1, 77, 4095]
