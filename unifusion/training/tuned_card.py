"""The model card of what `tune` made: from what, on what, how, with what loss, and how to ask it. Nothing in it is typed by hand."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

__all__ = ["tuned_card"]

_SHOWN = (
    "steps", "epochs", "batch_size", "accumulate", "learning_rate", "weight_decay", "schedule", "warmup", "precision", "strategy", "pack",
    "max_tokens", "quantize", "weights", "seed",
)  # fmt: skip


def tuned_card(name: str, model: Any, choices: Mapping[str, Any], result: Mapping[str, Any], *, table: str, held: float | None) -> str:
    """README.md of a tuned checkpoint.

    Args:
        name: of the checkpoint.
        model: what was tuned.
        choices: of the recipe, resolved.
        result: `steps`, `loss` and `seconds` of the run.
        table: of the parts, as it was printed.
        held: loss on held-out rows of the weights that are saved; None where nobody looked.
    """
    base = str(choices.get("start") or model.config.text_source or "a language model from an inline config")
    of_hub = {} if Path(base).is_absolute() or choices.get("start") or not model.config.text_source else {"base_model": base}
    head = {"library_name": "unifusion-x", "tags": ["unifusion", "video", "audio"], **of_hub}
    streams = [f"| {n} | {s.encoder} | {s.encoder_choices.source or 'inline'} | {s.adapter} |" for n, s in model.specs.items()]
    looked = "nobody looked at held-out rows" if held is None else f"on held-out rows {held:.4f}"
    lines = [
        "---", *(f"{k}: {json.dumps(v)}" for k, v in head.items()), "---", f"# {name}", "",
        f"Tuned by `unifusion train tune` from {base} on `{choices.get('data')}`; all choices are in `provenance.json`.", "",
        "| stream | encoder | weights | adapter |", "|---|---|---|---|", *streams, "", "```", table, "```", "",
        f"Mean loss of training {result['loss']:.4f} after {result['steps']} steps; {looked}.", "",
        "| choice | value |", "|---|---|", *(f"| {k} | {choices[k]} |" for k in _SHOWN if choices.get(k) is not None), "",
        "## Ask it", "```", f'unifusion chat clip.mp4 -q "What happens?" --model {name}', "```", "",
        "The licences of the weights and data above are those of their authors.", "",
    ]  # fmt: skip
    return "\n".join(lines)
