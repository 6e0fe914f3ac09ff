"""Peak memory of real training steps on the CPU beside its estimate; run as a process of its own, prints JSON."""

from __future__ import annotations

import json
import resource
import sys
from pathlib import Path

import torch

from tests.toys import byte_tokenizer, streams, talk, video
from unifusion.models.build import build_chat_model, set_trainable
from unifusion.models.segments import packed_attention
from unifusion.processor.packing import collate_packed
from unifusion.training.budget import BudgetChoices, estimate

SIZES = {"hidden_size": 384, "intermediate_size": 1152, "num_hidden_layers": 4, "num_attention_heads": 8, "num_key_value_heads": 4}
TINY = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1, "num_attention_heads": 4, "num_key_value_heads": 2}


def resident():
    """Bytes of this process now, and at most so far."""
    with open("/proc/self/statm", encoding="ascii") as file:
        now = int(file.read().split()[1]) * resource.getpagesize()
    status = Path("/proc/self/status").read_text(encoding="ascii")  # ru_maxrss counts the parent before the fork too
    return now, next(int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("VmHWM"))


def steps(llm, *, frozen, checkpointing, rows, lora=False, clips=False, measure=False):
    """Two steps of AdamW on packed rows; the estimate, and the peak above what the process had before."""
    before = resident()[0]
    torch.manual_seed(0)
    model, processor = build_chat_model(
        {"model_type": "llama", "vocab_size": 24_000, **llm}, streams(), tokenizer=byte_tokenizer(), window_s=0.25
    )
    set_trainable(model, {"language_model": not frozen, "encoders": False})
    if lora:
        from peft import LoraConfig

        model.language_model.add_adapter(LoraConfig(r=16, target_modules=["q_proj", "v_proj", "up_proj"]))
    if checkpointing:
        model.language_model.activation_checkpointing_enable()
    media = [video(seed=1, seconds=2.0)] if clips else []
    chosen = [processor.row(talk(media, "word " * 60, "answer " * 25, name=str(i))) for i in range(rows)]
    batch = collate_packed(processor, chosen)
    labelled = float((batch["labels"] != -100).float().mean())
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], fused=True)
    model.train()
    with packed_attention(model.language_model):
        for _ in range(2):
            model(**batch).loss.backward()
            optimizer.step()
            optimizer.zero_grad()
    measured = resident()[1] - before
    if not measure:
        return None
    choices = BudgetChoices(tokens=batch["input_ids"].shape[1], labelled=labelled, checkpointing=checkpointing)
    return {"measured": measured, "estimated": estimate(model, processor, chosen, choices).peak}


if __name__ == "__main__":
    torch.set_num_threads(2)
    steps(TINY, frozen=False, checkpointing=False, rows=1, clips=True)  # libraries load what they need
    steps(TINY, frozen=True, checkpointing=True, rows=1, lora=True)
    print(json.dumps(steps(SIZES, measure=True, **json.loads(sys.argv[1]))))
