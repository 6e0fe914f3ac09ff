"""Training an embedding model: what `train/align.py` calls."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from unifusion import catalog
from unifusion.conversation import Example, Media
from unifusion.datasets.mixture import Mixture
from unifusion.errors import ConfigError, MediaError
from unifusion.metrics.retrieval_figures import retrieval_figures
from unifusion.models.aligner import CLIP, Aligner, AlignerConfig, AlignerStream
from unifusion.models.aligner_files import lent_hash, stream_of
from unifusion.models.build import from_anywhere
from unifusion.models.opened_rows import OpenedRow, RowOpener, collate_rows, to_device, without_padding, words_media
from unifusion.processor.streams import read_config
from unifusion.share import resolve_checkpoint
from unifusion.training.affect_data import Rounds, store_features
from unifusion.training.align_loss import PAIRS, AlignObjective
from unifusion.training.choices import shared_yaml
from unifusion.training.describe import Describer, Fact, Said, facts_of
from unifusion.training.fit import FitChoices, fit
from unifusion.training.kept import Kept, unsaid
from unifusion.training.order import Order
from unifusion.training.prepared import PreparedOpener

__all__ = ["AlignRow", "AlignRows", "calibrate", "look", "make_aligner", "text_rows", "train_aligner"]

log = logging.getLogger(__name__)
_TEXTS = ("clip", "sight", "sound")
_TOGETHER = 64
"""Texts that go through a tower at once."""


@dataclass(frozen=True, kw_only=True)
class AlignRow:
    """A clip as the encoders have it, what is true of it, and texts by kind."""

    row: OpenedRow
    facts: tuple[Fact, ...]
    texts: Mapping[str, Said]


class AlignRows(Dataset[AlignRow]):
    """Examples with texts that are drawn anew in each round; any index is a row, each `len` of them another round.

    Args:
        examples: rows, such as a Mixture.
        opener: opens their clips.
        describer: says what is true of them.
        seed: of the texts.
    """

    def __init__(self, examples: Sequence[Example] | Mixture, opener: RowOpener | Kept, describer: Describer, *, seed: int = 0) -> None:
        self.examples, self.opener, self.describer, self.seed = examples, opener, describer, seed

    def __len__(self) -> int:
        """Rows of a round."""
        return len(self.examples)

    def name(self, index: int) -> str:
        """What messages call a row."""
        return self.examples[index % len(self)].id

    def __getitem__(self, index: int) -> AlignRow:
        """The row at `index`."""
        turn, at = divmod(index, len(self.examples))
        example = self.examples[at]
        facts = facts_of(example)
        said = {k: self.describer.say(facts, k, f"{self.seed}/{example.id}/{turn}/{at}") for k in _TEXTS}
        return AlignRow(row=self.opener.open(unsaid(example)), facts=facts, texts={k: s for k, s in said.items() if s is not None})


@lru_cache(maxsize=1 << 18)
def _number(fact: Fact) -> int:
    """A fact as a number; two facts have one number once in 2 ** 62 pairs."""
    return int.from_bytes(hashlib.sha256(repr(fact).encode()).digest()[:8], "big") >> 2


def _numbers(facts: Sequence[Sequence[Fact]], pad: int) -> Tensor:
    """Facts of rows as numbers (N, F) int64, padded."""
    out = torch.full((len(facts), max([1, *(len(f) for f in facts)])), pad, dtype=torch.int64)
    for i, own in enumerate(facts):
        out[i, : len(own)] = torch.tensor([_number(f) for f in own], dtype=torch.int64)
    return out


def text_rows(model: Aligner, texts: Sequence[str]) -> dict[str, Any]:
    """Texts as a batch of the model's text towers."""
    opener = _words(model)
    rows = [opener.open(Example(id=text[:40], media=(words_media(text),))) for text in texts]
    batch = collate_rows(rows, opener.streams)
    return {**batch, "streams": {name: without_padding(part) for name, part in batch["streams"].items()}}


def _words(model: Aligner) -> RowOpener:
    """What opens texts."""
    spaces = model.config.spaces_of("text")
    if not spaces:
        raise ConfigError("the model has no text tower;", remedy="add a stream of a text encoder: bert, sbert, xlm_roberta.")
    return RowOpener(model, only=[n for s in spaces for n in model.config.towers[s]])


def clip_batch(rows: Sequence[AlignRow], streams: Iterable[str], adapted: Collection[str] = ()) -> dict[str, Any]:
    """Clips of rows as a batch; streams of `adapted` hold what their adapters gave."""
    batch = collate_rows([r.row for r in rows], streams)
    for name in adapted:
        if name in batch["streams"]:
            batch["streams"][name]["adapted"] = True
    return batch


def collate_aligned(rows: Sequence[AlignRow], model: Aligner, chunk: int, adapted: Collection[str] = ()) -> dict[str, Any]:
    """Rows to a batch: `clips`, parts of at most `chunk` rows; `facts` (B, G); `texts` with their `facts`, `of`, and `kind`."""
    media = [n for s in model.config.spaces_of("media") for n in model.config.towers[s]]
    size = chunk or len(rows)
    clips = [clip_batch(rows[k : k + size], media, adapted) for k in range(0, len(rows), size)]
    told_ = rows if model.config.spaces_of("text") else ()
    said = [(i, list(PAIRS).index(kind), text) for i, r in enumerate(told_) for kind, text in r.texts.items()]
    said.sort(key=lambda told: len(told[2].text))
    # Texts of like length go through the tower together: of one batch of all of them two thirds would be padding.
    parts = [said[k : k + _TOGETHER] for k in range(0, len(said), _TOGETHER)]
    texts = {
        "parts": [text_rows(model, [text.text for _, _, text in part]) for part in parts],
        "facts": _numbers([tuple(text.facts) for _, _, text in said], -1),
        "of": torch.tensor([i for i, _, _ in said], dtype=torch.int64), "kind": torch.tensor([k for _, k, _ in said], dtype=torch.int64),
    }  # fmt: skip
    return {"clips": clips, "facts": _numbers([r.facts for r in rows], -2), "texts": texts}


def make_aligner(c: Any) -> Aligner:
    """The model of a recipe's choices.

    Raises:
        ConfigError: a choice is unknown.
        CheckpointError: a checkpoint cannot be read.
    """
    torch.manual_seed(c.seed)
    streams: dict[str, AlignerStream] = {}
    encoders: dict[str, nn.Module] = {}
    adapters: dict[str, nn.Module] = {}
    chosen = dict(c.streams or {})
    if c.text_tower:
        chosen = {**{n: s for n, s in chosen.items() if n != "text"}, "text": {"encoder": "sbert", "source": c.text_tower}}
    for name, raw in chosen.items():
        given: dict[str, Any] = {"encoder": raw} if isinstance(raw, str) else dict(raw)
        if "checkpoint" in given:
            lender, its = str(given.pop("checkpoint")), str(given.pop("stream", name))
            found, encoders[name], adapter = stream_of(lender, its)
            if given.pop("adapter", True) and adapter is not None:
                adapters[name] = adapter
            else:
                found = replace(found, adapter="", adapter_config={}, adapter_width=0)
            streams[name] = made = read_config(AlignerStream, {**_fields(found), **given}, f"stream {name!r}")
            if lender in catalog.names("checkpoints") and not c.self_contained and not made.trained and not (made.adapter and made.adapt):
                told_hash = lent_hash(encoders[name], adapters.get(name))
                made.borrowed = {"checkpoint": lender, "stream": its, "hash": told_hash}
            continue
        inner = {**dict(given.get("encoder_config") or {}), **{k: given.pop(k) for k in ("source", "revision", "tokenizer") if k in given}}
        given["encoder_config"] = {k: _placed(v) if k in ("source", "tokenizer") else v for k, v in inner.items()}
        streams[name] = read_config(AlignerStream, given, f"stream {name!r}")
    towers = {space: tuple(names) for space, names in (c.towers or {}).items()}
    config = AlignerConfig(
        streams=streams, towers=towers, width=c.width, head=dict(c.head or {}), max_seconds=c.max_seconds, temperature=c.temperature
    )
    return Aligner(config, encoders=encoders, adapters=adapters)


def _placed(source: Any) -> Any:
    """A folder, or the name of a shipped checkpoint, by its whole path; a hub name as it is."""
    shipped = isinstance(source, str) and source in catalog.names("checkpoints")
    return str(resolve_checkpoint(source)) if shipped else from_anywhere(source)


def _fields(stream: AlignerStream) -> dict[str, Any]:
    """A stream's choices as they are."""
    return {k: getattr(stream, k) for k in ("encoder", "encoder_config", "adapter", "adapter_config", "adapter_width", "clock")}


def train_aligner(c: Any, work: Path) -> tuple[Aligner, dict[str, Any]]:
    """Train by a recipe's choices.

    Args:
        c: choices of `train/align.py`.
        work: folder of the run's checkpoints.

    Returns:
        The model with the best weights, and what `fit` gives with the figures of the last look.

    Raises:
        ConfigError: choices that do not go together.
        DatasetError: data that cannot be read.
    """
    model = make_aligner(c)
    sources = shared_yaml("mixtures", c.sources)
    train = Mixture(sources, data=c.data, split="train", count=c.steps * c.batch_size, seed=c.seed).in_memory()
    held = Mixture(sources, data=c.data, split="val").in_memory()
    train.hold_apart(held)
    examples = [*_weighted(train), *_weighted(held)]
    from_files = opener_of(c, model, examples)
    opener = Kept(model, from_files) if c.in_memory else from_files
    if isinstance(opener, Kept):
        opener.fill(examples)
    describer = Describer(shared_yaml("phrasings", c.phrasings))
    rows = AlignRows(train, opener, describer, seed=c.seed)
    objective = AlignObjective(model, weights=dict(c.weights or {}), loss=c.loss, guard=c.guard)
    choices = replace(FitChoices.of(c), rates={"model.encoders": c.encoder_rate} if model.live else None)
    validation = {name: AlignRows(list(part), opener, describer) for name, part in held.parts.items() if held.weights[name]}
    shown = [row for name in validation for row in list(held.parts[name])[: c.look_at]]
    unseen = AlignRows(shown, opener, describer)
    log.info("%s", told(model))
    result = fit(
        objective, rows, choices, work, collate=partial(collate_aligned, model=model, chunk=c.chunk, adapted=adapted_of(opener)),
        order=Rounds(Order(len(rows), c.batch_size, seed=c.seed, shuffle=False)), validation=unseen if c.evaluate_every else None,
        judge=partial(_judge, validation, c) if c.evaluate_every else None,
    )  # fmt: skip
    model.eval()
    figures = _judge(validation, c, objective)
    first = next((rows for rows in validation.values() if any(f.kind == "caption" for f in facts_of(rows.examples[0]))), None)
    tells = first is not None and bool(model.config.spaces_of("text"))
    model.config.calibration = calibrate(model, first, limit=c.look_at) if tells and first is not None else {}
    return model, {**result, "figures": figures}


def adapted_of(opener: RowOpener | Kept) -> frozenset[str]:
    """Streams of which an opener gives what the adapter made."""
    return frozenset(opener.adapted) if isinstance(opener, Kept) else frozenset()


def _weighted(mixture: Mixture) -> list[Example]:
    """Each row of the parts that have a weight, once."""
    return [row for name, part in mixture.parts.items() if mixture.weights[name] for row in part if row.media]


def told(model: Aligner) -> str:
    """For people: the parts of a model and how many of their weights are trained."""
    parts = {
        **{f"encoders.{n}": e for n, e in model.encoders.items()}, **{f"adapters.{n}": a for n, a in model.adapters.items()},
        **{f"towers.{n}": t for n, t in model.towers.items()}, "all": model,
    }  # fmt: skip
    lines = ["what is trained:", f"{'part':24} {'weights':>13} {'trained':>13}"]
    for name, part in parts.items():
        counts = [sum(p.numel() for p in part.parameters() if p.requires_grad or every) for every in (True, False)]
        lines.append(f"{name:24} {counts[0]:13,} {counts[1]:13,}")
    return "\n".join(lines)


def opener_of(c: Any, model: Aligner, rows: Sequence[Example]) -> RowOpener:
    """What opens clips: features of frozen encoders are stored first where they are missing, inputs of trained ones when they are met."""
    media = [n for s in model.config.spaces_of("media") for n in model.config.towers[s]]
    folder = Path(f"{c.out}.features") if c.features == "auto" else Path(c.features)

    def on_bad(clip: Media, error: MediaError) -> None:
        """Say which clip is left out."""
        log.warning("%s is not encoded: %s", clip.name, error)

    bare = [unsaid(r) for r in rows]
    skip = c.on_bad_media == "skip"
    count = store_features(model, bare, folder, workers=c.workers, on_bad=on_bad if skip else None, only=media)
    log.info("encoded %d clips", count)
    return RowOpener(model, stores=folder, only=media, opening=lambda inner: PreparedOpener(inner, folder / "prepared"))


@torch.no_grad()
def look(model: Aligner, rows: AlignRows, *, batch_size: int = 64, limit: int = 1000) -> dict[str, np.ndarray]:
    """Vectors of rows by space (N, D), zero where a row lacks it, and under `words` those of their captions or first texts."""
    parts: dict[str, list[np.ndarray]] = {}
    for first in range(0, min(limit, len(rows)), batch_size):
        some = [rows[i] for i in range(first, min(first + batch_size, limit, len(rows)))]
        batch = to_device(clip_batch(some, rows.opener.streams, adapted_of(rows.opener)), model.device)
        found = model.vectors(batch)
        if model.config.spaces_of("text"):
            words = model.vectors(to_device(text_rows(model, [plain_text(r, rows.describer) for r in some]), model.device))
            parts.setdefault("words", []).append(next(v for s, (v, _) in words.items() if s != CLIP).float().cpu().numpy())
        for space in (*model.config.spaces_of("media"), CLIP):
            vectors = found[space][0] if space in found else torch.zeros(len(some), model.config.width)
            parts.setdefault(space, []).append(vectors.float().cpu().numpy())
    return {space: np.concatenate(each) for space, each in parts.items()}


def plain_text(row: AlignRow, describer: Describer) -> str:
    """A row's caption, or its first fact in the plainest words."""
    import random

    captions = [f.value for f in row.facts if f.kind == "caption" and f.value]
    return captions[0] if captions else describer.phrase(row.facts[0], random.Random(0), plain=True) if row.facts else "nothing"


def _judge(parts: Mapping[str, AlignRows], c: Any, objective: nn.Module) -> dict[str, float]:
    """Figures of held-out rows: R@1 of captions, or the share of labels whose words are nearest; R@10 of sound and picture."""
    inner: Any = objective
    model: Aligner = inner.model
    out: dict[str, float] = {}
    scores = []
    was = model.training
    model.eval()
    for name, rows in parts.items():
        found = look(model, rows, limit=c.look_at)
        texts = [plain_text(_facts_only(rows, i), rows.describer) for i in range(len(found[CLIP]))]
        unique = list(dict.fromkeys(texts))
        relevance = np.array([[t == u for u in unique] for t in texts])
        first = [texts.index(u) for u in unique]
        if "words" not in found:
            pass
        elif len(unique) > len(texts) / 2:
            told_ = retrieval_figures(found["words"][first], found[CLIP], relevance.T)
            out |= {f"{name}_text_to_clip_r1": told_["recall_at_1"], f"{name}_text_to_clip_r10": told_["recall_at_10"]}
            scores.append(told_["recall_at_1"])
        else:
            out[f"{name}_zero_shot"] = retrieval_figures(found[CLIP], found["words"][first], relevance)["recall_at_1"]
            scores.append(out[f"{name}_zero_shot"])
        both = [i for i in range(len(texts)) if {"video", "audio"} <= set(found) and found["video"][i].any() and found["audio"][i].any()]
        if len(both) > 50:
            ways = (found["audio"][both], found["video"][both]), (found["video"][both], found["audio"][both])
            for (a, b), way in zip(ways, ("audio_to_video", "video_to_audio"), strict=True):
                out[f"{name}_{way}_r10"] = retrieval_figures(a, b)["recall_at_10"]
            scores.append(out[f"{name}_audio_to_video_r10"])
    model.train(was)
    return {**out, "score": float(np.mean(scores)) if scores else 0.0}


def _facts_only(rows: AlignRows, index: int) -> AlignRow:
    """What is true of a row, its clip not opened."""
    empty = OpenedRow(id="", streams={}, reports={})
    return AlignRow(row=empty, facts=facts_of(rows.examples[index]), texts={})


def calibrate(model: Aligner, rows: AlignRows, *, limit: int = 500, false_hits: float = 0.01) -> dict[str, float]:
    """Figures that are kept with a model: `threshold`, the cosine that one in a hundred (`false_hits`) texts has with a clip that it does
    not fit, and `found`, the share of texts that have more with their own clip."""
    found = look(model, rows, limit=limit)
    texts = [plain_text(_facts_only(rows, i), rows.describer) for i in range(len(found["words"]))]
    cosines = found["words"] @ found[CLIP].T
    equal = np.array([[a == b for b in texts] for a in texts])
    threshold = float(np.quantile(cosines[~equal], 1 - false_hits))
    return {"threshold": round(threshold, 4), "found": round(float((np.diag(cosines) > threshold).mean()), 4), "false_hits": false_hits}
