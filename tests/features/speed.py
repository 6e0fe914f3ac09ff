"""`python -m tests.features.speed`: what stored features save over encoding again, side by side in one run; losses are compared first.

Encoders have the size of published ones (whisper-base, VideoMAE-small) and random weights; clips are mp4 files of clip world.
"""

from __future__ import annotations

import copy
import json
import os
import platform
import statistics
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from tests.toys import byte_tokenizer
from unifusion.batch import StreamBatch
from unifusion.cli import script
from unifusion.conversation import Conversation, Media, Message
from unifusion.datasets.clip_world import write_world
from unifusion.features import FeatureStore, StoredOpener, encode_all, stored_opener
from unifusion.models.build import build_chat_model, set_trainable
from unifusion.processor import OpenedMedia, StreamSpec, UniFusionProcessor
from unifusion.training.choices import parse

VIDEOMAE_SMALL = {
    "hidden_size": 384, "num_hidden_layers": 12, "num_attention_heads": 6, "intermediate_size": 1536, "num_frames": 16, "image_size": 224,
}  # fmt: skip
WHISPER_BASE = {
    "d_model": 512, "encoder_layers": 6, "encoder_attention_heads": 8, "encoder_ffn_dim": 2048, "num_mel_bins": 80,
    "max_source_positions": 1500,
}  # fmt: skip
LLAMA = {
    "model_type": "llama", "hidden_size": 256, "intermediate_size": 704, "num_hidden_layers": 6, "num_attention_heads": 4,
    "num_key_value_heads": 4, "max_position_embeddings": 2048, "tie_word_embeddings": True,
}  # fmt: skip
ADAPTER = {"width": 256, "n_layers": 2, "n_heads": 4, "n_queries": 4, "window_s": 0.5}


@dataclass(frozen=True, kw_only=True)
class Choices:
    """Interleaved rounds in turned order; medians of per-round ratios of process CPU time and of wall time."""

    out: str = "runs/eval/features.json"
    clips: int = 64
    """mp4 files of 4 s, for the epochs; the steps take the first `batch`."""
    batch: int = 4
    rounds: int = 7
    """0 leaves reading and the step out."""
    epochs: int = 5
    epoch_rounds: int = 1
    """0 leaves the epochs out."""
    threads: int = 1


def timed(run: Callable[[], Any]) -> tuple[float, float]:
    """CPU seconds of this process, and seconds of the clock."""
    cpu, wall = time.process_time(), time.perf_counter()
    run()
    return time.process_time() - cpu, time.perf_counter() - wall


def compare(runs: Mapping[str, Callable[[], Any]], fast: str, rounds: int) -> dict[str, Any]:
    """Run all once each round, order turned; the ratio of each to `fast`, and of the first to itself (A/A)."""
    first = next(iter(runs))
    everyone = {**runs, "again": runs[first]}
    for run in everyone.values():
        run()
    found: list[dict[str, tuple[float, float]]] = []
    for number in range(rounds):
        names = list(everyone)[number % len(everyone) :] + list(everyone)[: number % len(everyone)]
        found.append({name: timed(everyone[name]) for name in names})
    out: dict[str, Any] = {"against_itself": spread([r[first][0] / r["again"][0] for r in found])}
    for name in runs:
        out[name] = {"cpu_ms": median_ms(found, name, 0), "wall_ms": median_ms(found, name, 1)}
        if name != fast:
            out[name] |= {kind: spread([r[name][i] / r[fast][i] for r in found]) for i, kind in enumerate(("cpu_ratio", "wall_ratio"))}
    return out


def median_ms(found: Sequence[Mapping[str, tuple[float, float]]], name: str, which: int) -> float:
    """Median over rounds, in milliseconds."""
    return round(1e3 * statistics.median(r[name][which] for r in found), 2)


def spread(ratios: Sequence[float]) -> dict[str, float]:
    """Median, least and greatest."""
    return {"median": round(statistics.median(ratios), 2), "least": round(min(ratios), 2), "greatest": round(max(ratios), 2)}


def reading(folder: Path, rounds: int) -> dict[str, Any]:
    """512 features of 32 x 768: from shards, against one file each by torch.save; page cache warm."""
    generator = torch.Generator().manual_seed(0)
    store, keys = FeatureStore(folder / "store"), [f"{i:064x}" for i in range(512)]
    for key in keys:
        tokens = torch.randn(32, 768, generator=generator).to(torch.bfloat16)
        store.put(key, tokens, {"report": {}, "duration_s": 4.0, "notes": []}, torch.arange(32.0))
        torch.save({"tokens": tokens, "times": torch.arange(32.0)}, folder / f"{key}.pt")
    store.flush()
    read = FeatureStore(folder / "store")

    def files() -> list[torch.Tensor]:
        """Each file as a training loop loads it."""
        return [torch.load(folder / f"{key}.pt", weights_only=True)["tokens"] for key in keys]

    def shards() -> list[torch.Tensor]:
        """The same out of one mapped file."""
        return [read.get(key).tokens_SD for key in keys]

    equal = all(torch.equal(a, b) for a, b in zip(files(), shards(), strict=True))
    return {"equal": equal, **compare({"torch_load": files, "store": shards}, "store", rounds)}


class Bench:
    """A model in training, its clips, and one optimizer step on a batch of them, opened in one way or another.

    Args:
        folder: for clips and stores.
        count: clips.
        batch: of a step.
    """

    def __init__(self, folder: Path, count: int, batch: int) -> None:
        self.folder, self.batch = folder, batch
        manifest = write_world(folder / "clips", count=count, per_clip=1, duration_s=4.0, size_px=224)
        rows = [json.loads(line) for line in manifest.read_text(encoding="utf-8").splitlines()]
        self.talks = [_talk(row, manifest.parent) for row in rows]
        self.model, self.processor = build()
        self.start = copy.deepcopy({k: v for k, v in self.model.state_dict().items() if not k.startswith("encoders.")})
        self.model.train()
        self.encoding = self.model.features

    @property
    def media(self) -> list[Media]:
        """All clips."""
        return [talk.media[0] for talk in self.talks]

    def fresh(self) -> torch.optim.Optimizer:
        """The weights as they were, and a new optimizer."""
        self.model.load_state_dict(self.start, strict=False)
        return torch.optim.AdamW((p for p in self.model.parameters() if p.requires_grad), lr=1e-4)

    def step(
        self, optimizer: torch.optim.Optimizer, processor: UniFusionProcessor, first: int = 0, opened: Sequence[OpenedMedia] | None = None
    ) -> float:  # fmt: skip
        """Open (or take what is opened), encode (or take what is stored), forward, backward, update; returns the loss."""
        talks = self.talks[first : first + self.batch]
        rows = [processor.row(t, opened=None if opened is None else [opened[i]]) for i, t in enumerate(talks)]
        out = self.model(**processor.collate(rows))
        out.loss.backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        return float(out.loss.detach())

    def rounded(self, name: str, batch: StreamBatch) -> Any:
        """The features as a store gives them back."""
        found = self.encoding(name, batch)
        return replace(found, tokens_BSD=found.tokens_BSD.to(torch.bfloat16).to(found.tokens_BSD.dtype))


def _talk(row: Mapping[str, Any], base: Path) -> Conversation:
    """A row of the manifest as a supervised conversation."""
    clip = Media(kind="video", source=str(base / row["path"]))
    said = Message(role="assistant", parts=(str(row["answer"]),), supervised=True)
    return Conversation(messages=(Message(role="user", parts=(clip, row["question"])), said), id=row["id"])


def build() -> tuple[Any, UniFusionProcessor]:
    """The model: adapters and language model are trained, encoders frozen."""
    torch.manual_seed(0)
    streams = {
        "video": StreamSpec(encoder="videomae", encoder_config={"backbone": VIDEOMAE_SMALL}, adapter_config=ADAPTER),
        "audio": StreamSpec(encoder="whisper", encoder_config={"backbone": WHISPER_BASE}, adapter_config=ADAPTER),
    }
    model, processor = build_chat_model(LLAMA, streams, tokenizer=byte_tokenizer())
    set_trainable(model, {"encoders": False, "adapters": True, "language_model": True})
    return model, processor


def losses(bench: Bench, steps: int, processor: UniFusionProcessor, *, rounded: bool = False, clips: int = 0) -> list[float]:
    """The losses of some steps from the start, over all clips or the first ones."""
    optimizer = bench.fresh()
    bench.model.features = bench.rounded if rounded else bench.encoding
    found = [bench.step(optimizer, processor, (i * bench.batch) % (clips or len(bench.talks))) for i in range(steps)]
    bench.model.features = bench.encoding
    return found


def filled(bench: Bench, name: str, media: Sequence[Media]) -> StoredOpener:
    """A store with some clips."""
    stored = stored_opener(bench.processor, bench.model, bench.folder / name)
    encode_all(bench.model.eval(), bench.processor, media, stored, batch_size=bench.batch)
    bench.model.train()
    return stored


def one_step(bench: Bench, rounds: int) -> dict[str, Any]:
    """One step: from the store, against encoding what is decoded already, against decoding as well."""
    some = bench.media[: bench.batch]
    reader = bench.processor.with_opener(filled(bench, "step", some))
    opened = [bench.processor.open(m) for m in some]
    ways = ((reader, False), (bench.processor, True), (bench.processor, False))
    stored, rounded, plain = (losses(bench, 3, p, rounded=r, clips=bench.batch)[-1] for p, r in ways)
    optimizer = bench.fresh()
    runs = {
        "encode_again": lambda: bench.step(optimizer, bench.processor, opened=opened),
        "decode_and_encode_again": lambda: bench.step(optimizer, bench.processor),
        "stored": lambda: bench.step(optimizer, reader),
    }
    told = {"loss_stored": stored, "loss_rounded_features": rounded, "loss_plain": plain}
    return {**told, **compare(runs, "stored", rounds)}


def epochs(bench: Bench, count: int, rounds: int) -> dict[str, Any]:
    """Epochs over all clips: encoding once and reading, against decoding and encoding in each."""
    steps = count * len(bench.talks) // bench.batch
    out: list[dict[str, float]] = []
    for number in range(rounds):
        told: dict[str, Any] = {}

        def once(told: dict[str, Any] = told, number: int = number) -> None:
            """Extraction, then the epochs."""
            told["extract"] = timed(lambda: told.update(store=filled(bench, f"epochs{number}", bench.media)))
            told["stored"] = losses(bench, steps, bench.processor.with_opener(told["store"]))

        def always(told: dict[str, Any] = told) -> None:
            """Decode and encode every time, features rounded as a store does, so that the losses can be compared."""
            told["again"] = losses(bench, steps, bench.processor, rounded=True)

        fast, slow = timed(once), timed(always)
        each_s = (slow[1] - fast[1] + told["extract"][1]) / count
        out.append(
            {
                "cpu_ratio": round(slow[0] / fast[0], 2), "wall_ratio": round(slow[1] / fast[1], 2), "stored_s": round(fast[1], 1),
                "again_s": round(slow[1], 1), "of_it_extracting_s": round(told["extract"][1], 1),
                "pays_after_epochs": round(told["extract"][1] / each_s, 2),
                "largest_loss_difference": max(abs(a - b) for a, b in zip(told["stored"], told["again"], strict=True)),
                "last_losses": [told["stored"][-1], told["again"][-1]],
            }
        )  # fmt: skip
    return {"epochs": count, "clips": len(bench.talks), "steps": steps, "rounds": out}


def main(argv: Sequence[str] | None = None) -> None:
    """Measure and write JSON."""
    c = parse(Choices, argv, prog="python -m tests.features.speed")
    torch.set_num_threads(c.threads)
    versions = {"torch": torch.__version__, "python": platform.python_version()}
    found: dict[str, Any] = {"load_before": os.getloadavg(), "threads": c.threads, **versions}
    path = Path(c.out)
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as work:
        bench = Bench(Path(work), c.clips, c.batch)
        parts = {"language_model": bench.model.language_model, "adapters": bench.model.adapters, **bench.model.encoders}
        found["parameters"] = {name: sum(p.numel() for p in part.parameters()) for name, part in parts.items()}
        if c.rounds:
            found["reading"] = reading(Path(work), c.rounds)
            found["step"] = one_step(bench, c.rounds)
        if c.epoch_rounds:
            found["epochs"] = epochs(bench, c.epochs, c.epoch_rounds)
    found["load_after"] = os.getloadavg()
    path.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(found, indent=1))


if __name__ == "__main__":
    script(main)
