"""Pictures put together into a video: their own bytes, their times, and what is no picture."""

import io

import av
import numpy as np
import pytest
from PIL import Image

from tests.datasets.question_trees import jpeg
from unifusion.errors import MediaError
from unifusion.media import Sampling, read_clip
from unifusion.media.frames import frames_to_video


def written(folder, *greys, size=(64, 48)):
    for n, grey in enumerate(greys):
        (folder / f"{n}.jpg").write_bytes(jpeg(grey, size))
    return {n: folder / f"{n}.jpg" for n in range(len(greys))}


def test_the_files_bytes_are_the_packets_and_the_same_files_give_the_same_video(tmp_path):
    frames = written(tmp_path, 0, 100, 200)
    made = frames_to_video(frames, 3)
    assert made == frames_to_video(dict(reversed(frames.items())), 3)
    with av.open(io.BytesIO(made)) as video:
        packets = [bytes(p) for p in video.demux(video=0) if p.size]
    assert packets == [path.read_bytes() for path in frames.values()]


def test_pictures_are_shown_at_their_numbers(tmp_path):
    greys = (0, 60, 120, 180)
    frames = dict(zip((0, 1, 2, 6), written(tmp_path, *greys, size=(30, 50)).values(), strict=True))
    clip = read_clip(frames_to_video(frames, 4), video=Sampling(times_s=(0.0, 0.3, 0.6, 1.4, 1.6)), audio=True)
    np.testing.assert_allclose(clip.frames_THWC[:, 0, 0, 0], [0, 60, 120, 120, 180], atol=3)
    assert clip.frames_THWC.shape[1:] == (50, 30, 3) and clip.waveform_N is None and clip.duration_s == 1.75


@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_grey_and_coloured_pictures(tmp_path, mode):
    Image.new("RGB", (32, 32), (200, 40, 90)).convert(mode).save(tmp_path / "a.jpg", quality=95)
    clip = read_clip(frames_to_video({0: tmp_path / "a.jpg"}, 1), video=Sampling(count=1), audio=False)
    wanted = np.asarray(Image.open(tmp_path / "a.jpg").convert("RGB"))[16, 16]
    np.testing.assert_allclose(clip.frames_THWC[0, 16, 16], wanted, atol=6)


def test_what_is_no_picture_is_named(tmp_path):
    with pytest.raises(MediaError, match="no pictures"):
        frames_to_video({}, 3)
    frames = written(tmp_path, 0, 100)
    with pytest.raises(MediaError, match=r"none\.jpg: No such file"):
        frames_to_video({**frames, 2: tmp_path / "none.jpg"}, 3)
    for content in (b"", b"GIF89a", b"\xff\xd8\xff only the beginning"):
        (tmp_path / "0.jpg").write_bytes(content)
        with pytest.raises(MediaError, match=r"0\.jpg"):
            frames_to_video(frames, 3)
