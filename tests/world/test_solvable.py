"""Self-test "solvable": every attribute that is asked about can be told from what is rendered, by a nearest centroid."""

import os
from collections.abc import Iterator
from dataclasses import replace
from itertools import islice

import numpy as np
import pytest

from unifusion.world.acoustics import acoustic_features, onset_times_s
from unifusion.world.effects import synthesise
from unifusion.world.expression import AU_OF_EMOTION
from unifusion.world.families_sound import kind_name
from unifusion.world.picture import landmarks
from unifusion.world.questions import ask, check
from unifusion.world.render import render
from unifusion.world.sample import sample_script
from unifusion.world.script import Script
from unifusion.world.sentences import meaning_of
from unifusion.world.sound import acoustic_truth, speak_utterance
from unifusion.world.stage import COLOUR_RGB, object_position, stage_of
from unifusion.world.world_file import ranges

CLIPS = int(os.environ.get("UNIFUSION_WORLD_RENDERED", "189"))
"""Two thirds make the centroids, the rest is judged. Raise it to measure more sharply."""


def clips(wanted, seed, count) -> Iterator[Script]:
    """The first `count` scripts that `wanted` accepts."""
    return islice((s for i in range(20_000) if wanted(s := sample_script(seed, i))), count)


def split_accuracy(rows):
    """Accuracy on the last third of rows (features, label) with centroids of the others."""
    cut = 2 * len(rows) // 3
    return centroid_accuracy(rows[:cut], rows[cut:])


def centroid_accuracy(known, heard):
    """Nearest centroid in the space whitened by the scatter within classes; rows are (features, label)."""
    labels = sorted({label for _, label in known})
    table = {label: np.array([f for f, name in known if name == label]) for label in labels}
    scale = np.array([f for f, _ in known]).std(0) + 1e-9
    scatter = np.concatenate([(t - t.mean(0)) / scale for t in table.values()])
    whiten = np.linalg.cholesky(np.linalg.inv(np.cov(scatter.T) + 0.1 * np.eye(len(scale))))
    centroids = np.array([t.mean(0) / scale @ whiten for t in table.values()])
    guesses = [labels[np.square(np.array(f) / scale @ whiten - centroids).sum(1).argmin()] for f, _ in heard]
    return np.mean([guess == label for guess, (_, label) in zip(guesses, heard, strict=True)])


def test_expressions_are_told_by_landmarks():
    rows = []
    for script in clips(lambda s: s.identity is not None, 1, 2 * CLIPS):
        shown = script.expressions[0] if script.expressions else None
        at = min(shown.apex_s + 0.2, shown.offset_s) if shown else 3.0
        rows.append((list(landmarks(script, at).values()), shown.emotion if shown else "neutral"))
    assert {label for _, label in rows} == set(AU_OF_EMOTION)
    assert split_accuracy(rows) >= 0.95


@pytest.fixture(scope="module")
def heard():
    """(utterance, acoustic truth, truth of the same words said neutrally, at the same pace) of many clips."""
    found = []
    for script in clips(lambda s: s.utterance is not None, 2, CLIPS):
        said = script.utterance
        plain = replace(said, emotion="neutral")
        found.append((said, *(acoustic_truth(u, speak_utterance(u).waveform_N) for u in (said, plain))))
    return found


def test_voice_emotions_are_told_by_acoustics_against_the_speakers_neutral_voice(heard):
    def row(truth, plain):
        pitch = np.log2(max(truth["f0_hz"], 40)) - np.log2(max(plain["f0_hz"], 40))
        return [pitch, *(truth[n] - plain[n] for n in truth if n not in ("f0_hz", "speech_s"))]

    rows = [(row(truth, plain), said.emotion) for said, truth, plain in heard]
    assert split_accuracy(rows) >= 0.95


def test_high_and_low_fast_and_slow_are_told_by_acoustics(heard):
    pitch = [([np.log2(max(truth["f0_hz"], 40))], said.voice.register) for said, truth, _ in heard]
    assert split_accuracy(pitch) >= 0.95
    pace = [([truth["rate"]], said.tempo) for said, truth, _ in heard if said.tempo != "normal"]
    assert split_accuracy(pace) >= 0.95


def test_objects_have_their_colour_where_the_script_says():
    right = total = 0
    for script in clips(lambda s: len(s.objects) == 1, 3, 60):
        track, stage = script.objects[0], stage_of(script)
        when = (track.start_s + track.end_s) / 2
        frame = render(replace(script, utterance=None), times_s=[when], sound=False)[0].frames_THWC[0].astype(int)
        x, y = object_position(track, when, stage.arena)
        pixel = frame[int(y * script.size_px), int(x * script.size_px)]
        right += min(COLOUR_RGB, key=lambda name: np.square(np.array(COLOUR_RGB[name]) - pixel).sum()) == track.colour
        total += 1
    assert right / total >= 0.95


def test_time_questions_agree_with_what_is_heard():
    """The start of a lone sound, measured in the waveform, is accepted as the answer."""
    right = total = 0
    for script in clips(lambda s: len(s.sounds) == 1 and not s.background and not s.utterance, 5, 30):
        for question in ask(script, families=["sound_start"]):
            waveform_N = render(script, picture=False)[0].waveform_N
            first_s = np.flatnonzero(np.abs(waveform_N) > 0.1 * np.abs(waveform_N).max())[0] / 16_000
            right, total = right + check(question, f"{first_s:.1f} seconds"), total + 1
    assert total >= 15 and right / total >= 0.95


def test_voice_and_noise_are_as_loud_as_the_answer_says():
    for script in clips(lambda s: s.profile["scene"] == "louder", 6, 8):
        question = ask(script, families=["louder_while"])[0]
        middle = (script.objects[0].start_s + script.objects[0].end_s) / 2
        noise = next(s for s in script.sounds if s.start_s <= middle < s.end_s)
        noise_db = acoustic_features(synthesise(noise))["level_db"]
        voice_db = acoustic_truth(script.utterance, speak_utterance(script.utterance).waveform_N)["level_db"]
        assert (question.answer == "voice") == (voice_db > noise_db) and abs(voice_db - noise_db) > 5


def test_kinds_of_sound_are_told_by_acoustics_and_strokes_by_their_onsets():
    events = [e for s in clips(lambda s: s.sounds and s.profile["scene"] == "plain", 3, 180) for e in s.sounds]
    rows = []
    for event in events:
        features = acoustic_features(synthesise(event))
        row = [np.log2(max(v, 30)) if name.endswith("_hz") else v for name, v in features.items()]
        rows.append((row, kind_name(event.kind)))
    assert len({label for _, label in rows}) == 12 and split_accuracy(rows) >= 0.95
    counted = [e for e in events if e.kind in ("knocking", "bark", "bell")]
    assert np.mean([len(onset_times_s(synthesise(e))) == e.count for e in counted]) >= 0.95


def test_digits_on_signs_are_told_by_their_pixels():
    rows = []
    for script in clips(lambda s: s.sign is not None and s.sign.text.isdigit(), 3, CLIPS):
        box, size = stage_of(script).sign_box, script.size_px
        frame = render(replace(script, utterance=None), times_s=[5.0], sound=False)[0].frames_THWC[0].mean(-1)
        top, left = int((box.top + box.bottom) / 2 * size) - 10, int((box.left + box.right) / 2 * size) - 7
        rows.append((frame[top : top + 20, left : left + 14].reshape(10, 2, 7, 2).mean((1, 3)).ravel(), script.sign.text))
    assert split_accuracy(rows) >= 0.95


def test_words_tell_language_and_meaning():
    """Word truth: no sentence is in two languages, none has two meanings."""
    sentences = ranges()["sentences"]
    every = [(s, lang, m) for lang, meanings in sentences.items() for m, parts in meanings.items() for p in parts.values() for s in p]
    assert len({s for s, _, _ in every}) == len(every)
    assert all(meaning_of(s.format(w="table")) == meaning for s, _, meaning in every)
