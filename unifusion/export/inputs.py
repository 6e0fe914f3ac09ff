"""What a graph takes: its inputs by name, and opened clips as rectangular batches of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from unifusion.conversation import Clip, Media
from unifusion.engine.embedder import Embedder
from unifusion.models.aligner import Aligner
from unifusion.processor import StreamItem

__all__ = ["LEAST_TOKENS", "Input", "Plan", "plan_of", "random_clips", "stack"]

LEAST_TOKENS = 2
"""Of a window whose padding is cut off: torch.export takes an axis of one for a constant."""
_WORDS = "a dog barks while someone laughs in the rain and then rings a red bell near an old quiet train".split()


@dataclass(frozen=True, kw_only=True)
class Input:
    """One tensor that a graph takes.

    Attributes:
        name: in the graph.
        stream: whose.
        key: what the encoder calls it; `times` and `mask` are those of its tokens.
        dtype: of torch and NumPy (`float32`).
        shape: sizes, and names of the axes that may have any: `batch`, `chunks`, `tokens`.
    """

    name: str
    stream: str
    key: str
    dtype: str
    shape: tuple[int | str, ...]


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What a graph reads and gives.

    Inputs are rectangular: a clip of fewer chunks than another of its batch is filled up with zeros whose mask is False, and a stream
    that a clip lacks is one such chunk.

    Attributes:
        space: whose vector.
        streams: that are read.
        inputs: in order.
        cuts: stream -> its tensor that says which places of a window are no padding, where the rest may be cut off.
        windows: stream -> places of such a window.
    """

    space: str
    streams: tuple[str, ...]
    inputs: tuple[Input, ...]
    cuts: Mapping[str, str]
    windows: Mapping[str, int]

    @property
    def name(self) -> str:
        """What to call the graph: its streams."""
        return "+".join(self.streams)

    def to_dict(self) -> dict[str, Any]:
        """The JSON form."""
        return asdict(self)

    @classmethod
    def from_dict(cls, raw: Mapping[str, Any]) -> Plan:
        """Read the JSON form; further keys are left alone."""
        inputs = tuple(Input(**{**i, "shape": tuple(i["shape"])}) for i in raw["inputs"])
        return cls(space=raw["space"], streams=tuple(raw["streams"]), inputs=inputs, cuts=raw["cuts"], windows=raw["windows"])


def plan_of(model: Aligner, space: str, items: Mapping[str, StreamItem]) -> Plan:
    """What the graph of some streams of a space takes; `items` are one opened clip's, for names and sizes."""
    cuts = {n: str(model.streams[n].spec.encoder_class.cut) for n in items}
    cuts = {n: key for n, key in cuts.items() if key}
    windows = {n: int(items[n].tensors[key].shape[-1]) for n, key in cuts.items()}
    inputs = [i for n, item in items.items() for i in _inputs(n, item, windows.get(n), alone=len(items) == 1)]
    return Plan(space=space, streams=tuple(items), inputs=tuple(inputs), cuts=cuts, windows=windows)


def _inputs(stream: str, item: StreamItem, window: int | None, *, alone: bool) -> list[Input]:
    """What a graph takes of a stream, from one opened clip's."""
    before = "" if alone else f"{stream}_"
    first: tuple[int | str, ...] = ("batch", f"{before}chunks")
    per_chunk: int | str = len(item.times_S) // _chunks(item)
    told: list[tuple[str, str, tuple[int | str, ...]]] = []
    for key, tensor in item.tensors.items():
        sizes: tuple[int | str, ...] = tuple(tensor.shape[1:])
        told.append((key, str(tensor.dtype).removeprefix("torch."), sizes if window is None else (*sizes[:-1], f"{before}tokens")))
    tokens = f"{before}tokens" if per_chunk == window else per_chunk
    told += [("times", "float32", (tokens,)), ("mask", "bool", (tokens,))]
    return [Input(name=f"{before}{key}", stream=stream, key=key, dtype=kind, shape=(*first, *sizes)) for key, kind, sizes in told]


def stack(
    plan: Plan, clips: Sequence[Mapping[str, StreamItem]], *, least_chunks: int = 1, least_tokens: int = LEAST_TOKENS
) -> dict[str, Tensor]:  # fmt: skip
    """What a graph takes of some opened clips: each input (B, K, ..), filled up with zeros and masks that are False.

    Args:
        plan: of the graph.
        clips: stream -> item of each clip; a stream that a clip lacks is left out.
        least_chunks: K, at the least.
        least_tokens: of windows whose padding is cut off.
    """
    out: dict[str, Tensor] = {}
    for stream in plan.streams:
        items = [clip.get(stream) for clip in clips]
        chunks = max([least_chunks, *(_chunks(i) for i in items if i is not None)])
        cut = plan.cuts.get(stream)
        tokens = max([least_tokens, *(_real(i.tensors[cut]) for i in items if i is not None)]) if cut else 0
        for given in (i for i in plan.inputs if i.stream == stream):
            sizes = [tokens if isinstance(s, str) else s for s in given.shape[2:]]
            batch = torch.zeros(len(clips), chunks, *sizes, dtype=getattr(torch, given.dtype))
            for row, item in zip(batch, items, strict=True):
                if item is not None:
                    found = _of(item, given.key)[..., : sizes[-1]] if sizes else _of(item, given.key)
                    row[: len(found)] = found
            out[given.name] = batch
    return out


def _chunks(item: StreamItem) -> int:
    """C of an item."""
    return len(next(iter(item.tensors.values())))


def _of(item: StreamItem, key: str) -> Tensor:
    """A tensor (C, ..) of an item; times and mask as (C, S)."""
    if key not in ("times", "mask"):
        return item.tensors[key]
    flat_S = item.times_S if key == "times" else item.mask_S
    return flat_S.view(_chunks(item), -1)


def _real(mask_CL: Tensor) -> int:
    """Places up to the last that is real in any chunk."""
    found = mask_CL.ne(0).any(dim=0).nonzero()
    return int(found.max()) + 1 if len(found) else 1


def random_clips(embedder: Embedder, count: int, *, seed: int = 0) -> list[Media]:
    """Clips of noise with words, up to six seconds long, each with all that any stream reads."""
    rng = np.random.default_rng(seed)
    made = []
    for _ in range(count):
        seconds = float(rng.uniform(0.6, min(6.0, embedder.max_seconds)))
        times_T = np.arange(0.0, seconds, 0.04)
        colour_3 = rng.integers(0, 200, 3)
        frames = (colour_3 + rng.integers(0, 55, (len(times_T), 48, 64, 3))).astype(np.uint8)
        sound_N = rng.normal(0, 10 ** rng.uniform(-2, -0.7), round(seconds * 16_000))
        sound_N += 0.2 * np.sin(2 * np.pi * rng.uniform(100, 3000) * np.arange(len(sound_N)) / 16_000)
        clip = Clip(
            frames_THWC=frames, frame_times_s=times_T, waveform_N=sound_N.astype(np.float32).clip(-1, 1), duration_s=seconds,
            transcript=" ".join(rng.choice(_WORDS, int(rng.integers(1, 30)))),
        )  # fmt: skip
        made.append(Media(kind="video", source=clip))
    return made
