"""The picture of clip world: equal everywhere, true to its script, and readable by a classifier that learns nothing but means."""

import hashlib
import time
from dataclasses import replace
from itertools import product

import numpy as np
import pytest
from sklearn.neighbors import NearestCentroid

from unifusion.errors import ConfigError
from unifusion.world.features import blink
from unifusion.world.head import HAIR_STYLES
from unifusion.world.picture import (
    ACTION_UNITS,
    AU_OF_EMOTION,
    COLOUR_RGB,
    action_unit_intensities,
    landmarks,
    object_position,
    render_frames,
    stage_of,
)
from unifusion.world.script import COLOURS, DIRECTIONS, EMOTIONS, SHAPES, SIZES, Expression, Identity, ObjectTrack, Script, Sign
from unifusion.world.shapes import chance
from unifusion.world.stage import RADIUS

SKINS = ((255, 224, 196), (241, 194, 155), (224, 172, 125), (198, 134, 86), (141, 85, 50), (94, 58, 38))
HAIRS = ((40, 28, 20), (90, 56, 30), (150, 98, 48), (214, 178, 100), (160, 60, 30), (150, 150, 150))
APEX_S = 2.2


def person(seed):
    def pick(key, options):
        return options[int(chance(seed, key) * len(options))]

    return Identity(
        seed=seed,
        skin=pick(1, SKINS),
        hair=pick(2, HAIRS),
        hair_style=pick(3, HAIR_STYLES),
        face_width=0.92 + 0.16 * chance(seed, 4),
        face_height=0.94 + 0.12 * chance(seed, 5),
        eye_spacing=0.92 + 0.16 * chance(seed, 6),
        glasses=chance(seed, 7) < 0.5,
        beard=chance(seed, 8) < 0.5,
    )


def face(seed, emotion, intensity=1.0, **kw):
    times = {"start_s": 1.0, "apex_s": 1.4, "offset_s": 4.0, "end_s": 4.5}
    moves = Expression(emotion=emotion, intensity=intensity, action_units=AU_OF_EMOTION[emotion], **times)
    return Script(**{"seed": 3, "index": seed, "split": "train", "identity": person(seed), "expressions": (moves,), **kw})


def thing(**kw):
    looks = {"shape": "circle", "colour": "red", "size": "medium", "direction": "still"}
    return ObjectTrack(**(looks | {"start_s": 1.0, "end_s": 3.0, "x": 0.78, "y": 0.4, "speed": 0.2} | kw))


def stage_script(*objects, sign=None, seed=None, **kw):
    return Script(seed=8, index=0, split="train", identity=None if seed is None else person(seed), objects=objects, sign=sign, **kw)


def full_script():
    looks = [{"shape": SHAPES[i], "colour": COLOURS[i], "direction": DIRECTIONS[i + 3]} for i in range(3)]
    tracks = tuple(thing(**look, start_s=0.0, y=0.2 + 0.3 * i, seed=i) for i, look in enumerate(looks))
    return face(7, "fear", objects=tracks, sign=Sign(text="open", start_s=0.5, end_s=5.0, x=0.1, y=0.1))


def pixels(frames_THWC, x, y, size_px=112):
    return frames_THWC[:, int(y * size_px), int(x * size_px)].astype(int)


def test_frames_are_the_same_bits_on_every_machine():
    """Models are trained on these frames; whoever changes the drawing on purpose also retrains them and writes the new sum here."""
    frames = render_frames(full_script(), [0.0, 1.3, 2.5, 5.9], np.array([0.0, 0.4, 0.9, 0.2]))
    assert frames.shape == (4, 112, 112, 3) and frames.dtype == np.uint8
    assert hashlib.sha256(frames.tobytes()).hexdigest() == "eee5eb0a0c03f81c23cb05dd65f6ec8938df362cbf089678619783acd2a458e5"


def test_any_subset_of_times_gives_the_same_frames():
    script, times = full_script(), np.arange(70) / 25.0
    mouth = (np.arange(70) % 5) / 5
    whole = render_frames(script, times, mouth)
    chosen = [69, 3, 33, 31, 32]
    assert np.array_equal(render_frames(script, times[chosen], mouth[chosen]), whole[chosen])
    assert render_frames(script, []).shape == (0, 112, 112, 3)


@pytest.mark.parametrize("size_px", [64, 96, 224])
def test_size_and_empty_scene(size_px):
    frames = render_frames(stage_script(size_px=size_px, background_rgb=(90, 120, 60)), [0.0, 3.0])
    assert frames.shape == (2, size_px, size_px, 3)
    assert np.array_equal(frames[0], frames[1])
    assert np.abs(frames[0].reshape(-1, 3).mean(0) - (90, 120, 60)).max() < 16


def regions(script, frame):
    """Cut brows and eyes, nose, and mouth out of a frame, by the layout alone."""
    stage, size = stage_of(script), script.size_px
    unit, x, y = stage.face_unit * size, stage.face_x * size, stage.face_y * size

    def cut(top, bottom, half):
        return frame[int(y + top * unit) : int(y + bottom * unit), int(x - half * unit) : int(x + half * unit)].astype(float)

    return {"brows": cut(-0.65, -0.2, 0.6), "eyes": cut(-0.2, 0.1, 0.6), "nose": cut(-0.15, 0.25, 0.2), "mouth": cut(0.28, 0.9, 0.55)}


def open_eyed(seed):
    """Return a moment at the apex at which this person does not blink."""
    return next(t for t in np.arange(1.5, 4.0, 0.3) if blink(seed, np.array([t]))[0] == 0)


MOVED = {
    "happy": {"mouth", "eyes"}, "sad": {"brows", "mouth"}, "angry": {"brows", "mouth"}, "fear": {"brows", "eyes", "mouth"},
    "surprise": {"brows", "eyes", "mouth"}, "disgust": {"nose", "mouth"}, "contempt": {"mouth"},
}  # fmt: skip


@pytest.mark.parametrize("emotion", [e for e in EMOTIONS if e != "neutral"])
def test_an_emotion_changes_its_own_regions(emotion):
    for seed in (1, 4, 9):
        script = face(seed, emotion)
        t = open_eyed(seed)
        rest, shown = (regions(script, render_frames(s, [t])[0]) for s in (face(seed, "neutral"), script))
        change = {name: float(np.abs(shown[name] - rest[name]).mean()) for name in rest}
        assert all(change[name] > 4.0 for name in MOVED[emotion]), change
        if emotion == "contempt":
            assert change["brows"] == 0.0, "contempt leaves the brows alone"
        if emotion == "sad":
            assert change["nose"] < change["mouth"]


def test_before_onset_and_after_the_end_the_face_is_neutral():
    for t in (0.9, 4.6):
        assert np.array_equal(render_frames(face(2, "angry"), [t]), render_frames(face(2, "neutral"), [t]))


def test_intensity_follows_onset_apex_offset():
    script = face(2, "happy", 0.8)
    curve = [action_unit_intensities(script, t)["AU12"] for t in (0.5, 1.0, 1.2, 1.4, 3.0, 4.0, 4.25, 4.5, 5.0)]
    assert curve == pytest.approx([0, 0, 0.4, 0.8, 0.8, 0.8, 0.4, 0, 0])
    at_once = replace(script, expressions=(replace(script.expressions[0], start_s=0.0, apex_s=0.0, offset_s=6.0, end_s=6.0),))
    assert [action_unit_intensities(at_once, t)["AU6"] for t in (0.0, 5.96, 6.0)] == [0.8, 0.8, 0.8]


def test_action_units_are_those_of_the_prototype():
    for emotion in EMOTIONS:
        levels = action_unit_intensities(face(3, emotion), APEX_S)
        assert set(levels) == set(ACTION_UNITS)
        assert {name for name, level in levels.items() if level > 0} == set(AU_OF_EMOTION[emotion])


def test_contempt_is_on_one_side_and_both_sides_occur():
    sides = set()
    for seed in range(12):
        marks = landmarks(face(seed, "contempt"), APEX_S)
        assert (marks["mouth_corner_left"] > 0) != (marks["mouth_corner_right"] > 0)
        sides.add(marks["mouth_corner_left"] > 0)
    assert sides == {True, False}


def test_speech_opens_the_mouth_and_a_blink_closes_the_eyes():
    script = face(5, "neutral")
    shut, wide = (regions(script, render_frames(script, [APEX_S], np.array([m]))[0]) for m in (0.0, 1.0))
    assert np.abs(wide["mouth"] - shut["mouth"]).mean() > 8 and np.array_equal(wide["eyes"], shut["eyes"])
    openings = [landmarks(script, t)["lid_opening_left"] for t in np.arange(0, 12, 0.04)]
    blinks = np.diff((np.array(openings) < 0.05).astype(int)) == 1
    assert 3 <= blinks.sum() <= 5
    with pytest.raises(ConfigError, match="2 mouth openings for 1 times"):
        render_frames(script, [0.0], np.zeros(2))


def test_landmarks_tell_the_expressions_apart():
    rows = [(list(landmarks(face(s, e, 0.7 + 0.3 * chance(s, i)), 1.5 + 2 * chance(s, i, 1), 0.5 * chance(s, i, 2)).values()), e)
            for s in range(60) for i, e in enumerate(EMOTIONS)]  # fmt: skip
    marks, names = np.array([r[0] for r in rows]), np.array([r[1] for r in rows])
    scale = marks[:320].std(0) + 1e-9
    assert NearestCentroid().fit(marks[:320] / scale, names[:320]).score(marks[320:] / scale, names[320:]) >= 0.95


def crop(script, t):
    """Return a downsampled grey crop of the face, without its mean and contrast."""
    parts = regions(script, render_frames(script, [t])[0])
    rows = []
    for name in ("brows", "eyes", "nose", "mouth"):
        grey = parts[name].mean(2)
        grid = grey[: len(grey) // 2 * 2, : grey.shape[1] // 2 * 2].reshape(len(grey) // 2, 2, -1, 2).mean((1, 3))
        rows.append(((grid - np.median(grid)) / (grid.std() + 1e-6)).ravel())
    return np.concatenate(rows)


@pytest.mark.parametrize(("size_px", "objects"), [(112, ()), (96, (thing(),))])
def test_pixels_tell_the_expressions_apart_on_unseen_people(size_px, objects):
    def samples(seeds):
        scripts = [(face(s, e, size_px=size_px, objects=objects), e) for s, e in product(seeds, EMOTIONS)]
        return np.array([crop(s, APEX_S) for s, _ in scripts]), [e for _, e in scripts]

    model = NearestCentroid().fit(*samples(range(40)))
    assert model.score(*samples(range(500, 520))) >= 0.8


@pytest.mark.parametrize("seed", [None, 6])
@pytest.mark.parametrize("direction", DIRECTIONS)
def test_objects_are_where_they_should_be_while_they_are_there(direction, seed):
    for colour, shape, size in zip(COLOURS, (*SHAPES, *SHAPES[:3]), (*SIZES, *SIZES, *SIZES[:2]), strict=True):
        track = thing(colour=colour, shape=shape, size=size, direction=direction, seed=len(colour))
        script = stage_script(track, seed=seed)
        arena = stage_of(script).arena
        times = np.array([0.96, 1.0, 1.6, 2.2, 2.96, 3.0])
        frames = render_frames(script, times)
        empty = render_frames(replace(script, objects=(replace(track, start_s=9.0, end_s=10.0),)), times)
        for i, t in enumerate(times):
            x, y = object_position(track, float(t), arena)
            assert arena.left <= x < arena.right and arena.top <= y < arena.bottom
            if 1.0 <= t < 3.0:
                assert np.abs(pixels(frames[i : i + 1], x, y)[0] - COLOUR_RGB[colour]).max() <= 2
            else:
                assert np.array_equal(frames[i], empty[i])


def test_movement_has_the_direction_and_speed_it_says():
    def path(direction, **kw):
        track = thing(direction=direction, **kw)
        return np.array([object_position(track, t) for t in np.arange(1.0, 3.0, 0.04)])

    for direction, axis, sign in (("left", 0, -1), ("right", 0, 1), ("up", 1, -1), ("down", 1, 1)):
        steps = np.diff(path(direction), axis=0)
        assert np.all(steps[:, 1 - axis] == 0)
        assert np.median(steps[:, axis]) == pytest.approx(sign * 0.2 * 0.04)
    assert np.ptp(path("still"), axis=0).max() == 0
    orbit = path("circle", speed=0.5)
    assert np.ptp(orbit, axis=0) == pytest.approx([0.16, 0.16], abs=0.005)
    diagonal = np.diff(path("bounce", speed=0.6), axis=0)
    assert (np.abs(diagonal) > 0).all() and np.ptp(np.sign(diagonal[:, 0])) == 2


def test_the_three_sizes_are_visibly_different_for_every_shape():
    for shape in SHAPES:
        empty = render_frames(stage_script(thing(start_s=9, end_s=10)), [2.0])[0].astype(int)
        areas = [(np.abs(render_frames(stage_script(thing(shape=shape, size=s)), [2.0])[0] - empty).max(2) > 40).sum() for s in SIZES]
        assert areas[1] > 1.6 * areas[0] and areas[2] > 1.6 * areas[1]
    assert RADIUS["small"] * 112 > 4


@pytest.mark.parametrize("colour", COLOURS)
def test_every_colour_is_seen_on_its_own_colour(colour):
    """The outline keeps a shape visible on a background of the same colour."""
    script = stage_script(thing(colour=colour), background_rgb=COLOUR_RGB[colour])
    with_it, without = render_frames(script, [2.0, 5.0]).astype(int)
    assert (np.abs(with_it - without).max(2) > 100).sum() > 20


def test_a_small_object_is_never_behind_a_large_one():
    tracks = (thing(size="small", colour="green"), thing(size="large", colour="red"))
    seen = [pixels(render_frames(stage_script(*order), [2.0]), *object_position(tracks[0], 2.0)) for order in (tracks, tracks[::-1])]
    assert all(np.abs(colour - COLOUR_RGB["green"]).max() <= 2 for colour in seen)


def test_nothing_stands_before_the_face():
    script = face(7, "happy")
    busy = replace(full_script(), expressions=script.expressions)
    calm = replace(busy, objects=(thing(start_s=90, end_s=91),), sign=replace(busy.sign, start_s=90, end_s=91))
    times = np.arange(0, 6, 0.4)
    for seen, alone in zip(render_frames(busy, times), render_frames(calm, times), strict=True):
        for name, part in regions(busy, seen).items():
            assert np.array_equal(part, regions(calm, alone)[name]), name


def test_a_sign_is_seen_in_its_interval_only():
    sign = Sign(text="7", start_s=1.0, end_s=2.0, x=0.14, y=0.13)
    for seed in (None, 3):
        script = stage_script(sign=sign, seed=seed)
        bare = replace(script, sign=replace(sign, start_s=50.0, end_s=51.0))
        times = [0.96, 1.0, 1.96, 2.0]
        shown = [not np.array_equal(a, b) for a, b in zip(render_frames(script, times), render_frames(bare, times), strict=True)]
        assert shown == [False, True, True, False]


def board(text, seed=None):
    script = stage_script(sign=Sign(text=text, start_s=0.0, end_s=6.0, x=0.5, y=0.9), seed=seed)
    box = stage_of(script).sign_box
    edge = [round(v * 112) for v in (box.top, box.bottom, box.left, box.right)]
    return render_frames(script, [1.0])[0][edge[0] + 3 : edge[1] - 3, edge[2] + 3 : edge[3] - 3].mean(2)


def test_digits_are_large_and_all_different():
    digits = {d: board(d, seed=3) for d in "0123456789"}
    for d, image in digits.items():
        ink = np.flatnonzero((image < 120).any(1))
        assert ink[-1] - ink[0] + 1 >= 18, d
    for a, b in product(digits, digits):
        if a < b:
            assert (np.abs(digits[a] - digits[b]) > 100).sum() >= 12, (a, b)


def test_words_fit_and_unknown_things_are_refused():
    words = {w: board(w, seed=3) for w in ("stop", "go", "open", "exit", "hot", "cold", "left", "sale")}
    assert min(image.shape[0] for image in words.values()) >= 12
    assert max(image.shape[1] for image in words.values()) <= 0.45 * 112
    with pytest.raises(ConfigError, match="'ß'"):
        board("ß")
    with pytest.raises(ConfigError, match="did you mean 'circle'"):
        render_frames(stage_script(thing(shape="circel")), [0.0])
    with pytest.raises(ConfigError, match="hair style"):
        render_frames(replace(face(1, "happy"), identity=replace(person(1), hair_style="mullet")), [0.0])
    odd = replace(face(1, "happy").expressions[0], action_units=("AU99",))
    with pytest.raises(ConfigError, match="AU99"):
        render_frames(replace(face(1, "happy"), expressions=(odd,)), [0.0])


@pytest.mark.alone
def test_twenty_four_frames_take_under_a_third_of_a_second():
    script, times = full_script(), np.arange(24) / 4
    render_frames(script, times)
    start = time.process_time()
    render_frames(script, times)
    assert time.process_time() - start < 0.35
