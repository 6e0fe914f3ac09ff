"""Where LoRA goes: what a part's structure says is what a forward pass does."""

import re

import pytest
import torch
from torch import nn
from torch.overrides import TorchFunctionMode
from transformers import AutoConfig, AutoModelForCausalLM
from transformers.pytorch_utils import Conv1D

from tests.matrix import build
from tests.models.families import FAMILIES, SCALED
from tests.toys import chat_model
from unifusion import catalog
from unifusion.errors import ConfigError
from unifusion.models.build import set_trainable
from unifusion.models.lora import LoraChoices, add_lora, linear_targets, probe_batch
from unifusion.training.budget import planned_model

WITHOUT = ("acoustic_features", "resnet", "sound_resnet")
"""Encoders without linear layers in blocks."""
CALLED_BY_NAME = ("wavlm",)
"""Encoders whose attention hands weights to a function of torch."""
WITHOUT_ATTENTION = ("convnext",)


class Attention(TorchFunctionMode):
    """Notes which modules are running when attention is computed: a softmax, or torch's own attention."""

    def __init__(self, running):
        super().__init__()
        self.running, self.seen = running, set()

    def __torch_function__(self, function, types, args=(), kwargs=None):
        if function in (nn.functional.scaled_dot_product_attention, nn.functional.softmax, torch.softmax, torch.Tensor.softmax,
                        nn.functional.multi_head_attention_forward):  # fmt: skip
            self.seen.add(self.running[-1])
        return function(*args, **(kwargs or {}))


def traced(part, run):
    """Names of linear layers that are called, and of the modules that are at work when attention is computed."""
    called, running = set(), []
    hooks = []
    for name, module in part.named_modules():
        hooks.append(module.register_forward_pre_hook(lambda m, a, n=name: running.append(n)))
        hooks.append(module.register_forward_hook(lambda m, a, o: running.pop() and None, always_call=True))
        if isinstance(module, nn.Linear | Conv1D):
            hooks.append(module.register_forward_pre_hook(lambda m, a, n=name: called.add(n)))
    with torch.no_grad(), Attention(running) as mode:
        run()
    for hook in hooks:
        hook.remove()
    return called, mode.seen


def check(part, run):
    """Targets are called; those of attention are just those below the children of blocks in which attention is computed."""
    called, seen = traced(part, run)
    found = {kind: set(linear_targets(part, kind)) for kind in ("all", "attention", "mlp")}
    assert found["all"] <= called
    children = {m.group() for name in seen if (m := re.match(r".*\.\d+\.[^.]+", name))}
    assert children and found["attention"] == {n for n in found["all"] if any(n.startswith(f"{c}.") for c in children)}
    assert found["mlp"] == found["all"] - found["attention"]
    return found


@pytest.mark.parametrize("name", [*FAMILIES, *SCALED])
def test_a_language_models_targets(name):
    model = AutoModelForCausalLM.from_config(AutoConfig.for_model(**{**FAMILIES, **SCALED}[name], vocab_size=40)).eval()
    found = check(model, lambda: model(input_ids=torch.arange(5)[None]))
    layers = model.config.num_hidden_layers
    assert len(found["attention"]) == layers * (2 if name == "gpt2" else 4)
    assert not any(model.get_submodule(n) is model.get_output_embeddings() for n in found["all"])


@pytest.mark.parametrize("name", [n for n in catalog.names("encoders") if n not in WITHOUT])
def test_an_encoders_targets(name):
    model, _ = build(name, "linear", "llama")
    encoder, batch = model.encoders["stream"], probe_batch(model, "stream")
    if name in CALLED_BY_NAME:
        with pytest.raises(ConfigError, match=r"weights of encoders\.stream's .*q_proj.* are read, the layers never called"):
            add_lora(model, {"encoders.stream": {"targets": ["q_proj", "k_proj"]}})
        config = add_lora(model, {"encoders.stream": {"rank": 2}})
        assert "q_proj" not in config.target_modules and "intermediate_dense" in config.target_modules
        return
    if name in WITHOUT_ATTENTION:
        with pytest.raises(ConfigError, match="no linear layer of ConvNeXt is one of the targets 'attention'"):
            linear_targets(encoder, "attention")
        assert len(linear_targets(encoder, "mlp")) == len(linear_targets(encoder)) == 4
        return
    check(encoder, lambda: model.features("stream", batch))


@pytest.mark.parametrize("name", ["videomae", "hubert", "wavlm", "bert"])
def test_a_model_without_weights_gets_the_same_lora(name):
    model, _ = build(name, "linear", "llama")
    planned = planned_model(model.config)
    found = [add_lora(m, {"encoders.stream": {"rank": 2}}).target_modules for m in (model, planned)]
    assert found[0] == found[1]


@pytest.mark.parametrize("name", WITHOUT)
def test_an_encoder_without_layers_to_go_around(name):
    model, _ = build(name, "linear", "llama")
    with pytest.raises(ConfigError, match="no linear layer of"):
        add_lora(model, {"encoders.stream": {}})


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.num_heads = 2
        self.attn = nn.MultiheadAttention(4, 2)
        self.up, self.mlp = nn.Linear(4, 4), nn.Sequential(nn.Linear(4, 4), nn.GELU(), nn.Linear(4, 4))


class Stack(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed, self.blocks = nn.Linear(3, 4), nn.ModuleList([Block()])
        self.layers_of_one_kind = nn.Sequential(Block(), Block())
        self.head = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 2))


def test_blocks_lists_and_heads():
    """Heads of a block itself say nothing of its children; what `nn.MultiheadAttention` reads past is no target."""
    found = linear_targets(Stack())
    assert found == [f"{b}.{n}" for b in ("blocks.0", "layers_of_one_kind.0", "layers_of_one_kind.1") for n in ("up", "mlp.0", "mlp.2")]
    with pytest.raises(ConfigError, match="'attention'"):
        linear_targets(Stack(), "attention")
    assert linear_targets(Stack(), ["up"]) == [n for n in found if n.endswith("up")]
    assert linear_targets(Stack(), r"blocks\.0\.mlp\.\d") == ["blocks.0.mlp.0", "blocks.0.mlp.2"]
    assert linear_targets(Stack(), "embed") == ["embed"]


@pytest.mark.parametrize(
    ("which", "told"),
    [
        ("attenton", "did you mean 'attention'"),
        (["q_prj"], "did you mean 'q_proj'"),
        ("(", "no regular expression"),
        ([], "one of the targets"),
    ],
)
def test_targets_that_are_not_there(which, told):
    model, _ = chat_model()
    with pytest.raises(ConfigError, match=told):
        linear_targets(model.language_model, which)


@pytest.mark.parametrize(
    ("raw", "told"),
    [
        ({"rnk": 4}, "did you mean 'rank'"),
        ({"variant": "dorra"}, "did you mean 'dora'"),
        ({"rank": 0}, "rank from 1"),
        ({"dropout": 1.0}, "dropout"),
    ],
)
def test_choices_that_cannot_be(raw, told):
    with pytest.raises(ConfigError, match=told):
        LoraChoices.from_dict(raw)


def test_parts_that_cannot_be_tuned_so():
    model, _ = chat_model()
    for parts, told in (
        ({"encoders.sound": {}}, "known: encoders.audio, encoders.video, language_model"),
        ({}, "LoRA for no part"),
        ({"language_model": {"variant": "dora"}, "encoders.audio": {}}, "one variant for all parts, not dora for language_model, lora for"),
        ({"language_model": {"dropout": 0.1}, "encoders.audio": {}}, "one dropout"),
    ):
        with pytest.raises(ConfigError, match=told):
            add_lora(model, parts)
    assert not any("lora_" in n for n, _ in model.named_parameters())
    add_lora(model, {"language_model": {}})
    with pytest.raises(ConfigError, match="has LoRA already"):
        add_lora(model, {"encoders.audio": {}})


def test_each_part_has_its_own_rank_and_what_else_was_trainable_stays_so():
    model, _ = chat_model()
    set_trainable(model, {"encoders": False, "adapters.video": False})
    config = add_lora(
        model, {"language_model": LoraChoices(rank=4, alpha=8), "encoders.audio": LoraChoices(rank=2, alpha=10, targets="mlp")}
    )
    layers = {n: m for n, m in model.named_modules() if hasattr(m, "lora_A") and "." in n}
    told = {n.split(".")[0]: (m.r["default"], m.scaling["default"]) for n, m in layers.items()}
    assert told == {"language_model": (4, 2.0), "encoders": (2, 5.0)}
    assert {n.rpartition(".")[2] for n in layers if n.startswith("encoders")} == {"fc1", "fc2"}
    assert config.target_modules.count("|") == 7 + 2 - 1, "one alternative stands for a layer of all blocks"
    free = {n for n, p in model.named_parameters() if p.requires_grad}
    assert {n.split(".")[1] for n in free if n.startswith("adapters.")} == {"audio"}
    assert all("lora_" in n or "tokens" in n for n in free if not n.startswith("adapters."))


def test_running_statistics_of_a_tuned_encoder_stay_its_sources():
    model, _ = build("parakeet", "linear", "llama")
    norms = [m for m in model.encoders["stream"].modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    before = [m.running_mean.clone() for m in norms]
    set_trainable(model, {"encoders": False})
    add_lora(model, {"encoders.stream": {"rank": 2}})
    model.train()
    features = model.features("stream", probe_batch(model, "stream")).tokens_BSD
    assert features.requires_grad and norms and all(torch.equal(m.running_mean, b) for m, b in zip(norms, before, strict=True))
