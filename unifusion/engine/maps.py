"""Where a model looked: how much of its attention each moment of each stream got, and within a moment each place of the picture.

Of a fusion, what its outputs attended to; of a chat model, what its adapters' queries attended to, which says where they looked and not
what the label hangs on (`explain` tells that). Where a model has no attention to show, short windows are occluded instead.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from unifusion.batch import Features
from unifusion.engine.answers import EmotionAnswer
from unifusion.engine.explain import Asked, AskedChat, AskedFusion, explain
from unifusion.models.affect_rows import collate_affect, to_device
from unifusion.models.chat import UniFusionForConditionalGeneration
from unifusion.processor import StreamItem

__all__ = ["StreamMap", "maps"]

_FINER_S = 0.25


@dataclass(frozen=True, kw_only=True)
class StreamMap:
    """One stream of one clip over time.

    Attributes:
        stream: its name.
        modality: video, image, audio or text.
        clip: number of the clip.
        of: attention of the fusion, attention of the adapter, or occlusion.
        times_s: of T moments, ascending.
        weights_T: how much each got; of an occlusion by how much the label's probability falls.
        grids_TRC: weights of the places of a moment, (T, rows, columns), row by row from the top left; None where a moment has no grid.
    """

    stream: str
    modality: str
    clip: int
    of: str
    times_s: tuple[float, ...]
    weights_T: Tensor
    grids_TRC: Tensor | None = None

    def to_dict(self) -> dict[str, Any]:
        """The JSON form."""
        grids = None if self.grids_TRC is None else [[[round(v, 6) for v in r] for r in grid] for grid in self.grids_TRC.tolist()]
        return {
            "stream": self.stream, "clip": self.clip, "of": self.of, "times_s": [round(t, 4) for t in self.times_s],
            "weights": [round(w, 6) for w in self.weights_T.tolist()], **({"grids": grids} if grids is not None else {}),
        }  # fmt: skip


@torch.no_grad()
def maps(asked: Asked, answer: EmotionAnswer) -> list[StreamMap]:
    """Where the model looked, for each stream whose seconds are those of the clips."""
    weights = _of_fusion(asked) if isinstance(asked, AskedFusion) else _of_adapters(asked)
    of = "attention of the fusion" if isinstance(asked, AskedFusion) else "attention of the adapter"
    found, lacking = [], set()
    for k, clip in enumerate(asked.clips):
        for name, item in clip.items():
            if name not in asked.clocked:
                continue
            if (k, name) in weights:
                found.append(_moments(name, asked.modality[name], k, of, item, weights[k, name]))
            else:
                lacking.add((k, name))
    if lacking:
        windows = [w for w in explain(asked, answer, window_s=_FINER_S).windows if (w.clip, w.stream) in lacking]
        for k, name in sorted(lacking):
            own = [w for w in windows if (w.clip, w.stream) == (k, name)]
            times = tuple((w.start_s + w.end_s) / 2 for w in own)
            drops_T = torch.tensor([w.drop for w in own])
            found.append(StreamMap(stream=name, modality=asked.modality[name], clip=k, of="occlusion", times_s=times, weights_T=drops_T))
    return found


def _of_fusion(asked: AskedFusion) -> dict[tuple[int, str], Tensor]:
    """Stream -> weights (S,)."""
    model = asked.engine.model
    batch = to_device(collate_affect([asked.row], model.config), model.device)
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
        stream=name, modality=modality, clip=clip, of=of, times_s=tuple(times.tolist()), weights_T=weights_T, grids_TRC=grids
    )
