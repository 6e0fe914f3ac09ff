"""BLIP-2's Q-Former over the whole clip (Li et al., "BLIP-2", 2023), through transformers' Blip2QFormerModel.

With few layers and a learned embedding of frames it is Video-LLaMA's over time (Zhang et al., "Video-LLaMA", 2023).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor, nn
from transformers import Blip2QFormerConfig, Blip2QFormerModel

from unifusion.adapters.adapter import Adapter, centres, whole_clip_times
from unifusion.batch import Features
from unifusion.errors import CheckpointError
from unifusion.layers import Latents, in_time_order, time_embedding

__all__ = ["QFormer"]

RENAMED = (
    (r"^Qformer\.bert\.", "qformer."),
    (r"^qformer\.embeddings\.(LayerNorm|layernorm)\.", "qformer.layernorm."),
    (r"\.(attention|crossattention)\.self\.", r".\1.attention."),
    (r"^query_tokens$", "queries.weight"),
    (r"^(language_projection|opt_proj|t5_proj|llm_proj|llama_proj)\.", "projection."),
    (r"^frame_position_embedding\.", "frames."),
    (r"^(ln_vision|vision_model\.post_layernorm)\.", "norm."),
)
"""LAVIS's and transformers' names -> ours, in this order. `ln_vision` stands between BLIP-2's encoder and its Q-Former."""
OURS = re.compile(r"^(qformer|queries|projection|norm|frames)\.")
PARTS = {
    "video": ((r"^video_(?=Qformer|query_tokens|frame_position_embedding)", ""), (r"^llama_proj\.", "llama_proj.")),
    "audio": ((r"^audio_(?=Qformer|query_tokens)", ""), (r"^audio_position_embedding\.", "frame_position_embedding."),
              (r"^audio_llama_proj\.", "llama_proj.")),
}  # fmt: skip
"""How Video-LLaMA marks the weights of its two Q-Formers over time; the unmarked ones see single frames."""
TEXT_ONLY = re.compile(r"^qformer\.(embeddings\.|encoder\.layer\.\d+\.(intermediate|output)\.)|^Qformer\.cls\.")


@dataclass(kw_only=True)
class LoadReport:
    """What `QFormer.load_published` did with each weight; names as in our module, `unexpected` and `text_only` as in the file."""

    matched: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    """Ours that the file lacks, or (only the projection to another language model) holds in another shape."""
    unexpected: list[str] = field(default_factory=list)
    """Of the Q-Former, yet without a place here."""
    text_only: list[str] = field(default_factory=list)
    """The Q-Former's text half, which an adapter does not need."""
    elsewhere: int = 0
    """Weights of the file's vision encoder and language model."""


class QFormer(Adapter):
    """`n_queries` learned queries read the whole clip in a BERT with cross-attention.

    BLIP-2's Q-Former sees one picture and knows no time, so by default sines of the features' seconds are added to them;
    switch `time_embedding` off to feed published weights as they were trained.
    """

    @dataclass(kw_only=True)
    class Config(Adapter.Config):
        """BLIP-2's sizes by default. Video-LLaMA's temporal one: `n_layers=2, cross_attention_frequency=1`."""

        n_queries: int = 32
        width: int = 768
        n_layers: int = 12
        n_heads: int = 12
        cross_attention_frequency: int = 2
        """Cross-attention in every so-many-th layer, beginning with the first."""
        ff_width: int = 0
        """Hidden width of the MLPs; 0 is four widths."""
        dropout: float = 0.1
        time_embedding: bool = True
        norm: bool = True
        """LayerNorm over the features, as behind BLIP-2's encoder; Video-LLaMA's over time has none."""
        frames: int = 0
        """Learned embeddings of the first, second .. moment, added to its features as Video-LLaMA does (32, sound 8); 0: none. Later
        moments share the last."""

    windowed = False

    def __init__(self, in_width: int, out_width: int, config: Config) -> None:
        super().__init__(in_width, out_width, config)
        self.norm = nn.LayerNorm(in_width) if config.norm else nn.Identity()
        if config.frames:
            self.frames = nn.Embedding(config.frames, in_width)
        self.queries = Latents(config.n_queries, config.width)
        self.qformer = Blip2QFormerModel(
            Blip2QFormerConfig(
                hidden_size=config.width, num_hidden_layers=config.n_layers, num_attention_heads=config.n_heads,
                intermediate_size=config.ff_width or 4 * config.width, encoder_hidden_size=in_width,
                cross_attention_frequency=config.cross_attention_frequency,
                hidden_dropout_prob=config.dropout, attention_probs_dropout_prob=config.dropout,
            )
        )  # fmt: skip
        self.projection = nn.Linear(config.width, out_width)

    @classmethod
    def tiny(cls) -> Config:
        """Three queries of width 16, two layers of which the first looks at the features."""
        return cls.Config(n_queries=3, width=16, n_layers=2, n_heads=2, ff_width=32, dropout=0.0)

    @classmethod
    def token_times(cls, config: Config, times_S: Tensor, mask_S: Tensor) -> Tensor:
        """Return the clip's centre for each of the queries (Q,)."""
        return whole_clip_times(times_S, mask_S, config.n_queries)

    def forward(self, features: Features) -> Features:
        """Map features (B, S, in_width) to tokens (B, Q, out_width) with mask (B, Q) and times (B, Q)."""
        ordered = in_time_order(features, self.projection.weight.dtype)
        times_BQ, mask_BQ = self.output_times(ordered)
        if not mask_BQ.shape[1]:
            nothing = self.projection.weight.new_zeros(*mask_BQ.shape, self.out_width)
            return Features(tokens_BSD=nothing, mask_BS=mask_BQ, times_BS=times_BQ)
        return Features(tokens_BSD=self._read(ordered) * mask_BQ[..., None], mask_BS=mask_BQ, times_BS=times_BQ)

    def traced(self, features: Features, max_seconds: float) -> Features:
        """Map features (B, S, in_width) in order to the same tokens (B, Q, out_width)."""
        del max_seconds
        times_BQ, mask_BQ = centres(features, self.config.n_queries)
        return Features(tokens_BSD=self._read(features) * mask_BQ[..., None], mask_BS=mask_BQ, times_BS=times_BQ)

    def _read(self, ordered: Features) -> Tensor:
        """What the queries read in features (B, S, in_width) in order, (B, Q, out_width)."""
        context_BSD = self.norm(ordered.tokens_BSD)
        if self.config.time_embedding:
            stamp_BSD = time_embedding(ordered.times_BS, self.in_width, shortest_s=0.25, longest_s=1000.0)
            context_BSD = context_BSD + stamp_BSD.to(context_BSD.dtype)
        if self.config.frames:
            moment_BS = torch.nn.functional.pad(ordered.times_BS.diff(dim=1).ne(0), (1, 0)).cumsum(dim=1)
            context_BSD = context_BSD + self.frames(moment_BS.clamp(max=self.config.frames - 1))
        # An item without a feature opens all its (zero) keys; its tokens are masked below.
        open_BS = ordered.mask_BS | ~ordered.mask_BS.any(dim=1, keepdim=True)
        found_BQD = self.qformer(
            query_embeds=self.queries(context_BSD.shape[0]), encoder_hidden_states=context_BSD, encoder_attention_mask=open_BS.long()
        ).last_hidden_state
        tokens_BQD: Tensor = self.projection(found_BQD)
        return tokens_BQD

    def load_published(self, state_dict: Mapping[str, Tensor], part: Literal["", "video", "audio"] = "") -> LoadReport:
        """Copy the Q-Former of a checkpoint of BLIP-2, InstructBLIP or Video-LLaMA into this adapter, by LAVIS's names or transformers'.

        The projection to the language model is taken where it fits and else reported as missing.

        Args:
            state_dict: the checkpoint's weights.
            part: of a Video-LLaMA checkpoint, its Q-Former over frames ("video") or over pieces of sound ("audio"); with "" the one
                that sees single pictures.

        Raises:
            CheckpointError: a weight of the queries or the Q-Former is absent or has another shape.
        """
        own, report = self.state_dict(), LoadReport()
        for name, tensor in state_dict.items():
            self._take(name, tensor, own, report, part)
        report.missing = sorted(set(own) - set(report.matched))
        lost = [name for name in report.missing if name.startswith(("qformer.", "queries."))]
        if lost:
            raise CheckpointError(
                f"{len(lost)} weights of the Q-Former are not in the checkpoint, or have another shape there: {', '.join(lost[:5])};",
                remedy="set width, n_layers, n_queries and the encoder's width to the checkpoint's (BLIP-2: 768, 12, 32, 1408).",
            )
        self.load_state_dict(own)
        return report

    @staticmethod
    def _take(name: str, tensor: Tensor, own: dict[str, Tensor], report: LoadReport, part: str) -> None:
        """Put one weight of a checkpoint into `own` where it has a place, and note what became of it."""
        ours = re.sub(r"^(module|model)\.", "", name)
        marked = [re.sub(pattern, replacement, ours) for pattern, replacement in PARTS.get(part, ()) if re.match(pattern, ours)]
        if part and not marked:
            report.elsewhere += 1
            return
        ours = marked[0] if marked else ours
        for pattern, replacement in RENAMED:
            ours = re.sub(pattern, replacement, ours)
        if ours in own and tensor.numel() == own[ours].numel() and tensor.squeeze(0).shape == own[ours].squeeze(0).shape:
            own[ours] = tensor.reshape(own[ours].shape)
            report.matched.append(ours)
        elif TEXT_ONLY.search(ours):
            report.text_only.append(name)
        elif OURS.match(ours):
            report.unexpected.append(name)
        else:
            report.elsewhere += 1
