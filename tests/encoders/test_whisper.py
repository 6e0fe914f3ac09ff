"""Whisper: parity with the published features and network, exact trimming, chunking, times, errors."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import WhisperConfig, WhisperFeatureExtractor, WhisperModel
from transformers.models.whisper.modeling_whisper import WhisperEncoder, sinusoids

from unifusion.conversation import Clip
from unifusion.encoders.encoder import weights_hash
from unifusion.encoders.whisper import Whisper, log_mel
from unifusion.errors import CheckpointError, ConfigError, MediaError

HUB_SHAPED = {
    "d_model": 16, "encoder_layers": 2, "encoder_attention_heads": 2, "encoder_ffn_dim": 32, "decoder_layers": 1,
    "decoder_attention_heads": 2, "decoder_ffn_dim": 32, "vocab_size": 64, "decoder_start_token_id": 1, "pad_token_id": 0,
    "bos_token_id": 1, "eos_token_id": 2,
}  # fmt: skip
"""Whisper's 1500 positions and 80 mels in a small width."""


def sound(seconds, seed=0, start=0.0):
    n = round(seconds * 16_000)
    t = np.arange(n) / 16_000
    noise = np.random.default_rng(seed).normal(0, 0.05, n)
    return Clip(waveform_N=(0.4 * np.sin(2 * np.pi * 330 * t) + noise).astype(np.float32), waveform_start_s=start, duration_s=seconds)


def tiny():
    return Whisper.resolve(Whisper.tiny())


@pytest.mark.parametrize("n_mels", [80, 128])
@pytest.mark.parametrize("seconds", [0.7, 6.0, 30.0, 30.5])
def test_mels_equal_the_published_extractor(n_mels, seconds):
    clip = sound(seconds)
    config = Whisper.resolve(Whisper.Config(backbone={**HUB_SHAPED, "num_mel_bins": n_mels}))
    found = Whisper.preprocess(config, clip).tensors["input_features"]
    extractor = WhisperFeatureExtractor(feature_size=n_mels)
    pieces = [clip.waveform_N[i : i + 480_000] for i in range(0, len(clip.waveform_N), 480_000)]
    expected = torch.cat([extractor(p, sampling_rate=16_000, return_tensors="pt")["input_features"] for p in pieces])
    assert found.shape == expected.shape == (len(pieces), n_mels, 3000)
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=0)


def test_the_floor_is_each_chunks_own():
    """A loud chunk must not lift the floor of a quiet one."""
    quiet_then_loud = torch.cat([0.001 * torch.randn(1, 8000), torch.randn(1, 8000)])
    both = log_mel(quiet_then_loud, 16)
    torch.testing.assert_close(both[:1], log_mel(quiet_then_loud[:1], 16))
    assert both.shape == (2, 16, 50)


def test_features_equal_whisper_models_encoder_and_are_trimmed():
    torch.manual_seed(0)
    reference = WhisperModel(WhisperConfig(**HUB_SHAPED)).eval()
    encoder = Whisper.build(Whisper.Config(backbone=HUB_SHAPED)).eval()
    encoder.backbone.load_state_dict(reference.encoder.state_dict())
    clip = sound(2.345)
    mel = WhisperFeatureExtractor()(clip.waveform_N, sampling_rate=16_000, return_tensors="pt")["input_features"]
    found = Whisper.preprocess(encoder.config, clip)
    with torch.no_grad():
        expected = reference.encoder(mel).last_hidden_state[0]
        out = encoder(chunks=torch.tensor([1]), times=found.times_S[None], mask=found.mask_S[None], **found.tensors)
    n = 118  # ceil(2.345 x 50)
    assert out.tokens_BSD.shape == (1, 1500, 16) and int(out.mask_BS.sum()) == n
    torch.testing.assert_close(out.tokens_BSD[0, :n], expected[:n], atol=1e-4, rtol=0)
    assert not out.tokens_BSD[0, n:].any()


@settings(max_examples=40, deadline=None)
@given(n=st.integers(320, 40_000))
def test_real_tokens_are_exactly_ceil_of_fifty_a_second(n):
    found = Whisper.preprocess(tiny(), Clip(waveform_N=np.zeros(n, np.float32)))
    real = int(found.mask_S.sum())
    assert real == -(-n * 50 // 16_000) and found.mask_S[:real].all() and not found.mask_S[real:].any()
    assert len(found.mask_S) == len(found.times_S) == 25 * len(found.tensors["input_features"])
    assert len(found.tensors["input_features"]) == -(-n // 8000), "no chunk of padding alone"
    assert found.samples == n and found.seconds == n / 16_000
    torch.testing.assert_close(found.times_S, (torch.arange(len(found.times_S)) + 0.5) / 50)


def test_late_sound_keeps_its_times():
    found = Whisper.preprocess(tiny(), sound(0.6, start=2.0))
    assert found.times_S[0] == pytest.approx(2.01) and found.times_S[29] == pytest.approx(2.59)
    assert (found.times_S.diff() > 0).all()


def test_long_sound_becomes_chunks_of_the_networks_length():
    encoder = Whisper.build(Whisper.tiny()).eval()
    whole = Whisper.preprocess(encoder.config, sound(1.0))
    second = Whisper.preprocess(encoder.config, Clip(waveform_N=sound(1.0).waveform_N[8000:]))
    torch.testing.assert_close(whole.tensors["input_features"][1:], second.tensors["input_features"])


def test_published_positions_are_there_and_not_trained():
    encoder = Whisper.build(Whisper.tiny())
    table = encoder.backbone.embed_positions.weight
    torch.testing.assert_close(table, sinusoids(25, 16))
    assert not table.requires_grad


@pytest.mark.parametrize(
    ("clip", "message"),
    [
        (Clip(waveform_N=np.zeros(319, np.float32)), "at least 320 samples"),
        (Clip(waveform_N=np.zeros(0, np.float32)), "at least 320 samples"),
        (Clip(waveform_N=np.zeros((2, 16_000), np.float32)), r"\(2, 16000\), wanted \(N,\)"),
        (Clip(waveform_N=np.zeros(44_100, np.float32), sampling_rate_hz=44_100), "at 44100 Hz, wanted 16000"),
    ],
)
def test_unfit_sound_is_a_media_error(clip, message):
    with pytest.raises(MediaError, match=message):
        Whisper.preprocess(tiny(), clip)


def test_mels_of_another_length_are_refused_with_both_numbers():
    with pytest.raises(ConfigError, match=r"\(1, 16, 3000\), wanted \(C, 16, 50\)"):
        Whisper.build(Whisper.tiny()).encode_chunks(input_features=torch.zeros(1, 16, 3000))


def test_weights_come_from_a_published_folder_or_an_encoder_alone(tmp_path):
    torch.manual_seed(3)
    model = WhisperModel(WhisperConfig(**{**HUB_SHAPED, "max_source_positions": 100})).half()
    model.save_pretrained(tmp_path / "whole")
    whole = Whisper.build(Whisper.Config(source=str(tmp_path / "whole")))
    assert whole.backbone.conv1.weight.dtype == torch.float32, "published in half precision, used in single"
    assert weights_hash(whole.backbone) == weights_hash(model.float().encoder)
    assert whole.config.backbone["max_source_positions"] == 100 and whole.width == 16
    WhisperEncoder(model.config).save_pretrained(tmp_path / "half")
    alone = Whisper.build(Whisper.Config(source=str(tmp_path / "half")))
    assert alone.backbone.conv1.weight.shape == whole.backbone.conv1.weight.shape


def test_a_pickle_is_refused_with_the_way_out(tmp_path):
    model = WhisperModel(WhisperConfig(**HUB_SHAPED))
    model.config.save_pretrained(tmp_path)
    torch.save(model.state_dict(), tmp_path / "pytorch_model.bin")
    with pytest.raises(CheckpointError, match=r"model\.safetensors"):
        Whisper.build(Whisper.Config(source=str(tmp_path)))
