"""Stage 3: an encoder and its adapter from nothing, by contrast with phrases, masked modelling and naming words; once for each stream."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

from unifusion import catalog
from unifusion.datasets.mixture import Mixture
from unifusion.errors import ConfigError, nearest
from unifusion.models.grounding import GroundingConfig
from unifusion.processor import StreamSpec
from unifusion.training.choices import parse, shared_yaml
from unifusion.training.clip_cache import ClipCacheChoices, render_cache
from unifusion.training.fit import FitChoices
from unifusion.training.ground import train_grounding
from unifusion.training.pieces import INGREDIENTS
from unifusion.training.stage import stage

LOG_MEL = (-13.0, 5.0)
"""Mean and deviation of clip world's log-mels, roughly."""


@dataclass(frozen=True, kw_only=True)
class Choices:
    """A small encoder, aligned with clip world's phrases."""

    out: str = "runs/tiny/ground"
    """The stream's own folder is made in it."""
    stream: str = "video"
    """video or audio."""
    start: str | None = None
    """Folder of an earlier round that this one goes on with."""
    pack: float = 0.5
    """Share of sounds made of sentences of many clips close together."""
    real: str | None = None
    """Mixture of real recordings and pictures to learn from beside the clips: a YAML file, or the name of one in train/mixtures."""
    data: str | None = None
    """Folder that the mixture's paths are relative to."""
    real_share: float = 0.5
    """Of the rows."""
    without: str | None = None
    """What is left out, by commas, to see what it brings: mask, choice (of one label among its set), changes, noise (of real pieces)."""
    tokenizer: str = "runs/tiny/tokenizer"
    cache: str = "runs/tiny/ground"
    """`.clips` and `.val` are added: where the rendered clips lie."""
    clips: int = 16_000
    val_clips: int = 256
    size_px: int = 112
    frames_hz: float = 4.0
    video: str = "resnet"
    """resnet or videomae; docs/tiny.md has runs of both."""
    stack: int = 2
    """Frames a resnet sees at once, side by side on the channel axis."""
    video_width: int = 192
    video_layers: int = 4
    audio: str = "sound_resnet"
    """sound_resnet, parakeet or whisper, likewise."""
    audio_width: int = 192
    audio_layers: int = 4
    adapter: str = "windowed_qformer"
    queries: int = 4
    window_s: float = 0.5
    """Of the adapter."""
    adapter_width: int = 192
    adapter_layers: int = 2
    patch: int = 16
    steps: int = 1500
    batch_size: int = 16
    learning_rate: float = 2e-3
    save_every: int = 250
    workers: int = 1
    render_workers: int = 2
    seed: int = 0


def spec(c: Choices) -> StreamSpec:
    """The stream.

    Raises:
        ConfigError: there is no such stream, encoder or adapter.
    """
    videomae = {
        "image_size": c.size_px,
        "patch_size": c.patch,
        "num_frames": 8,
        "tubelet_size": 2,
        "hidden_size": c.video_width,
        "num_hidden_layers": c.video_layers,
        "num_attention_heads": c.video_width // 32,
        "intermediate_size": 4 * c.video_width,
        "use_mean_pooling": False,
    }
    resnet = {
        "num_channels": 3 * c.stack,
        "embedding_size": c.video_width // 6,
        "hidden_sizes": [c.video_width // 6, c.video_width // 2, c.video_width],
        "depths": [1, 2, 2],
        "layer_type": "basic",
    }
    whisper = {
        "d_model": c.audio_width,
        "encoder_layers": c.audio_layers,
        "encoder_attention_heads": c.audio_width // 32,
        "encoder_ffn_dim": 4 * c.audio_width,
        "num_mel_bins": 80,
        "max_source_positions": 300,
    }
    parakeet = {
        "hidden_size": c.audio_width,
        "num_hidden_layers": c.audio_layers,
        "num_attention_heads": c.audio_width // 32,
        "num_key_value_heads": c.audio_width // 32,
        "intermediate_size": round(c.audio_width * 8 / 3),
        "num_mel_bins": 80,
        "subsampling_factor": 4,
        "subsampling_conv_channels": c.audio_width // 3,
        "scale_input": False,
        "layerdrop": 0.0,
        "dropout": 0.0,
        "activation_dropout": 0.0,
        "attention_dropout": 0.0,
    }
    sound_resnet = {"hidden_size": c.audio_width, "context_layers": c.audio_layers}
    video = {
        "videomae": {"backbone": videomae, "rate_hz": c.frames_hz},
        "resnet": {"backbone": resnet, "stack": c.stack, "image_size": c.size_px, "rate_hz": c.frames_hz},
    }
    audio = {
        "sound_resnet": {"backbone": sound_resnet, "chunk_s": 6.0},
        "whisper": {"backbone": whisper},
        "parakeet": {"backbone": parakeet, "chunk_s": 6.0, "normalise": LOG_MEL},
    }
    streams = {"video": (c.video, video), "audio": (c.audio, audio)}
    if c.stream not in streams:
        raise ConfigError(f"unknown stream {c.stream!r};", remedy=nearest(c.stream, list(streams)))
    encoder, encoders = streams[c.stream]
    if encoder not in encoders:
        raise ConfigError(f"no {c.stream} encoder {encoder!r} is aligned from nothing;", remedy=nearest(encoder, list(encoders)))
    known = {f.name for f in fields(catalog.load("adapters", c.adapter).Config)}
    shape = {"n_queries": c.queries, "n_latents": c.queries, "width": c.adapter_width, "n_layers": c.adapter_layers, "window_s": c.window_s}
    shape["n_heads"] = c.adapter_width // 32
    adapter = {k: v for k, v in shape.items() if k in known}
    return StreamSpec(encoder=encoder, encoder_config=encoders[encoder], adapter=c.adapter, adapter_config=adapter)


def both_splits(name: str, data: str | None, share: float) -> tuple[Mixture, Mixture, float]:
    """What is learnt from and what is measured on, of a mixture."""
    path = shared_yaml("mixtures", name)
    return Mixture(path, data=data), Mixture(path, data=data, split="val"), share


def weights_without(left_out: frozenset[str]) -> dict[str, float]:
    """Weights of the losses that leave some ingredients out."""
    known = {"mask": {"mask_rows": 0.0, "masked_weight": 0.0}, "choice": {"choice_weight": 0.0}, **{name: {} for name in INGREDIENTS}}
    for name in left_out:
        if name not in known:
            raise ConfigError(f"nothing called {name!r} can be left out;", remedy=nearest(name, list(known)))
    return {k: v for name in left_out for k, v in known[name].items()}


def main(argv: Sequence[str] | None = None) -> None:
    """Render, train, measure."""
    c = parse(Choices, argv, prog="unifusion train ground")
    stream = spec(c)
    left_out = frozenset(c.without.split(",") if c.without else ())
    grounding = GroundingConfig(patch=c.patch, **weights_without(left_out))
    with stage(f"{c.out}/{c.stream}", c) as todo:
        if todo:
            train = render_cache(
                f"{c.cache}.clips",
                ClipCacheChoices(seed=c.seed, count=c.clips, size_px=c.size_px, rate_hz=c.frames_hz),
                workers=c.render_workers,
            )
            val = render_cache(
                f"{c.cache}.val",
                ClipCacheChoices(seed=c.seed, split="val", count=c.val_clips, size_px=c.size_px, rate_hz=c.frames_hz),
                workers=1,
            )
            train_grounding(
                c.stream,
                stream,
                c.tokenizer,
                train,
                val,
                f"{c.out}/{c.stream}",
                choices=FitChoices.of(c),
                grounding=grounding,
                start=c.start,
                pack=c.pack if c.stream == "audio" else 0.0,
                real=both_splits(c.real, c.data, c.real_share) if c.real else None,
                without=left_out,
            )


if __name__ == "__main__":
    main()
