"""Clips that are changed between the decoder and the streams."""

from dataclasses import replace

import numpy as np
import soundfile
import torch

from tests.toys import clip, streams, video
from unifusion.conversation import Media
from unifusion.media import read_audio
from unifusion.media.augment import Augmentation, augmented, two_views
from unifusion.processor import AugmentingOpener, MediaOpener, TwoViews, opening

CHOICES = Augmentation(crop=0.7, keep_time=0.6, noise_snr_db=(5, 15), tempo=(0.9, 1.1))


def same(a, b):
    return all(torch.equal(a.streams[s].tensors[k], b.streams[s].tensors[k]) for s in a.streams for k in a.streams[s].tensors)


def test_streams_get_what_the_augmented_clip_gives():
    opener = MediaOpener(streams())
    found = AugmentingOpener(opener, CHOICES, "0/a/1").open(video(seconds=2.0))
    by_hand = opener.open(Media(kind="video", source=augmented(clip(seconds=2.0), CHOICES, key="0/a/1")))
    assert same(found, by_hand) and found.duration_s == by_hand.duration_s < 2.0 / 0.9
    assert not same(found, opener.open(video(seconds=2.0)))
    for name, item in found.streams.items():
        assert found.reports[name].present and float(item.times_S[item.mask_S].max()) <= found.duration_s + 0.01


def test_equal_keys_are_equal_clips_and_others_are_not():
    opener, media = MediaOpener(streams()), video(seconds=1.0)
    first, again = (AugmentingOpener(opener, CHOICES, "0/a/1").open(media) for _ in range(2))
    assert same(first, again)
    later = AugmentingOpener(opener, CHOICES, "0/a/2").open(media)
    assert first.duration_s != later.duration_s
    by_media = AugmentingOpener(opener, CHOICES, lambda m: f"0/{m.transcript}/1")
    assert same(by_media.open(replace(media, transcript="a")), first)


def test_a_file_is_changed_after_decoding_and_other_sounds_are_mixed_in(tmp_path):
    sound = clip(seconds=1.0).waveform_N
    soundfile.write(tmp_path / "a.wav", sound, 16_000, subtype="FLOAT")
    media = Media(kind="audio", source=tmp_path / "a.wav")
    seen = []
    MediaOpener(streams()).open(media, between=lambda c, m: seen.append((c, m)) or c)
    assert len(seen) == 1 and seen[0][1] is media and np.allclose(seen[0][0].waveform_N, sound, atol=1e-6)
    other = AugmentingOpener(MediaOpener(streams()), Augmentation(noise_snr_db=(0, 0), noise_kinds=("other",)), "k", others=[sound[::-1]])
    assert not same(other.open(media), MediaOpener(streams()).open(media))


def test_two_views_of_a_clip_are_opened_from_one_decoding(tmp_path, monkeypatch):
    soundfile.write(tmp_path / "a.wav", clip(seconds=1.0).waveform_N, 16_000, subtype="FLOAT")
    media = Media(kind="audio", source=tmp_path / "a.wav", transcript="a word")
    decoded = []
    decode = opening.decode
    monkeypatch.setattr(opening, "decode", lambda m, **more: decoded.append(m.source) or decode(m, **more))
    views = TwoViews(MediaOpener(streams()), CHOICES, seed=3)
    one, other = views.open(media, sample_id="a", epoch=1)
    assert decoded[0] == media.source and not isinstance(decoded[1], type(decoded[0])) and len(decoded) == 2
    assert not same(one, other) and one.media is media and other.media is media
    again = TwoViews(MediaOpener(streams()), CHOICES, seed=3).open(media, sample_id="a", epoch=1)
    assert same(one, again[0]) and same(other, again[1])
    by_hand = two_views(read_audio(tmp_path / "a.wav"), CHOICES, seed=3, sample_id="a", epoch=1)
    for view, made in zip((one, other), by_hand, strict=True):
        plain = MediaOpener(streams()).open(Media(kind="audio", source=made))
        assert same(view, plain) and view.duration_s == made.duration_s
        assert {n: r.present for n, r in view.reports.items()} == {n: r.present for n, r in plain.reports.items()}
