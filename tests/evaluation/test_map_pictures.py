"""Maps stand on frames and spectrograms where they belong: bright at the place and moment that got the weight."""

import numpy as np
import pytest
import torch
from PIL import Image

from unifusion.engine.maps import StreamMap
from unifusion.evaluation.map_pictures import _spectrogram, draw_maps
from unifusion.evaluation.timeline import Strip

GREY = np.full((8, 40, 40, 3), 128, np.uint8)
FILM = Strip(duration_s=2.0, frames_THWC=GREY, times_s=np.arange(8) / 4)


def tone(hz, seconds=2.0):
    return (0.5 * np.sin(2 * np.pi * hz * np.arange(round(seconds * 16_000)) / 16_000)).astype(np.float32)


def video(grids=None, **options):
    """A map of four moments of two seconds."""
    given = {"grids_TRC": grids, "grid_times_s": (0.0, 0.5, 1.0, 1.5)} if grids is not None else {}
    return StreamMap(
        **{"stream": "video", "modality": "video", "clip": 0, "of": "attention of the fusion", "times_s": (0.0, 0.5, 1.0, 1.5),
           "weights_T": torch.tensor([0.1, 0.2, 0.3, 0.4]), **given, **options}
    )  # fmt: skip


def audio(**options):
    weights = torch.tensor([0.1, 0.7, 0.1, 0.1])
    return video(**{"stream": "audio", "modality": "audio", "weights_T": weights, **options})


def pixels(path):
    return np.asarray(Image.open(path).convert("RGB")).astype(int)


def test_the_place_that_got_the_weight_is_bright(tmp_path):
    found = {}
    for row, column in ((0, 0), (3, 3), (0, 3)):
        grids = torch.zeros(4, 4, 4)
        grids[:, row, column] = 0.25
        (png, svg) = draw_maps(tmp_path / f"{row}{column}", [video(grids)], [FILM])
        assert (png.name, svg.name) == ("map-video.png", "map-video.svg")
        image = pixels(png)[: int(0.6 * len(pixels(png)))]  # frames stand above the curve
        hot = image[..., 0] - image[..., 2] > 50
        found[row, column] = np.array([xs.mean() for xs in hot.nonzero()])
        assert hot.sum() > 50
    assert found[0, 0][0] < found[3, 3][0] - 30, "the first row of a grid is the upper one"
    assert found[0, 0][1] < found[0, 3][1] - 30, "its first column the left one"


def test_the_moment_that_got_the_weight_is_bright(tmp_path):
    grids = torch.zeros(4, 2, 2)
    grids[2] = 0.25
    image = pixels(draw_maps(tmp_path, [video(grids)], [FILM])[0])
    hot = (image[..., 0] - image[..., 2] > 50)[: int(0.6 * len(image))].any(0).nonzero()[0] / image.shape[1]
    assert hot.min() > 0.5 and hot.max() < 0.8, "the third of four"


def test_frames_without_a_grid_are_as_they_are(tmp_path):
    image = pixels(draw_maps(tmp_path, [video(of="occlusion")], [FILM])[0])
    upper = image[: int(0.55 * len(image))]
    assert (np.abs(upper - 128).max(-1) < 3).mean() > 0.3 and not (upper[..., 0] - upper[..., 2] > 50).any()


def test_grids_have_moments_of_their_own_beside_an_occlusion(tmp_path):
    times = tuple(i / 4 + 0.125 for i in range(8))
    drops = {"of": "occlusion", "times_s": times, "weights_T": torch.linspace(-0.1, 0.1, 8)}
    paths = draw_maps(tmp_path, [video(torch.rand(4, 2, 2), **drops)], [FILM])
    text = paths[1].read_text(encoding="utf-8")
    assert all(f"<!-- {t:.1f} s -->" in text for t in (0.0, 0.5, 1.0, 1.5)) and "<!-- occlusion -->" in text


def test_frames_are_those_of_the_moment(tmp_path):
    colours = ((200, 10, 10), (10, 200, 10), (10, 10, 200), (200, 200, 10))
    frames = np.concatenate([np.full((2, 20, 20, 3), rgb, np.uint8) for rgb in colours])
    image = pixels(draw_maps(tmp_path, [video()], [Strip(duration_s=2.0, frames_THWC=frames, times_s=np.arange(8) / 4)])[0])
    at = [(np.abs(image - np.array(rgb)).max(-1) < 10).any(0).nonzero()[0].mean() for rgb in colours]
    assert at == sorted(at)


def test_the_curve_is_high_where_the_weight_is(tmp_path):
    image = pixels(draw_maps(tmp_path, [audio()], [Strip(duration_s=2.0, waveform_N=tone(1000))])[0])
    orange = np.abs(image - np.array((0xD5, 0x5E, 0x00))).max(-1) < 60
    top = orange.argmax(0)[orange.any(0)]
    columns = orange.any(0).nonzero()[0]
    highest = columns[top == top.min()].mean() / image.shape[1]
    assert 0.2 < highest < 0.5, "the second of four moments"


@pytest.mark.parametrize("hz", [500, 2000, 6000])
def test_a_spectrogram_has_the_tone_where_it_is(hz):
    power = _spectrogram(tone(hz))
    assert power.shape == (257, (32_000 - 512) // 160 + 1)
    assert np.all(np.abs(power.argmax(0) * 16_000 / 512 - hz) <= 32)
    quiet = power[np.abs(np.arange(257) * 31.25 - hz) > 500]
    assert power.max() - quiet.max() > 40


def test_the_spectrogram_is_dark_at_the_tone(tmp_path):
    rows = []
    for hz in (1000, 6000):
        image = pixels(draw_maps(tmp_path / str(hz), [audio()], [Strip(duration_s=2.0, waveform_N=tone(hz))])[0])
        middle = image[: len(image) // 2, image.shape[1] // 2].sum(-1)
        rows.append(int(middle.argmin()))
    assert rows[0] > rows[1] + 100, "a higher tone stands higher"


def test_what_has_neither_picture_nor_sound_is_not_drawn(tmp_path):
    short = Strip(duration_s=0.01, waveform_N=tone(500, 0.01))
    text = video(stream="text", modality="text")
    assert draw_maps(tmp_path, [text, audio(), video()], [short]) == [] and list(tmp_path.iterdir()) == []


def test_several_clips_have_names_of_their_own(tmp_path):
    heard = Strip(duration_s=2.0, waveform_N=tone(500))
    paths = draw_maps(tmp_path, [audio(), audio(clip=1), video(clip=1)], [heard, Strip(**{**vars(FILM), "waveform_N": tone(500)})])
    assert [p.name for p in paths if p.suffix == ".png"] == ["map-audio.png", "map-audio-2.png", "map-video-2.png"]


def test_the_same_figures_are_the_same_bytes_and_others_are_not(tmp_path):
    given = torch.arange(16.0).view(4, 2, 2) / 120
    one, two, other = (draw_maps(tmp_path / str(n), [video(g)], [FILM]) for n, g in enumerate((given, given, given.flip(0))))
    for a, b, c in zip(one, two, other, strict=True):
        assert a.read_bytes() == b.read_bytes() != c.read_bytes()
