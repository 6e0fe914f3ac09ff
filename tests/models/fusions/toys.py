"""Small batches of streams for tests of fusions: unequal lengths, streams that some rows lack, and labels that hang on them."""

import torch

from unifusion import catalog
from unifusion.batch import Features
from unifusion.models.fusions._metadata import MetadataFields
from unifusion.models.fusions.fusion import Inputs, StreamShape

SHAPES = {
    "face": StreamShape(modality="video", width=12),
    "voice": StreamShape(modality="audio", width=10),
    "words": StreamShape(modality="text", width=8),
    "before": StreamShape(modality="text", width=8),
}
LENGTHS = {"face": 12, "voice": 9, "words": 5, "before": 4}
FIELDS = MetadataFields(values={"speaker_gender": ("female", "male"), "topic": ("work", "home")}, texts=("cause",), buckets=32)
KNOWN = ({"speaker_gender": "male", "topic": "work", "cause": "lost a job"}, {"topic": "home"}, {}, {"cause": "a party"})


def shapes_of(name):
    """The streams of SHAPES that a fusion takes."""
    cls = catalog.load("fusions", name)
    return {n: s for n, s in SHAPES.items() if cls.others or s.modality in cls.needs}


def fusion(name, *, metadata=FIELDS, outputs=("emotion", "valence"), seed=0, shapes=None, **choices):
    """A tiny fusion with random weights in eval mode."""
    torch.manual_seed(seed)
    cls = catalog.load("fusions", name)
    config = cls.tiny()
    for key, value in choices.items():
        assert hasattr(config, key)
        setattr(config, key, value)
    return cls.build(config, shapes or shapes_of(name), metadata=metadata, outputs=outputs).eval()


def stream(rows, length, width, generator, moments=3):
    """Random features of unequal lengths, `moments` tokens a moment; the last row has none."""
    mask = torch.zeros(rows, length, dtype=torch.bool)
    for row in range(rows - 1):
        mask[row, : max(1, length - row)] = True
    times = (torch.arange(length) // moments * 0.5).expand(rows, -1).clone()
    return Features(torch.randn(rows, length, width, generator=generator), mask, times)


def batch(shapes, rows=4, seed=0, known=KNOWN):
    """Inputs of some rows; the last has no stream at all."""
    generator = torch.Generator().manual_seed(seed)
    streams = {n: stream(rows, LENGTHS[n], s.width, generator, 3 if s.modality == "video" else 1) for n, s in shapes.items()}
    return Inputs(streams=streams, metadata=FIELDS.encode(known[:rows]) if known else None)


def changed(inputs, **streams):
    """The same inputs with some streams replaced, or with None left out."""
    return Inputs(streams={n: f for n, f in {**inputs.streams, **streams}.items() if f is not None}, metadata=inputs.metadata)


def rows(inputs, at):
    """Some rows of inputs."""
    found = {n: Features(f.tokens_BSD[at], f.mask_BS[at], f.times_BS[at]) for n, f in inputs.streams.items()}
    return Inputs(streams=found, metadata=None if inputs.metadata is None else {k: v[at] for k, v in inputs.metadata.items()})


def padded(features, extra=5, before=0):
    """The same with more tokens that are not real, all of whose numbers are NaN."""

    def wider(x, value):
        shape = (len(x), extra, *x.shape[2:])
        return torch.cat([x[:, :before], x.new_full(shape, value), x[:, before:]], dim=1)

    spoiled = features.tokens_BSD.masked_fill(~features.mask_BS[..., None], float("nan"))
    times = features.times_BS.masked_fill(~features.mask_BS, float("nan"))
    return Features(wider(spoiled, float("nan")), wider(features.mask_BS, False), wider(times, float("nan")))
