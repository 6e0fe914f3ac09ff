"""The clip's sound: prosody by emotion, mixing, fitting, the mouth, sameness."""

import hashlib
import subprocess
import sys
from dataclasses import replace
from functools import lru_cache

import numpy as np
import pytest

pytest.importorskip("espeakng_loader", reason="the extra `world` is not installed")

from tests.world.voices import SENTENCES, script, utterance
from unifusion.errors import ConfigError
from unifusion.world.prosody import PROSODY, prosody_of, words_for
from unifusion.world.script import Background, Script, SoundEvent
from unifusion.world.signal import active_level_db
from unifusion.world.sound import (
    RATE_HZ,
    acoustic_features,
    acoustic_truth,
    estimate_seconds,
    fit_utterance,
    mouth_opening,
    render_sound,
    speak_utterance,
    spoken_level_db,
    stems,
    voice_track,
)

FULL = script(
    utterance=utterance(emotion="happy", start_s=1.0),
    sounds=(
        SoundEvent(kind="knocking", start_s=3.5, end_s=4.5, level_db=-18, count=3, seed=4),
        SoundEvent(kind="alarm", start_s=5.0, end_s=5.8, level_db=-22, seed=9),
    ),
    background=Background(kind="rain", snr_db=12.0, seed=7),
)


@lru_cache(maxsize=256)
def truth(emotion, variant, tempo="normal", intensity=1.0, text="The meeting starts at nine in the hall."):
    said = utterance(emotion=emotion, variant=variant, tempo=tempo, intensity=intensity, text=text)
    return acoustic_truth(said, speak_utterance(said).waveform_N)


def semitones(emotion, variant):
    return 12 * np.log2(truth(emotion, variant)["f0_hz"] / truth("neutral", variant)["f0_hz"])


@pytest.mark.parametrize("variant", ["low01", "low07", "high03", "high08"])
def test_emotions_move_the_voice_as_published(variant):
    plain = truth("neutral", variant)
    assert semitones("happy", variant) > 1.5 and semitones("angry", variant) > 1.0 and semitones("fear", variant) > 2.0
    assert semitones("sad", variant) < -1.5 and semitones("disgust", variant) < -1.0
    levels = {e: truth(e, variant)["level_db"] - plain["level_db"] for e in PROSODY}
    assert levels["angry"] == max(levels.values()) and levels["sad"] == min(levels.values())
    rates = {e: truth(e, variant)["rate"] / plain["rate"] for e in PROSODY}
    assert min(rates["fear"], rates["angry"], rates["happy"]) > 1.04 and max(rates["sad"], rates["disgust"]) < 0.95
    ranges = {e: truth(e, variant)["f0_range_st"] for e in PROSODY}
    assert min(ranges["angry"], ranges["happy"]) > 1.4 * ranges["neutral"] and ranges["fear"] < 0.8 * ranges["neutral"]
    assert truth("surprise", variant)["f0_rise_st"] > plain["f0_rise_st"] + 5
    assert truth("fear", variant)["tremor_db"] > plain["tremor_db"] + 1.5
    assert truth("disgust", variant)["roughness_db"] > plain["roughness_db"] + 6
    assert truth("angry", variant)["tilt_db"] > plain["tilt_db"] + 4 and truth("sad", variant)["tilt_db"] < plain["tilt_db"] - 4


def test_intensity_scales_the_distance():
    assert prosody_of("sad", 0.0) == replace(prosody_of("neutral", 1.0), contour=((0, 0.0), (1, -0.0)))
    assert prosody_of("angry", 0.5).level_db == 3.0
    half, whole = (truth("sad", "high03", intensity=i)["level_db"] for i in (0.5, 1.0))
    assert half == pytest.approx(-23.0, abs=0.3) and whole == pytest.approx(-26.0, abs=0.3)


def test_contempt_and_odd_intensities_are_refused():
    with pytest.raises(ConfigError, match="contempt"):
        prosody_of("contempt", 1.0)
    with pytest.raises(ConfigError, match="0 to 1"):
        prosody_of("sad", 1.5)
    assert "creaky" in words_for("disgust")


@pytest.mark.parametrize("emotion", PROSODY)
def test_register_and_tempo_stay_answerable_under_every_emotion(emotion):
    highest_low = max(truth(emotion, v)["f0_hz"] for v in ("low05", "low08", "low12"))
    lowest_high = min(truth(e, v)["f0_hz"] for v in ("high01", "high04") for e in ("sad", "disgust"))
    assert highest_low < lowest_high
    slow, normal, fast = (truth(emotion, "low03", tempo=t)["rate"] for t in ("slow", "normal", "fast"))
    assert slow < 0.84 < normal < 1.2 < fast


def test_nearest_centroid_tells_the_seven_emotions_apart():
    """Features less the speaker's own mean; centroids from six speakers, judged on four others."""
    texts = ("My keys are on the table.", "The train leaves at ten.")

    def rows(variants):
        found = []
        for index, variant in enumerate(variants):
            features = [truth(e, variant, "normal", 0.7 + 0.15 * (index % 3), texts[index % 2]) for e in PROSODY]
            table = np.array([[np.log(max(v, 40)) if n == "f0_hz" else v for n, v in f.items() if n != "speech_s"] for f in features])
            found.append(table - table.mean(0))
        return np.stack(found)

    known = rows(("low01", "low02", "low06", "high01", "high05", "high09"))
    heard = rows(("low10", "low11", "high10", "high12"))
    scale = known.std((0, 1)) + 1e-9
    within = ((known - known.mean(0)) / scale).reshape(-1, known.shape[-1])
    whiten = np.linalg.cholesky(np.linalg.inv(np.cov(within.T) + 0.1 * np.eye(known.shape[-1])))
    centroids = known.mean(0) / scale @ whiten
    guess = np.square((heard / scale @ whiten)[:, :, None] - centroids).sum(-1).argmin(-1)
    assert np.mean(guess == np.arange(len(PROSODY))) >= 0.95


def test_the_clip_is_the_same_in_another_process():
    waveform_N, filled = render_sound(FULL)
    code = (
        "import sys, hashlib; from unifusion.world.script import Script; from unifusion.world.sound import render_sound;"
        "w, s = render_sound(Script.from_json(sys.stdin.read())); print(hashlib.sha256(w.tobytes()).hexdigest()); print(s.to_json())"
    )
    run = subprocess.run([sys.executable, "-c", code], input=FULL.to_json(), capture_output=True, text=True, check=True)
    digest, filled_json = run.stdout.splitlines()
    assert digest == hashlib.sha256(waveform_N.tobytes()).hexdigest()
    assert Script.from_json(filled_json) == filled


def test_render_fills_the_words_and_does_not_clip():
    waveform_N, filled = render_sound(FULL)
    assert waveform_N.dtype == np.float32 and waveform_N.shape == (6 * RATE_HZ,)
    assert np.abs(waveform_N).max() < 1.0
    assert np.array_equal(np.round(waveform_N * 32768), waveform_N * 32768)
    said = filled.utterance
    assert [w.text for w in said.words] == ["The", "meeting", "starts", "at", "nine"]
    assert said.start_s <= said.words[0].start_s < said.words[-1].end_s <= said.end_s + 1e-3 <= 6.0
    assert render_sound(filled)[1] == filled


def test_a_loud_pile_of_sounds_stays_below_full_scale():
    sounds = tuple(SoundEvent(kind=k, start_s=1, end_s=3, level_db=-6, seed=1) for k in ("siren", "engine", "applause", "rain"))
    waveform_N, _ = render_sound(script(sounds=sounds))
    assert 0.8 < np.abs(waveform_N).max() < 1.0


def test_without_sound_the_array_is_empty():
    silent = replace(FULL, has_sound=False)
    waveform_N, same = render_sound(silent)
    assert waveform_N.shape == (0,) and same is silent
    quiet_N, _ = render_sound(script())
    assert quiet_N.shape == (6 * RATE_HZ,) and not quiet_N.any()


def test_events_are_silent_outside_their_span_and_at_their_level():
    tracks = stems(replace(FULL, utterance=None, background=None))
    heard = np.flatnonzero(tracks["sounds"]) / RATE_HZ
    inside = ((heard >= 3.5) & (heard < 4.5)) | ((heard >= 5.0) & (heard < 5.8))
    assert len(heard) and inside.all()
    assert active_level_db(tracks["sounds"][int(5 * RATE_HZ) :]) == pytest.approx(-22, abs=0.5)


def test_an_event_past_the_end_is_cut_there():
    late = script(sounds=(SoundEvent(kind="siren", start_s=5.5, end_s=7.0, level_db=-20),))
    waveform_N, _ = render_sound(late)
    assert waveform_N.shape == (6 * RATE_HZ,) and abs(waveform_N[-1]) < 0.01 < np.abs(waveform_N[-RATE_HZ // 4 :]).max()


@pytest.mark.parametrize("snr_db", [0.0, 10.0, 18.0])
def test_the_background_has_its_snr(snr_db):
    clip = replace(FULL, background=Background(kind="wind", snr_db=snr_db, seed=1))
    tracks = stems(clip)
    bed_db = 10 * np.log10(np.mean(tracks["background"] ** 2))
    assert active_level_db(tracks["voice"] + tracks["sounds"]) - bed_db == pytest.approx(snr_db, abs=1.0)
    added_N = render_sound(clip)[0] - render_sound(replace(clip, background=None))[0]
    assert 10 * np.log10(np.mean(added_N**2)) == pytest.approx(bed_db, abs=0.5)


def test_the_voice_is_where_and_as_loud_as_the_script_says():
    _, filled = render_sound(FULL)
    heard = np.flatnonzero(voice_track(FULL)) / RATE_HZ
    assert heard[0] == pytest.approx(1.0, abs=0.01) and heard[-1] == pytest.approx(filled.utterance.end_s, abs=0.01)
    assert active_level_db(voice_track(FULL)) == pytest.approx(spoken_level_db(FULL.utterance), abs=0.3)


def test_the_mouth_opens_with_the_voice_only():
    _, filled = render_sound(FULL)
    times = np.arange(0, 6, 0.04)
    mouth = mouth_opening(voice_track(FULL), times)
    speaking = (times > filled.utterance.start_s) & (times < filled.utterance.end_s)
    assert mouth.min() >= 0 and mouth.max() <= 1
    assert mouth[~speaking & (np.abs(times - 1.0) > 0.1) & (np.abs(times - filled.utterance.end_s) > 0.1)].max() == 0
    assert mouth[speaking].mean() > 0.3 and np.ptp(mouth[speaking]) > 0.5
    assert mouth_opening(voice_track(FULL), times[::-1]) == pytest.approx(mouth[::-1])
    assert not mouth_opening(voice_track(script()), times).any()


def test_lengths_are_estimated_well():
    for language, text in SENTENCES.items():
        for tempo in ("fast", "slow"):
            said = utterance(language=language, text=text, tempo=tempo, emotion="fear")
            assert estimate_seconds(said) == pytest.approx(len(speak_utterance(said).waveform_N) / RATE_HZ, rel=0.08)


def test_fitting_starts_earlier_then_speaks_faster_and_keeps_every_word():
    easy = utterance(start_s=0.4)
    assert fit_utterance(easy, 6.0) is easy
    earlier = fit_utterance(utterance(start_s=1.5), 2.0)
    assert earlier.start_s < 1.5 and earlier.tempo == "normal"
    long = utterance(text=SENTENCES["english"], tempo="slow", start_s=2.0)
    for duration_s in (5.0, 4.0, 3.0):
        fitted = fit_utterance(long, duration_s)
        _, filled = render_sound(script(utterance=fitted, duration_s=duration_s))
        assert filled.utterance.end_s <= duration_s
        assert len(filled.utterance.words) == len(SENTENCES["english"].split())
    assert fitted.tempo == "fast"
    with pytest.raises(ConfigError, match="shorter sentence"):
        fit_utterance(long, 1.0)


def test_an_utterance_that_does_not_fit_is_refused():
    with pytest.raises(ConfigError, match="fit_utterance"):
        render_sound(script(utterance=utterance(start_s=5.0)))


def test_features_of_a_tone_are_right():
    time_s = np.arange(RATE_HZ) / RATE_HZ
    wobble = 1 + 0.5 * np.sin(2 * np.pi * 7 * time_s)
    features = acoustic_features(0.2 * wobble * np.sign(np.sin(2 * np.pi * 150 * time_s)))
    assert features["f0_hz"] == pytest.approx(150, rel=0.01) and features["voiced_ratio"] > 0.95
    assert features["tremor_db"] > -1 and features["f0_range_st"] < 0.2
    assert acoustic_features(np.zeros(RATE_HZ))["f0_hz"] == 0.0
