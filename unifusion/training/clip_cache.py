"""Rendered clips of clip world on disk, memory-mapped: rendered once, read in any order by any epoch."""

from __future__ import annotations

import json
import multiprocessing
from collections.abc import Collection
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from unifusion import atomic
from unifusion.conversation import Clip
from unifusion.errors import DatasetError
from unifusion.training.launch import first_process_first
from unifusion.training.memory import keep_freed_memory
from unifusion.world.sample import sample_script
from unifusion.world.script import Script

__all__ = ["ClipCache", "ClipCacheChoices", "render_cache"]

_BLOCK = 64


@dataclass(frozen=True, kw_only=True)
class ClipCacheChoices:
    """Which clips, and how they are sampled."""

    seed: int = 0
    split: Any = "train"
    count: int = 1000
    duration_s: float = 6.0
    size_px: int = 112
    rate_hz: float = 4.0


class ClipCache:
    """Clips as arrays. Frames (T, H, W, 3) uint8 at `rate_hz`, sound (N,) at 16 kHz, and the script with its word times.

    Args:
        folder: what `render_cache` filled.
        limit: read the first clips only.

    Raises:
        DatasetError: the folder holds no finished cache.
    """

    def __init__(self, folder: str | Path, *, limit: int | None = None) -> None:
        self.folder = Path(folder)
        meta = self.folder / "choices.json"
        scripts = self.folder / "scripts.jsonl"
        if not meta.is_file() or not scripts.is_file():
            raise DatasetError(f"{folder} holds no rendered clips;", remedy="render them first (`unifusion train ground` does it).")
        self.choices = ClipCacheChoices(**json.loads(meta.read_text(encoding="utf-8")))
        self._lines = scripts.read_text(encoding="utf-8").splitlines()
        self._frames, self._sound = _arrays(self.folder, self.choices, "r")
        self._count = min(limit or self.choices.count, self.choices.count)

    def __len__(self) -> int:
        """Clips."""
        return self._count

    def script(self, index: int) -> Script:
        """The script of one clip, word times filled in."""
        return Script.from_json(self._lines[index])

    def clip(self, index: int, script: Script | None = None, *, streams: Collection[str] = ("video", "audio")) -> Clip:
        """The arrays of one clip; a stream that the script lacks, or that is not asked for, is None and not read."""
        script = script or self.script(index)
        c = self.choices
        times = np.arange(0.0, c.duration_s - 1e-6, 1.0 / c.rate_hz)
        seen, heard = script.has_picture and "video" in streams, script.has_sound and "audio" in streams
        return Clip(
            frames_THWC=np.array(self._frames[index]) if seen else None,
            frame_times_s=times if seen else None,
            waveform_N=self._sound[index].astype(np.float32) / 32767.0 if heard else None,
            duration_s=c.duration_s,
        )  # fmt: skip


def _arrays(folder: Path, c: ClipCacheChoices, mode: Any) -> tuple[np.memmap, np.memmap]:
    """The two memory maps."""
    frames = len(np.arange(0.0, c.duration_s - 1e-6, 1.0 / c.rate_hz))
    shape = (c.count, frames, c.size_px, c.size_px, 3)
    return (
        np.memmap(folder / "frames.u8", dtype=np.uint8, mode=mode, shape=shape),
        np.memmap(folder / "sound.i16", dtype=np.int16, mode=mode, shape=(c.count, round(c.duration_s * 16_000))),
    )


def render_cache(folder: str | Path, choices: ClipCacheChoices, *, workers: int = 2) -> ClipCache:
    """Render what is missing and return the cache; a killed run goes on at the block it was in. Of several processes the first renders.

    Raises:
        DatasetError: the folder holds clips of other choices.
    """
    with first_process_first():
        return _rendered(Path(folder), choices, workers)


def _rendered(path: Path, choices: ClipCacheChoices, workers: int) -> ClipCache:
    """The cache in `path`, rendered where it is not."""
    path.mkdir(parents=True, exist_ok=True)
    meta = path / "choices.json"
    wanted = asdict(choices)
    if meta.is_file() and json.loads(meta.read_text(encoding="utf-8")) != wanted:
        raise DatasetError(f"{path} holds clips of other choices;", remedy="remove the folder or name another.")
    if (path / "scripts.jsonl").is_file():
        return ClipCache(path)
    if not meta.is_file():
        _arrays(path, choices, "w+")
        meta.write_text(json.dumps(wanted), encoding="utf-8")
    blocks = [b for b in range(0, choices.count, _BLOCK) if not (path / f"block-{b}.jsonl").is_file()]
    jobs = [(str(path), wanted, b) for b in blocks]
    if workers > 1 and len(jobs) > 1:
        with ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn")) as pool:
            list(pool.map(_render_block, jobs))
    else:
        for job in jobs:
            _render_block(job)
    parts = [path / f"block-{b}.jsonl" for b in range(0, choices.count, _BLOCK)]
    atomic.write_text(path / "scripts.jsonl", "".join(p.read_text(encoding="utf-8") for p in parts))
    for part in parts:
        part.unlink()
    return ClipCache(path)


def _render_block(job: tuple[str, dict[str, Any], int]) -> None:
    """Render up to 64 clips; the block's script file is written last and marks it done."""
    from unifusion.world.render import render

    keep_freed_memory()
    folder, raw, first = job
    choices = ClipCacheChoices(**raw)
    frames, sound = _arrays(Path(folder), choices, "r+")
    times = np.arange(0.0, choices.duration_s - 1e-6, 1.0 / choices.rate_hz)
    lines = []
    for index in range(first, min(first + _BLOCK, choices.count)):
        script = sample_script(choices.seed, index, split=choices.split, duration_s=choices.duration_s, size_px=choices.size_px)
        clip, script = render(script, times_s=times)
        if clip.frames_THWC is not None:
            frames[index] = clip.frames_THWC
        if clip.waveform_N is not None:
            sound[index] = np.round(np.clip(clip.waveform_N, -1, 1) * 32767).astype(np.int16)
        lines.append(script.to_json() + "\n")
    frames.flush()
    sound.flush()
    atomic.write_text(Path(folder) / f"block-{first}.jsonl", "".join(lines))
