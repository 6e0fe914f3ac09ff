"""Healthy H.264 pictures cut into several slices, as most cameras write them, are no damage."""

import io
from fractions import Fraction

import av
import numpy as np
import pytest

from unifusion.media import Sampling, read_clip


def sliced(width, height, slices):
    """Eight frames of noise that moves, each cut into `slices`."""
    base = np.random.default_rng(0).integers(0, 255, (height, width, 3), dtype=np.uint8)
    target = io.BytesIO()
    with av.open(target, "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=10, options={"x264-params": f"slices={slices}"})
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        for index in range(8):
            frame = av.VideoFrame.from_ndarray(np.roll(base, 3 * index, 1), format="rgb24")
            frame.pts, frame.time_base = index, Fraction(1, 10)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return target.getvalue()


@pytest.mark.parametrize("slices", [1, 2, 4])
@pytest.mark.parametrize("sampling", [Sampling(count=8), Sampling(rate_hz=5), Sampling(times_s=(0.35, 0.65))])
def test_slices_are_not_damage(slices, sampling):
    clip = read_clip(sliced(320, 240, slices), video=sampling, audio=False, strict=True)
    assert not clip.corrupt_T.any()
    assert len(clip.frames_THWC) == (sampling.count or len(sampling.times_s or ()) or 4)


def test_damage_in_one_of_several_slices_is_noticed():
    data = bytearray(sliced(320, 240, 4))
    middle = data.index(b"mdat") + (len(data) - data.index(b"mdat")) // 2
    data[middle : middle + 2000] = bytes(2000)
    with pytest.raises(Exception, match="damaged"):
        read_clip(bytes(data), video=Sampling(count=8), audio=False, strict=True)
