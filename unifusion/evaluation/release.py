"""The last stage: put the parts together, measure them on held-out clips, write the checkpoint and its card."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from unifusion import catalog, checkpoint
from unifusion.datasets.mixture import Mixture
from unifusion.engine import Engine
from unifusion.evaluation.calibrate import calibrate, measure_calibration
from unifusion.evaluation.card import RESULTS, write_card
from unifusion.evaluation.free import evaluate_free, read_free
from unifusion.evaluation.people import PROBES, WORDS, evaluate_people
from unifusion.evaluation.rationales import evaluate_rationales
from unifusion.evaluation.world import evaluate_world, held_out_questions, write_results
from unifusion.processor import StreamSpec
from unifusion.training.chat import assemble
from unifusion.training.grammar import Grammar
from unifusion.training.stage import commit

__all__ = ["Real", "calibration_of", "release"]

TASKS = ("emotion", "sound", "digit", WORDS)
"""Tasks that are calibrated."""
STAGES = ("tokenizer", "language", "ground/video", "ground/audio", "adapt", "instruct")


@dataclass(frozen=True, kw_only=True)
class Real:
    """Real sets of one mixture: those trained on, chosen by, and measured on; texts; how they are asked about; free questions, if any."""

    train: Mixture
    texts: Mixture
    val: Mixture
    test: Mixture
    grammar: Grammar
    free: Path | None = None


def release(
    run: str | Path, specs: Mapping[str, StreamSpec], out: str | Path, *, questions: int, real: Real | None = None
) -> dict[str, Any]:  # fmt: skip
    """Write `out` from the stages below `run`; figures and training logs go with it.

    Args:
        run: folder with the stages' folders.
        specs: the streams, as stage `instruct` had them.
        out: the checkpoint.
        questions: held-out questions to measure with.
        real: the real sets, where the model was trained on any.
    """
    folder = Path(run)
    model, processor = assemble(folder / "language", specs, folder / "ground", folder / "instruct")
    asked = held_out_questions(count=questions)
    engine = Engine(model, processor)
    results = {"world": evaluate_world(engine, asked), **(_real(engine, real) if real is not None else {})}
    write_results(results["world"], folder / "evaluation")
    stages = {s: _stage(folder / s) for s in STAGES if (folder / f"{s}.done.json").is_file()}
    earlier = folder / "before" / "provenance.json"
    before = json.loads(earlier.read_text(encoding="utf-8")) if earlier.is_file() else None
    provenance: dict[str, Any] = {
        "recipe": "train/tiny.py",
        "stages": stages,
        "git_commit": commit(),
        "torch": torch.__version__,
        "cores": os.cpu_count(),
        "data": {
            "clip_world": _hash(folder / "ground.clips" / "scripts.jsonl"),
            **({"sets": [*_sets(real.train), *_sets(real.texts)]} if real is not None else {}),
        },
        "metrics": {n: {k: round(v, 4) for k, v in row.items()} for n, row in results["world"]["needs"].items()},
        **({"before": before} if before else {}),
    }
    checkpoint.save(model, processor, out, provenance=provenance, self_contained=True, dtype=torch.float16)
    told = Path(out) / RESULTS
    told.mkdir()
    for name, found in results.items():
        kept = {k: v for k, v in found.items() if k != "predictions"}
        (told / f"{name}.json").write_text(json.dumps(kept, indent=1) + "\n", encoding="utf-8")
    if "calibration" in results:
        _draw_risk(results["calibration"], told / "risk_coverage.png")
    _logs(folder, Path(out))
    write_card(out)
    return provenance


def _real(engine: Engine, real: Real) -> dict[str, Any]:
    """Calibrate on val, then measure on test.

    Val and test may share a speaker (of the spoken digits one alone is held out, and each has half of his takes), never a row.

    Raises:
        DatasetError: a speaker, recording or dialogue that was trained on is in one of them.
    """
    for held_out in (real.val, real.test):
        real.train.hold_apart(held_out)
    model = engine.model
    model.config.calibration = {}
    chosen = {name: p for name, p in PROBES.items() if p.task in TASKS and not p.mute}
    fitted_on = evaluate_people(engine, real.val, real.grammar, known=real.train, probes=chosen)["predictions"]
    by_task = {t: [r for r in fitted_on if chosen[r["probe"]].task == t] for t in TASKS}
    model.config.calibration = {task: calibrate(records) for task, records in by_task.items() if records}
    people = evaluate_people(engine, real.test, real.grammar, known=real.train)
    out = {
        "people": people, "calibration": calibration_of(people["predictions"], model.config.calibration),
        "rationales": evaluate_rationales(engine, real.test),
    }  # fmt: skip
    return out | ({"free": evaluate_free(engine, read_free(real.free), real.test)} if real.free is not None else {})


def calibration_of(predictions: Sequence[Mapping[str, Any]], fitted: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """What the fitted temperature, biases and threshold of each task gain on predictions of PROBES: see `measure_calibration`."""
    out = {}
    for task, told in fitted.items():
        probes = {n for n, p in PROBES.items() if p.task == task and not p.mute}
        records = [r for r in predictions if r["probe"] in probes]
        if records:
            out[task] = measure_calibration(records, **told)
    return out


def _sets(mixture: Mixture) -> list[dict[str, Any]]:
    """The parts of a mixture with rows, source and licence as the readers' docstrings tell them."""
    found = []
    for name, rows in mixture.parts.items():
        told = " ".join((catalog.load("datasets", mixture.kinds[name]).__doc__ or "").split())
        source = told.partition("Source: ")[2].partition(" Layout")[0]
        ids = hashlib.sha256("\n".join(r.id for r in rows).encode()).hexdigest()
        found.append({"name": name, "dataset": mixture.kinds[name], "rows": len(rows), "source": source, "ids": ids})
    return found


def _stage(path: Path) -> dict[str, Any]:
    """Choices and seconds of a finished stage; where the real sets lay is nobody's business."""
    done: dict[str, Any] = json.loads(path.with_name(path.name + ".done.json").read_text(encoding="utf-8"))
    if done["choices"].get("data"):
        done["choices"]["data"] = Path(done["choices"]["data"]).name
    return done


def _hash(path: Path) -> str:
    """sha256 of a file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _draw_risk(tasks: Mapping[str, Mapping[str, Any]], path: Path) -> None:
    """Share of wrong answers against the share of answers given, a curve a task, with the threshold that ships."""
    figure, axis = _pyplot().subplots(figsize=(4.2, 3.0))
    for task, told in tasks.items():
        (line,) = axis.plot(told["risk_coverage"]["coverage"], told["risk_coverage"]["risk"], label=task)
        axis.plot(told["coverage"], told["risk"], "o", color=line.get_color())
    axis.set(xlabel="answers given", ylabel="of those wrong", xlim=(0, 1), ylim=(0, None))
    axis.legend()
    _write(figure, path)


def _write(figure: Any, path: Path) -> None:
    """Save a figure and let it go."""
    figure.tight_layout()
    figure.savefig(path, dpi=90)
    _pyplot().close(figure)


def _pyplot() -> Any:
    """Matplotlib without a window."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    return pyplot


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
    names = [n for n in STAGES if (run / n / "loss.csv").is_file()]
    figure, axes = _pyplot().subplots(1, len(names), figsize=(3.2 * len(names), 2.8), squeeze=False)
    for axis, name in zip(axes[0], names, strict=True):
        points = [line.split(",") for line in (run / name / "loss.csv").read_text(encoding="utf-8").splitlines()[1:]]
        axis.plot([int(s) for s, _ in points], [float(v) for _, v in points], linewidth=1)
        axis.set(title=name, xlabel="step")
    _write(figure, out / "training_log.png")
