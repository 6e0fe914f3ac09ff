"""The budget: its bytes are those of real steps, its states DeepSpeed's, its operations those counted; what does not fit is named."""

import json
import os
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from tests.matrix import build
from tests.models.families import FAMILIES, SCALED
from tests.thorough import further
from tests.toys import LLAMA, chat_model, mixed, streams, talk
from unifusion import catalog
from unifusion.errors import ConfigError, LimitError
from unifusion.models.build import set_trainable
from unifusion.models.config import UniFusionConfig
from unifusion.models.lora import probe_batch
from unifusion.models.segments import packed_attention
from unifusion.processor import FusedSpec
from unifusion.processor.packing import collate_packed
from unifusion.training import step_memory
from unifusion.training.budget import Budget, BudgetChoices, check, estimate, planned_model
from unifusion.training.model_states import Weights, attention_flops, states, step_flops

ROOT = Path(__file__).resolve().parents[2]
QWEN = {
    "model_type": "qwen3", "hidden_size": 4096, "intermediate_size": 12288, "num_hidden_layers": 36, "num_attention_heads": 32,
    "num_key_value_heads": 8, "head_dim": 128, "vocab_size": 151_936, "tie_word_embeddings": False,
}  # fmt: skip


def qwen(trainable=None):
    ids = {"video": 151_934, "audio": 151_935}
    return planned_model(
        UniFusionConfig(text_config=QWEN, streams={n: s.to_dict() for n, s in streams().items()}, placeholder_ids=ids), trainable
    )


@pytest.fixture(scope="module")
def frozen_8b():
    """8 billion frozen weights, adapters trained, on meta."""
    choices = BudgetChoices(tokens=4096, weights="bfloat16", precision="bfloat16")
    return estimate(qwen({"language_model": False, "adapters": True}), None, [300, 500, 4000], choices)


@pytest.mark.parametrize("llm", [*FAMILIES, *SCALED])
def test_every_family_goes_through_on_meta_and_keeps_less_with_checkpointing(llm):
    model, _ = chat_model(llm={**FAMILIES, **SCALED}[llm])
    plain, again = (step_memory.language_step(model.language_model, 256, 80, checkpointing=c) for c in (False, True))
    assert again.kept < 0.5 * plain.kept
    gradients = sum(p.nbytes for p in model.language_model.parameters())
    assert plain.events[-1][1] == again.events[-1][1] == gradients
    assert plain.peak() >= plain.peak(0.0) >= plain.kept and plain.peak() >= gradients


@pytest.mark.parametrize("trained", [True, False])
def test_what_is_counted_without_data_is_counted_with_data_too(trained):
    model, processor = chat_model(llm=LLAMA | {"num_hidden_layers": 4})
    set_trainable(model, {"language_model": trained, "encoders": False})
    model.train()
    rows = [processor.row(talk([], "a word " * 20, "an answer " * 10)) for _ in range(4)]
    batch = collate_packed(processor, rows)
    labelled = int((batch["labels"] != -100).sum())
    embeds = model.embed(batch["input_ids"], {}).detach().requires_grad_()
    inputs = {k: v for k, v in batch.items() if k not in ("input_ids", "media")}
    with packed_attention(model.language_model):
        model(inputs_embeds=embeds, **inputs)  # the heads and ways that are found by trying
        with step_memory._watch(model) as live:
            model(inputs_embeds=embeds, **inputs).loss.backward()
    planned = step_memory.language_step(model.language_model, embeds.shape[1], labelled)
    assert planned.peak() == pytest.approx(live.memory.peak(), rel=0.1)
    assert planned.peak(0.0) == pytest.approx(live.memory.peak(0.0), rel=0.1)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="peak memory is read from /proc")
@pytest.mark.parametrize(
    "case",
    [
        further({"frozen": False, "checkpointing": False, "rows": 6}),
        further({"frozen": False, "checkpointing": True, "rows": 8, "clips": True}),
        {"frozen": True, "checkpointing": False, "rows": 6, "lora": True},
        {"frozen": True, "checkpointing": False, "rows": 6, "clips": True},
    ],
    ids=lambda c: " ".join(k for k, v in c.items() if v is True) or "plain",
)  # fmt: skip
def test_the_estimate_is_the_peak_of_a_process_within_a_quarter(case):
    """With glibc giving freed memory back at once; what it keeps for itself otherwise is told in docs/packing_and_budget.md."""
    own = {"MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_MMAP_MAX_": "1000000", "MALLOC_TRIM_THRESHOLD_": "65536", "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "tests.training.measured_step", json.dumps(case)]
    run = subprocess.run(command, cwd=ROOT, env={**os.environ, **own}, capture_output=True, text=True, check=True, timeout=300)
    found = json.loads(run.stdout.strip().splitlines()[-1])
    assert found["estimated"] == pytest.approx(found["measured"], rel=0.25)


def test_eight_billion_weights_take_no_memory_and_seconds(frozen_8b):
    began = time.process_time()
    model = qwen()
    assert all(p.is_meta for p in model.language_model.parameters())
    found = estimate(model, None, [2048], BudgetChoices(tokens=2048))
    assert time.process_time() - began < 30
    trained = found.weights.trained
    assert 8.1e9 < trained < 8.3e9
    assert found.states.weights == 4 * (trained + found.weights.frozen)  # a frozen encoder
    assert (found.states.gradients, found.states.optimizer) == (4 * trained, 8 * trained)
    assert 130e9 < found.peak < 150e9  # 16 bytes a weight and what a step holds
    assert 16.3e9 < frozen_8b.states.weights < 16.5e9 and frozen_8b.peak < 60e9


def test_quantised_frozen_weights_are_smaller(frozen_8b):
    choices = replace(frozen_8b.choices, quantised="nf4")
    held = states(frozen_8b.weights, choices)
    matrices = frozen_8b.weights.matrices
    assert 6.9e9 < matrices < 7e9
    assert frozen_8b.states.weights - held.weights == pytest.approx(matrices * (2 - 0.5625), rel=1e-6)


@pytest.mark.parametrize("world", [1, 8])
@pytest.mark.parametrize("offload", ["", "optimizer", "all"])
@pytest.mark.parametrize("stage", [2, 3])
def test_states_are_those_of_deepspeed(stage, offload, world):
    if offload == "all" and stage == 2:
        with pytest.raises(ConfigError, match="all needs 3"):
            BudgetChoices(stage=stage, offload=offload)
        return
    found = Weights(trained=1_000_000, frozen=0, matrices=0, linear=900_000, linear_trained=900_000, largest=50_000)
    held = states(found, BudgetChoices(stage=stage, offload=offload, world=world, precision="bfloat16"))
    device = held.weights + held.gradients + held.optimizer
    if stage == 2:
        zero = pytest.importorskip("deepspeed.runtime.zero.stage_1_and_2").estimate_zero2_model_states_mem_needs
        host, wanted = zero(1_000_000, num_gpus_per_node=world, cpu_offload=bool(offload))
    else:
        zero = pytest.importorskip("deepspeed.runtime.zero.stage3").estimate_zero3_model_states_mem_needs
        host, wanted, _ = zero(1_000_000, 50_000, num_gpus_per_node=world, cpu_offload=bool(offload), cpu_offload_params=offload == "all")
    assert device == pytest.approx(wanted, rel=1e-4)
    assert not offload or held.host == pytest.approx(host, rel=1e-4)


def test_stages_take_less_and_less():
    found = Weights(trained=1_000_000, frozen=500_000, matrices=0, linear=0, linear_trained=0, largest=1_000)
    sizes = []
    for stage in (1, 2, 3):
        held = states(found, BudgetChoices(stage=stage, world=8, precision="bfloat16"))
        sizes.append(held.weights + held.gradients + held.optimizer)
    assert sizes == sorted(sizes, reverse=True) and sizes[0] == 2 * 1_500_000 + 2_000_000 + 16 * 1_000_000 // 8


@pytest.mark.parametrize("trained", [True, False])
def test_operations_are_those_that_are_counted(trained):
    model, processor = chat_model(llm=LLAMA | {"vocab_size": 600})
    set_trainable(model, {"language_model": trained, "encoders": False})
    model.language_model.set_attn_implementation("eager")  # the counter does not know the CPU's fused kernel
    batch = processor([talk([], "a word " * 30, "an answer " * 20)])
    embeds = model.embed(batch["input_ids"], {}).detach().requires_grad_()
    inputs = {k: v for k, v in batch.items() if k not in ("input_ids", "media")}
    model(inputs_embeds=embeds, **inputs)
    with FlopCounterMode(display=False) as counter:
        model(inputs_embeds=embeds, **inputs).loss.backward()
    choices = BudgetChoices(labelled=float((batch["labels"] != -100).float().mean()))
    length = embeds.shape[1]
    found = step_flops(model, [length], choices)
    square = 3 * attention_flops(model.language_model.config, [length])  # eager attention makes the half that is masked away too
    assert counter.get_total_flops() == pytest.approx(found + square, rel=0.03)


def test_a_window_bounds_the_operations_of_attention():
    model, _ = chat_model(llm=FAMILIES["mistral"])
    config = model.language_model.config
    width, layers, window = 32, 2, 24
    whole = sum(min(i + 1, window) for i in range(500))  # keys that queries see
    assert attention_flops(config, [500]) == pytest.approx(4.0 * width * layers * whole, rel=0.03)
    config.sliding_window = None
    assert attention_flops(config, [500]) == pytest.approx(4.0 * width * layers * 500 * 501 / 2, rel=0.03)


def test_rows_with_clips_count_encoders_and_adapters():
    model, processor = chat_model(fused={"both": FusedSpec(of=["video", "audio"])})
    set_trainable(model, {"language_model": False, "encoders": False})
    rows = [processor.row(c) for c in mixed("word ")]
    found = estimate(model, processor, rows, BudgetChoices(tokens=500))
    alone = estimate(model, processor, [len(r.ids) for r in rows], BudgetChoices(tokens=500))
    assert found.media > alone.media == 0 and found.peak > alone.peak
    set_trainable(model, {"encoders": True})
    assert estimate(model, processor, rows, BudgetChoices(tokens=500)).media > found.media


def test_the_table_names_what_takes_memory(frozen_8b):
    text = frozen_8b.table()
    for part in (
        "weights",
        "gradients",
        "optimizer states",
        "activations",
        "peak",
        "median 500, p95 4,000, max 4,000 (3 examples)",
        "estimate",
    ):
        assert part in text
    assert "ZeRO-3 over 8" in estimate(qwen(), None, [10], BudgetChoices(tokens=64, stage=3, world=8)).table()


def test_what_fits_is_let_through_and_what_does_not_is_named_before_the_first_step(frozen_8b):
    check(frozen_8b, 80 * 10**9)
    room = (frozen_8b.at(4000) + frozen_8b.peak) // 2
    with pytest.raises(ConfigError, match=r"a step of 4,096 tokens takes .* GB by estimate") as error:
        check(frozen_8b, room)
    for remedy in ("tokens a step", "nf4", "ZeRO-3"):
        assert remedy in str(error.value)
    assert frozen_8b.at(frozen_8b.most_tokens(room)) <= room
    with pytest.raises(LimitError, match=r"example talk-9 has 3,000 tokens .* 1 of 2 examples are longer.*processor.fit"):
        small = frozen_8b.at(1000)
        lengths = type(frozen_8b.lengths)(values=(500, 3000), names=("talk-3", "talk-9"))
        check(replace(frozen_8b, lengths=lengths), small)
    with pytest.raises(ConfigError, match=r"1\.00 GB are there; change gradient checkpointing"):
        check(frozen_8b, 10**9)


def test_an_example_longer_than_a_step_is_named(frozen_8b):
    lengths = type(frozen_8b.lengths)(values=(500, 5000), names=("a", "b"))
    with pytest.raises(LimitError, match="example b has 5,000 tokens"):
        check(replace(frozen_8b, lengths=lengths), 10**12)


def test_hours_are_operations_over_what_a_device_does(frozen_8b):
    hours = frozen_8b.hours(1e12, epochs=3, mfu=0.5)
    assert hours == pytest.approx(3 * 4800 * frozen_8b.flops_per_token / 0.5e12 / 3600)
    assert frozen_8b.hours("h100") < frozen_8b.hours("a100")
    assert 4 * 6.9e9 < frozen_8b.flops_per_token < 5 * 8.2e9  # 4N, attention and the supervised share of the head
    with pytest.raises(ConfigError, match="no device 'abacus'"):
        frozen_8b.hours("abacus")


@pytest.mark.parametrize("wrong", [{"stage": 4}, {"quantised": "q3"}, {"offload": "all"}, {"tokens": 0}, {"labelled": 0.0}])
def test_choices_that_do_not_exist_are_refused(wrong):
    with pytest.raises(ConfigError):
        BudgetChoices(**wrong)


def test_no_examples_and_quantised_weights_are_refused(frozen_8b):
    with pytest.raises(ConfigError, match="no examples"):
        estimate(qwen(), None, [])
    model, _ = chat_model()
    model.extra = torch.nn.Parameter(torch.zeros(3, dtype=torch.uint8), requires_grad=False)
    with pytest.raises(ConfigError, match=r"weights of the model are quantised"):
        estimate(model, None, [10])
    assert isinstance(frozen_8b, Budget)


@pytest.mark.parametrize("name", catalog.names("encoders"))
def test_every_encoder_goes_through_without_weights_trained_or_not(name):
    model, _ = build(name, "linear", "llama")
    probe = {k: v for k, v in probe_batch(model, "stream").items() if k not in ("rows", "chunks", "times", "mask")}
    for encoder in (model.encoders["stream"], planned_model(model.config).encoders["stream"]):
        kept = [step_memory.encoder_step(encoder.requires_grad_(trained), probe).kept for trained in (False, True)]
        assert 0 < kept[0] < kept[1]
