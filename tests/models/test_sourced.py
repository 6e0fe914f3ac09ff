"""Frozen parts from a source are referenced, fetched again with equal logits, and stored when asked to."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.sources import save_encoders, save_language_model, sourced_model
from tests.toys import LLAMA, talk, video
from unifusion import checkpoint
from unifusion.encoders.encoder import weights_hash
from unifusion.errors import CheckpointError
from unifusion.models.build import build_chat_model, grow_embeddings, set_trainable
from unifusion.models.language_model import load_language_model


def logits(model, processor):
    with torch.no_grad():
        return model(**processor([talk([video(seed=1)], "what?")])).logits


@pytest.fixture(scope="module")
def hub(tmp_path_factory):
    """A folder of sources: encoders, a language model with a template, one without."""
    folder = tmp_path_factory.mktemp("hub")
    save_encoders(folder)
    save_language_model(folder / "plain")
    save_language_model(folder / "untied", {**LLAMA, "tie_word_embeddings": False})
    return folder


def freeze(model):
    set_trainable(model, {"language_model": False, "encoders": False, "adapters": True})
    return model


def test_encoders_carry_the_weights_of_their_source(hub):
    model, _ = sourced_model(hub)
    published = load_file(hub / "videomae" / "model.safetensors")
    bias = next(v for k, v in published.items() if k.endswith("attention.attention.q_bias") or k.endswith("q_proj.bias"))
    assert any(torch.equal(bias, p) for p in model.encoders["video"].parameters())
    conv = next(v for k, v in load_file(hub / "whisper" / "model.safetensors").items() if k.endswith("encoder.conv1.weight"))
    assert torch.equal(model.encoders["audio"].backbone.conv1.weight, conv)


@pytest.mark.parametrize("llm", ["plain", "untied"])
def test_a_named_language_model_is_loaded_once_and_never_made_at_random(hub, monkeypatch, llm):
    monkeypatch.setattr("unifusion.models.chat.AutoModelForCausalLM.from_config", lambda *a, **k: pytest.fail("made at random first"))
    model, _ = sourced_model(hub, hub / llm)
    published = load_file(hub / llm / "model.safetensors")
    own = model.language_model.state_dict()
    for name, tensor in published.items():
        assert torch.equal(own[name][: len(tensor)], tensor), name
    monkeypatch.undo()
    tied = own["lm_head.weight"].data_ptr() == own["model.embed_tokens.weight"].data_ptr()
    assert tied == (llm == "plain")


def test_frozen_encoders_are_referenced_and_come_back(hub, tmp_path):
    model, processor = sourced_model(hub)
    freeze(model)
    set_trainable(model, {"language_model": True})
    folder = checkpoint.save(model, processor, tmp_path / "a", provenance={})
    assert json.loads((folder / "config.json").read_text())["absent"] == ["encoders.video", "encoders.audio"]
    assert not any(k.startswith("encoders.") for k in load_file(folder / "model.safetensors"))
    again, its_processor = checkpoint.load(folder)
    assert torch.equal(logits(again, its_processor), logits(model, processor))
    for name in ("video", "audio"):
        assert weights_hash(again.encoders[name]) == weights_hash(model.encoders[name])


@pytest.mark.parametrize("asked", [{"dtype": torch.bfloat16}, {"torch_dtype": torch.bfloat16}, {"dtype": "bfloat16"}])
def test_all_parts_come_in_the_type_that_is_asked_for_wherever_they_lie(hub, tmp_path, asked):
    model, processor = sourced_model(hub, hub / "plain")
    freeze(model)
    found = []
    for whole in (False, True):
        folder = checkpoint.save(model, processor, tmp_path / str(whole), provenance={}, self_contained=whole)
        again = type(model).from_pretrained(folder, **asked)
        assert {p.dtype for p in again.parameters()} == {torch.bfloat16}
        found.append(logits(again, processor))
    torch.testing.assert_close(*found, atol=0.02, rtol=0.02)  # rows of added tokens are a mean of rounded ones, or a mean rounded


def test_trained_encoders_are_stored(hub, tmp_path):
    model, processor = sourced_model(hub)
    freeze(model)
    set_trainable(model, {"encoders.audio": True})
    with torch.no_grad():
        next(model.encoders["audio"].parameters()).add_(1.0)
    folder = checkpoint.save(model, processor, tmp_path / "a", provenance={})
    assert json.loads((folder / "config.json").read_text())["absent"] == ["encoders.video"]
    assert torch.equal(logits(*checkpoint.load(folder)), logits(model, processor))


@pytest.mark.parametrize("llm", ["plain", "untied"])
def test_a_frozen_language_model_comes_back_with_its_added_rows(hub, tmp_path, llm):
    """Control tokens were added to it and nothing trained their rows: fetched again they must be the same."""
    model, processor = sourced_model(hub, hub / llm)
    rows = model.get_input_embeddings().num_embeddings
    assert rows == len(processor.tokenizer) == 258 + 6
    freeze(model)
    folder = checkpoint.save(model, processor, tmp_path / "a", provenance={})
    assert {k.split(".")[0] for k in load_file(folder / "model.safetensors")} == {"adapters"}
    assert torch.equal(logits(*checkpoint.load(folder)), logits(model, processor))
    added = model.get_input_embeddings().weight[-6:]
    assert len({tuple(r.tolist()) for r in added}) == 6, "control tokens can be told apart"


def test_added_rows_are_like_the_others():
    torch.manual_seed(0)
    llm = sourced_rows()
    old = llm.get_input_embeddings().weight.detach().clone()
    grow_embeddings(llm, 300)
    new = llm.get_input_embeddings().weight
    assert torch.equal(new[: len(old)], old)
    assert float(new[len(old) :].std()) == pytest.approx(float(old.std()), rel=0.3)
    grow_embeddings(llm, 10)
    assert llm.get_input_embeddings().num_embeddings == 300


def sourced_rows():
    from transformers import AutoConfig, AutoModelForCausalLM

    return AutoModelForCausalLM.from_config(AutoConfig.for_model(**LLAMA, vocab_size=200))


def test_lora_over_a_referenced_language_model(hub, tmp_path):
    from peft import LoraConfig

    model, processor = sourced_model(hub, hub / "plain")
    freeze(model)
    model.add_adapter(LoraConfig(r=2, target_modules=r"language_model\..*\.q_proj", init_lora_weights=False))
    model.eval()
    folder = checkpoint.save(model, processor, tmp_path / "a", provenance={})
    assert "language_model" in json.loads((folder / "config.json").read_text())["absent"]
    assert not any(k.startswith("language_model") for k in load_file(folder / "model.safetensors"))
    wanted = logits(model, processor)
    again, its_processor = checkpoint.load(folder)
    assert torch.equal(logits(again, its_processor), wanted)
    merged = checkpoint.merge(folder, tmp_path / "merged")
    assert torch.allclose(logits(*checkpoint.load(merged)), wanted, atol=1e-4)


def test_self_contained_needs_no_source(hub, tmp_path):
    shutil.copytree(hub, tmp_path / "hub")
    model, processor = sourced_model(tmp_path / "hub", tmp_path / "hub" / "plain")
    freeze(model)
    referenced = checkpoint.save(model, processor, tmp_path / "referenced", provenance={})
    whole = checkpoint.save(model, processor, tmp_path / "whole", provenance={}, self_contained=True)
    wanted = logits(model, processor)
    model.save_pretrained(tmp_path / "hf")
    processor.save_pretrained(tmp_path / "hf")
    shutil.rmtree(tmp_path / "hub")
    assert torch.equal(logits(*checkpoint.load(whole)), wanted)
    assert torch.equal(logits(*checkpoint.load(tmp_path / "hf")), wanted), "Hugging Face's own save stores everything"
    with pytest.raises(CheckpointError, match=r"cannot be loaded.*--self-contained"):
        checkpoint.load(referenced)


def test_a_source_of_pickles_is_refused(hub, tmp_path):
    shutil.copytree(hub / "plain", tmp_path / "llm")
    model, processor = sourced_model(hub, tmp_path / "llm")
    folder = checkpoint.save(freeze(model), processor, tmp_path / "a", provenance={})
    torch.save(load_file(tmp_path / "llm" / "model.safetensors"), tmp_path / "llm" / "pytorch_model.bin")
    (tmp_path / "llm" / "model.safetensors").unlink()
    with pytest.raises(CheckpointError, match="cannot be loaded"):
        checkpoint.load(folder)


def test_a_source_that_lost_weights_is_refused(hub, tmp_path):
    shutil.copytree(hub / "videomae", tmp_path / "videomae")
    shutil.copytree(hub / "whisper", tmp_path / "whisper")
    model, processor = sourced_model(tmp_path)
    folder = checkpoint.save(freeze(model), processor, tmp_path / "a", provenance={})
    state = load_file(tmp_path / "whisper" / "model.safetensors")
    lost = next(k for k in state if k.endswith("encoder.conv1.weight"))
    save_file({k: v for k, v in state.items() if k != lost}, tmp_path / "whisper" / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(CheckpointError, match=r"conv1\.weight"):
        checkpoint.load(folder)


def test_what_was_trained_or_merged_once_is_never_taken_from_its_source_again(hub, tmp_path):
    """A later stage freezes it; its source still has the weights from before."""
    from unifusion.models.lora import add_lora

    model, processor = sourced_model(hub, hub / "plain")
    set_trainable(model, {"encoders.audio": True, "encoders.video": False, "language_model": True})
    with torch.no_grad():
        next(model.encoders["audio"].parameters()).add_(1.0)
        model.get_input_embeddings().weight.mul_(1.5)
    wanted = logits(model, processor)
    trained, _ = checkpoint.load(checkpoint.save(model, processor, tmp_path / "trained", provenance={}))
    again = checkpoint.save(freeze(trained), processor, tmp_path / "frozen", provenance={})
    assert json.loads((again / "config.json").read_text())["absent"] == ["encoders.video"]
    assert torch.equal(logits(*checkpoint.load(again)), wanted)

    model, processor = sourced_model(hub, hub / "plain")
    add_lora(freeze(model), {"language_model": {"rank": 2}})
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_B" in name:
                parameter.normal_()
    wanted = logits(model.eval(), processor)
    merged = checkpoint.merge(checkpoint.save(model, processor, tmp_path / "lora", provenance={}), tmp_path / "merged")
    again = checkpoint.save(freeze(checkpoint.load(merged)[0]), processor, tmp_path / "later", provenance={})
    torch.testing.assert_close(logits(*checkpoint.load(again)), wanted, atol=1e-4, rtol=1e-4)


def test_sources_by_relative_paths_are_found_from_anywhere(hub, tmp_path, monkeypatch):
    monkeypatch.chdir(hub)
    model, processor = sourced_model(Path("."), "plain")
    folder = checkpoint.save(freeze(model), processor, tmp_path / "a", provenance={})
    expected = logits(model, processor)
    monkeypatch.chdir(tmp_path)
    again, its_processor = checkpoint.load("a")
    assert torch.equal(logits(again, its_processor), expected)
    assert json.loads((folder / "config.json").read_text())["text_source"] == str(hub / "plain")


def test_a_language_model_that_is_not_there_is_named(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(CheckpointError, match=r"tokenizer of 'no/such', which is no folder here: .*; give a hub name or a folder"):
        build_chat_model("no/such", {})


def test_a_language_model_that_lacks_weights_is_refused(hub, tmp_path):
    broken = shutil.copytree(hub / "plain", tmp_path / "broken")
    kept = load_file(broken / "model.safetensors")
    kept.pop("model.layers.1.mlp.up_proj.weight")
    save_file(kept, broken / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(CheckpointError, match=r"lacks 1 weights of LlamaForCausalLM: model.layers.1.mlp.up_proj.weight"):
        load_language_model(broken)
    kept["model.layers.1.mlp.up_proj.weight"] = torch.zeros(3, 3)
    save_file(kept, broken / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(CheckpointError, match=r"cannot load the language model '.*broken'"):
        load_language_model(broken)
