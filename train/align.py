"""Stage 3: both encoders from nothing, by contrast with phrases and masked modelling."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from unifusion.models.grounding import GroundingConfig
from unifusion.processor import StreamSpec
from unifusion.training.align import train_alignment
from unifusion.training.choices import parse
from unifusion.training.clip_cache import ClipCacheChoices, render_cache
from unifusion.training.fit import FitChoices
from unifusion.training.stage import stage


@dataclass(frozen=True, kw_only=True)
class Choices:
    """Two encoders, small, aligned with clip world's phrases."""

    out: str = "runs/tiny/align"
    tokenizer: str = "runs/tiny/tokenizer"
    clips: int = 7_000
    val_clips: int = 256
    size_px: int = 112
    frames_hz: float = 4.0
    video: str = "resnet"
    """resnet (two frames stacked) or videomae; measured side by side in docs/tiny.md."""
    video_width: int = 192
    video_layers: int = 4
    audio_width: int = 192
    audio_layers: int = 4
    patch: int = 16
    steps: int = 450
    batch_size: int = 16
    learning_rate: float = 1e-3
    save_every: int = 150
    workers: int = 0
    render_workers: int = 2
    seed: int = 0


def specs(c: Choices) -> dict[str, StreamSpec]:
    """The two streams."""
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
        "num_channels": 6,
        "embedding_size": c.video_width // 6,
        "hidden_sizes": [c.video_width // 6, c.video_width // 2, c.video_width],
        "depths": [1, 2, 2],
        "layer_type": "basic",
    }
    audio = {
        "d_model": c.audio_width,
        "encoder_layers": c.audio_layers,
        "encoder_attention_heads": c.audio_width // 32,
        "encoder_ffn_dim": 4 * c.audio_width,
        "num_mel_bins": 80,
        "max_source_positions": 300,
    }
    shapes = {"videomae": {"backbone": videomae}, "resnet": {"backbone": resnet, "stack": 2, "image_size": c.size_px}}
    return {
        "video": StreamSpec(encoder=c.video, encoder_config={**shapes[c.video], "rate_hz": c.frames_hz}),
        "audio": StreamSpec(encoder="whisper", encoder_config={"backbone": audio}),
    }


def main(argv: Sequence[str] | None = None) -> None:
    """Render, train, measure."""
    c = parse(Choices, argv, prog="unifusion train align")
    with stage(c.out, c) as todo:
        if todo:
            train = render_cache(
                f"{c.out}.clips",
                ClipCacheChoices(seed=c.seed, count=c.clips, size_px=c.size_px, rate_hz=c.frames_hz),
                workers=c.render_workers,
            )
            val = render_cache(
                f"{c.out}.val",
                ClipCacheChoices(seed=c.seed, split="val", count=c.val_clips, size_px=c.size_px, rate_hz=c.frames_hz),
                workers=1,
            )
            fitting = FitChoices(
                steps=c.steps,
                batch_size=c.batch_size,
                learning_rate=c.learning_rate,
                save_every=c.save_every,
                workers=c.workers,
                seed=c.seed,
            )
            train_alignment(specs(c), c.tokenizer, train, val, c.out, choices=fitting, grounding=GroundingConfig(patch=c.patch))


if __name__ == "__main__":
    main()
