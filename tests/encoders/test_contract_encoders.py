"""The contract of every encoder in the catalog, found by name: a new file is tested without touching this one."""

import json
from dataclasses import asdict

import numpy as np
import pytest
import torch

from unifusion import catalog
from unifusion.adapters.adapter import Adapter
from unifusion.conversation import Clip
from unifusion.encoders.encoder import Encoder, blank_features, weights_hash
from unifusion.errors import MediaError

STREAMS = catalog.names("encoders")


def clip_for(cls, config, seconds, seed=0):
    """Noise of the modality the encoder takes, at the rate it asks for."""
    rng = np.random.default_rng(seed)
    if cls.modality == "text":
        return Clip(transcript="".join(rng.choice(list("abcdefgh "), max(1, round(seconds * 60)))) + ".", duration_s=seconds)
    n = max(1, round(seconds * cls.rate_hz(config)))
    if cls.modality == "video":
        frames = rng.integers(0, 256, (n, 48, 64, 3), dtype=np.uint8)
        return Clip(frames_THWC=frames, frame_times_s=np.arange(n) / cls.rate_hz(config), duration_s=seconds)
    sound = rng.uniform(-0.5, 0.5, n).astype(np.float32)
    return Clip(waveform_N=sound, sampling_rate_hz=round(cls.rate_hz(config)), waveform_start_s=0.25, duration_s=seconds + 0.25)


@pytest.mark.parametrize("name", STREAMS)
def test_a_blank_reaches_every_weight_of_encoder_and_adapters(name):
    """What processes run whose rows lack a stream: gradients exist for all weights, and running statistics do not move."""
    cls = catalog.load("encoders", name)
    encoder = cls.build(cls.tiny()).train()
    before = weights_hash(encoder)
    features = blank_features(encoder, encoder.config, trained=True)
    features.tokens_BSD.sum().backward()
    assert features.mask_BS.any() and all(p.grad is not None for p in encoder.parameters() if p.requires_grad)
    assert weights_hash(encoder) == before and encoder.training
    plain = blank_features(encoder, encoder.config, trained=False)
    assert plain.tokens_BSD.shape == (1, 1, encoder.width)
    for adapter in catalog.names("adapters"):
        kind = catalog.load("adapters", adapter)
        if issubclass(kind, Adapter):
            made = kind(encoder.width, 16, kind.tiny())
            made(plain).tokens_BSD.sum().backward()
            assert all(p.grad is not None for p in made.parameters()), adapter


def collate(inputs):
    """What the processor does: chunks of all items one after another, times and masks padded."""
    longest = max(len(i.times_S) for i in inputs)
    times, mask = torch.zeros(len(inputs), longest), torch.zeros(len(inputs), longest, dtype=torch.bool)
    for row, item in enumerate(inputs):
        times[row, : len(item.times_S)], mask[row, : len(item.mask_S)] = item.times_S, item.mask_S
    tensors = {k: torch.cat([i.tensors[k] for i in inputs]) for k in inputs[0].tensors}
    chunks = torch.tensor([len(next(iter(i.tensors.values()))) for i in inputs])
    return {"chunks": chunks, "times": times, "mask": mask, **tensors}


@pytest.fixture(params=STREAMS)
def cls(request):
    return catalog.load("encoders", request.param)


@pytest.fixture
def encoder(cls):
    torch.manual_seed(0)
    return cls.build(cls.tiny()).eval()


def test_is_an_encoder_whose_config_survives_json(cls, encoder):
    assert isinstance(encoder, Encoder)
    again = cls.Config(**json.loads(json.dumps(asdict(encoder.config))))
    assert cls.resolve(again) == encoder.config == cls.resolve(encoder.config)
    assert sum(p.numel() for p in encoder.parameters()) < 50_000


@pytest.mark.parametrize("seconds", [0.1, 0.5, 1.3, 2.6])
def test_tokens_times_and_mask_fit(cls, encoder, seconds):
    given = cls.preprocess(encoder.config, clip_for(cls, encoder.config, seconds))
    out = encoder(**collate([given]))
    assert out.tokens_BSD.shape == (1, len(given.times_S), encoder.width)
    assert given.times_S.dtype == torch.float32 and given.mask_S.dtype == torch.bool
    assert all(t.dtype in (torch.float32, torch.int64) for t in given.tensors.values()), "ids and counts survive a model in half precision"
    real = given.times_S[given.mask_S]
    assert len(real) and real.min() >= 0 and abs(given.seconds - seconds) < 2 / min(cls.rate_hz(encoder.config) or 50, 50)
    assert bool(given.frames) == (cls.modality == "video") and bool(given.samples) == (cls.modality == "audio")
    assert not out.tokens_BSD[~out.mask_BS].any() and out.tokens_BSD[out.mask_BS].abs().sum(dim=-1).min() > 0


def test_preprocess_is_deterministic_and_leaves_the_clip_alone(cls, encoder):
    clip = clip_for(cls, encoder.config, 1.3)
    array = {"video": clip.frames_THWC, "audio": clip.waveform_N, "text": np.zeros(1)}[cls.modality]
    before = array.copy()
    array.flags.writeable = False
    a, b = cls.preprocess(encoder.config, clip), cls.preprocess(encoder.config, clip)
    assert all(torch.equal(a.tensors[k], b.tensors[k]) for k in a.tensors) and torch.equal(a.times_S, b.times_S)
    np.testing.assert_array_equal(before, array)


def test_preprocess_needs_no_weights_and_no_instance(cls):
    config = cls.resolve(cls.tiny())
    assert cls.preprocess(config, clip_for(cls, config, 0.5)).tensors


def test_a_batch_of_mixed_lengths_equals_one_at_a_time(cls, encoder):
    inputs = [cls.preprocess(encoder.config, clip_for(cls, encoder.config, s, seed=i)) for i, s in enumerate((2.6, 0.3, 1.0))]
    with torch.no_grad():
        out = encoder(**collate(inputs))
        for row, item in enumerate(inputs):
            alone = encoder(**collate([item]))
            real = out.mask_BS[row]
            assert int(real.sum()) == int(item.mask_S.sum())
            torch.testing.assert_close(out.tokens_BSD[row][real], alone.tokens_BSD[0][alone.mask_BS[0]], atol=1e-5, rtol=1e-5)
            torch.testing.assert_close(out.times_BS[row][real], item.times_S[item.mask_S])


def test_gradients_reach_every_trainable_parameter(cls, encoder):
    given = cls.preprocess(encoder.config, clip_for(cls, encoder.config, 1.3))
    encoder.train()
    # Squares of a LayerNorm's output sum to a constant; a random direction does not.
    tokens = encoder(**collate([given])).tokens_BSD
    (tokens * torch.randn_like(tokens)).sum().backward()
    trainable = {n: p for n, p in encoder.named_parameters() if p.requires_grad}
    assert trainable and [n for n, p in trainable.items() if p.grad is None or not p.grad.abs().sum() > 0] == []


def test_a_clip_without_the_modality_is_an_error_with_a_remedy(cls, encoder):
    with pytest.raises(MediaError, match=r"no (picture|sound|transcript)") as caught:
        cls.preprocess(encoder.config, Clip(duration_s=1.0))
    assert caught.value.remedy


def test_build_without_weights_has_the_same_shape(cls):
    with_weights, without = cls.build(cls.tiny()), cls.build(cls.tiny(), load_weights=False)
    assert {k: v.shape for k, v in with_weights.state_dict().items()} == {k: v.shape for k, v in without.state_dict().items()}


def test_weights_hash_names_content(cls, encoder):
    before = weights_hash(encoder)
    copy = cls.build(cls.tiny())
    copy.load_state_dict(encoder.state_dict())
    assert weights_hash(copy) == before == weights_hash(encoder) and len(before) == 64
    with torch.no_grad():
        next(copy.parameters()).view(-1)[0] += 1e-6
    assert weights_hash(copy) != before
    assert weights_hash(encoder.half()) != before
