"""Two views of a sample: both changed, not alike, the same whatever the worker and the order; labels survive."""

import multiprocessing
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.media.clips import barcode, tone
from unifusion.conversation import Clip, Example, Media
from unifusion.errors import ConfigError
from unifusion.media.augment import Augmentation, TextAugmentation, augmented, color_jitter, two_views, view_keys

CHOICES = Augmentation(crop=0.7, jitter=0.3, keep_time=0.6, gain_db=6, noise_snr_db=(5, 20), pitch=1.0)
WORDS = TextAugmentation(paraphrase=0.5, drop=0.3)
TEXT = "A dog barks while someone laughs. There is a bell. The face is happy."


def clip():
    frames = np.stack([barcode(n) for n in range(6)])
    return Clip(frames_THWC=frames, frame_times_s=np.arange(6) / 3, waveform_N=tone(2.0, 16_000), duration_s=2.0)


def marks(sample_id):
    """What the views of a clip are, as bytes."""
    pair = two_views(clip(), CHOICES, seed=1, sample_id=sample_id, epoch=2)
    return [(v.frames_THWC.tobytes(), v.waveform_N.tobytes(), v.duration_s) for v in pair]


def test_views_do_not_hang_on_the_worker_or_the_order():
    names = ["a", "b", "c", "d"]
    wanted = {name: marks(name) for name in names}
    assert {name: marks(name) for name in names[::-1]} == wanted
    with multiprocessing.get_context("fork").Pool(2) as workers:
        assert dict(zip(names[::-1], workers.map(marks, names[::-1]), strict=True)) == wanted
    assert len({mark for pair in wanted.values() for mark in pair}) == 8


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**40), sample_id=st.text("ab0/é", max_size=6), epoch=st.integers(0, 1000))
def test_views_differ_from_each_other_and_are_drawn_by_the_whole_key(seed, sample_id, epoch):
    one, other = two_views(TEXT, WORDS, seed=seed, sample_id=sample_id, epoch=epoch)
    assert one != other and (one, other) == two_views(TEXT, WORDS, seed=seed, sample_id=sample_id, epoch=epoch)
    keys = list(view_keys(seed, sample_id, epoch))
    assert len(set(keys)) == len(keys)
    assert not set(keys) & (set(view_keys(seed + 1, sample_id, epoch)) | set(view_keys(seed, sample_id, epoch + 1)))


def test_the_first_view_is_what_its_key_gives_and_the_given_clip_is_left_alone():
    mine = clip()
    first = two_views(mine, CHOICES, seed=1, sample_id="a", epoch=0)[0]
    by_key = augmented(clip(), CHOICES, key=next(view_keys(1, "a", 0)))
    assert np.array_equal(first.waveform_N, by_key.waveform_N) and np.array_equal(first.frames_THWC, by_key.frames_THWC)
    assert np.array_equal(mine.waveform_N, clip().waveform_N) and np.array_equal(mine.frames_THWC, clip().frames_THWC)


def test_rare_changes_still_give_two_views():
    for name in range(20):
        one, other = two_views(clip(), Augmentation(flip=0.5), seed=0, sample_id=str(name), epoch=0)
        assert not np.array_equal(one.frames_THWC, other.frames_THWC)


@settings(max_examples=25, deadline=None)
@given(epoch=st.integers(0, 10_000))
def test_left_stays_left_and_colours_stay_unless_asked(epoch):
    frames = np.full((3, 32, 32, 3), 40, np.uint8)
    frames[:, 8:24, 4:14] = (200, 30, 30)  # red, on the left
    still = Clip(frames_THWC=frames, frame_times_s=np.arange(3.0), duration_s=3.0)
    for view in two_views(still, replace(CHOICES, crop=0.9), seed=0, sample_id="a", epoch=epoch):
        red = view.frames_THWC[..., 0].astype(int) - view.frames_THWC[..., 2]
        left, right = np.split(red[:, :, : red.shape[2] // 2 * 2], 2, axis=2)
        assert left.sum() > 4 * max(1, right.sum())
        assert (np.diff(view.frame_times_s) > 0).all()
    mirrored = augmented(still, Augmentation(flip=1.0), key="k").frames_THWC
    assert (mirrored == frames[:, :, ::-1]).all()


def test_examples_keep_their_labels_and_media():
    example = Example(
        id="a", media=(Media(kind="video", source="a.mp4"),), texts={"caption": TEXT, "answer": "a dog barks"}, labels={"sound": "dog"}
    )
    one, other = two_views(example, WORDS, seed=0, sample_id="a", epoch=0)
    assert one.texts["caption"] != other.texts["caption"]
    for view in (one, other):
        assert replace(view, texts=example.texts) == example and view.texts["answer"] == "a dog barks"
    answers = two_views(example, TextAugmentation(drop=0.5), seed=0, sample_id="a", epoch=0, names=("answer",))
    assert all(view.texts["caption"] == TEXT for view in answers)


def test_what_cannot_be_two_views():
    key = {"seed": 0, "sample_id": "a", "epoch": 0}
    with pytest.raises(ConfigError, match="change nothing"):
        two_views(clip(), Augmentation(time_masks=2), **key)
    with pytest.raises(ConfigError, match="change nothing"):
        two_views(TEXT, TextAugmentation(), **key)
    with pytest.raises(ConfigError, match="give TextAugmentation"):
        two_views(TEXT, CHOICES, **key)
    assert two_views("dog", WORDS, **key) == ("dog", "dog")


def test_hue_turns_colours_and_keeps_grey_and_light():
    grey = np.full((1, 4, 4, 3), 90, np.uint8)
    assert (color_jitter(grey, 1.0, 1.0, 1.0, 0.3) == 90).all()
    red = np.zeros((1, 4, 4, 3), np.uint8) + np.array([150, 60, 60], np.uint8)
    turned = color_jitter(red, 1.0, 1.0, 1.0, 1 / 3)[0, 0, 0].astype(float)
    assert turned.argmax() != 0
    luma = np.array([0.299, 0.587, 0.114])
    assert turned @ luma == pytest.approx(red[0, 0, 0] @ luma, abs=1.5)
    assert np.abs(color_jitter(red, 1.0, 1.0, 1.0, 1.0).astype(int) - red).max() <= 1


def test_grey_and_hue_as_choices():
    colours = np.random.default_rng(0).integers(0, 256, (2, 8, 8, 3)).astype(np.uint8)
    still = Clip(frames_THWC=colours, frame_times_s=np.arange(2.0), duration_s=2.0)
    grey = augmented(still, Augmentation(gray=1.0), key="k").frames_THWC
    assert (np.ptp(grey.astype(int), axis=-1) <= 1).all()
    assert not np.array_equal(augmented(still, Augmentation(hue=0.3), key="k").frames_THWC, colours)
    lit = augmented(still, Augmentation(jitter=0.3), key="k").frames_THWC
    assert np.array_equal(augmented(still, Augmentation(jitter=0.3, gray=1e-12), key="k").frames_THWC, lit)
    for wrong in ({"hue": 0.6}, {"gray": 1.5}):
        with pytest.raises(ConfigError, match=next(iter(wrong))):
            Augmentation(**wrong)
