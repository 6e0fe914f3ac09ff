"""What emotion systems of both kinds, fusions and chat models, tell of a split's rows, with streams left out on purpose."""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

from tqdm.auto import tqdm

from unifusion import atomic, catalog
from unifusion.conversation import Example
from unifusion.engine import Engine, LabelScores
from unifusion.errors import ConfigError, DatasetError, MediaError, NoStreamError, UniFusionError
from unifusion.evaluation.affect_card import affect_card
from unifusion.evaluation.calibrate import fit_scaling
from unifusion.evaluation.predictions import Prediction
from unifusion.models.affect import AffectModel
from unifusion.models.affect_files import is_affect, load_affect, save_affect
from unifusion.models.encoded_files import STORED
from unifusion.models.opened_rows import OpenedRow, RowOpener, media_of
from unifusion.prompts import ValenceArousalAnswer
from unifusion.training.affect import opener_of, readable, tell_opened, tell_rows
from unifusion.training.affect_data import AffectRows, Target, store_features, target_of
from unifusion.training.choices import as_dict
from unifusion.training.launch import everyone_waits, is_first
from unifusion.training.stage import commit

__all__ = ["ChatSystem", "FusionSystem", "System", "conditions_of", "finish", "seeds_of", "system_of"]

log = logging.getLogger(__name__)
_MAX_AFFECT = 24


def conditions_of(streams: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """Condition -> streams left out: all, each stream alone, each left out (which of two streams is the same as the other alone)."""
    names = list(streams)
    found: dict[str, tuple[str, ...]] = {"all": ()}
    if len(names) > 1:
        found |= {f"only {n}": tuple(o for o in names if o != n) for n in names}
    if len(names) > 2:
        found |= {f"without {n}": (n,) for n in names}
    return found


class System(Protocol):
    """What tells emotions."""

    streams: tuple[str, ...]

    def tell(self, rows: Sequence[Example], conditions: Sequence[str], *, seed: int = 0) -> list[Prediction]:
        """Predictions of rows under conditions of `conditions_of`; a row of which nothing is left has none."""


class FusionSystem:
    """A trained fusion.

    Rows that have none of its streams are counted and told, and have no prediction.

    Args:
        model: the model.
        stores: folder of features, filled where something is missing; None encodes in passing.
        batch_size: rows at once.
        on_bad: told of a row that cannot be read; None raises.
    """

    def __init__(
        self, model: AffectModel, *, stores: str | Path | None = None, batch_size: int = 32,
        on_bad: Callable[[Example, MediaError], None] | None = None,
    ) -> None:  # fmt: skip
        self.model, self.stores, self.batch_size, self.on_bad = model.eval(), stores, batch_size, on_bad
        self.streams = tuple(model.config.streams)

    def tell(self, rows: Sequence[Example], conditions: Sequence[str], *, seed: int = 0) -> list[Prediction]:
        """See System; clips are opened once for all conditions."""
        if self.stores is not None:
            store_features(self.model, rows, self.stores, on_bad=lambda media, error: None)  # opening its row tells of it again
        opener = RowOpener(self.model, stores=self.stores)
        out: list[Prediction] = []
        without: list[str] = []
        for start in tqdm(range(0, len(rows), self.batch_size), desc="predict", disable=None):
            opened: list[tuple[Example, OpenedRow]] = []
            for row in rows[start : start + self.batch_size]:
                try:
                    opened.append((row, opener.open(row)))
                except NoStreamError:
                    without.append(row.id)
                except MediaError as error:
                    if self.on_bad is None:
                        raise
                    self.on_bad(row, error)
            for condition in conditions:
                out += self._told(opened, condition, seed)
        _note_silent(without, rows)
        return sorted(out, key=lambda p: conditions.index(p.condition))

    def _told(self, opened: Sequence[tuple[Example, OpenedRow]], condition: str, seed: int) -> list[Prediction]:
        """The predictions of some rows under one condition."""
        left_out = _left_out(self.streams, condition)
        some = [(row, clip.without(left_out)) for row, clip in opened]
        some = [(row, clip) for row, clip in some if clip.streams]
        if not some:
            return []
        found = tell_opened(self.model, [clip for _, clip in some])
        labels, out = self.model.config.labels, []
        for i, (row, clip) in enumerate(some):
            shares = {} if found["probabilities"] is None else dict(zip(labels, found["probabilities"][i].tolist(), strict=True))
            felt = (None, None) if found["affect"] is None else tuple(float(x) for x in found["affect"][i])
            out.append(_prediction(row, shares, felt, tuple(clip.streams), condition, seed))
        return out


def _note_silent(without: Sequence[str], rows: Sequence[Example]) -> None:
    """Tell how many rows no prediction was made for since nothing of them fits the model."""
    if without:
        log.warning("%d of %d rows, such as %s, have no stream of the model and so no prediction", len(without), len(rows), without[0])


class ChatSystem:
    """A chat model, ours or another's, asked for the label by likelihood, and for valence and arousal.

    Args:
        engine: the model.
        labels: to choose among.
        affect: ask for valence and arousal too.
        batch_size: rows at once.
        streams: that a person could leave out.
    """

    def __init__(
        self, engine: Engine, labels: Sequence[str], *, affect: bool = False, batch_size: int = 16,
        streams: Sequence[str] = ("video", "audio"),
    ) -> None:  # fmt: skip
        self.engine, self.labels, self.affect, self.batch_size, self.streams = engine, tuple(labels), affect, batch_size, tuple(streams)

    def tell(self, rows: Sequence[Example], conditions: Sequence[str], *, seed: int = 0) -> list[Prediction]:
        """See System."""
        task = catalog.load("tasks", "emotion")(seed=seed, labels=self.labels)
        out: list[Prediction] = []
        without: dict[str, None] = {}
        for condition in conditions:
            mute = _left_out(self.streams, condition)
            for start in tqdm(range(0, len(rows), self.batch_size), desc=f"ask ({condition})", disable=None):
                some = [replace(r, media=tuple(m.muted(*mute) for m in media_of(r))) for r in rows[start : start + self.batch_size]]
                scored = self.engine.score_labels([task.conversation(r) for r in some], [self.labels] * len(some), task="emotion")
                known = []
                for row, scores in zip(some, scored, strict=True):
                    if isinstance(scores, NoStreamError):
                        without.setdefault(row.id)
                    elif not isinstance(scores, LabelScores):
                        raise DatasetError(f"{row.id}: {scores}", remedy="check the file with `unifusion chat`.") from scores
                    elif there := tuple(n for n, r in scores.report.streams.items() if r.present):
                        known.append((row, dict(zip(self.labels, scores.probabilities, strict=True)), there))
                felt = self._felt([row for row, _, _ in known])
                out += [_prediction(*k[:2], own, k[2], condition, seed) for k, own in zip(known, felt, strict=True)]
        _note_silent(list(without), rows)
        return out

    def _felt(self, rows: Sequence[Example]) -> list[tuple[float | None, float | None]]:
        """Valence and arousal of rows, as `Engine.emotion` tells them; None where the answer has none."""
        if not self.affect or not rows:
            return [(None, None)] * len(rows)
        task = catalog.load("tasks", "valence_arousal")()
        asked = [task.conversation(Example(id="emotion", media=row.media)) for row in rows]
        told: list[tuple[float | None, float | None]] = []
        for row, answer in zip(rows, self.engine.answer(asked, max_new_tokens=_MAX_AFFECT, batch_size=self.batch_size), strict=True):
            if isinstance(answer, UniFusionError):
                raise DatasetError(f"{row.id}: {answer}", remedy="check the file with `unifusion chat`.") from answer
            found = task.template.parse(answer.text)
            told.append((found.valence, found.arousal) if isinstance(found, ValenceArousalAnswer) else (None, None))
        return told


def _prediction(
    row: Example, shares: dict[str, float], felt: tuple[Any, ...], streams: tuple[str, ...], condition: str, seed: int
) -> Prediction:  # fmt: skip
    """One line."""
    label, valence, arousal = target_of(row) or ("", math.nan, math.nan)
    known = [v if math.isfinite(v) else None for v in (valence, arousal)]
    return Prediction(
        id=row.id, group=row.group, split=row.split, truth=label, probabilities=shares, valence=felt[0], arousal=felt[1],
        true_valence=known[0], true_arousal=known[1], streams=streams, condition=condition, seed=seed,
    )  # fmt: skip


def _left_out(streams: Sequence[str], condition: str) -> tuple[str, ...]:
    """Streams that a condition leaves out.

    Raises:
        ConfigError: there is no such condition.
    """
    known = conditions_of(streams)
    if condition not in known:
        raise ConfigError(f"no condition {condition!r} for streams {', '.join(streams)};", remedy=f"there are {', '.join(known)}.")
    return known[condition]


def seeds_of(model: str) -> dict[int, str]:
    """The models of a run by seed; one that is no run of several is its own."""
    found = {int(p.parent.name.removeprefix("seed-")): str(p.parent) for p in Path(model).glob("seed-*/config.json")}
    if found:
        return dict(sorted(found.items()))
    made = Path(model) / "provenance.json"
    known = json.loads(made.read_text(encoding="utf-8")) if is_affect(model) and made.is_file() else {}
    return {int(known.get("choices", {}).get("seed", 0)): model}


def system_of(model: str, rows: Sequence[Example], *, stores: str | Path | None = None, batch_size: int = 32) -> System:
    """An emotion model's folder or a chat model as a system; a chat model chooses among the labels of the rows."""
    if is_affect(model):
        return FusionSystem(load_affect(model), stores=stores, batch_size=batch_size)
    targets: list[Target] = [t for row in rows if (t := target_of(row)) is not None]
    labels = sorted({t[0] for t in targets if t[0]})
    return ChatSystem(Engine.from_pretrained(model, features=stores), labels, affect=any(math.isfinite(t[1]) for t in targets))


def finish(
    model: AffectModel, c: Any, folder: Path, splits: dict[str, Sequence[Example]], result: dict[str, Any], *, seed: int
) -> list[Prediction]:  # fmt: skip
    """Fit the temperature on held-out rows, write the model, tell the rows of splits under all conditions, and write its card; of several
    processes all tell, and the first one writes.

    Args:
        model: as trained.
        c: choices of `train/emotion.py`.
        folder: of the model.
        splits: val, and others to tell.
        result: of the training.
        seed: of the training.
    """
    kept: dict[str, list[Example]] = {}
    for name, rows in splits.items():
        opener = opener_of(c, model, rows)
        kept[name] = readable(c, opener, rows)
        if name == "val" and model.config.labels:
            _calibrate(model, AffectRows(kept[name], opener), c.batch_size)
    provenance = {"recipe": "emotion", "choices": as_dict(c), "result": result, "commit": commit()}
    if is_first():
        save_affect(model, folder, provenance=provenance, dtype=STORED[c.stored])
    everyone_waits()
    model = model if c.stored == "float32" else load_affect(folder, device=model.device)
    stores = None if c.features == "none" else c.features
    system = FusionSystem(model, stores=stores, batch_size=c.batch_size)
    told = [p for rows in kept.values() for p in system.tell(rows, list(conditions_of(system.streams)), seed=seed)]
    for name in system.streams:
        if told and not any(name in p.streams for p in told):
            log.warning("no row of %s has the stream %r: nothing is known of what it tells", " or ".join(kept), name)
    if is_first():
        atomic.write_text(folder / "README.md", affect_card(folder.name, model, as_dict(c), result, told))
    everyone_waits()
    return told


def _calibrate(model: AffectModel, rows: AffectRows, batch_size: int) -> None:
    """Fit the temperature on rows with a label; without any it stays as it is."""
    known = [i for i, target in enumerate(rows.targets) if target[0]]
    if not known:
        return
    logits_NK = tell_rows(model, rows, batch_size=batch_size)["logits"]
    records = [
        {"log_probs": dict(zip(model.config.labels, logits_NK[i].tolist(), strict=True)), "truth": rows.targets[i][0]} for i in known
    ]
    model.config.temperature = fit_scaling(records, deviation=0.0)[0]
