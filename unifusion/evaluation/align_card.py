"""The end of training an embedding model: it is saved with a card of what it is and what it found among held-out rows."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from unifusion.models.aligner import Aligner
from unifusion.models.aligner_files import save_aligner
from unifusion.models.encoded_files import STORED
from unifusion.training.choices import as_dict
from unifusion.training.launch import everyone_waits, is_first
from unifusion.training.stage import commit

__all__ = ["align_card", "finish"]

_SHOWN = ("sources", "steps", "batch_size", "learning_rate", "encoder_rate", "temperature", "stage",
          "loss", "loss_config", "weights", "guard", "teacher", "pairs", "forms", "start", "mine_every", "seed")  # fmt: skip

_TEACHER = (
    "Of teacher and student: `teacher ..` are the teacher's own figures on the same rows; agrees: the mean cosine of the student's vectors "
    "(through the trained map where widths differ) and the teacher's; alike: the correlation of the cosines of all pairs of rows."
)


def finish(model: Aligner, c: Any, folder: Path, result: Mapping[str, Any], *, recipe: str = "align") -> None:
    """Write the model and its card; of several processes the first writes.

    Args:
        model: as trained.
        c: choices of the recipe.
        folder: of the model.
        result: of the training.
        recipe: its name.
    """
    if is_first():
        provenance = {"recipe": recipe, "choices": as_dict(c), "result": result, "commit": commit()}
        card = align_card(folder.name, model, as_dict(c), result, recipe=recipe)
        save_aligner(model, folder, provenance=provenance, card=card, dtype=STORED[c.stored])
    everyone_waits()


def align_card(name: str, model: Aligner, choices: Mapping[str, Any], result: Mapping[str, Any], *, recipe: str = "align") -> str:
    """README.md of an embedding model.

    Args:
        name: of the checkpoint.
        model: as it is saved.
        choices: of `train/align.py`, resolved.
        result: `steps` of the run, and `figures` of held-out rows.
        recipe: its name.
    """
    config = model.config
    head = {"library_name": "unifusion-x", "tags": ["unifusion", "embeddings", "retrieval", *sorted(config.towers)]}
    streams = [
        f"| {n} | {next(s for s, names in config.towers.items() if n in names)} | {stream.encoder} | {_count(model.encoders[n])} | "
        f"{'yes' if stream.trained else 'no'} | {stream.adapter or 'none'} | {_clock(stream.clock)} |"
        for n, stream in config.streams.items()
    ]
    figures = [f"| {key.replace('_', ' ')} | {value:.3f} |" for key, value in dict(result.get("figures") or {}).items()]
    kept = [f"| {key.replace('_', ' ')} | {value} |" for key, value in config.calibration.items()]
    use = [f"unifusion index clips/ -o clips.index --model {name}", 'unifusion search "a dog barks" --index clips.index']
    return "\n".join([
        "---", *(f"{k}: {json.dumps(v)}" for k, v in head.items()), "---", f"# {name}", "",
        f"Text, sound and picture as vectors of {config.width} numbers and of length one, in one space; {_count(model)} weights. "
        f"Trained by `unifusion train {recipe}` ({result.get('steps')} steps); all choices are in `provenance.json`.", "",
        "| stream | space | encoder | weights | trained | adapter | clock |", "|---" * 7 + "|", *streams, "",
        "| choice | value |", "|---|---|", *(f"| {k} | {choices[k]} |" for k in _SHOWN if choices.get(k)), "",
        "## Figures", "Of held-out rows (split val: other speakers, recordings, seeds). R@k: the share of queries whose own clip is among "
        "the first k; zero shot: the share of clips nearest to the words of their own label; probe: of those that a linear map, fitted on "
        "the other half of the held-out rows, tells. Ties count against the model.", *([_TEACHER] if recipe == "distill" else []), "",
        "| figure | value |", "|---|---|", *figures, *kept, "", "## Use it", "```", *use, "```", "",
        "The licences of the data above are those of their authors; weights trained on them are for research.", "",
    ])  # fmt: skip


def _count(module: Any) -> str:
    """Weights of a part, for people."""
    return f"{sum(p.numel() for p in module.parameters()) / 1e6:.2f} M"


def _clock(clock: Mapping[str, Any]) -> str:
    """A stream's clock, for people."""
    return f"{clock['bins']} x {clock['bin_s']:g} s" if clock else "none"
