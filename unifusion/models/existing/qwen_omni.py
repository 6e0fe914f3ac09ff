"""Qwen2.5-Omni (arXiv 2503.20215) and Qwen3-Omni (arXiv 2509.17765): the thinker, which hears, sees and answers in text.

Positions are (time, row, column). The sound of a clip is woven into its picture by time, as `use_audio_in_video` of the published
processors does: in chunks of two seconds (2.5), or token by token (3).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from unifusion.conversation import Clip
from unifusion.errors import MediaError
from unifusion.models.existing.family import Piece, Prepared, Wrap
from unifusion.models.existing.mels import Mels, whole_waveform
from unifusion.models.existing.qwen_pictures import QwenPictures
from unifusion.processor import OpenedMedia, StreamItem

__all__ = ["Qwen3Omni", "Qwen25Omni"]


class Qwen25Omni(QwenPictures):
    """Qwen2.5-Omni."""

    network = "Qwen2_5OmniThinkerForConditionalGeneration"
    takes = ("video", "audio")
    padding: ClassVar[str | bool] = "max_length"

    def __init__(self, config: Any, settings: Mapping[str, Mapping[str, Any]]) -> None:
        super().__init__(config, settings)
        # The published processor passes its own bounds for videos, whatever the file of the video processor says.
        self.patching = self.patching_of({**settings["video_processor"], "size": None, "min_pixels": None, "max_pixels": None})
        self.mels = Mels(settings["feature_extractor"], padding=self.padding, chunk_s=300)
        self.sampling_rate_hz = int(self.mels.extract.sampling_rate)
        self.max_seconds = min(self.max_seconds, self.mels.longest_s)

    @property
    def per_second(self) -> float:
        """Positions per second."""
        return float(self.config.position_id_per_seconds)

    def sound(self, clip: Clip) -> Prepared:
        """Mels of the sound's own length."""
        waveform_N = whole_waveform(clip)
        mels, mask = self.mels(waveform_N)
        length = int(mask.sum())
        tokens = self.sound_tokens(length)
        if tokens < 1:
            raise MediaError(f"{len(waveform_N)} samples of sound are too few for this model;", remedy="give a longer span.")
        tensors = {"mels": mels[..., :length], "mask": mask[:, :length]}
        return Prepared(tensors=tensors, tokens=tokens, seconds=len(waveform_N) / clip.sampling_rate_hz, samples=len(waveform_N))

    def sound_tokens(self, length: int) -> int:
        """Tokens of so many mels."""
        return ((length - 1) // 2 + 1 - 2) // 2 + 1

    def encode(self, network: Any, stream: str, item: StreamItem, *, still: bool) -> dict[str, Tensor]:
        """Features of one stream."""
        if stream == "audio":
            mels, mask = item.tensors["mels"].to(network.device, network.dtype), item.tensors["mask"].to(network.device)
            return {"tokens": network.get_audio_features(mels, feature_attention_mask=mask).last_hidden_state}
        return super().encode(network, stream, item, still=still)

    def lay_out(self, opened: OpenedMedia, wraps: Mapping[str, Wrap]) -> list[Piece]:
        """Pictures and sound of one clip woven together; one of them alone in its own wrap."""
        if set(opened.streams) != {"video", "audio"} or opened.media.kind == "image":
            return super().lay_out(opened, wraps)
        video, audio = opened.streams["video"], opened.streams["audio"]
        places = {"video": self.places(video), "audio": torch.arange(len(audio.token_times_Q)).float().expand(3, -1)}
        order = self.woven(video, len(audio.token_times_Q))
        tokens = tuple(kind for kind, _ in order)
        at = torch.stack([places[kind][:, n] for kind, n in order], 1)
        outer, inner = wraps["video"], wraps["audio"]
        return [
            Piece(text=outer.before), Piece(text=inner.before, at=self.paired),
            Piece(tokens=tokens, at=at),
            Piece(text=inner.after), Piece(text=outer.after, at=self.paired),
        ]  # fmt: skip

    @property
    def paired(self) -> Tensor | None:
        """Where the second of two marks stands: beside the first."""
        return torch.full((3, 1), -1.0)

    def woven(self, video: StreamItem, sounds: int) -> list[tuple[str, int]]:
        """The order of (kind, number) of all tokens: chunks of two seconds of picture, then of sound."""
        steps = int(video.tensors["grid"][0, 0])
        times = np.repeat(np.arange(steps) * float(video.tensors["step_s"]) * self.per_second, len(video.token_times_Q) // steps)
        size = int(self.per_second * float(self.config.seconds_per_chunk))
        chunks = {"video": _chunks(times, size), "audio": _chunks(np.arange(sounds), size)}
        order: list[tuple[str, int]] = []
        for n in range(max(map(len, chunks.values()))):
            for kind, parts in chunks.items():
                order += [(kind, i) for i in range(*parts[n])] if n < len(parts) else []
        return order


def _chunks(times: Sequence[float] | np.ndarray, size: int) -> list[tuple[int, int]]:
    """First and last + 1 of the tokens of each chunk, as the published processor cuts them.

    A token opens at most one new chunk, so behind a jump over several, tokens come one by one until the chunks have caught up.
    """
    out: list[tuple[int, int]] = []
    start = 0
    for i, time in enumerate(times):
        if time >= (len(out) + 1) * size:
            out.append((start, i))
            start = i
    return [*out, (start, len(times))]


class Qwen3Omni(Qwen25Omni):
    """Qwen3-Omni: mixture-of-experts thinker, features that also go into the first layers, finer positions in time."""

    network = "Qwen3OmniMoeThinkerForConditionalGeneration"
    patch = 16
    padding = True

    def sound_tokens(self, length: int) -> int:
        """Tokens of so many mels: thirteen a second, counted in windows."""
        window = 2 * int(self.config.audio_config.n_window)
        halved = (length % window - 1) // 2 + 1
        return ((halved - 1) // 2 + 1 - 1) // 2 + 1 + length // window * 13

    def counted(self, times: Tensor) -> Tensor:
        """Times as positions: fractions are kept."""
        return times

    @property
    def paired(self) -> Tensor | None:
        """The second of two marks stands behind the first."""
        return None

    def woven(self, video: StreamItem, sounds: int) -> list[tuple[str, int]]:
        """Token by token in time, a picture before the sound of the same moment."""
        times = {"video": self.places(video)[0].tolist(), "audio": [float(n) for n in range(sounds)]}
        order = sorted((time, kind == "audio", n) for kind, own in times.items() for n, time in enumerate(own))
        return [("audio" if late else "video", n) for _, late, n in order]
