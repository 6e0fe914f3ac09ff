"""QLoRA: the language model is loaded 4-bit or 8-bit from its source, learns, is saved as LoRA alone, and is merged into the whole one."""

import json
import shutil
from itertools import product

import pytest
import torch
from safetensors.torch import load_file

from tests.matrix import train
from tests.models.families import FAMILIES
from tests.sources import save_encoders, save_language_model, sourced_model
from tests.toys import LLAMA, byte_tokenizer, streams, talk, until_end, video
from unifusion import checkpoint
from unifusion.errors import CheckpointError, ConfigError
from unifusion.models.build import build_chat_model, describe_trainable, set_trainable
from unifusion.models.lora import add_lora, is_added, linear_targets

bitsandbytes = pytest.importorskip("bitsandbytes", reason="the extra `quant` is not installed")
LAYERS = {"4bit": bitsandbytes.nn.Linear4bit, "8bit": bitsandbytes.nn.Linear8bitLt}
NAMES = ("llama", "gpt2", "phi")
"""Tied; projections of another class and tied; a head of its own with a bias."""


@pytest.fixture(scope="module")
def hub(tmp_path_factory):
    folder = save_encoders(tmp_path_factory.mktemp("hub"))
    for name in NAMES:
        save_language_model(folder / name, FAMILIES[name])
    return folder


def logits(model, processor):
    with torch.no_grad():
        return model(**processor([talk([video(seed=1)], "what?")])).logits


def tuned(hub, name, quantize, **choices):
    """A quantised model, trained 15 steps, and its losses."""
    model, processor = sourced_model(hub, hub / name, quantize=quantize)
    set_trainable(model, {"encoders": False})
    add_lora(model, {"language_model": {"rank": 4, **choices}, "encoders.audio": {"rank": 2, **choices}})
    batch = processor([talk([video(seed=1)], "what?", "this")])
    optimiser = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=5e-3)
    model.train()
    losses = []
    for _ in range(15):
        optimiser.zero_grad()
        loss = model(**batch).loss
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    return model.eval(), processor, losses


@pytest.mark.parametrize(("name", "quantize"), list(product(NAMES, LAYERS)))
def test_it_learns_is_saved_loaded_asked_and_merged(hub, tmp_path, name, quantize):
    model, processor, losses = tuned(hub, name, quantize)
    whole, _ = sourced_model(hub, hub / name)
    targets = [f"{t}.base_layer" for t in linear_targets(whole.language_model)]
    assert len(targets) >= 8 and all(type(model.language_model.get_submodule(t)) is LAYERS[quantize] for t in targets)
    assert type(model.get_output_embeddings().token_adapter.base_layer) is torch.nn.Linear
    assert losses[-1] < losses[0] - 0.3
    told = describe_trainable(model).splitlines()
    added = sum(p.numel() for n, p in model.language_model.named_parameters() if is_added(n))
    parameters = sum(p.numel() for p in whole.language_model.parameters())
    assert f"{parameters + added:,}" in told[1] and quantize in told[1], "4-bit weights count one each"

    folder = checkpoint.save(model, processor, tmp_path / "saved", provenance={"seed": 1})
    assert {k.split(".")[0] for k in load_file(folder / "model.safetensors")} == {"adapters"}
    lora = load_file(folder / "adapter_model.safetensors")
    assert all("lora_" in k or k.endswith("trainable_tokens_delta") for k in lora)
    config = json.loads((folder / "config.json").read_text())
    assert (config["quantized"], config["compute_dtype"]) == (quantize, "float32") and "quantization_config" not in config["text_config"]

    wanted = logits(model, processor)
    again, reader = checkpoint.load(folder)
    assert torch.equal(logits(again, reader), wanted)
    assert all(type(again.language_model.get_submodule(t)) is LAYERS[quantize] for t in targets)
    prompt = processor([talk([video(seed=1)], "what?")], generate=True)
    answers = [m.generate(**prompt, max_new_tokens=5, do_sample=False)[0].tolist() for m in (model, again)]
    assert until_end(answers[0], processor.end_ids) == until_end(answers[1], processor.end_ids)
    assert torch.equal(logits(*checkpoint.load(checkpoint.save(again, reader, tmp_path / "again", provenance={}))), wanted)

    full, _ = checkpoint.load(folder, quantize=None)
    assert not any(isinstance(m, tuple(LAYERS.values())) for m in full.modules()) and full.config.quantized is None
    merged = checkpoint.merge(folder, tmp_path / "merged")
    facts = json.loads((merged / "provenance.json").read_text())
    assert facts["seed"] == 1 and facts["tuned_quantized"] == quantize and facts["merge_max_difference"] <= 1e-4
    assert 1e-4 < facts["quantized_max_difference"] < facts["quantized_largest_logit"] and facts["quantized_same_choice"] > 0.6
    torch.testing.assert_close(logits(*checkpoint.load(merged)), logits(full, reader), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(("quantize", "variant"), [("4bit", "dora"), ("4bit", "rslora"), ("8bit", "dora")])
def test_other_variants_over_quantised_layers(hub, tmp_path, quantize, variant):
    model, processor, losses = tuned(hub, "llama", quantize, variant=variant)
    assert losses[-1] < losses[0] - 0.3
    folder = checkpoint.save(model, processor, tmp_path / "saved", provenance={})
    torch.testing.assert_close(logits(*checkpoint.load(folder)), logits(model, processor), atol=1e-5, rtol=1e-5)
    assert json.loads((checkpoint.merge(folder, tmp_path / "merged") / "provenance.json").read_text())["merge_max_difference"] <= 1e-4


def test_what_is_learned_reaches_below_a_quantised_layer_after_it_was_asked(hub):
    """bitsandbytes repacks layers on some CPUs when they are asked in eval mode, and nothing below them learns any more."""
    model, processor, _ = tuned(hub, "llama", "4bit")
    prompt = processor([talk([video(seed=1)], "what?")], generate=True)
    before = logits(model, processor)
    model.generate(**prompt, max_new_tokens=3, do_sample=False)
    assert torch.equal(logits(model, processor), before)
    moved, declared = train(model, processor([talk([video(seed=1)], "what?", "this")]))
    assert moved == declared and any(n.startswith("encoders.audio") for n in moved)


def test_computing_in_half_precision(hub, tmp_path):
    model, processor = sourced_model(hub, hub / "llama", quantize="4bit", compute_dtype=torch.bfloat16)
    assert {p.dtype for p in model.language_model.parameters() if p.is_floating_point()} == {torch.bfloat16}
    set_trainable(model, {"encoders": False})
    add_lora(model, {"language_model": {"rank": 2}})
    moved, declared = train(model, processor([talk([video(seed=1)], "what?", "this")]))
    assert moved == declared
    folder = checkpoint.save(model, processor, tmp_path / "a", provenance={})
    again, reader = checkpoint.load(folder)
    assert torch.equal(logits(again, reader), logits(model, processor)) and again.config.compute_dtype == "bfloat16"


def test_what_cannot_be_quantised_or_stored(hub, tmp_path):
    with pytest.raises(ConfigError, match=r"inline language model has no weights.*save it first"):
        build_chat_model(LLAMA, streams(), tokenizer=byte_tokenizer(), quantize="4bit")
    with pytest.raises(ConfigError, match="did you mean '4bit'"):
        sourced_model(hub, hub / "llama", quantize="4bits")
    with pytest.raises(ConfigError, match=r"cannot compute in torch\.float64"):
        sourced_model(hub, hub / "llama", quantize="4bit", compute_dtype=torch.float64)
    model, processor, _ = tuned(hub, "llama", "4bit")
    with pytest.raises(CheckpointError, match=r"would have to be stored; .*unifusion merge"):
        checkpoint.save(model, processor, tmp_path / "a", provenance={}, self_contained=True)
    with pytest.raises(ConfigError, match="is quantised and cannot be trained"):
        set_trainable(model, {"language_model": True})
    assert not (tmp_path / "a").exists()


def test_without_the_library_the_extra_is_named(hub, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"pip install 'unifusion-x\[quant\]'"):
        sourced_model(hub, hub / "llama", quantize="4bit")


def test_a_config_that_was_tampered_with(hub, tmp_path):
    model, processor, _ = tuned(hub, "llama", "4bit")
    folder = checkpoint.save(model, processor, tmp_path / "a", provenance={})
    for changes, told in (({"compute_dtype": "load"}, "computes in 'load'"), ({"quantized": "3bit"}, "'3bit'")):
        copy = shutil.copytree(folder, tmp_path / str(len(told)))
        config = json.loads((copy / "config.json").read_text())
        (copy / "config.json").write_text(json.dumps({**config, **changes}))
        with pytest.raises(CheckpointError, match=told):
            checkpoint.load(copy)
    with pytest.raises(ConfigError, match="cannot be loaded '8bit'"):
        checkpoint.load(folder, quantize="8bit")
