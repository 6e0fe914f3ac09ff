"""CAV-MAE's network, which transformers has not: sound alone, picture alone, both together, and the masked pre-training of all three.

Follows Gong et al., "Contrastive Audio-Visual Masked Autoencoder" (2023). Weights have the names of the published checkpoints. One thing
differs on purpose: the published code gives every shared block the same input when one stream goes through it alone, so only the last
of several would count; here each block takes what the one before gave. With the one shared block of the published weights both are equal.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import PreTrainedConfig, PreTrainedModel
from transformers import initialization as init

__all__ = ["CAVMAEConfig", "CAVMAEForPreTraining", "CAVMAELosses", "CAVMAEModel", "patch_targets"]

SHAPE = {
    "hidden_size": 768, "num_attention_heads": 12, "mlp_ratio": 4, "audio_layers": 11, "video_layers": 11, "joint_layers": 1,
    "patch_size": 16, "audio_frames": 1024, "num_mel_bins": 128, "image_size": 224, "decoder_hidden_size": 512, "decoder_layers": 8,
    "decoder_attention_heads": 16, "layer_norm_eps": 1e-5, "streams": ["audio", "video"],
}  # fmt: skip
"""As published. `streams` names those whose weights are there; without both there is no joint path."""
_LETTER = {"audio": "a", "video": "v"}


class CAVMAEConfig(PreTrainedConfig):
    """Shape of the network, see `SHAPE`."""

    model_type = "cav_mae"

    def __init__(self, **kwargs: Any) -> None:
        for key, value in SHAPE.items():
            setattr(self, key, kwargs.pop(key, value))
        super().__init__(**kwargs)

    @property
    def grids(self) -> dict[str, tuple[int, int]]:
        """Rows and columns of patches: frequency by time, and height by width."""
        side = self.image_size // self.patch_size
        return {"audio": (self.num_mel_bins // self.patch_size, self.audio_frames // self.patch_size), "video": (side, side)}


class _Attention(nn.Module):
    """Self-attention with one matrix for queries, keys and values, as the checkpoints hold it."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)

    def forward(self, x_BSD: Tensor) -> Tensor:
        """Attend among all tokens."""
        query, key, value = self.qkv(x_BSD).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        mixed: Tensor = self.proj(functional.scaled_dot_product_attention(query, key, value).transpose(1, 2).flatten(2))
        return mixed


class _Block(nn.Module):
    """A transformer block with a set of normalisations for each way through it: both streams (""), sound ("_a"), picture ("_v")."""

    def __init__(self, width: int, heads: int, mlp_ratio: int, eps: float, ways: Sequence[str]) -> None:
        super().__init__()
        for way in ways:
            self.add_module(f"norm1{way}", nn.LayerNorm(width, eps=eps))
            self.add_module(f"norm2{way}", nn.LayerNorm(width, eps=eps))
        self.attn = _Attention(width, heads)
        self.mlp = nn.ModuleDict({"fc1": nn.Linear(width, mlp_ratio * width), "fc2": nn.Linear(mlp_ratio * width, width)})

    def forward(self, x_BSD: Tensor, way: str = "") -> Tensor:
        """Attend and transform, by the normalisations of one way."""
        x_BSD = x_BSD + self.attn(self.get_submodule(f"norm1{way}")(x_BSD))
        inner = functional.gelu(self.mlp["fc1"](self.get_submodule(f"norm2{way}")(x_BSD)))
        out: Tensor = x_BSD + self.mlp["fc2"](inner)
        return out


class _PatchEmbed(nn.Module):
    """Patches of a picture (B, C, H, W) as tokens (B, S, D), row by row."""

    def __init__(self, channels: int, patch: int, width: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(channels, width, patch, stride=patch)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """Project each patch."""
        tokens: Tensor = self.proj(x_BCHW).flatten(2).transpose(1, 2)
        return tokens


class CAVMAEModel(PreTrainedModel):
    """Sound and picture through their own blocks and the shared ones.

    Args:
        config: its shape. With one stream in `streams` only that stream's weights exist.
    """

    config_class = CAVMAEConfig
    main_input_name = "input_values"
    base_model_prefix = "cav_mae"

    def __init__(self, config: CAVMAEConfig) -> None:
        super().__init__(config)
        shape = (config.hidden_size, config.num_attention_heads, config.mlp_ratio, config.layer_norm_eps)
        channels = {"audio": 1, "video": 3}
        for stream in config.streams:
            letter, (rows, columns) = _LETTER[stream], config.grids[stream]
            setattr(self, f"patch_embed_{letter}", _PatchEmbed(channels[stream], config.patch_size, config.hidden_size))
            setattr(self, f"modality_{letter}", nn.Parameter(torch.zeros(1, 1, config.hidden_size)))
            self.register_buffer(f"pos_embed_{letter}", _positions(config.hidden_size, rows, columns))
            blocks = [_Block(*shape, ways=("",)) for _ in range(getattr(config, f"{stream}_layers"))]
            setattr(self, f"blocks_{letter}", nn.ModuleList(blocks))
            setattr(self, f"norm_{letter}", nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps))
        ways = [f"_{_LETTER[s]}" for s in config.streams] + ([""] if self.joins else [])
        self.blocks_u = nn.ModuleList([_Block(*shape, ways=ways) for _ in range(config.joint_layers)])
        if self.joins:
            self.norm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.post_init()

    @property
    def joins(self) -> bool:
        """Whether both streams are there."""
        return len(self.config.streams) == 2

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        """Initialise one module as published: matrices uniformly by Xavier, tokens with deviation 0.02, positions to their sines."""
        if isinstance(module, nn.Linear | nn.Conv2d):
            weight = module.weight
            init.xavier_uniform_(weight if weight.dim() == 2 else weight.view(len(weight), -1))
            if module.bias is not None:
                init.zeros_(module.bias)
        elif isinstance(module, nn.LayerNorm):
            init.ones_(module.weight)
            init.zeros_(module.bias)
        for name, tensor in (*module.named_parameters(recurse=False), *module.named_buffers(recurse=False)):
            if name.startswith(("modality_", "decoder_modality_", "mask_token")):
                init.normal_(tensor, std=0.02)
            elif "pos_embed_" in name:
                init.copy_(tensor, _positions(tensor.shape[-1], *self.config.grids["audio" if name.endswith("_a") else "video"]))

    def own(self, stream: str, x: Tensor, kept_BK: Tensor | None = None) -> Tensor:
        """Return a stream's tokens (B, S, D) behind its own blocks, before the shared ones.

        Args:
            stream: `audio` or `video`.
            x: log mel energies (B, audio_frames, num_mel_bins), or pixels (B, 3, H, W).
            kept_BK: indices of the patches that are shown; None shows all.
        """
        letter = _LETTER[stream]
        tokens = self.get_submodule(f"patch_embed_{letter}")(x.transpose(1, 2)[:, None] if stream == "audio" else x)
        tokens = tokens + getattr(self, f"pos_embed_{letter}") + getattr(self, f"modality_{letter}")
        if kept_BK is not None:
            tokens = tokens.gather(1, kept_BK[..., None].expand(-1, -1, tokens.shape[-1]))
        for block in self.get_submodule(f"blocks_{letter}").children():
            tokens = block(tokens)
        return tokens  # type: ignore[no-any-return]

    def alone(self, stream: str, tokens_BSD: Tensor) -> Tensor:
        """Return `own` tokens behind the shared blocks, the stream by itself."""
        letter = _LETTER[stream]
        for block in self.blocks_u:
            tokens_BSD = block(tokens_BSD, f"_{letter}")
        normed: Tensor = self.get_submodule(f"norm_{letter}")(tokens_BSD)
        return normed

    def together(self, audio_BSD: Tensor, video_BSD: Tensor) -> Tensor:
        """Return `own` tokens of both streams behind the shared blocks, attending to each other: (B, audio + video tokens, D)."""
        tokens_BSD = torch.cat([audio_BSD, video_BSD], dim=1)
        for block in self.blocks_u:
            tokens_BSD = block(tokens_BSD)
        normed: Tensor = self.norm(tokens_BSD)
        return normed

    def forward(self, input_values: Tensor | None = None, pixel_values: Tensor | None = None) -> Tensor:
        """Return tokens (B, S, D) of what is given: sound, picture, or both together (sound first).

        Args:
            input_values: (B, audio_frames, num_mel_bins).
            pixel_values: (B, 3, image_size, image_size).

        Raises:
            ValueError: neither is given.
        """
        if input_values is None and pixel_values is None:
            raise ValueError("neither input_values nor pixel_values given")
        if input_values is None:
            return self.alone("video", self.own("video", pixel_values))  # type: ignore[arg-type]
        if pixel_values is None:
            return self.alone("audio", self.own("audio", input_values))
        return self.together(self.own("audio", input_values), self.own("video", pixel_values))


@dataclass(frozen=True, kw_only=True)
class CAVMAELosses:
    """What pre-training minimises, and its parts.

    Attributes:
        loss: weighted sum.
        audio, video: mean squared error of hidden patches, each patch normalised.
        contrast: cross-entropy of finding each sound's picture among those of the batch.
        accuracy: share of pictures whose own sound is nearest.
    """

    loss: Tensor
    audio: Tensor
    video: Tensor
    contrast: Tensor
    accuracy: Tensor


class CAVMAEForPreTraining(CAVMAEModel):
    """The network with its decoder: hidden patches of both streams are told from what is left of both.

    Args:
        config: its shape; both streams.
    """

    def __init__(self, config: CAVMAEConfig) -> None:
        super().__init__(config)
        width, heads, eps = config.decoder_hidden_size, config.decoder_attention_heads, config.layer_norm_eps
        self.decoder_embed = nn.Linear(config.hidden_size, width)
        self.mask_token = nn.Parameter(torch.zeros(1, 1, width))
        for stream, letter in _LETTER.items():
            setattr(self, f"decoder_modality_{letter}", nn.Parameter(torch.zeros(1, 1, width)))
            self.register_buffer(f"decoder_pos_embed_{letter}", _positions(width, *config.grids[stream]))
        self.decoder_blocks = nn.ModuleList([_Block(width, heads, config.mlp_ratio, eps, ("",)) for _ in range(config.decoder_layers)])
        self.decoder_norm = nn.LayerNorm(width, eps=eps)
        self.decoder_pred_a = nn.Linear(width, config.patch_size**2)
        self.decoder_pred_v = nn.Linear(width, 3 * config.patch_size**2)
        self.post_init()

    def forward(  # type: ignore[override]
        self, input_values: Tensor, pixel_values: Tensor, *, hidden: float = 0.75, contrast_weight: float = 0.01,
        temperature: float = 0.05, generator: torch.Generator | None = None,
    ) -> CAVMAELosses:  # fmt: skip
        """Hide patches of both streams, and tell what they were.

        Args:
            input_values: (B, audio_frames, num_mel_bins) float.
            pixel_values: (B, 3, image_size, image_size) float.
            hidden: share of each stream's patches.
            contrast_weight: of the contrast beside the pixels.
            temperature: of the contrast.
            generator: of what is hidden.
        """
        given = {"audio": input_values, "video": pixel_values}
        order = {s: _shuffled(len(x), self.config.grids[s], generator).to(x.device) for s, x in given.items()}
        kept = {s: o[:, : int(o.shape[1] * (1 - hidden))] for s, o in order.items()}
        own = {s: self.own(s, x, kept[s]) for s, x in given.items()}
        guess = self._decoded(self.together(own["audio"], own["video"]), order, kept)
        errors = {}
        for stream, x in given.items():
            target = patch_targets(x.transpose(1, 2)[:, None] if stream == "audio" else x, self.config.patch_size)
            gone = torch.ones(target.shape[:2], device=x.device).scatter(1, kept[stream], 0.0)
            errors[stream] = ((guess[stream] - target).square().mean(dim=-1) * gone).sum() / gone.sum()
        pooled = {s: functional.normalize(self.alone(s, t).mean(dim=1), dim=-1) for s, t in own.items()}
        likeness_AV = pooled["audio"] @ pooled["video"].T / temperature
        truth = torch.arange(len(likeness_AV), device=likeness_AV.device)
        contrast = functional.cross_entropy(likeness_AV.T, truth)
        accuracy = (likeness_AV.argmax(dim=0) == truth).float().mean()
        loss = errors["audio"] + errors["video"] + contrast_weight * contrast
        return CAVMAELosses(loss=loss, audio=errors["audio"], video=errors["video"], contrast=contrast, accuracy=accuracy)

    def _decoded(self, tokens_BSD: Tensor, order: dict[str, Tensor], kept: dict[str, Tensor]) -> dict[str, Tensor]:
        """Put mask tokens where patches were hidden, and tell every patch of both streams: (B, S, numbers of a patch)."""
        shown = self.decoder_embed(tokens_BSD).split([k.shape[1] for k in kept.values()], dim=1)
        whole = []
        for (stream, places), part in zip(order.items(), shown, strict=True):
            letter = _LETTER[stream]
            blank = self.mask_token.to(part.dtype).expand(*places.shape, part.shape[-1])
            full = blank.scatter(1, kept[stream][..., None].expand_as(part), part)
            whole.append(full + getattr(self, f"decoder_pos_embed_{letter}") + getattr(self, f"decoder_modality_{letter}"))
        x_BSD = torch.cat(whole, dim=1)
        for block in self.decoder_blocks:
            x_BSD = block(x_BSD)
        audio, video = self.decoder_norm(x_BSD).split([w.shape[1] for w in whole], dim=1)
        return {"audio": self.decoder_pred_a(audio), "video": self.decoder_pred_v(video)}


def patch_targets(x_BCHW: Tensor, patch: int) -> Tensor:
    """Return the numbers of each patch (B, S, patch x patch x C), row by row, each patch to mean 0 and variance 1."""
    batch, channels, height, width = x_BCHW.shape
    rows, columns = height // patch, width // patch
    cut = x_BCHW.reshape(batch, channels, rows, patch, columns, patch).permute(0, 2, 4, 3, 5, 1).reshape(batch, rows * columns, -1)
    return (cut - cut.mean(dim=-1, keepdim=True)) / (cut.var(dim=-1, keepdim=True) + 1e-6).sqrt()


def _shuffled(rows: int, grid: tuple[int, int], generator: torch.Generator | None) -> Tensor:
    """An order of all patches for each row (B, S), at random."""
    return torch.rand(rows, grid[0] * grid[1], generator=generator).argsort(dim=1)


def _positions(width: int, rows: int, columns: int) -> Tensor:
    """Sines and cosines of column and row (1, rows x columns, width), in the order of MAE's published code: columns first."""
    omega = 1.0 / 10_000 ** (torch.arange(width // 4, dtype=torch.float64) / (width / 4.0))
    row, column = torch.meshgrid(torch.arange(rows).double(), torch.arange(columns).double(), indexing="ij")
    parts = [f(axis.flatten()[:, None] * omega) for axis in (column, row) for f in (torch.sin, torch.cos)]
    return torch.cat(parts, dim=1).float()[None]
