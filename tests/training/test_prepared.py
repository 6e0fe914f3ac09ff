"""Encoder inputs on disk: equal to what is opened, in 256 steps, made anew where a file is broken."""

import numpy as np
import pytest
import torch

from tests.toys import clip
from unifusion import catalog
from unifusion.conversation import Media
from unifusion.processor import MediaOpener, StreamSpec
from unifusion.training.prepared import PreparedOpener


class Counting(MediaOpener):
    """Counts what it opens."""

    opened = 0

    def open(self, media, **options):
        """Open and count."""
        self.opened += 1
        return super().open(media, **options)


def opener(size=32, **options):
    """Picture and sound."""
    shape = vars(catalog.load("encoders", "resnet").tiny()) | {"image_size": size}
    sound = vars(catalog.load("encoders", "whisper").tiny())
    specs = {
        "video": StreamSpec(encoder="resnet", encoder_config=shape, adapter="linear"),
        "audio": StreamSpec(encoder="whisper", encoder_config=sound, adapter="linear"),
    }
    return Counting(specs, **options)


@pytest.mark.parametrize("shown", [{"size": 300}, {"picture": False}, {"sound": False, "seconds": 2.0}])
def test_what_is_kept_is_what_is_opened(tmp_path, shown):
    media = Media(kind="video", source=clip(**shown))
    inner = opener(size=256)
    plain = inner.open(media)
    first, again = (PreparedOpener(inner, tmp_path).open(media) for _ in range(2))
    assert inner.opened == 2  # once for itself, once to keep it
    assert set(first.streams) == set(plain.streams) and first.reports == plain.reports and first.duration_s == plain.duration_s
    for name, item in plain.streams.items():
        assert torch.equal(item.times_S, again.streams[name].times_S) and torch.equal(item.mask_S, again.streams[name].mask_S)
        for key, value in item.tensors.items():
            kept = again.streams[name].tensors[key]
            step = float(value.max() - value.min()) / 255 if value.numel() >= 256 * 256 else 0.0
            assert (kept - value).abs().max() <= step / 2 + 1e-6 and kept.dtype == value.dtype
            assert torch.equal(kept, first.streams[name].tensors[key])


def test_other_choices_and_other_content_are_other_files(tmp_path):
    first, other = Media(kind="video", source=clip(seed=1)), Media(kind="video", source=clip(seed=2))
    one, two = PreparedOpener(opener(), tmp_path), PreparedOpener(opener(size=64), tmp_path)
    assert len({one.path(first), one.path(other), two.path(first), PreparedOpener(opener(max_seconds=0.5), tmp_path).path(first)}) == 4
    assert one.path(first) == PreparedOpener(opener(), tmp_path).path(Media(kind="video", source=clip(seed=1)))


def test_a_file_cut_short_is_made_anew(tmp_path):
    media = Media(kind="video", source=clip())
    kept = PreparedOpener(opener(), tmp_path)
    before = kept.open(media)
    path = kept.path(media)
    path.write_bytes(path.read_bytes()[:100])
    after = kept.open(media)
    assert all(torch.equal(before.streams[n].tensors[k], v) for n, s in after.streams.items() for k, v in s.tensors.items())
    assert not list(tmp_path.rglob("*.tmp")) and np.isfinite(after.duration_s)
