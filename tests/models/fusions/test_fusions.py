"""What single fusions are said to be: FLAVA's network and its pre-training, two branches, queries of their own, sequences, averages."""

import pytest
import torch
from torch.nn import functional as F
from transformers import FlavaMultimodalModel

from tests.models.fusions.toys import FIELDS, SHAPES, batch, changed, fusion, rows
from unifusion.batch import Features
from unifusion.conversation import Clip
from unifusion.encoders.timesformer import TimeSformer
from unifusion.errors import ConfigError
from unifusion.models.fusions.fusion import Inputs, StreamShape

TWO = {n: SHAPES[n] for n in ("face", "voice")}


def correlated(n, seed=0, length=6):
    """Rows whose two streams tell the same six hidden numbers, each step with noise of its own."""
    generator = torch.Generator().manual_seed(seed)
    hidden = torch.randn(n, 1, 6, generator=generator)
    mask, times = torch.ones(n, length, dtype=torch.bool), torch.arange(length).float().expand(n, -1)
    streams = {}
    for i, (name, shape) in enumerate(TWO.items()):
        mixing = torch.randn(6, shape.width, generator=torch.Generator().manual_seed(i))
        streams[name] = Features(hidden @ mixing + 0.1 * torch.randn(n, length, shape.width, generator=generator), mask, times)
    return Inputs(streams=streams)


def test_flava_is_the_network_of_transformers_with_its_class_token_and_mask():
    model = fusion("flava")
    inputs = batch(model.shapes)
    assert isinstance(model.network, FlavaMultimodalModel)
    steps = model.streams(inputs)
    tokens = torch.cat([*(s.tokens_BND for s in steps.values()), model.metadata(inputs, steps["face"].tokens_BND)], dim=1)
    mask = torch.cat([torch.ones(4, 1), *(s.mask_BN for s in steps.values()), torch.ones(4, len(FIELDS.values) + 1)], dim=1).bool()
    for row in range(4):  # without a mask, the tokens that are not real cut away
        alone = model.network(tokens[row, mask[row, 1:]][None])
        torch.testing.assert_close(model(inputs).outputs["emotion"][row], alone.pooler_output[0], rtol=1e-4, atol=1e-5)
    unpooled = model.network(tokens, attention_mask=mask, output_attentions=True)
    looks = unpooled.attentions[-1].mean(dim=1)[:, 0, 1:]
    assert float(looks.masked_fill(mask[:, 1:], 0.0).max()) == 0.0
    found = model(inputs, want_weights=True).weights
    ours = sum(w.sum(dim=1) for w in found.values())
    torch.testing.assert_close(ours, looks[:, : sum(s.mask_BN.shape[1] for s in steps.values())].sum(dim=1))


def test_flava_does_not_see_what_is_masked():
    model = fusion("flava", metadata=None, shapes=TWO)
    inputs = correlated(3)
    averaged = model.streams.averaged(inputs)
    hidden = {n: torch.zeros_like(s.mask_BN) for n, s in averaged.items()}
    hidden["face"][:, 2] = True

    def guessed(given):
        steps = model.streams.project(model.streams.averaged(given), hidden, model.pretraining.masked.weight[0])
        return model._guessed(steps, model._states(steps, given).last_hidden_state)

    face = inputs.streams["face"]
    for at, seen in ((2, False), (3, True)):
        moved = face.tokens_BSD.clone()
        moved[:, at] += torch.randn(12, generator=torch.Generator().manual_seed(0))
        after = guessed(changed(inputs, face=Features(moved, face.mask_BS, face.times_BS)))
        for name, before in guessed(inputs).items():
            assert (float((after[name] - before).abs().max()) > 1e-5) is seen
    all_masked = fusion("flava", metadata=None, shapes=TWO, masked_share=1 - 1e-9, pairing=0.0)
    all_masked.pretrain_loss(inputs).backward()
    assert all(float(p.grad.abs().max()) == 0.0 for p in all_masked.streams.projections.parameters())
    assert {n: tuple(g.shape) for n, g in guessed(inputs).items()} == {"face": (3, 6, 12), "voice": (3, 6, 10)}


def test_flava_learns_masked_steps_and_pairs_without_labels():
    model = fusion("flava", metadata=None, shapes=TWO, width=32, n_layers=2, n_heads=4).train()
    optimizer = torch.optim.Adam(model.parameters(), lr=5e-3)
    data, unseen = correlated(256), correlated(256, seed=7)

    def losses(given):
        torch.manual_seed(1)
        with torch.no_grad():
            model.config.pairing = 0.0
            masked = float(model.pretrain_loss(given))
            model.config.pairing = 1.0
            torch.manual_seed(1)
            return masked, float(model.pretrain_loss(given)) - masked

    before = losses(unseen)
    assert before[0] == pytest.approx(1.0, abs=0.4) and before[1] == pytest.approx(0.69, abs=0.1)
    torch.manual_seed(0)
    for step in range(120):
        optimizer.zero_grad()
        model.pretrain_loss(rows(data, torch.randperm(256)[:64])).backward()
        if not step:
            assert [n for n, p in model.named_parameters() if p.grad is None] == []
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
    after = losses(unseen)
    assert after[0] < 0.15 and after[1] < 0.3


def test_flavas_pre_training_is_drawn_by_the_generator_and_bears_rows_that_lack_streams():
    model = fusion("flava")
    inputs = batch(model.shapes)
    torch.manual_seed(3)
    one, other = model.pretrain_loss(inputs), model.pretrain_loss(inputs)
    torch.manual_seed(3)
    assert torch.equal(one, model.pretrain_loss(inputs)) and not torch.equal(one, other)
    spoiled = {
        n: Features(f.tokens_BSD.masked_fill(~f.mask_BS[..., None], float("nan")), f.mask_BS, f.times_BS) for n, f in inputs.streams.items()
    }
    torch.manual_seed(3)
    assert torch.equal(one, model.pretrain_loss(changed(inputs, **spoiled)))
    for few in (rows(inputs, [0]), rows(inputs, [3, 3]), Inputs(streams={"face": inputs.streams["face"]})):
        loss = model.pretrain_loss(few)
        assert bool(torch.isfinite(loss)) and loss.requires_grad
    assert float(model.pretrain_loss(rows(inputs, [3]))) == 0.0
    with pytest.raises(ConfigError, match="share"):
        fusion("flava", masked_share=1.0)
    with pytest.raises(ConfigError, match="flava"):
        fusion("perceiver_io").pretrain_loss(inputs)


def test_a_pair_is_made_of_rows_of_like_length():
    model = fusion("flava", metadata=None, shapes=TWO)
    inputs = correlated(4)
    ends = torch.tensor([3, 6, 0, 5])
    face = inputs.streams["face"]
    steps = model.streams.averaged(changed(inputs, face=Features(face.tokens_BSD, torch.arange(6) < ends[:, None], face.times_BS)))["face"]
    from unifusion.models.fusions.flava import _swapped

    assert _swapped(steps).mask_BN.sum(dim=1).tolist() == [6, 5, 0, 3]  # 3 < 5 < 6, and the shortest gets the longest's


@pytest.mark.parametrize("name", ["perceiver_io", "cross_attention", "audio_text_metadata", "video_text_metadata"])
def test_each_output_has_a_query_of_its_own(name):
    model = fusion(name, outputs=("emotion", "valence", "arousal"))
    found = model(batch(model.shapes)).outputs
    assert float((found["valence"] - found["arousal"]).abs().max()) > 1e-3
    assert set(found) == {"emotion", "valence", "arousal"}


def test_cross_attention_has_the_sizes_it_is_known_by_and_knows_places():
    cls = type(fusion("cross_attention"))
    config = cls.Config()
    assert (config.width, config.n_heads, config.n_layers, config.steps, config.dropout) == (256, 8, 4, 1000, 0.1)
    learned = fusion("cross_attention", positions="learned")
    inputs = batch(learned.shapes)
    later = {n: Features(f.tokens_BSD, f.mask_BS, f.times_BS * 2 + 1) for n, f in inputs.streams.items()}
    torch.testing.assert_close(learned(inputs).outputs["emotion"], learned(changed(inputs, **later)).outputs["emotion"])
    timed = fusion("cross_attention")
    assert float((timed(inputs).outputs["emotion"] - timed(changed(inputs, **later)).outputs["emotion"])[0].abs().max()) > 1e-4
    with pytest.raises(ConfigError, match="positions"):
        fusion("cross_attention", positions="rotary")


def test_the_branch_that_is_there_goes_alone():
    model = fusion("cross_attention", metadata=None, shapes=TWO)
    inputs = batch(TWO, known=())
    one_of_one = model.told(*_joined(model, {n: f for n, f in inputs.streams.items() if n == "voice"}))
    found = model(changed(inputs, face=None)).outputs
    torch.testing.assert_close(found["emotion"][:3], one_of_one["emotion"][:3], rtol=1e-4, atol=1e-5)


def _joined(model, streams):
    """One branch's steps without any crossing, thought over as behind it."""
    steps = model._branch("voice", model.streams(Inputs(streams=streams))["voice"])
    return steps.tokens_BND + model.cross.think["voice"](steps.tokens_BND), steps.mask_BN


@pytest.mark.parametrize("temporal", ["conv", "transformer"])
def test_video_goes_through_time_by_either_processor(temporal):
    model = fusion("video_text_metadata", temporal=temporal)
    inputs = batch(model.shapes)
    whole = model(inputs).outputs["emotion"]
    torch.testing.assert_close(model(rows(inputs, [2])).outputs["emotion"], whole[2:3], rtol=1e-4, atol=1e-5)
    with pytest.raises(ConfigError, match="transformer or conv"):
        fusion("video_text_metadata", temporal="wavelet")


def test_a_sequence_is_read_in_order():
    """Sound with its moments exchanged is another sequence: the LSTM's states differ, not the attention's positions alone."""
    for name, stream in (("audio_text_metadata", "voice"), ("video_text_metadata", "face")):
        model = fusion(name)
        model.streams.clocked = False
        inputs = batch(model.shapes)
        f = inputs.streams[stream]
        backwards = Features(f.tokens_BSD, f.mask_BS, -f.times_BS)
        after = model(changed(inputs, **{stream: backwards})).outputs["emotion"]
        assert float((after - model(inputs).outputs["emotion"])[0].abs().max()) > 1e-4


def test_an_average_knows_no_order_and_shares_its_weights_evenly():
    model = fusion("attention_pool")
    inputs = batch(model.shapes)
    backwards = {n: Features(f.tokens_BSD, f.mask_BS, -f.times_BS) for n, f in inputs.streams.items()}
    torch.testing.assert_close(model(inputs).outputs["emotion"], model(changed(inputs, **backwards)).outputs["emotion"])
    weights = model(inputs, want_weights=True).weights
    for stream, found in weights.items():
        real = found[0][inputs.streams[stream].mask_BS[0]]
        torch.testing.assert_close(real, real.mean().expand_as(real))


def test_with_one_stream_the_average_is_the_plain_baseline_of_it():
    shapes = {"voice": StreamShape(modality="audio", width=10)}
    model = fusion("attention_pool", metadata=None, shapes=shapes)
    inputs = batch(shapes, known=())
    found = model(inputs, want_weights=True)
    voice = inputs.streams["voice"]
    mean = voice.tokens_BSD.masked_fill(~voice.mask_BS[..., None], 0.0).sum(dim=1) / voice.mask_BS.sum(dim=1, keepdim=True).clamp(min=1)
    x = model.streams.projections["voice"](model.streams.norms["voice"](mean)) + model.streams.names.weight[0]
    torch.testing.assert_close(found.outputs["emotion"][:3], model.norm(x + model.think(x))[:3])
    torch.testing.assert_close(found.weights["voice"].sum(dim=1), torch.tensor([1.0, 1.0, 1.0, 0.0]))


def test_a_timesformer_from_nothing_feeds_the_video_of_a_fusion():
    """The encoder of docs/fusions.md: width 384, 6 heads, 4 layers, patches of 32, 8 frames of 224."""
    shape = {
        "image_size": 224, "patch_size": 32, "num_frames": 8, "hidden_size": 384, "num_hidden_layers": 4, "num_attention_heads": 6,
        "intermediate_size": 1536,
    }  # fmt: skip
    config = TimeSformer.resolve(TimeSformer.Config(backbone=shape))
    encoder = TimeSformer.build(config).eval()
    picture = torch.randint(0, 255, (16, 90, 120, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0)).numpy()
    clip = Clip(frames_THWC=picture, frame_times_s=torch.arange(16).numpy() / 8, waveform_N=None, duration_s=2.0)
    given = TimeSformer.preprocess(config, clip)
    with torch.no_grad():
        tokens = encoder.encode_chunks(**given.tensors).flatten(0, 1)[None]
    assert encoder.width == 384 and len(encoder.backbone.encoder.layer) == 4
    assert tokens.shape == (1, len(given.times_S), 384) and int(given.mask_S.sum()) % (8 * 49) == 0
    model = fusion(
        "video_text_metadata", metadata=None, shapes={"face": StreamShape(modality="video", width=384), "words": SHAPES["words"]}
    )
    seen = Inputs(streams={"face": Features(tokens, given.mask_S[None], given.times_S[None])})
    steps = model.streams(seen)["face"]
    assert steps.mask_BN.sum() == min(8, len(given.times_S[given.mask_S].unique()))
    found = model(seen, want_weights=True)
    assert bool(torch.isfinite(found.outputs["emotion"]).all()) and float(found.weights["face"].sum()) <= 1.0
    assert F.cosine_similarity(found.outputs["emotion"], found.outputs["valence"]).shape == (1,)
