"""LoRA by peft: trained, saved in its own files, loaded through every door, merged with equal logits."""

import json
import shutil

import pytest
import torch
from peft import LoraConfig
from safetensors.torch import load_file, save_file

from tests.toys import chat_model, talk, video
from unifusion import checkpoint
from unifusion.errors import CheckpointError
from unifusion.models import merging
from unifusion.models.build import describe_trainable, set_trainable

TARGETS = r"language_model\..*\.(q_proj|v_proj|up_proj)"


def logits(model, processor):
    with torch.no_grad():
        return model(**processor([talk([video(seed=1)], "what?")])).logits


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A model with LoRA and adapters trained three steps, what was trained, and the folder it was saved to."""
    model, processor = chat_model()
    model.add_adapter(LoraConfig(r=4, target_modules=TARGETS, use_dora=False))
    set_trainable(model, {"adapters": True})
    model.train()
    before = {n: p.detach().clone() for n, p in model.named_parameters()}
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.1)
    batch = processor([talk([video(seed=1)], "what?", "this")])
    losses = []
    for _ in range(3):
        optimizer.zero_grad()
        loss = model(**batch).loss
        loss.backward()
        optimizer.step()
        losses.append(float(loss))
    changed = {n for n, p in model.named_parameters() if not torch.equal(p, before[n])}
    model.eval()
    folder = checkpoint.save(model, processor, tmp_path_factory.mktemp("lora") / "lora", provenance={"seed": 1})
    return model, processor, folder, changed, losses


def test_lora_and_adapters_learn_and_nothing_else(trained):
    model, _, _, changed, losses = trained
    assert losses[-1] < losses[0]
    assert changed == {n for n, p in model.named_parameters() if p.requires_grad}
    assert {n.split(".")[0] for n in changed} == {"language_model", "adapters"}
    assert all("lora_" in n for n in changed if n.startswith("language_model"))
    assert "language_model" in describe_trainable(model)


def test_files(trained):
    folder = trained[2]
    lora = load_file(folder / "adapter_model.safetensors")
    assert lora and all(k.startswith("base_model.model.language_model.") and "lora_" in k for k in lora)
    assert not any("lora_" in k or "base_layer" in k for k in load_file(folder / "model.safetensors"))
    assert json.loads((folder / "adapter_config.json").read_text())["target_modules"] == TARGETS


def test_loads_with_equal_logits(trained):
    from transformers import AutoModelForMultimodalLM

    model, processor, folder, *_ = trained
    wanted = logits(model, processor)
    again, its_processor = checkpoint.load(folder)
    assert torch.equal(logits(again, its_processor), wanted)
    assert torch.equal(logits(AutoModelForMultimodalLM.from_pretrained(folder).eval(), processor), wanted)
    saved = checkpoint.save(again, its_processor, folder.with_name("again"), provenance={})
    assert torch.equal(logits(checkpoint.load(saved)[0], processor), wanted)


def test_merging_keeps_the_logits(trained):
    model, processor, folder, *_ = trained
    merged = checkpoint.merge(folder, folder.with_name("merged"))
    assert not (merged / "adapter_config.json").exists()
    again, _ = checkpoint.load(merged)
    assert not any("lora" in n for n, _ in again.named_parameters())
    assert torch.allclose(logits(again, processor), logits(model, processor), atol=1e-4, rtol=1e-4)
    provenance = json.loads((merged / "provenance.json").read_text())
    assert provenance["seed"] == 1 and provenance["merge_max_difference"] <= 1e-4
    with pytest.raises(CheckpointError, match="no LoRA weights"):
        checkpoint.merge(merged, folder.with_name("twice"))


def test_a_merge_that_would_change_answers_is_refused(trained, monkeypatch):
    folder = trained[2]
    whole = merging._merge_layers

    def spoiled(model):
        whole(model)
        with torch.no_grad():
            model.get_input_embeddings().weight.add_(0.01)

    monkeypatch.setattr(merging, "_merge_layers", spoiled)
    with pytest.raises(CheckpointError, match="nothing was saved"):
        checkpoint.merge(folder, folder.with_name("spoiled"))
    assert not folder.with_name("spoiled").exists()


@pytest.mark.parametrize("file", ["adapter_model.safetensors", "model.safetensors"])
def test_what_either_file_lacks_or_has_too_much_is_named(trained, tmp_path, file):
    """transformers' report of a checkpoint with LoRA speaks of LoRA only, and starts what is missing anew."""
    folder = shutil.copytree(trained[2], tmp_path / "copy")
    state = load_file(folder / file)
    key = next(k for k in state if k.endswith(".weight") and ("lora_B" in k or k.startswith("adapters.")))
    for changed, told in (
        ({k: v for k, v in state.items() if k != key}, "missing"),
        ({**state, key.replace(".weight", ".height"): state[key].clone()}, "unknown"),
        ({**state, key: state[key][:-1].contiguous()}, "shape differs"),
    ):
        save_file(changed, folder / file, metadata={"format": "pt"})
        with pytest.raises(CheckpointError, match=told):
            checkpoint.load(folder)
