"""Suite: what packing and the loss of the head in pieces save, measured side by side in one run; losses are compared first."""

from __future__ import annotations

import json
import os
import random
import resource
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, models
from torch.nn import functional
from transformers import PreTrainedTokenizerFast

from unifusion.batch import StreamReport
from unifusion.cli import script
from unifusion.conversation import Conversation, Media, Message
from unifusion.models.build import build_chat_model, set_trainable
from unifusion.models.head import head_loss
from unifusion.models.segments import packed_attention
from unifusion.processor import Row, UniFusionProcessor
from unifusion.processor.opening import OpenedMedia, StreamItem
from unifusion.processor.packing import collate_packed, pack
from unifusion.training.choices import parse

WIDTH = 64
"""Of the stored features."""


@dataclass(frozen=True, kw_only=True)
class Choices:
    """Interleaved rounds in turned order after one warm-up; medians of per-round ratios of process CPU time."""

    out: str = "runs/eval/packing.json"
    rounds: int = 7
    threads: int = 1
    rows: int = 32
    batch: int = 8
    """Rows of a padded batch; a pack holds as many tokens as these have on average."""
    seed: int = 0


def model_and_processor() -> tuple[Any, UniFusionProcessor]:
    """Four layers of 256, 8,192 words, random weights; clips come as stored features, one token each."""
    words = [chr(i) for i in range(33, 127)]
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer(models.BPE(vocab={w: i for i, w in enumerate(words)}, merges=[])), eos_token="</s>", pad_token="<pad>"
    )
    llm = {
        "model_type": "llama", "hidden_size": 256, "intermediate_size": 704, "num_hidden_layers": 4, "num_attention_heads": 8,
        "num_key_value_heads": 8, "max_position_embeddings": 4096, "vocab_size": 8192, "tie_word_embeddings": True,
    }  # fmt: skip
    stream = {"encoder": "vit", "encoder_config": {"backbone": _vit()}, "adapter": "linear"}
    torch.manual_seed(0)
    model, processor = build_chat_model(llm, {"video": stream}, tokenizer=tokenizer)
    set_trainable(model, {"encoders": False})
    return model.train(), processor


def _vit() -> dict[str, Any]:
    """An encoder of the features' width that nothing is put through."""
    sizes = {"hidden_size": WIDTH, "intermediate_size": 64, "num_hidden_layers": 1, "num_attention_heads": 2, "image_size": 32}
    return {"model_type": "vit", **sizes, "patch_size": 16}


def examples(processor: UniFusionProcessor, count: int, visual: int, seed: int) -> list[Row]:
    """Rows of one clip of `visual` tokens, a question and an answer of lognormal lengths (medians 40 and 24, sigma 0.9)."""
    rng = random.Random(seed)
    generator = torch.Generator().manual_seed(seed)
    rows = []
    for number in range(count):
        times = torch.linspace(0.0, 0.9, visual)
        item = StreamItem(
            times_S=times, mask_S=torch.ones(visual, dtype=torch.bool), token_times_Q=times,
            tokens_SD=torch.randn(visual, WIDTH, generator=generator).to(torch.bfloat16),
        )  # fmt: skip
        media = Media(kind="video", source=b"")
        report = StreamReport(modality="video", present=True, tokens=visual)
        clip = OpenedMedia(media=media, streams={"video": item}, reports={"video": report}, duration_s=1.0)
        asked, said = (min(600, max(4, round(rng.lognormvariate(m, 0.9)))) for m in (3.7, 3.2))
        talk = Conversation(
            messages=(
                Message(role="user", parts=(media, "q" * asked)),
                Message(role="assistant", parts=("a" * said,), supervised=True),
            ),
            id=str(number),
        )
        rows.append(processor.row(talk, opened=[clip]))
    return rows


def epoch(model: Any, batches: Sequence[Any], items: int) -> tuple[float, float]:
    """Forward and backward over all batches; CPU seconds, and the loss over all `items` supervised positions."""
    began, total = time.process_time(), 0.0
    for batch in batches:
        loss = model(**batch, num_items_in_batch=items).loss
        loss.backward()
        total += float(loss.detach())
    model.zero_grad()
    return time.process_time() - began, total


def packing(c: Choices, model: Any, processor: UniFusionProcessor, visual: int) -> dict[str, Any]:
    """The same rows padded in random order (twice, to see the noise), sorted by length, and packed, by segments and by a mask."""
    rows = examples(processor, c.rows, visual, c.seed)
    lengths, items = [len(r.ids) for r in rows], sum(x != -100 for r in rows for x in r.labels)
    by_length = sorted(range(len(rows)), key=lengths.__getitem__)
    packs = pack(lengths, max(max(lengths), round(c.batch * sum(lengths) / len(lengths))))
    chunks = [list(range(len(rows)))[i : i + c.batch] for i in range(0, len(rows), c.batch)]
    in_order = [by_length[i : i + c.batch] for i in range(0, len(rows), c.batch)]
    padded = [processor.collate([rows[i] for i in chunk]) for chunk in chunks]
    ordered = [processor.collate([rows[i] for i in chunk]) for chunk in in_order]
    packed = [collate_packed(processor, [rows[i] for i in chunk]) for chunk in packs]

    def by_segments() -> tuple[float, float]:
        """Packed, attention of each conversation by itself."""
        with packed_attention(model.language_model):
            return epoch(model, packed, items)

    arms: dict[str, Callable[[], tuple[float, float]]] = {
        "padded": lambda: epoch(model, padded, items), "padded again": lambda: epoch(model, padded, items),
        "sorted": lambda: epoch(model, ordered, items), "packed": by_segments, "packed, mask": lambda: epoch(model, packed, items),
    }  # fmt: skip
    times, losses = rounds(arms, c.rounds)
    real = sum(lengths)
    bounds = {"padded": 1.0, **{n: _tokens(padded) / _tokens(b) for n, b in (("sorted", ordered), ("packed", packed))}}
    found = {n: {**_ratio(times["padded"], t), "tokens_per_s": round(real / statistics.median(t))} for n, t in times.items()}
    return {
        "visual_tokens": visual, "rows": len(rows), "real_tokens": real, "packs": len(packs), "padded_over_real": _tokens(padded) / real,
        "largest_loss_difference": max(abs(x - losses["padded"]) for x in losses.values()), "bounds": bounds, "arms": found,
        "share_of_bound": found["packed"]["ratio"] / bounds["packed"], "packed_over_sorted": _ratio(times["sorted"], times["packed"]),
    }  # fmt: skip


def _tokens(batches: Sequence[Any]) -> int:
    """Positions that are computed, padding included."""
    return sum(int(b["input_ids"].numel()) for b in batches)


def rounds(arms: dict[str, Callable[[], tuple[float, float]]], count: int) -> tuple[dict[str, list[float]], dict[str, float]]:
    """Every arm once a round, another one first each time; CPU seconds by arm, and what each gave in the warm-up."""
    names = list(arms)
    given = {name: arms[name]()[1] for name in names}
    times: dict[str, list[float]] = {name: [] for name in names}
    for number in range(count):
        for name in names[number % len(names) :] + names[: number % len(names)]:
            times[name].append(arms[name]()[0])
    return times, given


def _ratio(slow: Sequence[float], fast: Sequence[float]) -> dict[str, float]:
    """Median, least and greatest ratio over rounds, and the median CPU milliseconds of `fast`."""
    found = sorted(a / b for a, b in zip(slow, fast, strict=True))
    low, high, ms = found[0], found[-1], 1e3 * statistics.median(fast)
    return {"ratio": round(statistics.median(found), 3), "least": round(low, 3), "greatest": round(high, 3), "ms": round(ms, 1)}


def loss_head(c: Choices, labelled: float = 0.32, tokens: int = 1024, words: int = 32_000, width: int = 512) -> dict[str, Any]:
    """A frozen head and its loss: supervised rows in pieces against logits for all positions; time, memory of a process, gradient."""
    torch.manual_seed(c.seed)
    head = torch.nn.Linear(width, words, bias=False).requires_grad_(False)
    hidden, targets = torch.randn(tokens, width, requires_grad=True), torch.randint(0, words, (tokens,))
    wanted = torch.rand(tokens) < labelled

    def full() -> tuple[float, float]:
        """Logits for all."""
        began = time.process_time()
        loss = functional.cross_entropy(head(hidden).float(), targets.masked_fill(~wanted, -100), reduction="sum")
        hidden.grad = None
        loss.backward()
        return time.process_time() - began, float(loss.detach())

    def pieces() -> tuple[float, float]:
        """Supervised rows in pieces."""
        began = time.process_time()
        loss = head_loss(head, hidden[wanted], targets[wanted])
        hidden.grad = None
        loss.backward()
        return time.process_time() - began, float(loss.detach())

    memory = {"full": _peak_bytes(full), "pieces": _peak_bytes(pieces)}
    gradients = []
    for run in (full, pieces):
        run()
        gradients.append(torch.empty(0) if hidden.grad is None else hidden.grad.clone())
    times, losses = rounds({"full": full, "full again": full, "pieces": pieces}, c.rounds)
    return {
        "tokens": tokens, "words": words, "labelled": float(wanted.float().mean()), "memory_bytes": memory,
        "memory_ratio": memory["full"] / memory["pieces"], "largest_gradient_difference": float((gradients[0] - gradients[1]).abs().max()),
        "largest_gradient": float(gradients[0].abs().max()), "loss_difference": abs(losses["full"] - losses["pieces"]),
        "time": _ratio(times["full"], times["pieces"]), "noise": _ratio(times["full"], times["full again"]),
    }  # fmt: skip


def _peak_bytes(run: Callable[[], Any]) -> int:
    """How far the memory of a forked process grows while it runs once."""
    out, into = os.pipe()
    child = os.fork()
    if not child:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        run()
        os.write(into, str((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024).encode())
        os._exit(0)
    os.waitpid(child, 0)
    os.close(into)
    with os.fdopen(out) as told:
        return max(1, int(told.read()))


def main(argv: Sequence[str] | None = None) -> None:
    """Measure and write JSON."""
    c = parse(Choices, argv, prog="unifusion eval packing")
    torch.set_num_threads(c.threads)
    found: dict[str, Any] = {"threads": c.threads, "load": [os.getloadavg()[0]], "loss_head": loss_head(c)}
    model, processor = model_and_processor()
    found["packing"] = [packing(c, model, processor, visual) for visual in (32, 256)]
    found["load"].append(os.getloadavg()[0])
    path = Path(c.out)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(found, indent=1))


if __name__ == "__main__":
    script(main)
