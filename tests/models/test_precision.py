"""Half precision: every encoder and adapter trains under bfloat16 autocast and in bfloat16, and answers come in it."""

from dataclasses import replace

import pytest
import torch

from tests.toys import LLAMA, byte_tokenizer, chat_model, clip, mixed, talk
from unifusion import catalog, checkpoint
from unifusion.conversation import Media
from unifusion.engine import Engine
from unifusion.models.build import build_chat_model, set_trainable
from unifusion.processor import FusedSpec, StreamSpec

MEDIA = Media(kind="video", source=replace(clip(seconds=1.3), transcript="hello there"))
SINGLE = [n for n in catalog.names("adapters") if hasattr(catalog.load("adapters", n), "token_times")]
FUSED = {"both": FusedSpec(of=["video", "audio"], adapter_config={"width": 8})}


def losses(model, processor, weights):
    """Of a row with clips and one without, in bfloat16 weights or by autocast around whole ones."""
    model.to(weights).train()
    out = []
    for shown in ((MEDIA,), ()):
        with torch.autocast("cpu", torch.bfloat16, enabled=weights == torch.float32):
            loss = model(**processor([talk(shown, "hi", "yes")])).loss
        loss.backward()
        out.append(float(loss.detach()))
    return out


def held(make):
    """The losses are near those of whole precision, and all that is trained gets a finite gradient."""
    whole, processor = make()
    with torch.no_grad():
        wanted = [float(whole(**processor([talk(shown, "hi", "yes")])).loss) for shown in ((MEDIA,), ())]
    for weights in (torch.float32, torch.bfloat16):
        model, processor = make()
        assert losses(model, processor, weights) == pytest.approx(wanted, rel=0.1)
        assert all(p.grad is not None and bool(torch.isfinite(p.grad).all()) for p in model.parameters() if p.requires_grad)


@pytest.mark.parametrize("encoder", catalog.names("encoders"))
def test_encoders(encoder):
    def make():
        torch.manual_seed(0)
        tiny = vars(catalog.load("encoders", encoder).tiny())
        linear = vars(catalog.load("adapters", "linear").tiny())
        spec = StreamSpec(encoder=encoder, encoder_config=tiny, adapter="linear", adapter_config=linear)
        model, processor = build_chat_model(LLAMA, {"it": spec}, tokenizer=byte_tokenizer())
        set_trainable(model, {"encoders": True, "language_model": False})
        return model, processor

    held(make)


@pytest.mark.parametrize("adapter", SINGLE)
def test_adapters(adapter):
    held(lambda: chat_model(adapter=adapter))


def test_fused_streams():
    held(lambda: chat_model(fused=FUSED))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_answers(dtype, tmp_path):
    folder = checkpoint.save(*chat_model(fused=FUSED), tmp_path / "toy", provenance={}, self_contained=True)
    engine = Engine(*checkpoint.load(folder, dtype=dtype))
    assert len([a.text for a in engine.answer(mixed(), max_new_tokens=3)]) == 8
    for scores in engine.score_labels(mixed(), [["joy", "anger"]] * 8):
        assert sum(scores.probabilities) == pytest.approx(1.0)
