"""One cell of the matrix: an encoder, an adapter and a language model of random weights, built, trained a step, saved, merged, asked."""

from __future__ import annotations

from dataclasses import asdict

import numpy as np
import torch

from tests.models.families import FAMILIES
from tests.toys import byte_tokenizer, talk, until_end
from unifusion import catalog, checkpoint
from unifusion.adapters.adapter import Adapter
from unifusion.conversation import Clip, Media
from unifusion.models.build import build_chat_model, set_trainable
from unifusion.models.lora import add_lora, is_added
from unifusion.processor import FusedSpec, StreamSpec

LLMS = ("llama", "qwen3", "gpt2")
"""Language models with rotary positions, with normalised queries and keys beside, and with learned positions and other projections."""
QUESTIONS = ("what?", "who is there, and what do they say?")


def media(seed: int, seconds: float) -> Media:
    """A random clip with picture, sound and transcript."""
    rng = np.random.default_rng(seed)
    times = np.arange(0.0, seconds, 0.125)
    clip = Clip(
        frames_THWC=rng.integers(0, 255, (len(times), 40, 40, 3), dtype=np.uint8), frame_times_s=times,
        waveform_N=rng.normal(0, 0.1, round(16_000 * seconds)).astype(np.float32), duration_s=seconds,
        transcript="".join(rng.choice(list("abcde "), round(120 * seconds))) + ".",
    )  # fmt: skip
    return Media(kind="video", source=clip)


def build(encoder: str, adapter: str, llm: str):
    """A model of one stream; an adapter that joins streams joins it with another one, each with a linear adapter of its own."""
    cls, joins = catalog.load("encoders", encoder), catalog.load("adapters", adapter)
    single = issubclass(joins, Adapter)
    streams = {"stream": (cls, adapter if single else "linear")}
    if not single:
        streams["other"] = (catalog.load("encoders", "whisper" if cls.modality != "audio" else "resnet"), "linear")
    specs = {
        name: StreamSpec(
            encoder=encoder if name == "stream" else kind.__name__.lower(), encoder_config=asdict(kind.tiny()), adapter=own,
            adapter_config=asdict(catalog.load("adapters", own).tiny()),
        )
        for name, (kind, own) in streams.items()
    }  # fmt: skip
    fused = None if single else {"together": FusedSpec(of=list(streams), adapter=adapter, adapter_config=asdict(joins.tiny()))}
    torch.manual_seed(0)
    model, processor = build_chat_model(FAMILIES[llm], specs, tokenizer=byte_tokenizer(), fused=fused)
    with torch.no_grad():  # wider than usual, so that answers differ and greedy choices are not ties
        for parameter in model.language_model.parameters():
            if parameter.dim() > 1:
                parameter.mul_(8.0)
    return model, processor


def logits(model, batch):
    """Of every place that is no padding."""
    with torch.no_grad():
        return model(**{k: v for k, v in batch.items() if k != "labels"}).logits[batch["attention_mask"].bool()]


def train(model, batch, *, steps=2):
    """Names of the parameters that some steps move, and of those declared trainable; LoRA's first factor moves in the second step."""
    model.train()
    before = {n: p.detach().clone() for n, p in model.named_parameters()}
    optimiser = torch.optim.Adam([p for p in model.parameters() if p.requires_grad], lr=1e-2, eps=1e-16)  # however small the gradient
    for _ in range(steps):
        optimiser.zero_grad()
        model(**batch).loss.backward()
        optimiser.step()
    model.eval()
    moved = {n for n, p in model.named_parameters() if not torch.equal(p, before[n])}
    return moved, {n for n, p in model.named_parameters() if p.requires_grad}


def check_answers(model, processor, asked):
    """Batched and alone it says the same."""
    together, end = processor(asked, generate=True), processor.end_ids
    answers = model.generate(**together, max_new_tokens=6, do_sample=False)[:, together["input_ids"].shape[1] :].tolist()
    for row, one in enumerate(asked):
        single = processor(one, generate=True)
        alone = model.generate(**single, max_new_tokens=6, do_sample=False)[0, single["input_ids"].shape[1] :].tolist()
        assert until_end(answers[row], end) == until_end(alone, end), f"row {row} answers otherwise in a batch"


def check_saved(model, processor, asked, folder, *, merges=True):
    """Saved, loaded strictly, merged: the same logits. Returns the loaded model."""
    batch = processor(asked)
    wanted = logits(model, batch)
    saved = checkpoint.save(model, processor, folder / "saved", provenance={})
    again, reader = checkpoint.load(saved)
    torch.testing.assert_close(logits(again, reader(asked)), wanted, atol=1e-4, rtol=1e-4)
    if merges:
        merged, reader = checkpoint.load(checkpoint.merge(saved, folder / "merged"))
        assert not any(is_added(n) for n, _ in merged.named_parameters())
        torch.testing.assert_close(logits(merged, reader(asked)), wanted, atol=1e-4 * max(1.0, float(wanted.abs().max())), rtol=1e-4)
    return again


def check_cell(encoder: str, adapter: str, llm: str, folder) -> dict[str, int]:
    """Everything that must hold of one cell; returns its sizes.

    Raises:
        AssertionError: something does not.
    """
    model, processor = build(encoder, adapter, llm)
    clips = [media(1, 0.9), media(2, 0.5)]
    taught = [talk((c,), q, answer="yes, both") for c, q in zip(clips, QUESTIONS, strict=True)]
    asked = [talk((c,), q) for c, q in zip(clips, QUESTIONS, strict=True)]
    set_trainable(model, {"encoders": False, "adapters": True})
    add_lora(model, {"language_model": {"rank": 2}})
    moved, declared = train(model, processor(taught))
    assert moved == declared, f"moved without leave: {sorted(moved - declared)[:3]}, stayed: {sorted(declared - moved)[:3]}"
    assert all(is_added(n) or n.startswith("adapters.") for n in moved) and any("lora_" in n for n in moved)
    check_saved(model, processor, asked, folder)
    check_answers(model, processor, asked)
    told = "together" if "together" in processor.placeholder_ids else "stream"
    return {
        "tokens": int((processor(asked)["input_ids"] == processor.placeholder_ids[told]).sum()),
        "adapter": sum(p.numel() for p in model.adapters[told].parameters()),
    }
