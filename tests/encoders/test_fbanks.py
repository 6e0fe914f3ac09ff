"""Kaldi's log mels against another implementation, and AST from a saved model."""

import numpy as np
import pytest
import torch
import transformers as hf

from unifusion.conversation import Clip
from unifusion.encoders._fbanks import kaldi_fbank
from unifusion.encoders.ast import AST
from unifusion.errors import ConfigError, MediaError

SHAPE = {
    "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32, "patch_size": 16,
    "frequency_stride": 10, "time_stride": 10, "max_length": 128, "num_mel_bins": 64,
}  # fmt: skip


def sound(samples, seed=0):
    noise = np.random.default_rng(seed).normal(0.05, 0.1, samples).astype(np.float32)
    noise[samples // 2 : samples // 2 + 600] = 0
    return noise


def clip(samples, start=0.0):
    return Clip(waveform_N=sound(samples), waveform_start_s=start, duration_s=start + samples / 16_000)


@pytest.mark.filterwarnings("ignore:At least one mel filter")
@pytest.mark.parametrize("bins", [23, 64, 128])
def test_fbank_equals_the_one_transformers_computes(bins):
    extractor = hf.ASTFeatureExtractor(num_mel_bins=bins, do_normalize=False)
    wave = sound(9_999)
    expected = extractor(wave, sampling_rate=16_000, return_tensors="pt").input_values[0, :60]
    found = kaldi_fbank(torch.from_numpy(wave), bins)
    assert found.shape == expected.shape
    torch.testing.assert_close(found, expected, atol=5e-4, rtol=0)


def test_fbank_equals_kaldis_own_code():
    knf = pytest.importorskip("kaldi_native_fbank", reason="Kaldi's own code is not installed (pip install kaldi-native-fbank)")
    options = knf.FbankOptions()
    options.frame_opts.dither, options.frame_opts.window_type = 0, "hanning"
    options.mel_opts.num_bins, options.htk_compat, options.use_energy = 80, True, False
    bank = knf.OnlineFbank(options)
    bank.accept_waveform(16_000, sound(9_999).tolist())
    bank.input_finished()
    expected = torch.tensor(np.stack([bank.get_frame(i) for i in range(bank.num_frames_ready)]))
    torch.testing.assert_close(kaldi_fbank(torch.from_numpy(sound(9_999)), 80), expected, atol=5e-4, rtol=0)


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    torch.manual_seed(0)
    model, folder = hf.ASTForAudioClassification(hf.ASTConfig(**SHAPE)).eval(), tmp_path_factory.mktemp("ast")
    with torch.no_grad():
        for p in model.parameters():
            p.add_(0.1 * torch.randn_like(p))
    extractor = hf.ASTFeatureExtractor(num_mel_bins=64, max_length=128, mean=-3.0, std=2.0)
    model.save_pretrained(folder)
    extractor.save_pretrained(folder)
    return folder, model, extractor


def test_pictures_and_patches_are_those_of_the_published_model(saved):
    folder, model, extractor = saved
    encoder, given = AST.build(AST.Config(source=str(folder), tokens="grid")).eval(), clip(11_000)
    expected = extractor(given.waveform_N, sampling_rate=16_000, return_tensors="pt").input_values
    prepared = encoder.preprocess(encoder.config, given)
    torch.testing.assert_close(prepared.tensors["input_values"], expected, atol=2e-4, rtol=0)
    with torch.no_grad():
        wanted = model.audio_spectrogram_transformer(expected).last_hidden_state[:, 2:].unflatten(1, (5, 12))
        torch.testing.assert_close(encoder.encode_chunks(expected), wanted.transpose(1, 2).flatten(1, 2))
        pooled = AST.build(AST.Config(source=str(folder))).eval()
        torch.testing.assert_close(pooled.encode_chunks(expected), wanted.mean(dim=1))
    assert int(prepared.mask_S.sum()) == 7 * 5 and int(pooled.preprocess(pooled.config, given).mask_S.sum()) == 7


def test_times_are_the_middle_of_what_a_token_hears(saved):
    folder, *_ = saved
    config = AST.resolve(AST.Config(source=str(folder)))
    prepared = AST.preprocess(config, clip(30_000, start=0.5))
    assert len(prepared.tensors["input_values"]) == 2 and len(prepared.times_S) == 24
    assert prepared.times_S[:2].tolist() == pytest.approx([0.5 + 0.0875, 0.5 + 0.1875])
    assert float(prepared.times_S[12]) == pytest.approx(0.5 + 1.28 + 0.0875)
    assert prepared.samples == 30_000 and prepared.seconds == pytest.approx(1.875)
    rest = AST.preprocess(config, clip(128 * 160 + 399))
    assert len(rest.tensors["input_values"]) == 1 and rest.samples == 128 * 160


def test_what_does_not_fit_is_refused(saved):
    folder, *_ = saved
    with pytest.raises(ConfigError, match="tokens 'rows'; known: time, grid"):
        AST.resolve(AST.Config(source=str(folder), tokens="rows"))
    encoder = AST.build(AST.Config(source=str(folder)))
    with pytest.raises(ConfigError, match=r"wanted \(C, 128, 64\)"):
        encoder.encode_chunks(torch.zeros(1, 64, 64))
    with pytest.raises(MediaError, match="at least 400 samples"):
        AST.preprocess(encoder.config, clip(399))
