"""The time line shows what it is given: colours of windows, pictures in their order, loudness, claims, and nothing that steers a reader."""

import re
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from tests import toys
from tests.cli import films
from unifusion.conversation import Clip, Media
from unifusion.engine.explain import Claim, Explanation, Occlusion
from unifusion.errors import ConfigError
from unifusion.evaluation import timeline
from unifusion.evaluation.timeline import Strip, draw_timeline, need_plots, read_strips

RED, GREEN, BLUE = (200, 10, 10), (10, 200, 10), (10, 10, 200)


def windows(drops, stream="audio", clip=0, length=1.0):
    """Occlusions one after the other; None leaves a hole."""
    return tuple(
        Occlusion(stream=stream, start_s=i * length, end_s=(i + 1) * length, probability=0.5, drop=d, clip=clip)
        for i, d in enumerate(drops)
        if d is not None
    )


def explanation(tried, claims=(), label="happy"):
    return Explanation(label=label, probability=0.75, windows=tried, without={}, claims=claims, support=None)


def claim(start_s=0.0, end_s=1.0, text="a laugh", supported=True):
    return Claim(stream="sound", start_s=start_s, end_s=end_s, text=text, drop=0.2 if supported else -0.1, supported=supported)


def pixels(paths):
    """The PNG (H, W, 3)."""
    return np.asarray(Image.open(paths[0]).convert("RGB")).astype(int)


def words(paths):
    """What is written in the SVG, whose letters are drawn; matplotlib notes each text beside them."""
    return re.findall(r"<!-- (.*?) -->", paths[1].read_text(encoding="utf-8"))


def colours_along(image, wanted, within=40):
    """In which columns, as shares of the width, a colour stands."""
    return {name: (np.abs(image - np.array(rgb)).max(-1) < within).any(0).nonzero()[0] / image.shape[1] for name, rgb in wanted.items()}


def test_windows_are_coloured_by_what_they_are_worth(tmp_path):
    paths = draw_timeline(tmp_path / "a", explanation(windows([0.4, 0.0, -0.4, 0.2])), [Strip(duration_s=4.0)])
    assert [p.name for p in paths] == ["a.png", "a.svg"]
    image = pixels(paths)
    middle = image[image.shape[0] // 2]
    strong = middle.max(1) - middle.min(1) > 30
    assert strong.any()
    # From the left: deep red, nothing, deep blue, a paler red; the bar of colours stands at the right.
    lane = middle[: int(0.85 * len(middle))]
    red, blue = lane[:, 0] - lane[:, 2] > 60, lane[:, 2] - lane[:, 0] > 60
    (at_red,), (at_blue,) = red.nonzero(), blue.nonzero()
    assert at_red.min() < at_blue.min() < at_red.max() and at_blue.max() < at_red.max()
    first, last = lane[at_red.min() + 5], lane[at_red.max() - 5]
    assert first[0] < last[0] + 20 and first[1] < last[1] - 30, "half as much is paler"


def test_the_same_figures_are_the_same_bytes_and_others_are_not(tmp_path):
    found = explanation(windows([0.4, -0.1]), (claim(),))
    one, two = (draw_timeline(tmp_path / n, found, [Strip(duration_s=2.0)]) for n in "ab")
    other = draw_timeline(tmp_path / "c", explanation(windows([0.4, -0.2]), (claim(),)), [Strip(duration_s=2.0)])
    for a, b, c in zip(one, two, other, strict=True):
        assert a.read_bytes() == b.read_bytes() != c.read_bytes()


def test_pictures_stand_in_their_order(tmp_path):
    frames = np.concatenate([np.full((4, 20, 20, 3), rgb, np.uint8) for rgb in (RED, GREEN, BLUE)])
    strip = Strip(duration_s=3.0, frames_THWC=frames, times_s=np.arange(12) / 4)
    at = colours_along(pixels(draw_timeline(tmp_path / "a", explanation(()), [strip])), {"red": RED, "green": GREEN, "blue": BLUE})
    assert at["red"].max() <= at["green"].min() + 0.03 and at["green"].max() <= at["blue"].min() + 0.03
    assert all(len(places) for places in at.values()) and at["blue"].max() > 0.9


@pytest.mark.parametrize(("shape", "wanted"), [((90, 160), 5), ((100, 100), 9), ((160, 90), 12), ((10, 1000), 1)])
def test_wide_pictures_are_fewer(tmp_path, monkeypatch, shape, wanted):
    drawn = []
    from matplotlib.axes import Axes

    show = Axes.imshow
    monkeypatch.setattr(Axes, "imshow", lambda self, *a, **k: drawn.append(k["extent"]) or show(self, *a, **k))
    frames = np.zeros((40, *shape, 3), np.uint8)
    draw_timeline(tmp_path / "a", explanation(()), [Strip(duration_s=10.0, frames_THWC=frames, times_s=np.arange(40) / 4)])
    assert len(drawn) == wanted and drawn[0][0] == 0.0 and drawn[-1][1] == 10.0


def test_loudness_is_that_of_the_sound():
    wave = np.sin(2 * np.pi * 400 * np.arange(16_000) / 16_000).astype(np.float32)
    wave[8_000:] = 0.0
    at, level = Strip(duration_s=2.0, waveform_N=wave, sound_start_s=0.5).level_db
    assert len(at) == len(level) == 40 and at[0] == pytest.approx(0.5125)
    assert level[:20] == pytest.approx(-3.01, abs=0.05) and set(level[20:]) == {-70.0}
    assert all(len(x) == 0 for x in Strip(duration_s=1.0).level_db)


def test_loudness_is_drawn_where_it_is_loud(tmp_path):
    wave = np.random.default_rng(0).normal(0, 0.3, 32_000).astype(np.float32)
    wave[:16_000] = 0.0
    image = pixels(draw_timeline(tmp_path / "a", explanation(windows([0.0, 0.0])), [Strip(duration_s=2.0, waveform_N=wave)]))
    places = colours_along(image, {"level": (0xB8, 0xC4, 0xD0)}, within=4)["level"]
    assert len(places) > 300 and places.min() > 0.4, "the second half only"


def test_claims_are_brackets_of_their_own_colour_with_their_words(tmp_path):
    found = explanation(windows([0.2, 0.0, 0.0, 0.0]), (claim(0.0, 1.0), claim(3.0, 4.0, "steps", supported=False)))
    paths = draw_timeline(tmp_path / "a", found, [Strip(duration_s=4.0)])
    assert "sound: a laugh (supported, +0.20)" in words(paths) and "sound: steps (not supported, -0.10)" in words(paths)
    at = colours_along(pixels(paths), {"yes": (0x00, 0x9E, 0x73)})["yes"]
    assert len(at) and at.min() < 0.2


def test_the_title_counts_the_claims(tmp_path):
    claims = (claim(), claim(supported=False))
    found = replace(explanation(windows([0.1]), claims), support=0.5)
    assert "happy 75% · 1 of 2 claims supported" in words(draw_timeline(tmp_path / "a", found, [Strip(duration_s=1.0)]))
    assert "happy 75%" in words(draw_timeline(tmp_path / "b", explanation(windows([0.1])), [Strip(duration_s=1.0)]))


def test_several_clips_have_lanes_of_their_own(tmp_path):
    tried = windows([0.1, 0.2]) + windows([0.1], stream="video") + windows([0.3], clip=1)
    told = words(draw_timeline(tmp_path / "a", explanation(tried), [Strip(duration_s=2.0), Strip(duration_s=1.0)]))
    assert {"audio 1", "video 1", "audio 2"} <= set(told)
    assert "audio" in words(draw_timeline(tmp_path / "b", explanation(windows([0.1])), [Strip(duration_s=1.0)]))


def test_a_stream_with_holes_is_white_there(tmp_path):
    paths = draw_timeline(tmp_path / "a", explanation(windows([0.4, None, 0.4])), [Strip(duration_s=3.0)])
    image = pixels(paths)
    lane = image[image.shape[0] // 2, : int(0.85 * image.shape[1])]
    (red,) = (lane[:, 0] - lane[:, 2] > 60).nonzero()
    assert np.diff(red).max() > 0.2 * len(lane), "nothing between the two"


def test_labels_are_no_mathematics_and_steer_nothing(tmp_path):
    found = explanation(windows([0.1]), (claim(text="it costs $5 or $6\x1b[31m " + "x" * 200),), label="$\\frac{1}{0}$")
    told = words(draw_timeline(tmp_path / "a", found, [Strip(duration_s=1.0)]))
    assert any("frac" in w for w in told) and any(w.startswith("sound: it costs") for w in told)
    text = (tmp_path / "a.svg").read_text(encoding="utf-8")
    assert "\x1b" not in text and "x" * 100 not in text


def test_nothing_but_a_label_is_drawn_too(tmp_path):
    for strips in ([Strip(duration_s=1.0)], [Strip(duration_s=0.0)]):
        found = explanation(windows([0.0, 0.0]))
        assert all(p.stat().st_size > 1000 for p in draw_timeline(tmp_path / "a", found, strips))


def test_clips_are_read_once_more_coarsely(tmp_path):
    path = films.write(tmp_path / "a.mp4", films.frames(2), films.noise(2))
    big = toys.clip(seconds=1.0, size=300)
    film, sound, still, gone = read_strips(
        [
            Media(kind="video", source=str(path)), Media(kind="audio", source=str(path)), Media(kind="video", source=big),
            Media(kind="audio", source=str(tmp_path / "missing.wav")),
        ],
        2.0,
    )  # fmt: skip
    assert film.frames_THWC.shape[1:] == (32, 32, 3) and len(film.frames_THWC) == len(film.times_s) == 8, "four a second"
    assert film.duration_s == pytest.approx(2.0, abs=0.1) and film.waveform_N.std() == pytest.approx(3000 / 32768, rel=0.2)
    assert sound.frames_THWC is None and sound.waveform_N is not None
    assert max(still.frames_THWC.shape[1:3]) <= 2 * timeline._SIDE_PX
    assert gone.frames_THWC is None and gone.waveform_N is None and gone.duration_s == 2.0


def test_a_clip_without_frames_or_sound(tmp_path):
    empty = Media(kind="video", source=Clip(duration_s=1.0))
    (strip,) = read_strips([empty], 1.0)
    assert strip.frames_THWC is None and draw_timeline(tmp_path / "a", explanation(windows([0.1])), [strip])


def test_what_draws_is_asked_for_before(monkeypatch):
    need_plots()
    monkeypatch.setattr(timeline, "can_draw", lambda: False)
    with pytest.raises(ConfigError, match="matplotlib"):
        need_plots()
