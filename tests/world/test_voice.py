"""Speech: words and their times, languages, speakers, sameness over calls, threads and processes."""

import hashlib
import multiprocessing
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

pytest.importorskip("espeakng_loader", reason="the extra `world` is not installed")

from tests.world.voices import SENTENCES
from unifusion.errors import ConfigError
from unifusion.world import voice
from unifusion.world.acoustics import acoustic_features
from unifusion.world.speakers import SPEAKERS, names_of, speaker
from unifusion.world.voice import RATE_HZ, pitch_setting, speak


def _digest(text, language="english", variant="low01"):
    return hashlib.sha256(speak(text, language, variant, 50, 50, 160).waveform_N.tobytes()).hexdigest()


@pytest.mark.parametrize("language", SENTENCES)
def test_words_come_in_order_and_lie_on_sound(language):
    spoken = speak(SENTENCES[language], language, "high02", 50, 50, 160)
    assert [w.text for w in spoken.words] == [t.strip(".,") for t in SENTENCES[language].split()]
    total_s = len(spoken.waveform_N) / RATE_HZ
    ends = [0.0]
    for word in spoken.words:
        assert ends[-1] - 1e-6 <= word.start_s < word.end_s <= total_s + 1e-3
        part_N = spoken.waveform_N[int(word.start_s * RATE_HZ) : int(word.end_s * RATE_HZ)]
        assert np.abs(part_N).max() > 0.02
        ends.append(word.end_s)
    assert spoken.words[0].start_s == 0.0
    assert ends[-1] == pytest.approx(total_s, abs=0.01)


def test_the_pause_at_a_comma_is_in_no_word():
    spoken = speak("The door is open, the window is closed.", "english", "low03", 50, 50, 160)
    before, after = spoken.words[3], spoken.words[4]
    pause_N = spoken.waveform_N[int(before.end_s * RATE_HZ) + 80 : int(after.start_s * RATE_HZ) - 80]
    assert len(pause_N) > 0.1 * RATE_HZ
    assert np.abs(pause_N).max() < 0.02 * np.abs(spoken.waveform_N).max()


def test_a_word_that_espeak_merges_gets_its_own_time():
    words = speak("The door of the house is open.", "english", "low01", 50, 50, 160).words
    assert [w.text for w in words][2:4] == ["of", "the"]
    assert all(w.end_s - w.start_s > 0.02 for w in words)


def test_each_call_gives_the_same_samples_whatever_was_spoken_before():
    first = _digest("The train leaves at ten.")
    for other in SENTENCES:
        speak.cache_clear()
        _digest(SENTENCES[other], other, "high05")
        assert _digest("The train leaves at ten.") == first


def test_threads_and_forked_children_give_the_same_samples():
    wanted = [_digest(f"Room {k} is open.") for k in range(4)]
    speak.cache_clear()
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(_digest, [f"Room {k} is open." for k in range(4)])) == wanted
    if "fork" in multiprocessing.get_all_start_methods():
        speak.cache_clear()
        with multiprocessing.get_context("fork").Pool(2) as workers:
            assert workers.map(_digest, [f"Room {k} is open." for k in range(4)]) == wanted


def test_another_process_gives_the_same_samples():
    code = (
        "import hashlib; from unifusion.world.voice import speak;"
        "print(hashlib.sha256(speak('My keys are gone.', 'english', 'high01', 50, 50, 160).waveform_N.tobytes()).hexdigest())"
    )
    speak("Something else before.", "french", "low02", 60, 20, 200)
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()
    assert printed == _digest("My keys are gone.", variant="high01")


@pytest.mark.parametrize("register", ["low", "high"])
def test_there_are_enough_speakers_and_all_differ(register):
    names = names_of(register)
    assert len(names) >= 8
    assert len({_digest("Good morning.", variant=n) for n in names}) == len(names)


def test_high_and_low_speakers_do_not_touch():
    def f0(name):
        return acoustic_features(speak("The meeting starts at nine.", "english", name, 50, 50, 160).waveform_N)["f0_hz"]

    lows, highs = [[f0(n) for n in names_of(r)] for r in ("low", "high")]
    assert 1.6 * max(lows) < min(highs)


def test_pitch_follows_its_setting_and_formants_stay():
    plain, raised = (speak("The meeting starts at nine.", "english", "low01", pitch_setting(st), 50, 160) for st in (0, 6))
    low, high = acoustic_features(plain.waveform_N), acoustic_features(raised.waveform_N)
    assert 12 * np.log2(high["f0_hz"] / low["f0_hz"]) == pytest.approx(0.8 * 6, abs=0.7)
    assert high["centroid_hz"] / low["centroid_hz"] < 1.15


@pytest.mark.parametrize(
    ("text", "language", "variant"),
    [("Hello.", "klingon", "low01"), ("Hello.", "english", "low99"), (" ... ", "english", "low01"), ("a\x01b", "english", "low01")],
)
def test_what_cannot_be_spoken_is_refused(text, language, variant):
    with pytest.raises(ConfigError):
        speak(text, language, variant, 50, 50, 160)


def test_a_wrong_speaker_names_the_nearest():
    with pytest.raises(ConfigError, match="low01"):
        speaker("low1")
    assert len(SPEAKERS) == 24


def test_a_missing_library_names_the_extra(monkeypatch):
    voice._espeak.cache_clear()
    speak.cache_clear()
    monkeypatch.setitem(sys.modules, "espeakng_loader", None)
    with pytest.raises(ConfigError, match=r"unifusion-x\[world\]"):
        speak("Hello there.", "english", "low01", 50, 50, 160)
