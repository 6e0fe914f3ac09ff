"""Training an embedding model: what `train/align.py` calls."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import TrainerCallback

from unifusion import catalog
from unifusion.conversation import Example, Media
from unifusion.datasets.mixture import Mixture
from unifusion.errors import ConfigError, MediaError
from unifusion.models.aligner import Aligner, AlignerConfig, AlignerStream
from unifusion.models.aligner_files import lent_hash, stream_of
from unifusion.models.build import from_anywhere
from unifusion.models.opened_rows import RowOpener
from unifusion.processor.streams import read_config
from unifusion.share import resolve_checkpoint
from unifusion.training.affect_data import Rounds, store_features
from unifusion.training.align_figures import calibrate, judge, look
from unifusion.training.align_rows import AlignRow, AlignRows, adapted_of, collate_aligned, text_rows
from unifusion.training.align_stages import objective_of
from unifusion.training.align_start import start_from
from unifusion.training.choices import shared_yaml
from unifusion.training.describe import Describer, facts_of
from unifusion.training.fit import FitChoices, fit
from unifusion.training.kept import Kept, unsaid
from unifusion.training.mining import Miner, mined
from unifusion.training.order import Order
from unifusion.training.prepared import PreparedOpener

__all__ = ["AlignRow", "AlignRows", "Prepared", "calibrate", "look", "make_aligner", "prepare", "text_rows", "train_aligner"]

log = logging.getLogger(__name__)


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


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """What a training of an embedding model reads: rows to learn from, held-out ones by set, all examples once."""

    train: Mixture
    examples: list[Example]
    opener: RowOpener | Kept
    rows: AlignRows
    validation: dict[str, AlignRows]

    @property
    def seen(self) -> AlignRows | None:
        """Held-out rows of which the loss is taken; None where there are none."""
        some = [row for part in self.validation.values() for row in part.examples]
        return replace_examples(self.rows, some) if some else None


def replace_examples(rows: AlignRows, examples: Sequence[Example]) -> AlignRows:
    """Other rows, opened and described the same way."""
    return AlignRows(examples, rows.opener, rows.describer, seed=rows.seed, wordings=rows.wordings)


def prepare(c: Any, model: Aligner) -> Prepared:
    """Read the sets of a recipe's choices, and store what frozen encoders make of them.

    Raises:
        ConfigError: choices that do not go together.
        DatasetError: data that cannot be read.
    """
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
    rows = AlignRows(train, opener, describer, seed=c.seed, wordings=bool((c.weights or {}).get("wordings")))
    looked = {name: _some(list(part), c.look_at) for name, part in held.parts.items() if held.weights[name]}
    validation = {name: AlignRows(part, opener, describer) for name, part in looked.items() if part}
    return Prepared(train=train, examples=examples, opener=opener, rows=rows, validation=validation)


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
    if c.start:
        log.info("%s", start_from(model, c.start))
    ready = prepare(c, model)
    objective = objective_of(c, model)
    log.info("%s", told(model))
    collate = partial(
        collate_aligned, model=model, chunk=c.chunk, adapted=adapted_of(ready.opener), words=c.stage != "contrastive"
    )  # fmt: skip
    rows, order, callbacks = ready.rows, Order(len(ready.rows), c.batch_size, seed=c.seed, shuffle=False), list[TrainerCallback]()
    if c.mine_every:
        if not model.config.spaces_of("text"):
            found = "hard negatives are clips that a text nearly fits, and the model has no text tower;"
            raise ConfigError(found, remedy="leave --mine-every out.")
        pool, order = mined(c, ready.train, work)
        rows = replace_examples(rows, pool)
        callbacks.append(Miner(model, rows, order, work))
    else:
        order = Rounds(order)
    result = fit_aligner(c, objective, rows, work, order=order, callbacks=callbacks, collate=collate, ready=ready)
    return model, result


def fit_aligner(
    c: Any, objective: nn.Module, rows: AlignRows, work: Path, *, order: Order, collate: Any, ready: Prepared,
    callbacks: list[TrainerCallback] | None = None,
) -> dict[str, Any]:  # fmt: skip
    """Train an objective that holds an embedding model at `model`; the model is measured and calibrated in the end.

    Args:
        c: choices of the recipe.
        objective: the model with its loss.
        rows: to learn from.
        work: folder of the run's checkpoints.
        order: which rows a step reads.
        collate: rows to a batch.
        ready: held-out rows.
        callbacks: of the trainer.

    Returns:
        What `fit` gives, with `figures`.
    """
    inner: Any = objective
    model: Aligner = inner.model
    choices = replace(FitChoices.of(c), rates={"model.encoders": c.encoder_rate} if model.live else None)
    result = fit(
        objective, rows, choices, work, collate=collate, order=order, validation=ready.seen if c.evaluate_every else None,
        judge=partial(judge, ready.validation, c) if c.evaluate_every else None, callbacks=callbacks,
    )  # fmt: skip
    model.eval()
    figures = judge(ready.validation, c, objective)
    parts = ready.validation.values()
    first = next((rows for rows in parts if rows.examples[0].media and any(f.kind == "caption" for f in facts_of(rows.examples[0]))), None)
    tells = first is not None and bool(model.config.spaces_of("text"))
    model.config.calibration = calibrate(model, first, limit=c.look_at) if tells and first is not None else {}
    return {**result, "figures": figures}


def _some(rows: list[Example], most: int) -> list[Example]:
    """At most so many rows, evenly from all: sets are often sorted by their labels."""
    count = min(most, len(rows))
    return [rows[k * len(rows) // count] for k in range(count)]


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
