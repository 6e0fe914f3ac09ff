"""What the choices of `train/tune.py` may be, seen before anything is loaded or encoded."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from unifusion.errors import ConfigError, nearest
from unifusion.models.language_model import QUANTIZE
from unifusion.processor import StreamSpec
from unifusion.training.fit import FitChoices
from unifusion.training.parts import read_parts_table

__all__ = ["MAY_DIFFER", "check_choices", "hold_to_start", "specs_of"]

MAY_DIFFER = (
    "out", "workers", "worker_timeout_s", "save_every", "keep", "log_every", "report_to", "available_gb", "on_bad_media", "max_bad",
    "max_skipped", "plan", "dry_run",
)  # fmt: skip
"""Choices that a run may go on with though it was begun with others: they do not change what is learned from rows that can be read."""


def check_choices(c: Any) -> None:
    """Refuse what cannot be, before anything is loaded or encoded.

    Raises:
        ConfigError: names the choice, what it is and what it may be.
    """
    for key, known in (("weights", ("float32", "bfloat16")), ("quantize", (None, *QUANTIZE))):
        if getattr(c, key) not in known:
            raise ConfigError(f"{key} is {getattr(c, key)!r};", remedy=nearest(str(getattr(c, key)), [str(k) for k in known]))
    for key in ("window_s", "max_seconds", "max_tokens", "epochs", "rows_per_epoch", "validation_rows"):
        if getattr(c, key) is not None and not getattr(c, key) > 0:
            raise ConfigError(f"{key} is {getattr(c, key)};", remedy="take more than 0.")
    if c.pack < 0:
        raise ConfigError(f"pack is {c.pack};", remedy="take the tokens of a pack, or 0 to pad rows.")
    if c.evaluate_every and not c.validation:
        raise ConfigError("evaluate_every is set and there are no held-out rows;", remedy="name them with --validation, or leave it out.")
    if c.keep_best and not c.evaluate_every:
        raise ConfigError(
            "keep_best is set and nothing is looked at;", remedy="name rows with --validation, and --evaluate-every."
        )
    read_parts_table(c.parts)
    specs_of(c.streams or {})
    replace(FitChoices.of(c), steps=1 if c.steps is None else c.steps).check()


def specs_of(streams: Mapping[str, Any]) -> dict[str, StreamSpec]:
    """Streams as a recipe writes them: `source` and `revision` may stand beside `encoder`, for its config.

    Raises:
        ConfigError: a stream names no encoder, or has an unknown key, encoder or adapter.
    """
    found = {}
    for name, raw in streams.items():
        given: dict[str, Any] = {"encoder": raw} if isinstance(raw, str) else dict(raw)
        if "encoder" not in given:
            raise ConfigError(f"stream {name!r} names no encoder;", remedy="write {encoder: whisper, source: openai/whisper-small}.")
        beside = {k: given.pop(k) for k in ("source", "revision") if k in given}
        given["encoder_config"] = {**dict(given.get("encoder_config") or {}), **beside}
        found[name] = StreamSpec.from_dict(given)
        _ = found[name].encoder_class, found[name].adapter_class
    return found


def hold_to_start(c: Any, model: Any) -> None:
    """Refuse streams and quantisation other than those of the checkpoint that a run goes on from: it would keep its own."""
    for name, spec in specs_of(c.streams or {}).items():
        own = model.specs.get(name)
        if own is None or (own.encoder, own.adapter) != (spec.encoder, spec.adapter):
            there = "no such stream" if own is None else f"{own.encoder} and {own.adapter}"
            raise ConfigError(
                f"stream {name!r} is to be {spec.encoder} and {spec.adapter}, {c.start} has {there};",
                remedy="leave --streams out, or begin without --start.",
            )
    if c.quantize and c.quantize != model.config.quantized:
        raise ConfigError(
            f"quantize is {c.quantize}, and {c.start} is {model.config.quantized or 'not quantised'};", remedy="leave --quantize out."
        )
