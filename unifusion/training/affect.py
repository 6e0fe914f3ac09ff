"""Training an emotion model: what `train/emotion.py` calls."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from transformers import TrainerCallback

from unifusion.conversation import Example, Media
from unifusion.errors import ConfigError, DatasetError, MediaError, nearest
from unifusion.media.augment import Augmentation
from unifusion.metrics.ccc import ccc
from unifusion.metrics.macro_recall import macro_recall
from unifusion.models.affect import AffectConfig, AffectModel, order_labels
from unifusion.models.affect_files import stream_of_checkpoint
from unifusion.models.build import from_anywhere
from unifusion.models.encoded import EncodedStream
from unifusion.models.fusions._metadata import TEXTS, VALUES, MetadataFields
from unifusion.models.opened_rows import OpenedRow, RowOpener, collate_rows, to_device
from unifusion.processor import AugmentingOpener
from unifusion.processor.streams import read_config
from unifusion.training.affect_data import AffectRows, Rounds, Target, collate_targets, store_features, target_of
from unifusion.training.affect_loss import AffectObjective, Pretraining
from unifusion.training.balance import Balanced
from unifusion.training.fit import FitChoices, fit
from unifusion.training.order import Order

__all__ = ["make_affect", "opener_of", "readable", "tell_opened", "tell_rows", "train_affect"]

log = logging.getLogger(__name__)


def make_affect(c: Any, rows: Sequence[Example]) -> AffectModel:
    """The model of a recipe's choices, for what its rows hold: labels, metadata.

    Raises:
        ConfigError: a choice is unknown, or nothing can be told.
    """
    torch.manual_seed(c.seed)
    streams: dict[str, EncodedStream] = {}
    encoders: dict[str, nn.Module] = {}
    for name, raw in (c.streams or {}).items():
        given: dict[str, Any] = {"encoder": raw} if isinstance(raw, str) else dict(raw)
        if "checkpoint" in given:
            streams[name], encoders[name] = stream_of_checkpoint(str(given.pop("checkpoint")), str(given.pop("stream", name)))
            streams[name] = replace(streams[name], **_known(given, ("trained",), name))
            continue
        beside = {k: given.pop(k) for k in ("source", "revision") if k in given}
        inner = {**dict(given.get("encoder_config") or {}), **beside}
        given["encoder_config"] = {k: from_anywhere(v) if k in ("source", "tokenizer") else v for k, v in inner.items()}
        streams[name] = read_config(EncodedStream, given, f"stream {name!r}")
    targets = [t for row in rows if (t := target_of(row)) is not None]
    labels = _labels(c, targets)
    told = any(math.isfinite(t[1]) for t in targets)
    if c.affect == "yes" and not told:
        raise ConfigError("valence and arousal are to be told and no row has them;", remedy="leave --affect out.")
    config = AffectConfig(
        streams=streams, fusion=c.fusion, fusion_config=dict(c.fusion_config or {}), labels=labels,
        affect=told if c.affect == "auto" else c.affect == "yes", metadata=_metadata(c, rows), dropout=c.dropout, max_seconds=c.max_seconds,
    )  # fmt: skip
    return AffectModel(config, encoders=encoders)


def _labels(c: Any, targets: Sequence[Target]) -> tuple[str, ...]:
    """The labels to be told, sorted.

    Raises:
        ConfigError: there is only one.
    """
    if c.labels == "none":
        return ()
    named = [t[0] for t in targets if t[0]] if c.labels == "auto" else [x.strip() for x in c.labels.split(",") if x.strip()]
    found = order_labels(named)
    if c.labels == "auto" and len(found) == 1:
        raise ConfigError(f"every row to learn from is {found[0]!r};", remedy="add rows of other labels, or name them all with --labels.")
    return found


def _known(given: Mapping[str, Any], keys: Sequence[str], name: str) -> dict[str, Any]:
    """What is left of a stream's choices, none of them unknown."""
    for key in given:
        if key not in keys:
            raise ConfigError(f"stream {name!r} of a checkpoint has no choice {key!r};", remedy=nearest(key, [*keys, "stream"]))
    return dict(given)


def _metadata(c: Any, rows: Sequence[Example]) -> MetadataFields | None:
    """The fields to be known: none, all that the rows have, or some by name.

    Raises:
        ConfigError: a field is unknown, or no row has it.
    """
    if c.metadata == "none":
        return None
    names = (*VALUES, *TEXTS) if c.metadata == "all" else tuple(n.strip() for n in c.metadata.split(",") if n.strip())
    found = MetadataFields.of((row.labels.get("metadata") or {} for row in rows), names)
    lacking = [n for n in names if n not in (*found.values, *found.texts)]
    if lacking and c.metadata != "all":
        raise ConfigError(f"no row to learn from has the metadata {lacking[0]!r};", remedy="leave it out of --metadata.")
    return found


class _Unfreeze(TrainerCallback):
    """Lets the encoders' blocks in bit by bit over the first half of a run; those that wait have no gradient and stay as they are."""

    def __init__(self, model: AffectModel) -> None:
        self.model = model

    def on_pre_optimizer_step(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Drop the gradients of what waits."""
        for parameter in self.model.waiting(state.global_step / max(1, state.max_steps // 2)):
            parameter.grad = None


def train_affect(c: Any, train: Sequence[Example], held: Sequence[Example], work: Path) -> tuple[AffectModel, dict[str, Any]]:
    """Train by a recipe's choices.

    Args:
        c: choices of `train/emotion.py`.
        train: rows to learn from.
        held: rows by which the best weights are chosen; none keeps the last.
        work: folder of the run's checkpoints.

    Returns:
        The model with the best weights, and what `fit` gives.

    Raises:
        ConfigError: choices that do not go together.
        DatasetError: data that cannot be read, or that the model cannot be judged by.
    """
    model = make_affect(c, train)
    _fits(model, train, "train")
    _fits(model, held, "val")
    first = Pretraining(model) if c.pretrain_steps else None
    opener = opener_of(c, model, [*train, *held])
    held = readable(c, opener, held)
    rows, validation = AffectRows(train, opener, changing=_changing(c, model)), AffectRows(held, opener) if held else None
    if first is not None:
        _pretrain(c, first, rows, work.with_name(f"{work.name}.pretrain"))
    objective = AffectObjective(model, c, rows.targets)
    order = _order(c, rows)
    per_epoch = order.steps_per_epoch
    choices = replace(
        FitChoices.of(c), steps=math.ceil(c.epochs * per_epoch), evaluate_every=per_epoch * c.look_every if validation is not None else 0,
        use_best=validation is not None, rates={"model.encoders": c.encoder_rate} if model.live else None,
        save_every=max(per_epoch * 5, 100), log_every=max(1, per_epoch // 2),
    )  # fmt: skip
    log.info("%s", told(model))
    result = fit(
        objective, rows, choices, work, collate=partial(collate_targets, model=model), order=order, validation=validation,
        judge=partial(_judge, validation, c) if validation is not None else None,
        callbacks=[_Unfreeze(model)] if c.unfreeze == "gradual" and model.live else None,
    )  # fmt: skip
    return model.eval(), result


def _fits(model: AffectModel, rows: Sequence[Example], split: str) -> None:
    """Refuse rows whose label the model cannot tell, and held-out rows that it cannot be judged by.

    Raises:
        DatasetError: names the label and the rows, or what is missing.
    """
    labels, targets = model.config.labels, [t for row in rows if (t := target_of(row)) is not None]
    unknown = [(t[0], row.id) for t, row in zip(targets, rows, strict=True) if t[0] and t[0] not in labels] if labels else []
    if unknown:
        label, name = unknown[0]
        others = f", and {len(unknown) - 1} rows more" if len(unknown) > 1 else ""
        found = f"split {split}, row {name}{others}: the label {label!r} is none of the model's ({', '.join(labels)});"
        raise DatasetError(found, remedy="leave such rows out, name them by these labels (reader's `classes`), or add it with --labels.")
    labelled = bool(labels) and any(t[0] for t in targets)
    felt = model.config.affect and sum(math.isfinite(t[1]) and math.isfinite(t[2]) for t in targets) > 1
    if rows and not labelled and not felt:
        wanted = " or ".join([*(["a label"] if labels else []), *(["two valence and arousal"] if model.config.affect else [])])
        raise DatasetError(f"no rows of split {split} have {wanted};", remedy="give rows that the model can learn from and be judged by.")


def readable(c: Any, opener: RowOpener, rows: Sequence[Example]) -> list[Example]:
    """The held-out rows that can be opened: all of them, unless those that cannot be may be left out, which is told.

    Raises:
        DatasetError: more than the share `max_bad` cannot be opened.
    """
    if c.on_bad_media != "skip":
        return list(rows)
    kept = []
    for row in rows:
        try:
            opener.open(row)
        except (DatasetError, MediaError) as error:
            log.warning("%s of split %s is left out: %s", row.id, row.split, error)
            continue
        kept.append(row)
    if len(rows) - len(kept) > c.max_bad * len(rows):
        found = f"{len(rows) - len(kept)} of {len(rows)} rows of split {rows[0].split} cannot be opened;"
        raise DatasetError(found, remedy="mend them, or allow a larger share with --max-bad.")
    return kept


def told(model: AffectModel) -> str:
    """For people: the parts of a model and how many of their weights are trained."""
    parts = {**{f"encoders.{n}": e for n, e in model.encoders.items()}, "fusion": model.fusion, "heads": model.heads, "all": model}
    lines = ["what is trained:", f"{'part':24} {'weights':>13} {'trained':>13}"]
    for name, part in parts.items():
        counts = [sum(p.numel() for p in part.parameters() if p.requires_grad or every) for every in (True, False)]
        lines.append(f"{name:24} {counts[0]:13,} {counts[1]:13,}")
    return "\n".join(lines)


def opener_of(c: Any, model: AffectModel, rows: Sequence[Example]) -> RowOpener:
    """What opens rows; with a folder of features, these are made first where they are missing."""
    if c.features == "none" or len(model.live) == len(model.config.streams):
        return RowOpener(model)
    skip = c.on_bad_media == "skip"

    def on_bad(media: Media, error: MediaError) -> None:
        """Say which clip is left out."""
        log.warning("%s is not encoded: %s", media.name, error)

    folder = Path(f"{c.out}.features") if c.features == "auto" else Path(c.features)
    try:
        count = store_features(model, rows, folder, workers=c.workers, on_bad=on_bad if skip else None)
    except MediaError as error:
        raise type(error)(error.found, remedy=f"{error.remedy} Or go on without such rows: --on-bad-media skip.") from error
    log.info("encoded %d clips", count)
    return RowOpener(model, stores=folder)


def _order(c: Any, rows: AffectRows) -> Order:
    """Which rows a step reads."""
    if c.sampling == "balanced":
        return Rounds(Balanced([t[0] for t in rows.targets], c.batch_size, seed=c.seed))
    return Rounds(Order(len(rows), c.batch_size, seed=c.seed))


def _changing(c: Any, model: AffectModel) -> Callable[[Example, int], OpenedRow] | None:
    """What opens a changed copy of a row, another one in each round; None where nothing is changed."""
    if not c.augment:
        return None
    return Changing(model, Augmentation.from_dict(c.augment), c.seed)


class Changing:
    """Opens rows with their clips changed, by draws of (seed, row, round)."""

    def __init__(self, model: AffectModel, choices: Augmentation, seed: int) -> None:
        self._openers: list[AugmentingOpener] = []
        self._seed = seed

        def wrap(inner: Any) -> AugmentingOpener:
            self._openers.append(AugmentingOpener(inner, choices, ""))
            return self._openers[-1]

        self._rows = RowOpener(model, opening=wrap)

    def __call__(self, example: Example, turn: int) -> OpenedRow:
        """Open a row."""
        for opener in self._openers:
            opener.key = f"{self._seed}/{example.id}/{turn}"
        return self._rows.open(example)


def _pretrain(c: Any, objective: Pretraining, rows: AffectRows, work: Path) -> None:
    """Train the fusion by its own loss first."""
    often = max(1, c.pretrain_steps // 20)
    choices = replace(FitChoices.of(c), steps=c.pretrain_steps, patience=0, save_every=max(200, 5 * often), log_every=often)
    fit(objective, rows, choices, work, collate=partial(collate_targets, model=objective.model), order=_order(c, rows))


def _judge(rows: AffectRows, c: Any, objective: nn.Module) -> dict[str, float]:
    """Figures of held-out rows: UAR and CCC, and their mean as the score."""
    inner: Any = objective
    found = tell_rows(inner.model, rows, batch_size=c.batch_size)
    return figures(found["probabilities"], found["affect"], rows.targets, inner.model.config.labels)


def figures(
    probabilities_NK: np.ndarray | None, affect_N2: np.ndarray | None, targets: Sequence[tuple[str, float, float]], labels: Sequence[str]
) -> dict[str, float]:  # fmt: skip
    """`uar`, `ccc_valence`, `ccc_arousal` of what is known, and `score`, the mean of UAR and mean CCC."""
    out: dict[str, float] = {}
    scores = []
    known = [i for i, t in enumerate(targets) if t[0]]
    if probabilities_NK is not None and known:
        best = probabilities_NK.argmax(1)
        out["uar"] = macro_recall([labels[best[i]] for i in known], [targets[i][0] for i in known])
        scores.append(out["uar"])
    felt = [i for i, t in enumerate(targets) if math.isfinite(t[1]) and math.isfinite(t[2])]
    if affect_N2 is not None and len(felt) > 1:
        for k, name in enumerate(("valence", "arousal")):
            out[f"ccc_{name}"] = ccc(affect_N2[felt, k], np.array([targets[i][k + 1] for i in felt]))
        scores.append((out["ccc_valence"] + out["ccc_arousal"]) / 2)
    return {**out, "score": float(np.mean(scores)) if scores else 0.0}


def tell_rows(model: AffectModel, rows: AffectRows, *, batch_size: int = 32) -> dict[str, Any]:
    """What a model tells of N rows, in their order; see `tell_opened`."""
    parts = [tell_opened(model, [rows[i][0] for i in range(k, min(k + batch_size, len(rows)))]) for k in range(0, len(rows), batch_size)]
    return {key: None if parts[0][key] is None else np.concatenate([p[key] for p in parts]) for key in parts[0]}


@torch.no_grad()
def tell_opened(model: AffectModel, rows: Sequence[OpenedRow]) -> dict[str, Any]:
    """What a model tells of N opened rows.

    Returns:
        `logits` and `probabilities` float64 (N, K) or None, `affect` float64 (N, 2) or None.
    """
    mode = model.training
    model.eval()
    out = model(to_device(collate_rows(rows, model.streams, model.config.metadata), model.device))
    model.train(mode)
    logits = None if out.logits_BK is None else out.logits_BK.double().cpu()
    return {
        "logits": None if logits is None else logits.numpy(),
        "probabilities": None if logits is None else (logits / model.config.temperature).softmax(-1).numpy(),
        "affect": None if out.affect_B2 is None else out.affect_B2.double().cpu().numpy(),
    }
