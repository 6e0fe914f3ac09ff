"""Composed clips: faces and voices of one split, put together when they are opened."""

from collections import Counter

import numpy as np
import pytest

from tests.toys import chat_model
from unifusion import catalog
from unifusion.conversation import Clip, Example, Media
from unifusion.datasets._files import Listed
from unifusion.datasets.composed import Composed
from unifusion.datasets.mixture import Mixture
from unifusion.errors import DatasetError
from unifusion.features import media_key
from unifusion.limits import Limits
from unifusion.media.compose import compose
from unifusion.processor.opening import decode

TONE = 0.3 * np.sin(np.arange(32_000) * 0.2).astype(np.float32)


def faces(split="train"):
    stills = {e: np.full((1, 48, 48, 3), 40 * k + 60, np.uint8) for k, e in enumerate(("happy", "sad", "angry"))}
    media = {e: Media(kind="image", source=Clip(frames_THWC=s, frame_times_s=np.zeros(1))) for e, s in stills.items()}
    rows = [Example(id=f"{e}{i}", media=(media[e],), labels={"emotion": e}, split=split) for e in stills for i in range(4)]
    return Listed(rows, None, "faces")


def sounds(labels, key, split="train", scale=1.0):
    media = Media(kind="audio", source=Clip(waveform_N=scale * TONE, duration_s=2.0))
    return Listed([Example(id=w, media=(media,), labels={key: w}, group=w, split=split) for w in labels], None, key)


def test_rows_tell_what_each_stream_shows():
    data = Composed(faces(), sounds(("happy", "sad", "boredom"), "emotion"), sounds=sounds(("rain",), "sound"), count=400)
    rows = list(data)
    assert data[7] == rows[7] and catalog.load("datasets", "composed") is Composed
    assert Counter(r.labels["voice_emotion"] for r in rows) == {"happy": 200, "sad": 200}  # no face is bored
    assert all(r.labels["voice"] == r.labels["voice_emotion"] for r in rows)  # ids of the voices above
    agree = [r for r in rows if r.labels["agreement"] == "yes"]
    assert all((r.labels["face_emotion"] == r.labels["voice_emotion"]) == (r in agree) == ("emotion" in r.labels) for r in rows)
    assert 160 < len(agree) < 240 and 160 < sum("sound" in r.labels for r in rows) < 240
    assert {r.labels["face_emotion"] for r in rows} == {"happy", "sad", "angry"} and {r.group for r in rows} == {"happy", "sad"}
    first, second = (Composed(faces(), sounds(("happy",), "emotion"), count=5, seed=seed) for seed in (0, 1))
    assert [r.media[0].source.seed for r in first] != [r.media[0].source.seed for r in second]


def test_rows_of_a_pair_differ_in_one_stream_and_in_whether_both_agree():
    voices = sounds(("happy", "sad", "angry", "boredom"), "emotion")
    data = Composed(faces(), voices, sounds=sounds(("rain",), "sound"), count=200, agree=None)
    for number in range(100):
        first, second = (data[2 * number + k] for k in range(2))
        a, b = (r.media[0].source for r in (first, second))
        assert [r.labels["agreement"] for r in (first, second)] == ["yes", "no"] and first.id != second.id
        assert (a.background, a.snr_db, a.seed) == (b.background, b.snr_db, b.seed)
        changed = ("face_emotion", "voice_emotion")[number % 2]
        assert [k for k in ("face_emotion", "voice_emotion") if first.labels[k] != second.labels[k]] == [changed]
        assert (first.labels["voice"] == second.labels["voice"]) == (number % 2 == 0) and (a.still == b.still) == (number % 2 == 1)


def test_splits_do_not_mix():
    with pytest.raises(DatasetError, match="are of splits train, val"):
        Composed(faces(), sounds(("happy",), "emotion", split="val"))
    with pytest.raises(DatasetError, match="are of splits train, val"):
        Composed(faces(), sounds(("happy",), "emotion"), sounds=sounds(("rain",), "sound", split="val"))
    with pytest.raises(DatasetError, match="no voice has an emotion that a face has"):
        Composed(faces(), sounds(("boredom",), "emotion"))


def test_a_mix_is_opened_as_any_clip_and_has_a_key_of_its_own():
    data = Composed(faces(), sounds(("happy", "sad"), "emotion"), sounds=sounds(("rain",), "sound"), count=6, noisy=1.0)
    clip, cut = decode(data[0].media[0], rate_hz=4.0, audio=True, max_seconds=12.0, limits=Limits())
    assert clip.frames_THWC.shape == (8, 112, 112, 3) and len(clip.waveform_N) == 32_000 and cut == 0.0
    _, processor = chat_model()
    report = processor.opener.open(data[0].media[0]).reports
    assert report["video"].present and report["audio"].present
    keys = {media_key(data[i].media[0]) for i in range(6)}
    assert len(keys) == 6 and media_key(data[3].media[0]) in keys and "with" in data[0].media[0].name


def test_compose_moves_the_still_and_mixes_at_the_ratio_asked_for():
    still = np.tile(np.arange(48, dtype=np.uint8)[None, :, None] * 5, (48, 1, 3))
    clip = compose(still, TONE, np.ones(100, np.float32) * 0.1, snr_db=6.0, duration_s=3.0, seed=4)
    assert clip.frames_THWC.shape == (24, 112, 112, 3) and len(clip.waveform_N) == 48_000
    steps = np.abs(np.diff(clip.frames_THWC.astype(int), axis=0)).mean((1, 2, 3))
    assert 0 < steps.max() < 12  # it moves, slowly
    padded = np.pad(TONE, (0, 16_000))
    gain = float(clip.waveform_N @ padded) / float(padded @ padded)
    behind = clip.waveform_N / gain - padded
    assert 10 * np.log10((padded**2).mean() / (behind**2).mean()) == pytest.approx(6.0, abs=0.3)
    again = compose(still, TONE, np.ones(100, np.float32) * 0.1, snr_db=6.0, duration_s=3.0, seed=4)
    assert np.array_equal(clip.frames_THWC, again.frames_THWC) and np.array_equal(clip.waveform_N, again.waveform_N)
    assert compose(None, TONE, duration_s=1.0).frames_THWC is None and compose(still, None, duration_s=1.0).waveform_N is None


def test_real_faces_with_real_voices(data):
    rows = Composed(
        catalog.load("datasets", "fer2013")(data / "fer2013", split="val"),
        catalog.load("datasets", "ravdess")(data / "ravdess_speech", split="val"),
        sounds=catalog.load("datasets", "esc10")(data / "esc10", split="val"), count=240,
    )  # fmt: skip
    assert {r.group for r in rows} == {"ravdess_17", "ravdess_18"} and {r.split for r in rows} == {"val"}
    clip, _ = decode(rows[5].media[0], rate_hz=4.0, audio=True, max_seconds=12.0, limits=Limits())
    assert clip.frames_THWC.std() > 5 and np.abs(clip.waveform_N).max() > 0.01
    assert len(clip.frames_THWC) == round(clip.duration_s * 4 + 0.49)


def test_voices_meet_several_faces_in_a_split_that_says_so(data):
    parts = {
        "voices": {"dataset": "emodb", "path": "emodb", "weight": 0}, "faces": {"dataset": "fer2013", "path": "fer2013", "weight": 0},
        "both": {"dataset": "composed", "faces": ["faces"], "voices": ["voices"], "rounds": {"train": 2}, "options": {"agree": 1.0}},
    }  # fmt: skip
    train, val = (Mixture("parts", written=parts, data=data, split=s) for s in ("train", "val"))
    met = Counter(row.labels["voice"] for row in train)
    shown = {(row.labels["voice"], row.media[0].source.still) for row in train}
    assert set(met.values()) == {2} and len(shown) > 1.9 * len(met)
    assert len(val) == len({row.labels["voice"] for row in val})
