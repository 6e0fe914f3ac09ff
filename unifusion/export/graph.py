"""What is exported: some streams of one space, from prepared inputs to the vector, by operations that hang on shapes alone."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from unifusion.batch import Features
from unifusion.errors import ConfigError, UniFusionError, nearest
from unifusion.export.inputs import LEAST_TOKENS, Input, Plan, plan_of, stack
from unifusion.models.aligner import Aligner
from unifusion.models.towers import Tower
from unifusion.processor import StreamItem

__all__ = ["Graph", "graphs_of", "reason", "trace"]

_ROWS, _CHUNKS, _TOKENS = 3, 4, 7
"""Of what a graph is traced with; no two are equal, and none is 1, which torch.export takes for one size, or for a constant."""


class Graph(nn.Module):
    """Some streams of one space of an embedding model, with nothing of the others.

    Args:
        model: in eval mode, on the CPU.
        plan: what is read.
    """

    def __init__(self, model: Aligner, plan: Plan) -> None:
        super().__init__()
        self.plan, self.max_seconds, self.width = plan, model.max_seconds, model.config.width
        self.encoders = nn.ModuleDict({n: model.encoders[n] for n in plan.streams})
        self.adapters = nn.ModuleDict({n: model.adapters[n] for n in plan.streams if n in model.adapters})
        self.tower = _only(model.towers[plan.space], plan.streams)
        self.told = " and ".join(f"{n} (encoder {model.streams[n].encoder})" for n in plan.streams)
        self.eval()

    def forward(self, given: dict[str, Tensor]) -> Tensor:
        """Map inputs by name, (B, K, ..) each, to vectors (B, D) of length one; zero where a row has nothing real."""
        tokens: dict[str, Features] = {}
        timed: dict[str, Features] = {}
        for stream in self.plan.streams:
            own = {i.key: given[i.name] for i in self.plan.inputs if i.stream == stream}
            timed[stream] = self._encoded(stream, own)
            adapter: Any = self.adapters[stream] if stream in self.adapters else None
            tokens[stream] = timed[stream] if adapter is None else adapter.traced(timed[stream], self.max_seconds)
        vectors_BD, there_B = self.tower(tokens, timed)
        unit_BD: Tensor = F.normalize(vectors_BD.float(), dim=-1) * there_B[:, None]
        return unit_BD

    def _encoded(self, stream: str, given: dict[str, Tensor]) -> Features:
        """One stream's features (B, K x S, D) of its tensors (B, K, ..) with times and mask (B, K, S)."""
        encoder: Any = self.encoders[stream]
        times_BS, mask_BS = given.pop("times").flatten(1), given.pop("mask").flatten(1)
        rows_and_chunks = next(iter(given.values())).shape[:2]
        tokens_CSD = encoder.encode_traced(**{k: v.flatten(0, 1) for k, v in given.items()})
        tokens_BSD = tokens_CSD.unflatten(0, rows_and_chunks).flatten(1, 2)
        tokens_BSD = torch.where(mask_BS[..., None], tokens_BSD, torch.zeros((), dtype=tokens_BSD.dtype))
        return Features(tokens_BSD=tokens_BSD, mask_BS=mask_BS, times_BS=times_BS)


def _only(tower: Any, streams: Sequence[str]) -> Tower:
    """The same tower without the weights that read other streams."""
    held: Tower = copy.copy(tower)
    parts = {n: nn.ModuleDict({s: m for s, m in getattr(tower, n).items() if s in streams}) for n in ("pools", "clocks")}
    held._modules = {**tower._modules, **parts}
    return held


def graphs_of(model: Aligner, items: Mapping[str, StreamItem], streams: Sequence[str] = ()) -> list[Graph]:
    """The graphs of a model: one for each stream, and one for each space of several.

    Args:
        model: in eval mode.
        items: stream -> one opened clip's.
        streams: those that are wanted, alone; none: everything.

    Raises:
        ConfigError: there is no such stream.
    """
    for stream in streams:
        if stream not in model.streams:
            raise ConfigError(f"the model has no stream {stream!r};", remedy=nearest(stream, list(model.streams)))
    made = []
    for space, names in model.config.towers.items():
        each = [(n,) for n in names if not streams or n in streams]
        whole = [names] if len(names) > 1 and not streams else []
        made += [Graph(model, plan_of(model, space, {n: items[n] for n in some})) for some in [*each, *whole]]
    return made


def trace(graph: Graph, clips: Sequence[Mapping[str, StreamItem]]) -> torch.export.ExportedProgram:
    """The graph as torch.export takes it down, with axes of any size.

    Args:
        graph: the graph.
        clips: opened clips that it is taken down with; they leave no trace.

    Raises:
        ConfigError: it cannot be exported; the encoder is named, and why.
    """
    plan = graph.plan
    example = stack(plan, [clips[i % len(clips)] for i in range(_ROWS)], least_chunks=_CHUNKS, least_tokens=_TOKENS)
    axes = {a: _axis(plan, i, a) for i in plan.inputs for a in i.shape if isinstance(a, str)}
    shapes = {i.name: {n: axes[a] for n, a in enumerate(i.shape) if isinstance(a, str)} for i in plan.inputs}
    try:
        with torch.no_grad():
            return torch.export.export(graph, (example,), dynamic_shapes=(shapes,), strict=False)
    except UniFusionError as error:
        raise ConfigError(f"stream {graph.told} cannot be exported: {error.found}", remedy=error.remedy) from error
    except Exception as error:  # torch has no class of its own for what it cannot take down
        found = f"stream {graph.told} cannot be exported: {reason(error)};"
        raise ConfigError(found, remedy="name the others with --stream, or train with an encoder that docs/export.md lists.") from error


def reason(error: Exception) -> str:
    """The first lines of an error of a library."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {' '.join(lines[:2]):.300}".rstrip(" .;")


def _axis(plan: Plan, given: Input, name: str) -> Any:
    """A free axis: any number of rows and chunks, and tokens as long as a window."""
    if name.endswith("tokens"):
        return torch.export.Dim(name, min=LEAST_TOKENS, max=plan.windows[given.stream])
    return torch.export.Dim(name)
