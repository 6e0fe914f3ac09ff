"""The residual network over sound: what its two pictures show, exact trimming, chunking, from_pretrained, errors."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from unifusion.conversation import Clip
from unifusion.encoders.sound_resnet import SoundResNet, log_tones
from unifusion.errors import CheckpointError, ConfigError, MediaError


def sine(hz, seconds=1.0, level=0.5):
    return (level * np.sin(2 * np.pi * hz * np.arange(round(seconds * 16_000)) / 16_000)).astype(np.float32)


def run(encoder, found):
    with torch.no_grad():
        chunks = torch.tensor([len(found.tensors["mels"])])
        return encoder(chunks=chunks, times=found.times_S[None], mask=found.mask_S[None], **found.tensors)


@pytest.mark.parametrize("tone", [12, 40, 41, 70, 95])
def test_a_sine_is_loudest_at_its_own_tone(tone):
    hz = 100.0 * 2 ** (tone / 24)
    tones_FS = log_tones(torch.from_numpy(sine(hz, 1.6))[None], 96, 100.0, 24)[0]
    middle = tones_FS[:, 10:30].mean(1)
    assert int(middle.argmax()) == tone
    louder_FS = log_tones(torch.from_numpy(sine(hz, 1.6, 1.0))[None], 96, 100.0, 24)[0]
    assert float(louder_FS[tone, 10:30].mean() - middle[tone]) == pytest.approx(np.log(4), abs=1e-3)


def test_a_semitone_apart_can_be_told_from_300_hz_on():
    for hz in (311.1, 440.0, 880.0):
        both = torch.from_numpy(sine(hz, 1.6, 0.25) + sine(hz * 2 ** (1 / 12), 1.6, 0.25))[None]
        tones = log_tones(both, 96, 100.0, 24)[0, :, 10:30].mean(1)
        low = round(24 * np.log2(hz / 100.0))
        assert tones[low + 1] < min(tones[low], tones[low + 2])


@settings(max_examples=40, deadline=None)
@given(n=st.integers(320, 30_000))
def test_tokens_cover_the_sound_and_stand_in_its_middle(n):
    config = SoundResNet.resolve(SoundResNet.tiny())
    found = SoundResNet.preprocess(config, Clip(waveform_N=np.zeros(n, np.float32), waveform_start_s=1.5))
    assert len(found.tensors["mels"]) == -(-n // 8320) and found.samples == n
    torch.testing.assert_close(found.times_S, 1.5 + (torch.arange(len(found.times_S)) + 0.5) * 0.04)
    assert int(found.mask_S.sum()) == -(-n // 640)
    assert all(torch.isfinite(x).all() for x in found.tensors.values())


def test_away_from_its_end_the_features_of_a_sound_do_not_depend_on_what_fills_the_chunk():
    torch.manual_seed(0)
    tiny = SoundResNet.tiny()
    short, long = (SoundResNet.build(SoundResNet.Config(backbone=tiny.backbone, chunk_s=s)).eval() for s in (1.0, 4.0))
    long.load_state_dict(short.state_dict())
    clip = Clip(waveform_N=sine(300, 0.8) + np.random.default_rng(0).normal(0, 0.1, 12_800).astype(np.float32), duration_s=0.8)
    a, b = (run(e, SoundResNet.preprocess(e.config, clip)) for e in (short, long))
    n = int(a.mask_BS.sum())
    assert n == int(b.mask_BS.sum()) == 20
    torch.testing.assert_close(a.tokens_BSD[0, :12], b.tokens_BSD[0, :12], atol=1e-4, rtol=1e-3)


def test_after_the_end_there_is_silence():
    """A word of 0.3 s in a file of its own is encoded as the same word before a pause (seen on digits: 0.72 against 0.82 right)."""
    torch.manual_seed(0)
    encoder = SoundResNet.build(SoundResNet.Config(backbone=SoundResNet.tiny().backbone, chunk_s=1.0)).eval()
    word = sine(300, 0.32)
    alone, before = (
        run(encoder, SoundResNet.preprocess(encoder.config, Clip(waveform_N=w, duration_s=len(w) / 16_000)))
        for w in (word, np.pad(word, (0, 16_000 - len(word))))
    )
    assert int(alone.mask_BS.sum()) == 8 and int(before.mask_BS.sum()) == 25
    torch.testing.assert_close(alone.tokens_BSD[0, :8], before.tokens_BSD[0, :8], atol=1e-5, rtol=1e-4)


def test_weights_come_back_from_a_folder_and_a_lacking_file_is_refused(tmp_path):
    torch.manual_seed(0)
    encoder = SoundResNet.build(SoundResNet.tiny()).eval()
    encoder.backbone.save_pretrained(tmp_path / "whole")
    again = SoundResNet.build(SoundResNet.Config(source=str(tmp_path / "whole"), chunk_s=0.52)).eval()
    clip = Clip(waveform_N=sine(440, 0.9), duration_s=0.9)
    loaded, made = (run(e, SoundResNet.preprocess(e.config, clip)).tokens_BSD for e in (again, encoder))
    torch.testing.assert_close(loaded, made)
    with pytest.raises(CheckpointError, match="config"):
        SoundResNet.resolve(SoundResNet.Config(source=str(tmp_path / "nothing")))


def test_errors_name_the_remedy():
    with pytest.raises(ConfigError, match=r"set chunk_s to 0\.52"):
        SoundResNet.resolve(SoundResNet.Config(backbone=SoundResNet.tiny().backbone, chunk_s=0.53))
    with pytest.raises(ConfigError, match="no key 'mels'"):
        SoundResNet.resolve(SoundResNet.Config(backbone={"mels": 80}))
    with pytest.raises(MediaError, match="20 ms"):
        SoundResNet.preprocess(SoundResNet.resolve(SoundResNet.tiny()), Clip(waveform_N=np.zeros(100, np.float32)))
    encoder = SoundResNet.build(SoundResNet.tiny())
    with pytest.raises(ConfigError, match="own preprocess"):
        encoder.encode_chunks(torch.zeros(1, 16, 40), torch.zeros(1, 16, 10))
