"""Embedding models with random weights, over the encoders' own tiny networks."""

from dataclasses import replace

import torch

from tests import toys
from unifusion import catalog
from unifusion.conversation import Media
from unifusion.engine.embedder import Embedder
from unifusion.models.aligner import Aligner, AlignerConfig, AlignerStream

CLOCK = {"bin_s": 0.1, "bins": 8, "channels": 8}


def stream(encoder, adapter="", **changed):
    """A stream of an encoder's tiny network, and perhaps of an adapter's."""
    cls = catalog.load("encoders", encoder)
    more = {"adapter": adapter, "adapter_config": vars(catalog.load("adapters", adapter).tiny()), "adapter_width": 24} if adapter else {}
    return AlignerStream(encoder=encoder, encoder_config=vars(cls.tiny()), **{**more, **changed})


def embedder(streams, *, seed=0, name="toy", **changed):
    """An embedder with random weights, larger than at birth, so that different clips get different vectors."""
    torch.manual_seed(seed)
    config = AlignerConfig(streams=streams, width=24, head={"width": 32}, max_seconds=8.0, **changed)
    model = Aligner(config)
    with torch.no_grad():
        for parameter in model.towers.parameters():
            if parameter.dim() > 1:
                parameter.mul_(3.0)
    return Embedder(model, name=name)


def everything():
    """Picture by two encoders, sound and words, each by another adapter or none."""
    return {
        "video": stream("resnet", "windowed_qformer", clock=CLOCK), "face": stream("clip", "linear"),
        "audio": stream("sound_resnet", "perceiver"), "text": stream("bert"),
    }  # fmt: skip


def spoken(seed, words="some words", **options):
    """A random clip in which something is said."""
    return Media(kind="video", source=replace(toys.clip(seed=seed, **options), transcript=words))
