"""Where a model looked: how much of its attention each moment of each stream got, and within a moment each place of the picture.

Of a fusion, what its outputs attended to; of a chat model, what its adapters' queries attended to, which says where they looked and not
what the label hangs on (`explain` tells that). Where a model has no attention to show, or gives every moment alike whatever
the clip (means do, and queries that each window has for itself), short windows are occluded instead.
"""

from __future__ import annotations

import math
from collections.abc import Set
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from unifusion.batch import Features
from unifusion.engine.answers import EmotionAnswer
from unifusion.engine.explain import Asked, AskedChat, AskedFusion, windows_of
from unifusion.models.chat import UniFusionForConditionalGeneration
from unifusion.models.opened_rows import collate_rows, to_device
from unifusion.processor import StreamItem

__all__ = ["StreamMap", "maps"]

_FINER_S = 0.25
_SAME = 1e-3
"""Weights that differ by less of the largest are the same."""


@dataclass(frozen=True, kw_only=True)
class StreamMap:
    """One stream of one clip over time.

    Attributes:
        stream: its name.
        modality: video, image, audio or text.
        clip: number of the clip.
        of: attention of the fusion, attention of the adapter, or occlusion: what `weights_T` are.
        times_s: of T moments, ascending.
        weights_T: how much each got; of an occlusion by how much the label's probability falls.
        grids_TRC: attention to the places of a moment, (T, rows, columns), row by row from the top left; None where a moment has no grid.
        grid_times_s: of the grids; `times_s`, unless these are of an occlusion.
    """

    stream: str
    modality: str
    clip: int
    of: str
    times_s: tuple[float, ...]
    weights_T: Tensor
    grids_TRC: Tensor | None = None
    grid_times_s: tuple[float, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """The JSON form."""
        grids = None if self.grids_TRC is None else [[[round(v, 6) for v in r] for r in grid] for grid in self.grids_TRC.tolist()]
        return {
            "stream": self.stream, "clip": self.clip, "of": self.of, "times_s": [round(t, 4) for t in self.times_s],
            "weights": [round(w, 6) for w in self.weights_T.tolist()],
            **({"grids": grids, "grid_times_s": [round(t, 4) for t in self.grid_times_s]} if grids is not None else {}),
        }  # fmt: skip


@torch.no_grad()
def maps(asked: Asked, answer: EmotionAnswer) -> list[StreamMap]:
    """Where the model looked, for each stream whose seconds are those of the clips."""
    weights = _of_fusion(asked) if isinstance(asked, AskedFusion) else _of_adapters(asked)
    of = "attention of the fusion" if isinstance(asked, AskedFusion) else "attention of the adapter"
    attended = {
        (k, name): _moments(name, asked.modality[name], k, of, item, weights[k, name]) if (k, name) in weights else None
        for k, clip in enumerate(asked.clips) for name, item in clip.items() if name in asked.clocked
    }  # fmt: skip
    lacking = {key for key, one in attended.items() if one is None or _is_flat(one.weights_T)}
    drops = _drops(asked, answer.label, lacking)
    found = []
    for (k, name), one in attended.items():
        if one is None or (k, name) in lacking:
            looked = one if one and one.grids_TRC is not None and not _is_flat(one.grids_TRC) else None
            one = StreamMap(
                stream=name, modality=asked.modality[name], clip=k, of="occlusion",
                times_s=tuple(at for at, _ in drops[k, name]), weights_T=torch.tensor([drop for _, drop in drops[k, name]]),
                grids_TRC=looked.grids_TRC if looked else None, grid_times_s=looked.grid_times_s if looked else (),
            )  # fmt: skip
        found.append(one)
    return found


def _drops(asked: Asked, label: str, lacking: Set[tuple[int, str]]) -> dict[tuple[int, str], list[tuple[float, float]]]:
    """The middle of each short window of some streams, and by how much the label's probability falls without it."""
    if not lacking:
        return {}
    tried = [(where, variant) for where, variant in windows_of(asked, _FINER_S) if where[:2] in lacking]
    base, *without = asked.told(label, [asked.clips, *[variant for _, variant in tried]])
    found: dict[tuple[int, str], list[tuple[float, float]]] = {key: [] for key in lacking}
    for ((k, name, start_s, end_s), _), probability in zip(tried, without, strict=True):
        found[k, name].append(((start_s + end_s) / 2, base - probability))
    return found


def _is_flat(weights: Tensor) -> bool:
    """Whether every one of several moments or places got the same."""
    return weights.numel() > 1 and float(weights.max() - weights.min()) <= _SAME * float(weights.max())


def _of_fusion(asked: AskedFusion) -> dict[tuple[int, str], Tensor]:
    """Stream -> weights (S,)."""
    model = asked.engine.model
    batch = to_device(collate_rows([asked.row], model.streams, model.config.metadata), model.device)
    return {(0, n): w_BS[0].float().cpu() for n, w_BS in model(batch, want_weights=True).weights.items()}


def _of_adapters(asked: Asked) -> dict[tuple[int, str], Tensor]:
    """The same of each clip of a chat model, where its adapters have queries."""
    model = asked.engine.model if isinstance(asked, AskedChat) else None
    if not isinstance(model, UniFusionForConditionalGeneration):
        return {}
    found = {}
    for k, clip in enumerate(asked.clips):
        for name, item in clip.items():
            adapter: Any = model.adapters[name]
            if item.tokens_SD is None:
                continue
            tokens_1SD = item.tokens_SD[None].to(next(adapter.parameters()))
            times_1S, mask_1S = (x[None].to(tokens_1SD.device) for x in (item.times_S, item.mask_S))
            looks_BS = adapter.attention(Features(tokens_BSD=tokens_1SD, mask_BS=mask_1S, times_BS=times_1S))
            if looks_BS is not None:
                found[k, name] = looks_BS[0].float().cpu()
    return found


def _moments(name: str, modality: str, clip: int, of: str, item: StreamItem, weights_S: Tensor) -> StreamMap:
    """Tokens of one moment together."""
    real_S = item.mask_S
    times, place_N = torch.unique(item.times_S[real_S], return_inverse=True)
    own_N = weights_S[: len(real_S)][real_S]
    weights_T = torch.zeros(len(times)).index_add_(0, place_N, own_N)
    grids, counts = None, torch.bincount(place_N, minlength=len(times)).tolist()
    side = math.isqrt(counts[0]) if counts else 0
    if modality in ("video", "image") and side > 1 and set(counts) == {side * side}:
        grids = own_N[place_N.argsort(stable=True)].view(len(times), side, side)
    return StreamMap(
        stream=name, modality=modality, clip=clip, of=of, times_s=tuple(times.tolist()), weights_T=weights_T, grids_TRC=grids,
        grid_times_s=() if grids is None else tuple(times.tolist()),
    )  # fmt: skip
