"""Twenty-five frames a second of 224 x 224 pixels, from files to what the encoders take."""

import json

import numpy as np
import pytest
import torch

from tests.media.clips import barcode
from unifusion.conversation import Clip, Media
from unifusion.media import probe
from unifusion.processor import MediaOpener, StreamSpec

SMALL = {"image_size": 224, "patch_size": 32, "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
BACKBONES = {
    "videomae": {**SMALL, "num_frames": 16, "tubelet_size": 2, "use_mean_pooling": False},
    "timesformer": {**SMALL, "num_frames": 8},
    "vit": SMALL,
}


def opener(rate_hz=25.0, names=tuple(BACKBONES)):
    choices = {n: {"backbone": BACKBONES[n], "rate_hz": rate_hz} for n in names}
    return MediaOpener({n: StreamSpec(encoder=n, encoder_config=c, adapter="linear") for n, c in choices.items()})


def check(opened, frames, size=224):
    """Every stream got `frames` pictures, a chunk of as many as it takes, and knows when each was shown."""
    for name, item in opened.streams.items():
        per_chunk, tubelet = BACKBONES[name].get("num_frames", 1), BACKBONES[name].get("tubelet_size", 1)
        assert opened.reports[name].frames == frames
        pixels = item.tensors["pixel_values"]
        assert pixels.shape[0] == -(-frames // per_chunk) and pixels.shape[-3:] == (3, size, size) and torch.isfinite(pixels).all()
        times = item.times_S[item.mask_S].unique()
        assert len(times) == -(-frames // tubelet)
        steps = times.diff() if frames % tubelet == 0 else times.diff()[:-1]
        assert steps.mean() == pytest.approx(tubelet / 25, rel=0.05) and steps.max() < 2.1 * tubelet / 25


def test_frames_at_fifty_are_thinned_to_twenty_five():
    frames = np.stack([barcode(i) for i in range(100)])
    clip = Clip(frames_THWC=frames, frame_times_s=np.arange(100) / 50, duration_s=2.0)
    opened = opener().open(Media(kind="video", source=clip))
    check(opened, 50)
    assert opened.reports["vit"].seconds == pytest.approx(2.0)


def test_real_clips_come_at_twenty_five(data):
    """Of 30 frames a second every one that is on screen at a tick of 40 ms; of 24 all there are."""
    rows = [json.loads(line) for line in (data / "av_demo" / "manifest.jsonl").read_text().splitlines()]
    chosen = {rate: next(r for r in rows if r["video"][2] == rate and r["duration_s"] > 2.5) for rate in ("30/1", "24/1")}
    for rate, row in chosen.items():
        path = data / "av_demo" / row["path"]
        opened = opener(names=("videomae", "timesformer")).open(Media(kind="video", source=path, start_s=0.0, end_s=2.0))
        if rate == "30/1":
            check(opened, 50)
        else:
            assert {r.frames for r in opened.reports.values()} == {48}
            assert opened.streams["timesformer"].times_S.unique().diff()[:40].max() < 0.05
        assert not any("lowered" in n or "scaled" in n for n in opened.notes), probe(path)


def test_streams_of_other_rates_share_the_decoded_frames():
    frames = np.stack([barcode(i) for i in range(50)])
    clip = Clip(frames_THWC=frames, frame_times_s=np.arange(50) / 25, duration_s=2.0)
    specs = {**opener(names=("videomae",)).specs, "slow": opener(4.0, names=("vit",)).specs["vit"]}
    opened = MediaOpener(specs).open(Media(kind="video", source=clip))
    assert opened.reports["videomae"].frames == 50 and opened.reports["slow"].frames == 8
