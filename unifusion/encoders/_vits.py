"""Vision transformers applied to every frame: which layer's states, and which of its tokens. Written once for all of them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal

from torch import Tensor, nn

from unifusion.encoders._hub import backbone_config, hold_layer
from unifusion.encoders._pictures import Layout, PictureConfig, PictureEncoder, pair, published_of
from unifusion.errors import ConfigError

__all__ = ["VitConfig", "VitEncoder"]


@dataclass(kw_only=True)
class VitConfig(PictureConfig):
    """Frames, and what is kept of the network's states for each."""

    image_size: int | None = None
    """Side of the square the network is shown; None: as published. Where its table of positions is another, that is interpolated."""
    layer: int = -1
    """Whose states are the tokens, counted as `hidden_states` are in transformers: -1 the last (normalised where the network does so),
    -2 the one before it, as LLaVA takes CLIP's. Layers above are not kept."""
    tokens: Literal["patches", "class", "all"] = "patches"
    """`patches`, row by row; the `class` token alone; or `all`, class token first."""


class VitEncoder(PictureEncoder):
    """A vision transformer over single frames. A subclass says where its layers and its last normalisation are."""

    Config = VitConfig
    layers: ClassVar[str]
    """Path of the list of layers."""
    last_norm: ClassVar[str]
    """Path of the normalisation after the last layer."""
    class_token: ClassVar[bool] = True
    """Whether the first token stands for the whole picture."""
    any_size: ClassVar[bool] = False
    """Whether weights are published to be used at another size than their positions'."""

    @property
    def width(self) -> int:
        """D of the features."""
        return int(self.config.backbone["hidden_size"])

    @classmethod
    def resolve(cls, config: Any) -> Any:
        """Return `config` with nothing left open.

        Raises:
            ConfigError: a layer the network has not, a class token where there is none, or a size that does not hold whole patches.
        """
        if cls.any_size and config.source and config.image_size is None:
            crop = published_of(config).get("crop_size")
            config = replace(config, image_size=crop.get("height") if isinstance(crop, dict) else crop)
        resolved = super().resolve(config)
        hold_layer(resolved.layer, int(resolved.backbone["num_hidden_layers"]))
        if resolved.tokens not in ("patches", "class", "all") or (resolved.tokens != "patches" and not cls.class_token):
            known = "patches, class, all" if cls.class_token else "patches (this network has no class token)"
            raise ConfigError(f"tokens {resolved.tokens!r};", remedy=f"known: {known}.")
        patch = pair(resolved.backbone["patch_size"])
        side = resolved.image_size
        if side is not None and (side % patch[0] or side % patch[1]):
            raise ConfigError(
                f"image_size {side} does not hold whole patches of {patch};", remedy=f"set it to {side // patch[0] * patch[0]}."
            )
        return resolved

    @classmethod
    def layout(cls, config: Any) -> Layout:
        """One frame a chunk: its patches, its class token, or both."""
        shape = backbone_config(config, cls.config_class)
        (height, width), (patch_height, patch_width) = pair(config.image_size or shape.image_size), pair(shape.patch_size)
        patches = (height // patch_height) * (width // patch_width)
        return Layout(size=(height, width), tokens={"patches": patches, "class": 1, "all": patches + 1}[config.tokens])

    @classmethod
    def make_backbone(cls, config: Any, *, load_weights: bool) -> nn.Module:
        """Return the network up to the layer whose states are wanted."""
        network = super().make_backbone(config, load_weights=load_weights)
        if config.layer != -1:
            layers: Any = network.get_submodule(cls.layers)
            del layers[len(layers) + 1 + config.layer :]
            network.set_submodule(cls.last_norm, nn.Identity())
        return network

    def encode_chunks(self, pixel_values: Tensor) -> Tensor:
        """Map pixel_values (C, 3, H, W) to tokens (C, tokens of a frame, D).

        Raises:
            ConfigError: another size than the network's position table has.
        """
        other = self.layout(self.config).size != pair(self.config.backbone["image_size"]) and not self.any_size
        more = {"interpolate_pos_encoding": True} if other else {}
        states_CSD: Tensor = self.backbone(self.fitting(pixel_values), **more).last_hidden_state
        if self.config.tokens == "class":
            return states_CSD[:, :1]
        return states_CSD[:, 1:] if self.config.tokens == "patches" and self.class_token else states_CSD
