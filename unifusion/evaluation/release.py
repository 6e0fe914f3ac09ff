"""The last stage: put the parts together, measure them on held-out clips, write the checkpoint and its card."""

from __future__ import annotations

import hashlib
import json
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from unifusion import checkpoint
from unifusion.engine import Engine
from unifusion.evaluation.world import evaluate_world, held_out_questions, table, write_results
from unifusion.processor import StreamSpec
from unifusion.training.chat import assemble

__all__ = ["release"]

STAGES = ("tokenizer", "language", "align/video", "align/audio", "adapt", "instruct")


def release(run: str | Path, specs: Mapping[str, StreamSpec], out: str | Path, *, questions: int) -> dict[str, Any]:
    """Write `out` from the stages below `run`; figures and training logs go with it.

    Args:
        run: folder with the stages' folders.
        specs: the streams, as stage `instruct` had them.
        out: the checkpoint.
        questions: held-out questions to measure with.
    """
    folder = Path(run)
    model, processor = assemble(folder / "language", specs, folder / "align", folder / "instruct")
    asked = held_out_questions(count=questions)
    results = evaluate_world(Engine(model, processor), asked)
    write_results(results, folder / "evaluation")
    stages = {s: _stage(folder / s) for s in STAGES if (folder / f"{s}.done.json").is_file()}
    earlier = folder / "before" / "provenance.json"
    before = json.loads(earlier.read_text(encoding="utf-8")) if earlier.is_file() else None
    provenance: dict[str, Any] = {
        "recipe": "train/tiny.py",
        "stages": stages,
        "git_commit": _commit(),
        "torch": torch.__version__,
        "data": {"clip_world": _hash(folder / "align.clips" / "scripts.jsonl")},
        "metrics": {n: {k: round(v, 4) for k, v in row.items()} for n, row in results["needs"].items()},
        **({"before": before} if before else {}),
    }
    text = card(results, _rounds(provenance), model)
    checkpoint.save(model, processor, out, provenance=provenance, card=text, self_contained=True, dtype=torch.float16)
    _logs(folder, Path(out))
    return provenance


def _rounds(provenance: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The stages of each round of training, the first one first."""
    earlier = _rounds(provenance["before"]) if provenance.get("before") else []
    return [*earlier, provenance["stages"]]


def _stage(path: Path) -> dict[str, Any]:
    """Choices and seconds of a finished stage."""
    done: dict[str, Any] = json.loads(path.with_name(path.name + ".done.json").read_text(encoding="utf-8"))
    return done


def _commit() -> str:
    """The commit this was made from, or "unknown" outside a checkout."""
    try:
        found = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, check=True, cwd=Path(__file__).parent)
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return found.stdout.strip()


def _hash(path: Path) -> str:
    """sha256 of a file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _logs(run: Path, out: Path) -> None:
    """Training logs of all stages as one CSV, and a plot of each loss."""
    before = run / "before" / "training_log.csv"
    lines = ["stage,step,loss"]
    if before.is_file():
        lines += [f"before/{line}" for line in before.read_text(encoding="utf-8").splitlines()[1:]]
    for name in STAGES:
        path = run / name / "loss.csv"
        if path.is_file():
            lines += [f"{name},{line}" for line in path.read_text(encoding="utf-8").splitlines()[1:]]
    (out / "training_log.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    names = [n for n in STAGES if (run / n / "loss.csv").is_file()]
    figure, axes = pyplot.subplots(1, len(names), figsize=(3.2 * len(names), 2.8), squeeze=False)
    for axis, name in zip(axes[0], names, strict=True):
        points = [line.split(",") for line in (run / name / "loss.csv").read_text(encoding="utf-8").splitlines()[1:]]
        axis.plot([int(s) for s, _ in points], [float(v) for _, v in points], linewidth=1)
        axis.set(title=name, xlabel="step")
    figure.tight_layout()
    figure.savefig(out / "training_log.png", dpi=90)
    pyplot.close(figure)


def card(results: Mapping[str, Any], rounds: Sequence[Mapping[str, Any]], model: Any) -> str:
    """The model card, from measured figures only."""
    size = sum(p.numel() for p in model.parameters())
    better = [n for n, row in results["needs"].items() if row["all"] > row["most frequent answer"]]
    verdict = f"It beats the most frequent answer on questions about: {', '.join(better) or 'nothing yet'}."
    minutes = [", ".join(f"{s} {v['seconds'] / 60:.0f}" for s, v in stages.items()) for stages in rounds]
    trained = "\n".join(f"- round {i}: {told}" for i, told in enumerate(minutes, 1)) if len(rounds) > 1 else minutes[0]
    return f"""---
license: apache-2.0
library_name: unifusion-x
pipeline_tag: any-to-any
---
# tiny-chat

A very small chat model ({size / 1e6:.1f} million weights in all) that sees and hears rendered clips of clip world. It
shows that every stage of UniFusion-X works, offline and on a few CPU cores. It was trained from nothing by the recipes
of `make tiny`; no pretrained weights and no recorded people are in it.

## What it can't do
It has met only clip world: drawn faces, synthetic voices in four languages, thirteen synthetic sounds and coloured
shapes, in clips of six seconds. On real clips it answers in the words of clip world, mostly wrongly. Its English is
the questions and answers of clip world. Clips over twelve seconds are cropped, and the report says so.

## Figures
{results["questions"]} questions about held-out clips (split `test_iid`, a seed that training never drew), greedy,
strict parsing. "Muted" columns: the same questions with a stream taken away. "Most frequent answer": the best
constant answer of each question family. {verdict}

{table(dict(results))}

By family:

{table(dict(results), "families")}

## Training
Stages, minutes:

{trained}

A later round goes on from the checkpoint before (`unifusion train tiny --on`). Choices of every stage are in
`provenance.json`, losses in `training_log.csv`, those of the last round in `training_log.png`.

## Data
Clip world (this project, Apache-2.0), rendered from seeds: `provenance.json` holds the hash of all scripts.
"""
