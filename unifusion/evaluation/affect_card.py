"""The model card of an emotion model: its streams, what it was trained on, and what it told of held-out rows. Nothing is typed by hand."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from unifusion.evaluation.predictions import Prediction
from unifusion.metrics.ccc import ccc
from unifusion.metrics.macro_recall import macro_recall
from unifusion.models.affect import AffectModel

__all__ = ["affect_card"]

_SHOWN = (
    "fusion", "fusion_config", "epochs", "batch_size", "learning_rate", "schedule", "loss", "affect_loss", "sampling", "stream_dropout",
    "mixup", "label_smoothing", "pretrain_steps", "unfreeze", "seed",
)  # fmt: skip


def affect_card(
    name: str, model: AffectModel, choices: Mapping[str, Any], result: Mapping[str, Any], told: Iterable[Prediction]
) -> str:  # fmt: skip
    """README.md of an emotion model.

    Args:
        name: of the checkpoint.
        model: as it is saved.
        choices: of `train/emotion.py`, resolved.
        result: `steps` of the run.
        told: of val and test rows, under any conditions.
    """
    config = model.config
    head = {"library_name": "unifusion-x", "tags": ["unifusion", "emotion-recognition", *sorted(config.streams)]}
    streams = [f"| {n} | {s.encoder} | {_weights(choices, n, s)} | {_trained(s.trained)} |" for n, s in config.streams.items()]
    outputs = [*([f"one of {', '.join(config.labels)}"] if config.labels else []), *(["valence and arousal in [-1, 1]"] * config.affect)]
    rows = list(told)
    figures = [
        _figures(split, condition, [r for r in rows if (r.split, r.condition) == (split, condition)])
        for split, condition in dict.fromkeys((r.split, r.condition) for r in rows)
    ]
    source = choices.get("data") or choices.get("dataset")
    lines = [
        "---", *(f"{k}: {json.dumps(v)}" for k, v in head.items()), "---", f"# {name}", "",
        f"Tells {' and '.join(outputs)} of a clip by a fusion of its streams. Trained by `unifusion train emotion` on `{source}` "
        f"({result.get('steps')} steps); all choices are in `provenance.json`.", "",
        "| stream | encoder | weights | trained |", "|---|---|---|---|", *streams, "",
        "| choice | value |", "|---|---|", *(f"| {k} | {choices[k]} |" for k in _SHOWN if choices.get(k) is not None), "",
        "## Figures", "Val rows chose the weights and the temperature; test rows did neither. UAR is the mean recall of the labels; "
        "chance is that of guessing, majority the accuracy of always giving the most frequent label.", "",
        "| split | streams | rows | UAR | chance | accuracy | majority | CCC valence | CCC arousal |", "|---" * 9 + "|",
        *figures, "",
        "## Use it", "```", f"unifusion emotion clip.mp4 --model {name}", f"unifusion eval emotion --model {name} ..", "```", "",
        "The licences of the weights and data above are those of their authors. Labels of acted or annotated emotion are not what somebody "
        "feels: do not judge people by them.", "",
    ]  # fmt: skip
    return "\n".join(lines)


def _weights(choices: Mapping[str, Any], name: str, stream: Any) -> str:
    """Where an encoder's weights came from."""
    given = (choices.get("streams") or {}).get(name)
    if isinstance(given, Mapping) and "checkpoint" in given:
        return f"{given['checkpoint']} ({given.get('stream', name)})"
    return str(stream.spec.encoder_choices.source or "inline")


def _trained(blocks: int) -> str:
    """How much of an encoder is trained."""
    return {0: "frozen", -1: "all of it"}.get(blocks, f"the last {blocks} blocks")


def _figures(split: str, condition: str, rows: Sequence[Prediction]) -> str:
    """A row of the table."""
    labelled = [r for r in rows if r.truth and r.probabilities]
    cells = [split, condition, str(len(rows))]
    if labelled:
        truths, answers = [r.truth for r in labelled], [r.answer for r in labelled]
        right = sum(t == a for t, a in zip(truths, answers, strict=True)) / len(labelled)
        most = Counter(truths).most_common(1)[0][1] / len(labelled)
        cells += [f"{macro_recall(answers, truths):.3f}", f"{1 / len(set(truths)):.3f}", f"{right:.3f}", f"{most:.3f}"]
    else:
        cells += [""] * 4
    for key in ("valence", "arousal"):
        pairs = [(getattr(r, f"true_{key}"), getattr(r, key)) for r in rows]
        known = [(t, p) for t, p in pairs if t is not None and p is not None and math.isfinite(t)]
        cells.append(f"{ccc(*np.asarray(known).T[::-1]):.3f}" if len(known) > 1 else "")
    return f"| {' | '.join(cells)} |"
