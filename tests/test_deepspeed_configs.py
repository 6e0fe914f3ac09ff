"""Each DeepSpeed config is what its name says, and Trainer can fill in every "auto" from our model and arguments."""

import json

import pytest

from unifusion import share

NAMES = sorted(path.stem for path in share.folder("deepspeed_configs").glob("*.json"))


def read(name):
    return json.loads((share.folder("deepspeed_configs") / f"{name}.json").read_text(encoding="utf-8"))


def autos(value, path=""):
    if isinstance(value, dict):
        return [found for key, inner in value.items() for found in autos(inner, f"{path}.{key}".strip("."))]
    return [path] if value == "auto" else []


def test_the_four_are_there():
    assert NAMES == ["zero1", "zero2", "zero3", "zero3_offload"]


@pytest.mark.parametrize("name", NAMES)
def test_stage_and_offloading_follow_the_name(name):
    zero = read(name)["zero_optimization"]
    assert zero["stage"] == int(name[4])
    assert ("offload_optimizer" in zero) == ("offload_param" in zero) == name.endswith("_offload")
    assert {"train_batch_size", "train_micro_batch_size_per_gpu", "gradient_accumulation_steps", "bf16.enabled"} <= set(autos(read(name)))


@pytest.mark.parametrize("name", NAMES)
def test_trainer_fills_in_every_auto(name, monkeypatch, tmp_path, tiny_engine):
    from accelerate.utils.deepspeed import HfDeepSpeedConfig
    from transformers import TrainingArguments
    from transformers.integrations import deepspeed

    # Only the arithmetic of "auto" is run here, so DeepSpeed itself need not be installed.
    monkeypatch.setattr(deepspeed, "dep_version_check", lambda package: None)
    monkeypatch.setattr(deepspeed, "_hf_deepspeed_config_weak_ref", None)
    filled = type("Filled", (deepspeed.HfTrainerDeepSpeedConfig, HfDeepSpeedConfig), {})(read(name))
    arguments = TrainingArguments(output_dir=str(tmp_path), per_device_train_batch_size=4, gradient_accumulation_steps=2, use_cpu=True)
    filled.trainer_config_process(arguments)
    filled.trainer_config_finalize(arguments, tiny_engine.model, num_training_steps=100)
    assert autos(filled.config) == []
    assert filled.config["train_micro_batch_size_per_gpu"] == 4
    assert filled.config["train_batch_size"] == 8
    assert filled.is_zero3() == name.startswith("zero3")
