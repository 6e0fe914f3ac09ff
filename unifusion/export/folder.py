"""The folder that `unifusion export` writes: graphs, what they take and how far they are from PyTorch, and how to run them."""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from tqdm import tqdm

from unifusion import __version__
from unifusion.atomic import atomic_folder
from unifusion.conversation import Media
from unifusion.engine.embedder import Embedder
from unifusion.errors import CheckpointError, ConfigError
from unifusion.export._readme import readme
from unifusion.export.graph import Graph, graphs_of, trace
from unifusion.export.inputs import Plan, random_clips, stack
from unifusion.export.onnx_files import OnnxGraph, packages, quantize, write_onnx
from unifusion.export.pt2 import load_pt2, write_pt2
from unifusion.models.aligner import CLIP
from unifusion.processor import OpenedMedia

__all__ = ["TOLERANCE", "Format", "export_model", "prepare", "read_told", "stacked"]

Format = Literal["onnx", "pt2"]
TOLERANCE = 1e-4
"""How far a component of a vector may be from PyTorch's; a file beyond it is not kept."""
_TOLD = "export.json"
_BATCHES = (1, 2, 5)
_PACKAGES = ("torch", "transformers", "onnx", "onnxscript", "onnxruntime", "numpy")
Run = Callable[[Mapping[str, np.ndarray]], np.ndarray]


def export_model(
    embedder: Embedder, out: str | Path, *, format: Format = "onnx", int8: bool = False, streams: Sequence[str] = (),
    clips: Sequence[Media] = (),
) -> dict[str, Any]:  # fmt: skip
    """Write a model's graphs into a folder, each held against PyTorch at batches of 1, 2 and 5, and what they are as export.json.

    Args:
        embedder: the model, on the CPU.
        out: folder; an export that is there is replaced as a whole.
        format: `onnx` or `pt2`.
        int8: write the matrices of each ONNX file in int8 beside it, too.
        streams: those that are wanted, alone; none: each, and each space of several.
        clips: real clips to hold the graphs against, beside noise.

    Returns:
        What export.json says.

    Raises:
        ConfigError: int8 of a `.pt2`, a missing package, another folder in the way, or a stream that cannot be exported: its encoder is
            named, and why. Nothing is written then.
    """
    target = Path(out)
    _hold(target, embedder, format, int8)
    opened = [embedder.open(m) for m in random_clips(embedder, sum(_BATCHES))]
    real = [embedder.open(m) for m in clips]
    graphs = graphs_of(embedder.model, opened[0].streams, streams)
    programs = [trace(g, [o.streams for o in opened]) for g in graphs]
    told = _about(embedder, format)
    with atomic_folder(target) as work:
        for graph, program in tqdm([*zip(graphs, programs, strict=True)], unit="graph", disable=not sys.stderr.isatty()):
            told["graphs"][graph.plan.name] = _write(work, graph, program, format)
            run = _runner(work / told["graphs"][graph.plan.name]["file"], format)
            told["graphs"][graph.plan.name] |= _held(work, graph, run, embedder, opened, real)
            if int8:
                told["graphs"][graph.plan.name]["int8"] = _in_int8(work, graph, run, opened)
        (work / _TOLD).write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")
        (work / "README.md").write_text(readme(told), encoding="utf-8")
    return told


def prepare(folder: str | Path, embedder: Embedder, media: Sequence[Media]) -> dict[str, dict[str, np.ndarray]]:
    """What the graphs of a folder take of some clips: graph -> its inputs; graphs of whose streams no clip has any are left out.

    Raises:
        CheckpointError: it is no such folder.
        MediaError: a clip cannot be opened; it is named.
    """
    opened = [embedder.open(m) for m in media]
    plans = {name: Plan.from_dict(graph) for name, graph in read_told(folder)["graphs"].items()}
    there = {name for clip in opened for name in clip.streams}
    return {n: stacked(plan, opened) for n, plan in plans.items() if there & set(plan.streams)}


def stacked(plan: Plan, opened: Sequence[OpenedMedia]) -> dict[str, np.ndarray]:
    """What a graph takes of some opened clips, as NumPy has it."""
    return {name: tensor.numpy() for name, tensor in stack(plan, [o.streams for o in opened]).items()}


def read_told(folder: str | Path) -> dict[str, Any]:
    """The export.json of a folder.

    Raises:
        CheckpointError: there is none.
    """
    path = Path(folder) / _TOLD
    try:
        told: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path} cannot be read: {error};", remedy="name a folder that `unifusion export` wrote.") from error
    return told


def _hold(target: Path, embedder: Embedder, format: str, int8: bool) -> None:
    """Refuse what cannot be done, before the work is.

    Raises:
        ConfigError: says why.
    """
    if format not in ("onnx", "pt2"):
        raise ConfigError(f"the format {format!r};", remedy="take onnx or pt2.")
    if int8 and format != "onnx":
        raise ConfigError("int8 is written for ONNX alone;", remedy="take --format onnx.")
    if target.is_file() or (target.is_dir() and any(target.iterdir()) and not (target / _TOLD).is_file()):
        raise ConfigError(f"{target} is there and is no export;", remedy="name another folder; this one would be replaced.")
    if embedder.model.device.type != "cpu":
        raise ConfigError(f"the model is on {embedder.model.device};", remedy="load it on the CPU: Embedder.load(.., device='cpu').")
    if format == "onnx":
        packages()


def _about(embedder: Embedder, format: str) -> dict[str, Any]:
    """What export.json says of the model."""
    versions = {"unifusion-x": __version__}
    for name in _PACKAGES:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    media = embedder.model.config.spaces_of("media")
    return {
        "model": embedder.name, "key": embedder.key, "format": format, "width": embedder.width, "scale": embedder.scale,
        "calibration": embedder.calibration, "max_seconds": embedder.max_seconds, "spaces": list(embedder.model.config.towers),
        CLIP: list(media), "versions": versions, "graphs": {},
    }  # fmt: skip


def _write(work: Path, graph: Graph, program: torch.export.ExportedProgram, format: str) -> dict[str, Any]:
    """Write a graph; what export.json says of its file."""
    path = work / f"{graph.plan.name}.{format}"
    if format == "onnx":
        write_onnx(graph, program, path)
    else:
        write_pt2(program, path)
    output = {"name": "vector", "dtype": "float32", "shape": ["batch", graph.width]}
    return {"file": path.name, **_size(path), **graph.plan.to_dict(), "output": output}


def _size(path: Path) -> dict[str, Any]:
    """Bytes of a file with what lies beside it, and the file's hash."""
    parts = [path, *path.parent.glob(f"{path.name}.data")]
    return {"bytes": sum(p.stat().st_size for p in parts), "sha256": hashlib.sha256(path.read_bytes()).hexdigest()}


def _runner(path: Path, format: str) -> Run:
    """What runs a file: inputs by name to vectors (B, D)."""
    if format == "onnx":
        return OnnxGraph(path)
    run = load_pt2(path)
    return lambda given: run({k: torch.from_numpy(v) for k, v in given.items()}).numpy()


def _held(
    work: Path, graph: Graph, run: Run, embedder: Embedder, opened: Sequence[OpenedMedia], real: Sequence[OpenedMedia]
) -> dict[str, Any]:  # fmt: skip
    """Hold a file against PyTorch and write an example of what it takes; what export.json says of both.

    Raises:
        ConfigError: it is farther away than TOLERANCE.
    """
    plan, first, parity = graph.plan, 0, {}
    for size in _BATCHES:
        parity[f"noise, batch {size}"] = _distance(plan, run, embedder, opened[first : first + size])
        first += size
    some = [o for o in real if set(plan.streams) & set(o.streams)]
    for n, each in enumerate(some):
        parity[f"clip {n}"] = _distance(plan, run, embedder, [each])
    if some:
        parity[f"clips, batch {len(some)}"] = _distance(plan, run, embedder, some)
    worst = max(parity.values())
    if not worst <= TOLERANCE:
        found = f"stream {graph.told}: the exported graph is {worst:.1e} from PyTorch, wanted {TOLERANCE:g} at most;"
        raise ConfigError(found, remedy="take the other --format, or the versions of constraints.txt.")
    given = stacked(plan, opened[:2])
    example = work / f"{plan.name}.example.npz"
    arrays: dict[str, Any] = {**given, "vector": _wanted(plan, embedder, opened[:2])}
    np.savez(example, **arrays)
    return {"parity": {"max_abs": worst, "tolerance": TOLERANCE, "by": parity}, "example": example.name}


def _distance(plan: Plan, run: Run, embedder: Embedder, opened: Sequence[OpenedMedia]) -> float:
    """Farthest that any component of a file's vectors is from the model's."""
    return float(np.abs(run(stacked(plan, opened)) - _wanted(plan, embedder, opened)).max())


def _wanted(plan: Plan, embedder: Embedder, opened: Sequence[OpenedMedia]) -> np.ndarray:
    """The model's own vectors (B, D) of the streams that a graph reads."""
    alone = [replace(o, streams={n: item for n, item in o.streams.items() if n in plan.streams}) for o in opened]
    return np.stack([e.vectors[plan.space] for e in embedder.embed_opened(alone)])


def _in_int8(work: Path, graph: Graph, run: Run, opened: Sequence[OpenedMedia]) -> dict[str, Any]:
    """Write a graph's int8 file; what export.json says of it."""
    name = graph.plan.name
    path = work / f"{name}.int8.onnx"
    quantize(work / f"{name}.onnx", path)
    given = stacked(graph.plan, opened)
    cosine = float((OnnxGraph(path)(given) * run(given)).sum(axis=1).mean())
    return {"file": path.name, **_size(path), "mean_cosine_of_noise": cosine}
