"""Adapters that join streams, in the catalog and in a chat model: what each clip has counts, and nothing else."""

import copy

import pytest
import torch

from tests.toys import chat_model, mixed, streams, video
from unifusion import catalog
from unifusion.adapters.adapter import FusedAdapter
from unifusion.batch import Features
from unifusion.engine import Engine
from unifusion.errors import ConfigError
from unifusion.models.chat import UniFusionForConditionalGeneration
from unifusion.processor import FusedSpec, StreamSpec, UniFusionProcessor

WIDTHS = {"video": 20, "audio": 14}
FUSED = {"both": FusedSpec(of=["video", "audio"], adapter_config={"width": 8})}


@pytest.fixture(params=[n for n in catalog.names("adapters") if issubclass(catalog.load("adapters", n), FusedAdapter)])
def adapter(request):
    cls = catalog.load("adapters", request.param)
    torch.manual_seed(0)
    return cls(WIDTHS, 12, cls.tiny()).eval()


def given(seed=0):
    """Four clips: both streams, video alone, audio alone, audio whose every token is masked beside video."""
    torch.manual_seed(seed)
    mask = torch.ones(3, 5, dtype=torch.bool)
    mask[1, 3:] = False
    heard = torch.ones(3, 4, dtype=torch.bool)
    heard[2] = False
    parts = {
        "video": Features(torch.randn(3, 5, 20), mask, torch.arange(5.0).expand(3, -1)),
        "audio": Features(torch.randn(3, 4, 14), heard, torch.arange(4.0).expand(3, -1)),
    }
    return parts, {"video": torch.tensor([0, 1, -1, 2]), "audio": torch.tensor([0, -1, 1, 2])}


def test_as_many_tokens_as_it_says_each_from_its_own_clip(adapter):
    parts, places = given()
    out = adapter(parts, places)
    assert out.shape == (4, adapter.n_tokens(adapter.config), 12) and bool(torch.isfinite(out).all())
    for stream, row, clips in (("video", 0, [0]), ("video", 1, [1]), ("audio", 1, [2]), ("audio", 0, [0])):
        moved = copy.deepcopy(parts)
        moved[stream].tokens_BSD[row, 0] += torch.randn(WIDTHS[stream])
        changed = (adapter(moved, places) - out).abs().amax(dim=(1, 2)) > 1e-6
        assert changed.nonzero()[:, 0].tolist() == clips


def test_what_is_masked_or_absent_never_matters(adapter):
    parts, places = given()
    spoiled = {n: Features(f.tokens_BSD.masked_fill(~f.mask_BS[..., None], float("nan")), f.mask_BS, f.times_BS) for n, f in parts.items()}
    torch.testing.assert_close(adapter(parts, places), adapter(spoiled, places))
    alone = adapter({"video": parts["video"]}, {"video": torch.tensor([1]), "audio": torch.tensor([-1])})
    torch.testing.assert_close(alone[0], adapter(parts, places)[1])


def test_gradients_reach_every_parameter_and_both_streams(adapter):
    parts, places = given()
    for f in parts.values():
        f.tokens_BSD.requires_grad_()
    out = adapter(parts, places)
    (out * torch.randn_like(out)).sum().backward()
    assert [n for n, p in adapter.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0] == []
    assert all(f.tokens_BSD.grad[0].abs().sum() > 0 for f in parts.values())


def test_half_precision_features_are_taken(adapter):
    parts, places = given()
    half = {n: Features(f.tokens_BSD.half(), f.mask_BS, f.times_BS) for n, f in parts.items()}
    torch.testing.assert_close(adapter(half, places), adapter(parts, places), atol=2e-2, rtol=2e-2)


@pytest.fixture(scope="module")
def toy():
    return chat_model(fused=FUSED)


def test_a_model_gives_a_fused_token_for_every_clip_that_has_one_of_the_streams(toy):
    model, processor = toy
    batch = processor(mixed())
    told = (batch["input_ids"] == processor.placeholder_ids["both"]).sum(dim=1).tolist()
    assert told == [1, 1, 1, 1, 0, 2, 1, 1], "a clip each; two in the sixth conversation, none in the fifth"
    assert batch["media"]["both"]["of_audio"].tolist().count(-1) == 3 and batch["media"]["both"]["rows"].tolist() == sorted(
        [0, 1, 2, 3, 5, 5, 6, 7]
    )
    plain, _ = chat_model()
    assert set(model.state_dict()) - set(plain.state_dict()) == {f"adapters.both.{n}" for n in model.adapters["both"].state_dict()}


def test_batched_and_alone_are_equal_and_the_token_matters(toy):
    model, processor = toy
    talks = mixed()
    with torch.no_grad():
        batch = processor(talks)
        together = model(**batch).logits
        for row, one in enumerate(talks):
            alone = processor(one)
            n = alone["input_ids"].shape[1]
            torch.testing.assert_close(together[row, :n], model(**alone).logits[0], atol=1e-4, rtol=1e-4)
        moved = copy.deepcopy(model)
        moved.adapters["both"].projection.bias.add_(1.0)
        assert (moved(**batch).logits - together).abs().amax(dim=(1, 2)).gt(1e-4).tolist() == [True] * 4 + [False] + [True] * 3


def test_saved_and_loaded_it_gives_the_same(toy, tmp_path):
    model, processor = toy
    model.save_pretrained(tmp_path)
    processor.save_pretrained(tmp_path)
    again, reader = UniFusionForConditionalGeneration.from_pretrained(tmp_path), UniFusionProcessor.from_pretrained(tmp_path)
    assert reader.fusions.keys() == {"both"} and again.fusions["both"].of == ["video", "audio"]
    talks = mixed()
    with torch.no_grad():
        torch.testing.assert_close(again(**reader(talks)).logits, model(**processor(talks)).logits)
    engine = Engine(again, reader)
    opened = engine.open(video(seed=1))[0]
    assert set(opened.streams) == {"video", "audio"}


def test_training_without_any_clip_touches_it(toy):
    model, processor = copy.deepcopy(toy[0]).train(), toy[1]
    talks = [t for t in mixed(answer="yes") if not t.media]
    model(**processor(talks)).loss.backward()
    assert all(p.grad is not None for p in model.adapters["both"].parameters())


@pytest.mark.parametrize(
    ("fused", "told"),
    [
        ({"both": FusedSpec(of=["video", "sound"])}, "fusion 'both' reads the stream 'sound'; streams are video, audio"),
        ({"audio": FusedSpec(of=["video"])}, "fusion 'audio' has a stream's name"),
        ({"none": FusedSpec(of=[])}, "fusion 'none' reads no stream"),
        ({"both": FusedSpec(of=["video"], adapter="linear")}, "adapter 'linear' takes one stream"),
        ({"both": {"of": ["video"], "adaptor": "attention_pool"}}, "a fusion has no choice 'adaptor'"),
    ],
)
def test_fusions_that_cannot_be(fused, told):
    with pytest.raises(ConfigError, match=told):
        chat_model(fused=fused)


def test_a_joining_adapter_is_no_streams():
    spec = streams()["video"]
    with pytest.raises(ConfigError, match="adapter 'attention_pool' joins several streams"):
        StreamSpec(encoder=spec.encoder, encoder_config=spec.encoder_config, adapter="attention_pool").to_dict()


def test_works_under_autocast(adapter):
    parts, places = given()
    with torch.autocast("cpu", torch.bfloat16):
        out = adapter(parts, places)
    torch.testing.assert_close(out.float(), adapter(parts, places), atol=0.05, rtol=0.05)
