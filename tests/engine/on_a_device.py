"""What `test_devices.py` runs in a process of its own: everything that is asked of a model, on the CPU and on a second device."""

import sys
from dataclasses import replace
from pathlib import Path

import torch

from tests.apart import DEVICE, Accelerator
from tests.existing import TAKES, folder_of
from tests.toys import LLAMA, byte_tokenizer, chat_model, clip, mixed, talk, video
from unifusion import catalog, checkpoint
from unifusion.conversation import Media
from unifusion.engine import Engine
from unifusion.engine.decoding import Sampling
from unifusion.features import encode_all, stored_opener
from unifusion.models.build import build_chat_model, set_trainable
from unifusion.models.lora import add_lora, probe_batch
from unifusion.models.segments import packed_attention
from unifusion.processor import FusedSpec, StreamSpec
from unifusion.processor.packing import collate_packed

LABELS = ["joy", "anger", "a"]


def asked(engine, talks):
    """Answers to some conversations by every way there is."""
    engine_says = [a.text for a in engine.answer(talks, max_new_tokens=4)]
    drawn = [a.text for a in engine.answer(talks, max_new_tokens=4, sampling=Sampling(temperature=1.0))]
    likely = [a.probabilities for a in engine.score_labels(talks, [LABELS] * len(talks))]
    session = engine.session()
    for media in talks[0].media:
        session.add(media)
    turns = [session.ask(q, max_new_tokens=3, sampling=s).text for q, s in (("what?", Sampling()), ("and?", Sampling(temperature=0.5)))]
    return engine_says, drawn, turns, torch.tensor(likely)


def compare(here, there):
    """The same answers on both devices."""
    assert here[:3] == there[:3], (here[:3], there[:3])
    torch.testing.assert_close(here[3], there[3], atol=1e-5, rtol=0)


def fused(seed=0):
    return chat_model(seed=seed, fused={"both": FusedSpec(of=["video", "audio"], adapter_config={"width": 8})})


def answers(folder):
    """Our own model, loaded onto the device, with fused streams, clips of all kinds, stored features and an emotion."""
    saved = checkpoint.save(*fused(), folder / "toy", provenance={}, self_contained=True)
    here = asked(Engine.from_pretrained(saved), mixed())
    felt = Engine.from_pretrained(saved).emotion([video()])
    with Accelerator():
        engine = Engine.from_pretrained(saved, device="apart")
        assert engine.model.device == DEVICE
        compare(here, asked(engine, mixed()))
        assert engine.emotion([video()]).rationale == felt.rationale
        engine.model.generate(**engine.processor(mixed(), generate=True).to("apart"), max_new_tokens=3, num_beams=2)
        stored = stored_opener(engine.processor, engine.model, folder / "store", otherwise=engine.processor.opener.open)
        media = [m for t in mixed()[:3] for m in t.media]
        assert encode_all(engine.model, engine.processor, media, stored) == 3
        engine.processor = engine.processor.with_opener(stored.again())
        assert len([a.text for a in engine.answer(mixed(), max_new_tokens=2)]) == 8, "some from the store, some not, in one batch"


def existing(folder):
    """Models of others."""
    for name, takes in TAKES.items():
        saved = folder_of(name, str(folder))
        still = Media(kind="image", source=clip(seconds=0.2, rate_hz=5.0, sound=False, size=56))
        talks = [talk((video(seed=1, seconds=2.0, size=56),), "what?"), talk((still,) if "video" in takes else (), "q"), talk((), "text")]
        here = asked(Engine.from_pretrained(saved), talks)
        with Accelerator():
            compare(here, asked(Engine.from_pretrained(saved, device="apart"), talks))


def steps(folder):
    """Steps of training: adapters, encoders with streams missing, LoRA, packed; losses as on the CPU."""

    def loss(where, way, rows):
        model, processor = chat_model()
        model.to(where)
        if way == "lora":
            add_lora(model, {"language_model": {"rank": 2}, "encoders.video": {"rank": 2}})
        else:
            set_trainable(model, {"language_model": False, "encoders": way == "encoders"})
        model.train()
        made = [processor.row(c) for c in rows]
        if way == "packed":
            with packed_attention(model.language_model):
                out = model(**collate_packed(processor, made).to(where))
                out.loss.backward()
        else:
            out = model(**processor.collate(made).to(where))
            out.loss.backward()
        assert all(p.grad is not None for p in model.parameters() if p.requires_grad)
        return float(out.loss)

    for way in ("adapters", "encoders", "lora", "packed"):
        for rows in (mixed("yes"), mixed("yes")[4:5]):
            here = loss("cpu", way, rows)
            with Accelerator():
                assert abs(loss("apart", way, rows) - here) < 1e-4, way


def encoders(folder):
    """Every encoder, frozen and trained, with its stream and without."""
    linear = vars(catalog.load("adapters", "linear").tiny())
    media = Media(kind="video", source=replace(clip(seconds=1.3), transcript="hello there"))
    for name in catalog.names("encoders"):
        choices = vars(catalog.load("encoders", name).tiny())
        spec = {name: StreamSpec(encoder=name, encoder_config=choices, adapter="linear", adapter_config=linear)}
        model, processor = build_chat_model(LLAMA, spec, tokenizer=byte_tokenizer())
        here = model.features(name, probe_batch(model, name)).tokens_BSD
        with Accelerator():
            model.to("apart")
            torch.testing.assert_close(model.features(name, probe_batch(model, name)).tokens_BSD.cpu(), here, atol=1e-5, rtol=1e-4)
            set_trainable(model, {"encoders": True})
            model.train()
            for shown in ((media,), ()):
                model(**processor([talk(shown, "hi", "yes")]).to("apart")).loss.backward()


if __name__ == "__main__":
    {f.__name__: f for f in (answers, existing, steps, encoders)}[sys.argv[1]](Path(sys.argv[2]))
