"""What int8 costs: the same clips and texts through both files."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from unifusion.conversation import Media
from unifusion.engine.embedder import Embedder
from unifusion.errors import ConfigError
from unifusion.export.folder import read_told, stacked
from unifusion.export.inputs import Plan
from unifusion.export.onnx_files import OnnxGraph
from unifusion.metrics.recall_at_k import recall_at_k
from unifusion.models.aligner import CLIP
from unifusion.models.opened_rows import words_media
from unifusion.processor import OpenedMedia

__all__ = ["QuantizedLoss", "quantized_loss"]


@dataclass(frozen=True, kw_only=True)
class QuantizedLoss:
    """Figures of float32 and int8 over the same pairs.

    Attributes:
        pairs: clips, each with its text.
        chance_r1: of R@1.
        float32, int8: `text_to_clip` and `clip_to_text`, each with `r1` and `r10`.
        mean_cosine: of the same input's two vectors, by what it is: each space, and `clip`.
    """

    pairs: int
    chance_r1: float
    float32: dict[str, dict[str, float]]
    int8: dict[str, dict[str, float]]
    mean_cosine: dict[str, float]

    def to_dict(self) -> dict[str, Any]:
        """The JSON form."""
        return asdict(self)


def quantized_loss(folder: str | Path, embedder: Embedder, clips: Sequence[Media], texts: Sequence[str]) -> QuantizedLoss:
    """Measure recall and cosines of float32 and int8 files over clips and their texts, by onnxruntime alone.

    Args:
        folder: of `export_model` with int8, all streams.
        embedder: of the same model; it opens the clips.
        clips: each with picture or sound; what is said in them is left out.
        texts: of clip i, text i. Ties count against the model.

    Raises:
        ConfigError: nothing to measure by, or the folder lacks int8, words or picture and sound.
    """
    if len(clips) != len(texts) or not clips:
        raise ConfigError(f"{len(clips)} clips and {len(texts)} texts;", remedy="give a text for each clip, and at least one.")
    told = read_told(folder)
    if told["key"] != embedder.key:
        raise ConfigError(f"{folder} is of another model than {embedder.name};", remedy="export this one, or load that one.")
    opened = [embedder.open(m.muted("text")) for m in clips]
    said = [embedder.open(words_media(t)) for t in texts]
    vectors: dict[str, dict[str, dict[str, np.ndarray]]] = {"clips": {}, "texts": {}}
    for kind in ("float32", "int8"):
        vectors["clips"][kind] = _vectors(Path(folder), told, opened, kind)
        vectors["texts"][kind] = _vectors(Path(folder), told, said, kind)
    sums = {kind: _clip(list(vectors["clips"][kind].values()), "picture or sound") for kind in ("float32", "int8")}
    words = {kind: _clip(list(vectors["texts"][kind].values()), "words") for kind in ("float32", "int8")}
    figures = {}
    for kind in ("float32", "int8"):
        cosines_NN = words[kind] @ sums[kind].T
        both = {"text_to_clip": cosines_NN, "clip_to_text": cosines_NN.T}
        own_NN = np.eye(len(clips), dtype=bool)
        figures[kind] = {way: {f"r{k}": recall_at_k(c, own_NN, k=k) for k in (1, 10)} for way, c in both.items()}
    cosines = {s: _cosine(v, found["int8"][s]) for found in vectors.values() for s, v in found["float32"].items()}
    cosines[CLIP] = _cosine(sums["float32"], sums["int8"])
    return QuantizedLoss(
        pairs=len(clips), chance_r1=1 / len(clips), float32=figures["float32"], int8=figures["int8"], mean_cosine=cosines
    )  # fmt: skip


def _vectors(folder: Path, told: dict[str, Any], opened: Sequence[OpenedMedia], kind: str, rows: int = 8) -> dict[str, np.ndarray]:
    """Space -> vectors (N, D) of opened clips by the files of a kind; zero where a clip has no stream of the space.

    Raises:
        ConfigError: there is no such file.
    """
    there, out = {name for clip in opened for name in clip.streams}, {}
    plans = {name: Plan.from_dict(graph) for name, graph in told["graphs"].items()}
    for name, plan in plans.items():
        whole = not any(other.space == plan.space and len(other.streams) > len(plan.streams) for other in plans.values())
        if not whole or not there & set(plan.streams):
            continue
        graph = told["graphs"][name]
        if kind == "int8" and "int8" not in graph:
            raise ConfigError(f"{folder} has no int8 of {name};", remedy="export with --int8.")
        run = OnnxGraph(folder / (graph["int8"] if kind == "int8" else graph)["file"])
        parts = [run(stacked(plan, opened[i : i + rows])) for i in range(0, len(opened), rows)]
        out[plan.space] = np.concatenate(parts)
    return out


def _clip(parts: Sequence[np.ndarray], what: str) -> np.ndarray:
    """The sum of spaces (N, D), made one long again.

    Raises:
        ConfigError: a row has none.
    """
    total_ND = np.sum(parts, axis=0) if parts else np.zeros((1, 1))
    length_N1 = np.linalg.norm(total_ND, axis=1, keepdims=True)
    if (length_N1 < 1e-6).any():
        raise ConfigError(f"pair {int(length_N1.argmin())} has no {what} that the model reads;", remedy="leave it out.")
    unit_ND: np.ndarray = total_ND / length_N1
    return unit_ND


def _cosine(first_ND: np.ndarray, second_ND: np.ndarray) -> float:
    """Mean cosine of rows that have a vector."""
    there_N = np.linalg.norm(first_ND, axis=1) > 0.5
    return float((first_ND * second_ND).sum(axis=1)[there_N].mean())
