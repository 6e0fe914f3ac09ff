"""Clips that are changed between the decoder and the streams."""

from dataclasses import replace

import numpy as np
import soundfile
import torch

from tests.toys import clip, streams, video
from unifusion.conversation import Media
from unifusion.media.augment import Augmentation, augmented
from unifusion.processor import AugmentingOpener, MediaOpener

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
