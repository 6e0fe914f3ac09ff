"""Damaged files: an error that names the file, or flagged frames; never a crash, never a wrong picture without a word."""

import functools

import numpy as np
import pytest

from tests.media import clips, fuzz
from tests.media.mutations import MUTATIONS, mutate
from unifusion.errors import LimitError, MediaError
from unifusion.media import Sampling, read_clip, read_video
from unifusion.media.decoder import Decoder

made = clips.make
truth = functools.cache(lambda name: fuzz.references(made(name)))
CHECKED = ("mp4", "ts", "avi", "fragmented")


@pytest.mark.parametrize("mutation", MUTATIONS)
def test_mutated_clips_are_refused_by_name_or_right(mutation, tmp_path):
    """A short form of `python -m tests.media.fuzz`, in this process: H.264 and MPEG-4, whose damage shows."""
    refused = 0
    for seed in range(12):
        name = CHECKED[seed % len(CHECKED)]
        path = tmp_path / f"clip{seed}{made(name).suffix}"
        path.write_bytes(mutate(made(name).data, mutation, seed))
        try:
            read = read_clip(path, video=Sampling(count=6), audio=True, limits=fuzz.LIMITS)
        except MediaError as error:
            assert str(path) in str(error)
            refused += 1
            continue
        if read.frames_THWC is not None:
            assert fuzz.judge(made(name), read, truth(name))["wrong"] == 0, (name, mutation, seed)
    if mutation in ("flip_many", "blank", "truncate"):
        assert refused >= 6


@pytest.fixture
def torn():
    """An mp4 with a piece of its second group of pictures overwritten."""
    data = bytearray(made("mp4").data)
    at = data.find(b"mdat") + len(data) // 3
    data[at : at + 600] = bytes(600)
    return bytes(data)


def test_strict_refuses_and_says_where(torn):
    with pytest.raises(MediaError, match=r"<\d+ bytes>: damaged .* strict=False"):
        read_video(torn, Sampling(rate_hz=25))


def test_lenient_flags_every_wrong_frame(torn):
    read = read_video(torn, Sampling(rate_hz=25), strict=False)
    right = [
        np.abs(truth("mp4")[made("mp4").number_at(t)].astype(int) - f).mean() < 1
        for f, t in zip(read.frames_THWC, read.frame_times_s, strict=True)
    ]
    assert read.corrupt_T.any()
    assert not read.corrupt_T.all()
    assert all(ok or flagged for ok, flagged in zip(right, read.corrupt_T, strict=True))
    assert not all(right)
    assert any("may be damaged" in note for note in read.notes)


def test_lenient_reads_a_whole_file_as_strict_does():
    strict, lenient = (read_video(made("mp4").data, Sampling(count=8), strict=s) for s in (True, False))
    assert (strict.frames_THWC == lenient.frames_THWC).all()
    assert not lenient.corrupt_T.any()


def test_damage_outside_the_decoded_groups_does_not_matter(torn):
    """Strictness is about what comes back: the last group of pictures is whole."""
    read = read_video(torn, Sampling(times_s=(2.1, 2.3)))
    assert [clips.number_of(f) for f in read.frames_THWC] == [52, 57]


def test_lenient_keeps_what_came_before_the_cut():
    whole = made("fragmented").data
    cut = whole[: len(whole) * 2 // 3]
    with pytest.raises(MediaError):
        read_clip(cut, video=Sampling(rate_hz=25), audio=True)
    read = read_clip(cut, video=Sampling(rate_hz=25), audio=True, strict=False)
    good = read.frames_THWC[~read.corrupt_T]
    assert 20 <= len(good) < 60
    assert [clips.number_of(f) for f in good] == list(range(len(good)))
    assert read.notes


def test_a_file_cut_before_its_index_is_an_error_in_both_modes():
    half = made("mp4").data[: len(made("mp4").data) // 2]
    for strict in (True, False):
        with pytest.raises(MediaError, match="reading the header failed"):
            read_video(half, Sampling(count=2), strict=strict)


def test_a_matroska_cut_short_says_that_it_is_shorter_than_declared():
    whole = made("mkv").data
    read = read_clip(whole[: len(whole) // 2], video=Sampling(count=4), audio=True, strict=False)
    assert any("its header says 2.4" in note for note in read.notes)


def test_a_frame_that_does_not_come_is_looked_for_by_walking(monkeypatch):
    """Where packets and frames do not match one to one, frames are chosen by what the decoder really gives."""
    monkeypatch.setattr(Decoder, "by_stamp", lambda *args, **kwargs: None)
    read = read_video(made("open_gop").data, Sampling(count=8))
    assert [clips.number_of(f) for f in read.frames_THWC] == [made("open_gop").number_at(t) for t in read.frame_times_s]


def test_a_stream_taller_than_its_header_says_is_stopped_while_decoding():
    """The pixel limit holds in the decoder as well: its parameters come from the stream, the header's may lie."""
    from unifusion.limits import Limits

    with pytest.raises(MediaError):
        read_video(made("mkv").data, Sampling(count=1), limits=Limits(max_pixels=100 * 100))
    with pytest.raises(LimitError):
        read_video(made("mp4").data, Sampling(count=1), limits=Limits(max_pixels=100 * 100))
