"""Qwen2-Audio (arXiv 2407.10759): half a minute of sound through a Whisper encoder; no pictures."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from unifusion.conversation import Clip
from unifusion.errors import MediaError
from unifusion.models.existing.family import Family, Prepared
from unifusion.models.existing.mels import Mels, whole_waveform
from unifusion.processor import StreamItem

__all__ = ["Qwen2Audio"]


class Qwen2Audio(Family):
    """Qwen2-Audio."""

    network = "Qwen2AudioForConditionalGeneration"
    takes = ("audio",)

    def __init__(self, config: Any, settings: Mapping[str, Mapping[str, Any]]) -> None:
        super().__init__(config, settings)
        self.mels = Mels(settings["feature_extractor"], padding="max_length")
        self.sampling_rate_hz = int(self.mels.extract.sampling_rate)
        self.max_seconds = self.mels.longest_s

    @classmethod
    def template(cls) -> str | None:
        """The template that its processor takes for want of one in the folder."""
        from transformers import Qwen2AudioProcessor

        written: str = vars(Qwen2AudioProcessor)["default_chat_template"].fget(None)
        return written

    def sound(self, clip: Clip) -> Prepared:
        """Mels of the tower's fixed length and their mask."""
        waveform_N = whole_waveform(clip)
        mels, mask = self.mels(waveform_N)
        tokens = ((int(mask.sum()) - 1) // 2 + 1 - 2) // 2 + 1
        if tokens < 1:
            raise MediaError(f"{len(waveform_N)} samples of sound are too few for this model;", remedy="give a longer span.")
        seconds = len(waveform_N) / clip.sampling_rate_hz
        return Prepared(tensors={"mels": mels, "mask": mask}, tokens=tokens, seconds=seconds, samples=len(waveform_N))

    def encode(self, network: Any, stream: str, item: StreamItem, *, still: bool) -> dict[str, Tensor]:
        """Features of the sound, as the network's own forward makes them: the tower must not look at padding."""
        from transformers.masking_utils import create_bidirectional_mask

        model = network.model
        mels, mask = item.tensors["mels"].to(network.device, network.dtype), item.tensors["mask"].to(network.device)
        lengths, tokens = model.audio_tower._get_feat_extract_output_lengths(mask.sum(-1))
        places = torch.arange((mels.shape[-1] - 2) // 2 + 1, device=mels.device)
        seen = create_bidirectional_mask(
            config=model.audio_tower.config, inputs_embeds=mels.new_zeros(1, len(places), 1),
            attention_mask=(places[None] < lengths[:, None]).long(),
        )  # fmt: skip
        heard = model.audio_tower(mels, attention_mask=seen).last_hidden_state
        return {"tokens": model.multi_modal_projector(heard)[0, : int(tokens)]}
