"""Examples to train emotion models on, of one reader or of several, as rows that encoders, or stores of their outputs, have opened."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.data import Dataset
from tqdm.auto import tqdm

from unifusion import catalog
from unifusion.conversation import Clip, Example, Media
from unifusion.datasets.mixture import Mixture
from unifusion.errors import ConfigError, DatasetError, MediaError, nearest
from unifusion.features.encode import EncodeOptions, encode_todo
from unifusion.models.affect import AffectModel
from unifusion.models.encoded import EncodedModel
from unifusion.models.opened_rows import OpenedRow, RowOpener, collate_rows, encoders_of, history_text, media_of, words_media
from unifusion.training.launch import everyone_waits, my_share
from unifusion.training.order import Order

__all__ = ["AffectRows", "Rounds", "Target", "collate_targets", "read_examples", "read_rows", "store_features", "target_of"]

log = logging.getLogger(__name__)
SPLITS = ("train", "val", "test")
Target = tuple[str, float, float]
"""A row's label ("" unknown), valence and arousal (NaN unknown)."""


def read_examples(
    data: str | Path, split: str, *, dataset: str | None = None, root: str | Path | None = None, options: Mapping[str, Any] | None = None
) -> list[Example]:  # fmt: skip
    """Rows of a split that have an emotion, or valence and arousal; see `read_rows`.

    Raises:
        ConfigError: no such reader or option, or `data` is neither.
        DatasetError: it cannot be read, or none of its rows has an emotion.
    """
    rows = read_rows(data, split, dataset=dataset, root=root, options=options)
    if rows is None:
        return []
    kept = [r for r in rows if target_of(r) is not None and (r.media or r.texts.get("transcript"))]
    more = f", {len(rows) - len(kept)} others have no emotion" * (len(rows) > len(kept))
    log.info("%s: %d rows of split %s%s", data, len(kept), split, more)
    if not kept:
        raise DatasetError(f"{data} has no row of split {split} with an emotion;", remedy="check the reader, its options and the split.")
    return kept


def read_rows(
    data: str | Path, split: str, *, dataset: str | None = None, root: str | Path | None = None, options: Mapping[str, Any] | None = None
) -> list[Example] | None:  # fmt: skip
    """All rows of a split, whatever they hold.

    Args:
        data: a YAML file of sources (`Mixture`; weights say nothing here, each row comes once a round), or what `dataset` reads.
        split: train, val or test.
        dataset: name of a reader (`unifusion list datasets`); None for a YAML file.
        root: folder that paths in the YAML file are relative to.
        options: of the reader; `splits` among them says what the data call a split (`{test: test_iid}`), or that there is none of that
            kind (`{test: null}`), which gives None.

    Raises:
        ConfigError: no such reader or option, or `data` is neither.
        DatasetError: it cannot be read.
    """
    given = dict(options or {})
    called = given.pop("splits", None) or {}
    if not isinstance(called, Mapping) or not {*called} <= {*SPLITS}:
        raise ConfigError(f"splits is {called!r};", remedy="say what the data call train, val or test: {test: test_iid}.")
    own = called.get(split, split)
    if own is None:
        return None
    if dataset is None:
        if given:
            raise ConfigError(f"the option {next(iter(given))!r} is of no reader;", remedy="write it into the YAML, or name --dataset.")
        if Path(data).suffix not in (".yaml", ".yml"):
            raise ConfigError(f"{data} is no YAML file of sources;", remedy="name its reader with --dataset (unifusion list datasets).")
        mixture = Mixture(data, data=root, split=own)
        rows: list[Example] = [row for name, part in mixture.parts.items() if mixture.weights[name] for row in part]
    else:
        if dataset not in catalog.names("datasets"):
            raise ConfigError(f"no reader {dataset!r};", remedy=nearest(dataset, catalog.names("datasets")))
        found = catalog.load("datasets", dataset)
        takes = list(inspect.signature(found).parameters)
        place = {"path": data} if "path" in takes else {}
        known = [name for name in takes if name not in ("path", "split")]
        for key in given:
            if key not in known:
                raise ConfigError(f"reader {dataset!r} has no option {key!r};", remedy=nearest(key, [*known, "splits"]))
        try:
            rows = list(found(**place, split=own, **given))
        except TypeError as error:
            raise ConfigError(f"reader {dataset!r}: {error};", remedy="see its docstring for its options.") from error
    return [replace(row, split=split) for row in rows]


def target_of(row: Example) -> Target | None:
    """What is to be told of a row; None where nothing is known."""
    label = str(row.labels.get("emotion") or "")
    valence, arousal = (float(row.labels[k]) if row.labels.get(k) is not None else float("nan") for k in ("valence", "arousal"))
    return (label, valence, arousal) if label or np.isfinite([valence, arousal]).all() else None


class AffectRows(Dataset[tuple[OpenedRow, Target]]):
    """Examples as rows with what is to be told of them; any index is one, each `len` of them another round.

    Args:
        examples: of one split.
        opener: opens them.
        changing: given an opener and (row id, round), opens a changed copy; None leaves clips as they are.
    """

    def __init__(
        self, examples: Sequence[Example], opener: RowOpener, *, changing: Callable[[Example, int], OpenedRow] | None = None
    ) -> None:  # fmt: skip
        self.examples, self.opener, self.changing = list(examples), opener, changing
        self.targets: list[Target] = [t for e in self.examples if (t := target_of(e)) is not None]
        if len(self.targets) != len(self.examples):
            raise DatasetError("a row has neither label nor valence and arousal;", remedy="leave it out.")

    def __len__(self) -> int:
        """Rows of a round."""
        return len(self.examples)

    def name(self, index: int) -> str:
        """What messages call a row."""
        return self.examples[index % len(self)].id

    def __getitem__(self, index: int) -> tuple[OpenedRow, Target]:
        """The row at `index`."""
        turn, at = divmod(index, len(self.examples))
        row = self.examples[at]
        return (self.opener.open(row) if self.changing is None else self.changing(row, turn)), self.targets[at]


class Rounds(Order):
    """Rows of another order as indices that count on over the rounds, so that a row may be another one in each."""

    def __init__(self, inner: Order) -> None:
        super().__init__(inner.count, inner.batch_size, seed=inner.seed)
        self.inner = inner

    @property
    def steps_per_epoch(self) -> int:
        """Those of the inner order."""
        return self.inner.steps_per_epoch

    def rows(self, step: int) -> list[int]:
        """The rows of micro-batch `step`."""
        return [step // self.inner.steps_per_epoch * self.count + row for row in self.inner.rows(step)]


def collate_targets(rows: Sequence[tuple[OpenedRow, Target]], model: AffectModel) -> dict[str, Any]:
    """Rows to a batch: that of `collate_rows`, and `targets`: `label` (B,) int64, -1 unknown, `affect` (B, 2), NaN unknown.

    Raises:
        DatasetError: a label that the model does not know.
    """
    places = {label: i for i, label in enumerate(model.config.labels)}
    unknown = sorted({t[0] for _, t in rows if t[0] and t[0] not in places}) if places else []
    if unknown:
        raise DatasetError(f"the label {unknown[0]!r} is none of the model's;", remedy=nearest(unknown[0], list(places)))
    label = torch.tensor([places.get(t[0], -1) for _, t in rows], dtype=torch.long)
    affect = torch.tensor([t[1:] for _, t in rows], dtype=torch.float32).reshape(len(rows), 2)
    batch = collate_rows([row for row, _ in rows], model.streams, model.config.metadata)
    return {"batch": batch, "targets": {"label": label, "affect": affect}}


def _mark(media: Media) -> Any:
    """What two references to one clip share: arrays of words alone are told apart by the words."""
    clip = media.source
    bare = isinstance(clip, Clip) and clip.waveform_N is None and clip.frames_THWC is None
    return (getattr(clip, "transcript", None), media.transcript) if bare else media


def store_features(
    model: EncodedModel, examples: Sequence[Example], folder: str | Path, *, batch_size: int = 16, workers: int = 0,
    on_bad: Callable[[Media, MediaError], None] | None = None, only: Sequence[str] = (),
) -> int:  # fmt: skip
    """Encode what the stores lack, by the model's frozen encoders; processes share the clips. Returns how many were encoded here.

    Args:
        model: its encoders.
        examples: of all splits.
        folder: of the stores.
        batch_size: clips that go through the encoders together.
        workers: threads that decode ahead.
        on_bad: told of a clip that cannot be read; None raises.
        only: streams; all when empty.

    Raises:
        MediaError: a clip cannot be read, and nobody was to be told.
    """
    done, frozen = 0, [n for n in model.streams if n not in model.live and (not only or n in only)]
    for reads in ("clip", "history"):
        held = encoders_of(model, reads, only=frozen)
        if held is None:
            continue
        stored = held.stores(folder)
        if reads == "clip":
            clips = {_mark(m): m for row in examples for m in media_of(row)}
        else:
            clips = {text: words_media(text) for row in examples if (text := history_text(row))}
        todo = []
        for clip in my_share(list(clips.values())):
            try:
                keys = stored.item_keys(clip)
            except MediaError as error:
                if on_bad is None:
                    raise
                on_bad(clip, error)
                continue
            if stored.missing(keys):
                todo.append((clip, keys))
        found = encode_todo(
            held, held.open, todo, stored, EncodeOptions(batch_size=batch_size, workers=workers),
            progress=lambda steps: iter(tqdm(list(steps), desc="encode", disable=None)), on_bad=on_bad,
        )  # fmt: skip
        done += found.clips
    everyone_waits()
    return done
