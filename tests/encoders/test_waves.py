"""Encoders of waveforms from a saved model: samples as its published extractor makes them, tokens as its network gives them."""

import numpy as np
import pytest
import torch
import transformers as hf

from unifusion import catalog
from unifusion.conversation import Clip
from unifusion.encoders._waves import tiny_wave
from unifusion.errors import ConfigError, MediaError

HEADS = {
    "hubert": (hf.HubertConfig, hf.HubertForCTC, "hubert"),
    "wav2vec2": (hf.Wav2Vec2Config, hf.Wav2Vec2ForPreTraining, "wav2vec2"),
    "wavlm": (hf.WavLMConfig, hf.WavLMForSequenceClassification, "wavlm"),
}
LARGE = {"do_stable_layer_norm": True, "feat_extract_norm": "layer"}


def sound(seconds, seed=0, start=0.0):
    noise = np.random.default_rng(seed).normal(0.1, 0.2, round(16_000 * seconds)).astype(np.float32)
    return Clip(waveform_N=noise, waveform_start_s=start, duration_s=start + seconds)


@pytest.fixture(scope="module", params=[(n, s) for n in HEADS for s in (False, True)], ids=lambda p: p[0] + ("-large" if p[1] else ""))
def saved(request, tmp_path_factory):
    name, large = request.param
    config, head, part = HEADS[name]
    torch.manual_seed(0)
    model, folder = head(config(**tiny_wave(), **(LARGE if large else {}))).eval(), tmp_path_factory.mktemp(name)
    model.save_pretrained(folder)
    extractor = hf.Wav2Vec2FeatureExtractor(do_normalize=not large)
    extractor.save_pretrained(folder)
    return name, folder, getattr(model, part), extractor


def build(name, folder, **choices):
    cls = catalog.load("encoders", name)
    return cls.build(cls.Config(source=str(folder), **choices)).eval()


@pytest.mark.parametrize("layer", [-1, -2])
def test_samples_and_tokens_are_those_of_the_published_model(saved, layer):
    name, folder, network, extractor = saved
    encoder, given = build(name, folder, chunk_s=2.0, layer=layer), sound(0.73)
    expected = extractor(given.waveform_N, sampling_rate=16_000, return_tensors="pt").input_values
    prepared = encoder.preprocess(encoder.config, given)
    torch.testing.assert_close(prepared.tensors["waveform"][:, : expected.shape[1]], expected, atol=1e-5, rtol=1e-5)
    with torch.no_grad():
        out = network(expected, output_hidden_states=True)
        found = encoder.encode_chunks(**prepared.tensors)[:, prepared.mask_S]
        torch.testing.assert_close(found, out.last_hidden_state if layer == -1 else out.hidden_states[layer], atol=1e-5, rtol=1e-4)


def test_long_sound_is_heard_in_pieces_each_as_it_would_be_alone(saved):
    name, folder, network, extractor = saved
    encoder, given = build(name, folder, chunk_s=0.5), sound(1.21, start=0.25)
    prepared = encoder.preprocess(encoder.config, given)
    with torch.no_grad():
        tokens = encoder.encode_chunks(**prepared.tensors).flatten(0, 1)[prepared.mask_S]
        alone = [
            network(extractor(part, sampling_rate=16_000, return_tensors="pt").input_values).last_hidden_state[0]
            for part in np.split(given.waveform_N, [8000, 16_000])
        ]
    torch.testing.assert_close(tokens, torch.cat(alone), atol=1e-5, rtol=1e-4)
    times = prepared.times_S[prepared.mask_S]
    assert torch.all(times.diff() > 0) and float(times[0]) == pytest.approx(0.25 + 0.019 / 2, abs=2e-3)
    assert float(times[-1]) == pytest.approx(0.25 + 1.21 - 0.02, abs=0.011)
    assert prepared.samples == 19_360 and prepared.seconds == pytest.approx(1.21)


def test_a_rest_shorter_than_a_token_is_not_heard(saved):
    name, folder, *_ = saved
    encoder = build(name, folder, chunk_s=0.5)
    prepared = encoder.preprocess(encoder.config, sound(0.51))
    assert len(prepared.tensors["samples"]) == 1 and prepared.samples == 8000 and prepared.seconds == 0.5
    with pytest.raises(MediaError, match="at least"):
        encoder.preprocess(encoder.config, sound(0.01))


def test_choices_the_network_cannot_take(saved):
    name, folder, *_ = saved
    with pytest.raises(ConfigError, match="layer -3 of a network of 2"):
        build(name, folder, layer=-3)
    with pytest.raises(ConfigError, match=r"a chunk of 0.001 s holds no token; set chunk_s to 0\.0"):
        build(name, folder, chunk_s=0.001)


def test_published_lengths_have_fifty_tokens_a_second():
    cls = catalog.load("encoders", "hubert")
    shape = cls.resolve(cls.Config(backbone={"hidden_size": 16})).backbone
    from unifusion.encoders._waves import _hop, _least, _tokens

    assert (_hop(shape), _least(shape)) == (320, 400)
    assert _tokens(torch.tensor([16_000, 160_000, 480_000]), shape).tolist() == [49, 499, 1499]
