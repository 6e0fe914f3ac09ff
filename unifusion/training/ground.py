"""Aligning encoders and adapters from nothing with what is true of each second of a clip."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from transformers import AutoTokenizer

from unifusion.atomic import atomic_folder
from unifusion.datasets.mixture import Mixture
from unifusion.models.grounding import GroundingConfig, GroundingModel, pad_phrases
from unifusion.processor import StreamSpec
from unifusion.training.clip_cache import ClipCache
from unifusion.training.fit import FitChoices, fit
from unifusion.training.ground_figures import measure, measure_real
from unifusion.training.grounding_data import ALPHABET, GroundingData, collate_grounding, spoken_words, window_of
from unifusion.training.known import Known
from unifusion.training.launch import everyone_waits, is_first
from unifusion.training.pieces import Pieces

__all__ = ["train_grounding"]


def train_grounding(
    stream: str, spec: StreamSpec, tokenizer_folder: str | Path, train: ClipCache, val: ClipCache, out: str | Path, *,
    choices: FitChoices, grounding: GroundingConfig, start: str | Path | None = None, pack: float = 0.0,
    real: tuple[Mixture, Mixture, float] | None = None, without: frozenset[str] = frozenset(),
) -> dict[str, Any]:  # fmt: skip
    """Train one stream's encoder and adapter, save them in `out` with `spec.json`, and measure them on `val`.

    Args:
        stream: its name; with `spec`, its encoder and adapter.
        spec: see `stream`.
        tokenizer_folder: splits the phrases.
        train: clips to learn from.
        val: clips to measure on.
        out: folder of the result.
        choices: how long and how fast.
        grounding: weights of the losses.
        start: folder of an earlier round, whose encoder and adapter this one goes on with.
        pack: see GroundingData.
        real: recordings and pictures to learn from, those to measure on, and the share of rows that they have.
        without: what is not done to real pieces: see Pieces.

    Returns:
        the figures, also written to `out/metrics.json`.
    """
    torch.manual_seed(choices.seed)
    tokenizer = AutoTokenizer.from_pretrained(tokenizer_folder)
    pieces, held_out = real_pieces(stream, spec, train, real, choices.seed, without) if real is not None else (None, None)
    known = pieces.known if pieces is not None else Known({})
    ids = pad_phrases([tokenizer.encode(p, add_special_tokens=False) for p in known.bank[stream]])
    encoder = spec.encoder_class.build(spec.encoder_choices, load_weights=False)
    adapter = spec.adapter_class(encoder.width, grounding.width, spec.adapter_choices)
    model = GroundingModel(
        {stream: encoder},
        {stream: adapter},
        {stream: ids},
        len(tokenizer),
        grounding,
        names={"words": len(spoken_words()) + 1, "letters": len(ALPHABET) + 1},
        exclusive={stream: list(known.sets(stream).values())},
    )
    for name, part in (("encoder", encoder), ("adapter", adapter)):
        if start is not None:
            part.load_state_dict(load_file(Path(start) / f"{name}.safetensors"))
    epochs = -(-choices.steps * choices.batch_size * choices.accumulate // len(train))
    data = GroundingData(train, {stream: spec}, pack=pack, pieces=pieces, epochs=epochs, seed=choices.seed)
    model.prepare(collate_grounding([next(row for row in (data[i] for i in range(len(data))) if row)]))
    work = Path(out).with_name(Path(out).name + ".fit")
    result = fit(model, data, choices, work, collate=collate_grounding)
    figures = dict(result)
    if is_first():
        figures |= measure(model.eval(), GroundingData(val, {stream: spec}, augment=False))
        figures |= measure_real(model, data, held_out) if held_out is not None else {}
        _save(Path(out), spec, encoder, adapter, work, figures)
    everyone_waits()
    return figures


def _save(out: Path, spec: StreamSpec, encoder: Any, adapter: Any, work: Path, figures: Mapping[str, Any]) -> None:
    """A stream's weights, what they are, how they came about and what they can do."""
    with atomic_folder(out) as folder:
        encoder.backbone.config.save_pretrained(folder)
        for name, part in (("encoder", encoder), ("adapter", adapter)):
            save_file({k: v.detach().contiguous().clone() for k, v in part.state_dict().items()}, folder / f"{name}.safetensors")
        (folder / "spec.json").write_text(json.dumps(spec.to_dict(), indent=1), encoding="utf-8")
        (folder / "metrics.json").write_text(json.dumps(figures, indent=1), encoding="utf-8")
        for name in ("log.jsonl", "loss.csv", "loss.png"):
            if (work / name).is_file():
                (folder / name).write_bytes((work / name).read_bytes())


def real_pieces(
    stream: str, spec: StreamSpec, cache: ClipCache, real: tuple[Mixture, Mixture, float], seed: int, without: frozenset[str] = frozenset()
) -> tuple[Pieces, Pieces]:  # fmt: skip
    """Pieces to learn from and to measure on, with the phrases of both.

    Raises:
        DatasetError: a speaker or recording is in both.
    """
    train, val, share = real
    train.hold_apart(val)
    parts = [{name: m.parts[name] for name in m.parts if name in m.aligned} for m in (train, val)]
    known = Known.of(r for some in parts for part in some.values() for r in part)
    c = cache.choices
    shape = {"duration_s": c.duration_s, "window_s": window_of(spec), "rate_hz": c.rate_hz, "size_px": c.size_px}
    made = [
        Pieces(some, m.weights, stream, known, shape, share=share, seed=seed, without=without)
        for some, m in zip(parts, (train, val), strict=True)
    ]
    return made[0], made[1]
