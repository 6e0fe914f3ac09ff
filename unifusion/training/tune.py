"""Tuning any encoders, any adapters and any language model on any conversations: what `train/tune.py` calls."""

from __future__ import annotations

import logging
import math
import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from tqdm.auto import tqdm

from unifusion import checkpoint
from unifusion.conversation import Conversation, Media, Message
from unifusion.errors import ConfigError, MediaError, UniFusionError
from unifusion.models.build import build_chat_model
from unifusion.models.language_model import is_quantized
from unifusion.models.segments import packed_attention
from unifusion.processor import UniFusionProcessor
from unifusion.processor.packing import collate_packed
from unifusion.processor.processor import IGNORED, Row
from unifusion.training import snapshot
from unifusion.training.corpus import Corpus, Rows
from unifusion.training.fit import FitChoices, fit, load_trained
from unifusion.training.journal import held_loss
from unifusion.training.launch import everyone_waits, is_first, my_share, world_size
from unifusion.training.lengths import measured_lengths
from unifusion.training.order import Endless, Order, Packs
from unifusion.training.parts import PartChoices, apply_parts, parts_table, read_parts_table
from unifusion.training.stage import commit
from unifusion.training.trainer import BEST
from unifusion.training.tune_choices import hold_to_start, specs_of
from unifusion.training.tuned_card import tuned_card
from unifusion.training.within import check_budget

__all__ = ["collate_rows", "order_of", "tune"]

log = logging.getLogger(__name__)


def collate_rows(processor: UniFusionProcessor, rows: Sequence[Row], *, packed: bool = False) -> dict[str, Any]:
    """Rows to a batch; no rows to one that supervises nothing, for a process that has none in a step."""
    if rows:
        return dict(collate_packed(processor, rows) if packed else processor.collate(rows))
    nothing = processor.row(Conversation(messages=(Message(role="user", parts=(".",)),)))
    batch = dict(collate_packed(processor, [nothing]) if packed else processor.collate([nothing]))
    return {**batch, "labels": torch.full_like(batch["input_ids"], IGNORED)}


@dataclass(frozen=True, kw_only=True)
class Made:
    """A model to tune, with what it takes in and how its parts are trained."""

    model: Any
    processor: UniFusionProcessor
    table: dict[str, PartChoices]
    rates: dict[str, float]
    decays: dict[str, float]


def make(c: Any) -> Made:
    """The model of a recipe's choices: of a checkpoint (`start`), or of a language model and streams; its parts frozen and freed."""
    torch.manual_seed(c.seed)
    if c.start:
        model, processor = checkpoint.load(c.start)
        hold_to_start(c, model)
    else:
        if not c.llm or not c.streams:
            raise ConfigError(
                "neither a checkpoint nor a language model with streams is named;", remedy="give --start, or --llm and --streams."
            )
        kind = torch.bfloat16 if c.weights == "bfloat16" else torch.float32
        model, processor = build_chat_model(
            c.llm, specs_of(c.streams), fused=c.fused, window_s=c.window_s, max_seconds=c.max_seconds, revision=c.revision,
            quantize=c.quantize, compute_dtype=kind,
        )  # fmt: skip
    if c.weights == "bfloat16" and not is_quantized(model.language_model):
        model.language_model.to(torch.bfloat16)
    table = read_parts_table(c.parts)
    if c.start and getattr(model, "peft_config", None) and any(p.train == "lora" for p in table.values()):
        raise ConfigError(f"{c.start} has LoRA already;", remedy="merge it first (unifusion merge), then tune what comes of it.")
    rates, decays = apply_parts(model, table)
    return Made(model=model, processor=processor, table=table, rates=rates, decays=decays)


def features_folder(c: Any, made: Made, corpus: Corpus) -> Path | None:
    """Where outputs of frozen encoders are kept; None when they are not: asked for, an encoder is trained, or the corpus is streamed."""
    if c.features == "none":
        return None
    trained = [n for n, m in made.model.encoders.items() if any(p.requires_grad for p in m.parameters())]
    if trained or corpus.forward_only:
        reason = f"the encoder of {trained[0]} is trained" if trained else "the corpus is streamed"
        if c.features != "auto":
            raise ConfigError(f"features cannot be kept in {c.features}: {reason};", remedy="leave --features out.")
        log.info("clips are encoded in every step: %s", reason)
        return None
    return Path(f"{c.out}.features") if c.features == "auto" else Path(c.features)


def with_features(c: Any, made: Made, media: Sequence[Media], folder: Path | None) -> UniFusionProcessor:
    """The processor that rows are made by: from stored features, encoded here where they are not there yet; processes share the clips.

    With `on_bad_media: skip`, a clip that cannot be read is left to the row that shows it, which is quarantined.
    """
    if folder is None:
        return made.processor
    from unifusion.features import EncodeOptions, encode_todo, stored_opener

    made.model.eval()
    skip, bad, todo = c.on_bad_media == "skip", 0, []
    store = stored_opener(made.processor, made.model, folder, otherwise=made.processor.opener.open if skip else None)

    def on_bad(clip: Media, error: MediaError) -> None:
        """Say which clip is left out."""
        log.warning("%s is not encoded: %s", clip.name, error)

    for clip in my_share(media):
        try:
            keys = store.item_keys(clip)
        except MediaError as error:
            if not skip:
                raise
            on_bad(clip, error)
            bad += 1
            continue
        if store.missing(keys):
            todo.append((clip, keys))
    done = encode_todo(
        made.model, made.processor.opener.open, todo, store, EncodeOptions(batch_size=16, workers=c.workers),
        progress=lambda steps: iter(tqdm(list(steps), desc="encode", disable=None)), on_bad=on_bad if skip else None,
    )  # fmt: skip
    log.info("encoded %d clips, %d were stored", done.clips, len(my_share(media)) - len(todo) - bad)
    everyone_waits()
    return made.processor.with_opener(store.again())


def clips_of(corpus: Corpus, rows: int, *, skip: bool) -> list[Media]:
    """Every clip of the first rows of a corpus, once; a row that is broken is left to the run, where such rows are skipped."""
    found: dict[Media, None] = {}
    for index in range(rows):
        try:
            found.update(dict.fromkeys(corpus.conversation(index).media))
        except UniFusionError:
            if not skip:
                raise
    return list(found)


def rows_read(c: Any, corpus: Corpus) -> int:
    """Rows of a corpus that a run reads, counted as it draws them; each round of a single source has them all."""
    if c.pack or c.length_grouped or len(corpus.mixture.parts) == 1:
        return len(corpus)
    per_step = int(c.batch_size * c.accumulate)
    steps: int = c.steps or math.ceil(c.epochs * math.ceil(len(corpus) / per_step))
    return max(len(corpus), steps * per_step)


def order_of(c: Any, rows: Rows, lengths: Sequence[int] | None) -> Order:
    """Which rows a step reads."""
    if c.pack:
        if lengths is None:
            raise ConfigError("packs are made by the rows' lengths, and a streamed corpus has none;", remedy="leave --pack out.")
        names = [rows.name(i) for i in range(len(rows))] if max(lengths) > c.pack else ()
        return Packs(lengths, c.pack, world_size=world_size(), seed=c.seed, names=names)
    if c.length_grouped and lengths is not None:
        return Order(len(rows), c.batch_size, seed=c.seed, lengths=lengths)
    return Endless(len(rows), c.batch_size)


def tune(c: Any, folder: Path) -> dict[str, Any]:
    """Train by a recipe's choices and save a checkpoint.

    Args:
        c: choices of `train/tune.py`.
        folder: of the checkpoint.

    Returns:
        steps, seconds and last loss.

    Raises:
        ConfigError: choices that do not go together, or a run that does not fit into memory.
        DatasetError: data that cannot be read.
    """
    corpus = Corpus(c.data, data=c.data_root, split="train", count=c.rows_per_epoch, seed=c.seed, task=c.task)
    held = Corpus(c.validation, data=c.data_root, split="val", task=c.task, count=c.validation_rows) if c.validation else None
    if held is not None:
        corpus.hold_apart(held)
    made = make(c)
    if torch.cuda.is_available():  # clips are encoded there too
        made.model.to(torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0"))))
    kept = features_folder(c, made, corpus)
    skip, media = c.on_bad_media == "skip", dict[Media, None]()
    if kept is not None:
        for one, count in ((corpus, rows_read(c, corpus)), *(((held, len(held)),) if held else ())):
            media.update(dict.fromkeys(clips_of(one, count, skip=skip)))
    try:
        processor = with_features(c, made, list(media), kept)
    except MediaError as error:
        raise type(error)(error.found, remedy=f"{error.remedy} Or go on without such clips: --on-bad-media skip.") from error
    rows = Rows(corpus, processor, max_tokens=c.max_tokens)
    work = folder.with_name(f"{folder.name}.fit")
    lengths = None
    if c.pack or c.length_grouped:
        file = folder.with_name(f"{folder.name}.lengths.json")
        lengths = None if corpus.forward_only else measured_lengths(rows, file, workers=c.workers)
    order = order_of(c, rows, lengths)
    per_epoch = math.ceil(order.steps_per_epoch / c.accumulate)
    choices = replace(
        FitChoices.of(c), steps=c.steps or math.ceil(c.epochs * per_epoch), rates=made.rates, decays=made.decays,
        batch_size=world_size() if c.pack else c.batch_size,
    )  # fmt: skip
    if choices.evaluate_every > choices.steps:
        raise ConfigError(
            f"held-out rows are looked at every {choices.evaluate_every} steps, the run has {choices.steps};",
            remedy="lower --evaluate-every.",
        )
    told = parts_table(made.model, made.table, learning_rate=c.learning_rate, weight_decay=c.weight_decay)
    if is_first():
        log.info("what is trained:\n%s", told)
        log.info("%d rows, %d steps an epoch, %d steps in all", len(rows), per_epoch, choices.steps)
    check_budget(c, made, rows, available_gb=c.available_gb)
    collate: Callable[[list[Any]], Any] = partial(collate_rows, processor, packed=bool(c.pack))
    with ExitStack() as stack:
        if c.pack:
            how = stack.enter_context(packed_attention(made.model.language_model))
            log.info("packs of at most %d tokens, kept apart by %s", c.pack, how)
        result = fit(
            made.model, rows, choices, work, collate=collate, order=order,
            validation=Rows(held, processor, max_tokens=c.max_tokens) if held else None,
        )  # fmt: skip
    save(c, unsharded(c, made, work), folder, result, told)
    return result


def unsharded(c: Any, made: Made, work: Path) -> Made:
    """The model with whole weights, the best ones with `keep_best`: a strategy that shards leaves them in parts, so they are read again."""
    last = work / BEST if c.keep_best else snapshot.newest(work)
    whole = c.strategy == "ddp" or (world_size() == 1 and not c.strategy.startswith("zero"))
    if last is None or not is_first() or (whole and not c.keep_best):
        return made
    again = made if whole else make(c)
    load_trained(again.model, last)
    return again


def save(c: Any, made: Made, folder: Path, result: Mapping[str, Any], told: str) -> None:
    """Write the checkpoint; the first process does, and the others wait. `told` is the table of parts, for the card."""
    from unifusion.training.choices import as_dict

    if is_first():
        if not is_quantized(made.model.language_model):
            made.model.float()
        made.model.eval()
        held = held_loss(folder.with_name(f"{folder.name}.fit"), best=c.keep_best)
        card = tuned_card(folder.name, made.model, as_dict(c), result, table=told, held=held)
        known = {"recipe": "tune", "choices": as_dict(c), "result": {**result, "held_out_loss": held}, "commit": commit()}
        known["data"] = str(c.data)
        checkpoint.save(made.model, made.processor, folder, provenance=known, card=card, self_contained=c.self_contained)
        log.info("saved in %s; ask it: unifusion chat CLIP -q QUESTION --model %s", folder, folder)
    everyone_waits()
