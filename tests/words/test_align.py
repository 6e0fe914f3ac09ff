"""Words found where they are said: among sounds and noise, at any rate, in spans, in four languages and others; clear refusals."""

import json
import sys

import numpy as np
import pytest
import soundfile

pytest.importorskip("espeakng_loader", reason="the extra `world` is not installed")

from unifusion.cli import main
from unifusion.conversation import Clip, Media, Mix
from unifusion.errors import ConfigError, LimitError, MediaError
from unifusion.evaluation.words import METHODS, Spoken, digit_rows, evaluate_words, joined_rows, words_table, world_rows
from unifusion.media.augment import mix_at_snr
from unifusion.words.align import TimedWord, align_sound, align_words, to_srt
from unifusion.world import voice
from unifusion.world.render import reference
from unifusion.world.sample import sample_script
from unifusion.world.speakers import READERS, SPEAKERS
from unifusion.world.voice import speak

RATE = 16_000
TEXTS = {
    "english": "the book came on Monday", "german": "das Fenster ist offen", "spanish": "la mesa es de madera",
    "french": "nous habitons en ville", "it": "buongiorno amici miei", "nl": "het boek ligt daar",
}  # fmt: skip


def said(text="the book came on Monday", language="english", who="low05", wpm=165, lead_s=0.8, tail_s=0.6):
    """A sentence by somebody who is no reader, with quiet around it, and when its words are said (K, 2)."""
    spoken = speak(text, language, who, 50, 50, wpm)
    wave = np.concatenate([np.zeros(round(lead_s * RATE)), spoken.waveform_N, np.zeros(round(tail_s * RATE))]).astype(np.float32)
    return wave, np.array([(w.start_s, w.end_s) for w in spoken.words]) + lead_s


def times_of(found):
    return np.array([(w.start_s, w.end_s) for w in found.words])


@pytest.mark.parametrize("language", TEXTS)
def test_words_are_found_in_each_language(language):
    wave, times = said(TEXTS[language], language)
    found = align_sound(wave, TEXTS[language], language=language)
    assert [w.word for w in found.words] == TEXTS[language].split()
    assert np.median(np.abs(times_of(found) - times)) < 0.03 and np.abs(times_of(found) - times).max() < 0.12
    assert found.score > 0.5 and found.voice in READERS and found.language == language


@pytest.mark.parametrize("wpm", [95, 260])
def test_slow_and_fast_speech(wpm):
    wave, times = said(wpm=wpm)
    assert np.abs(times_of(align_sound(wave, "the book came on Monday")) - times).max() < 0.15


def test_beside_noise_and_a_louder_sound():
    wave, times = said(lead_s=1.5)
    rng = np.random.default_rng(0)
    noisy = mix_at_snr(wave, rng.standard_normal(len(wave)).astype(np.float32), 3.0)
    noisy[: RATE // 2] += 0.5 * np.sin(2 * np.pi * 900 * np.arange(RATE // 2) / RATE).astype(np.float32)  # a beep before anybody speaks
    found = align_sound(noisy, "the book came on Monday")
    assert np.median(np.abs(times_of(found) - times)) < 0.05


def test_a_long_pause_with_other_sounds_in_it():
    (first, times), (second, later) = said(), said("we saw the car today", who="high05")
    rng = np.random.default_rng(0)
    between = (0.05 * np.sin(2 * np.pi * 700 * np.arange(2 * RATE) / RATE) + 0.002 * rng.standard_normal(2 * RATE)).astype(np.float32)
    whole = np.concatenate([first, between, second])
    found = align_sound(whole, "the book came on Monday, we saw the car today")
    wanted = np.concatenate([times, later + (len(first) + len(between)) / RATE])
    assert np.median(np.abs(times_of(found) - wanted)) < 0.05 and np.abs(times_of(found) - wanted).max() < 0.3


def test_clips_in_a_row():
    rows = [row for row in world_rows("test_iid", 12, seed=5)]
    joined = list(joined_rows(rows, 2, seed=0))
    for row in joined:
        assert len(row.words) == len(row.times_K2) and (np.diff(row.times_K2[:, 0]) > 0).all()
        assert len(row.waveform_N) == 18 * RATE and row.times_K2[-1, 1] > 12.0
    with pytest.raises(ConfigError, match="1 rows to join"):
        list(joined_rows(rows[:1], 1, seed=0))


def test_words_come_in_order_and_times_are_ascending():
    wave, _ = said()
    for text in ("the book came on Monday", "something else that nobody has said here at all", "no"):
        found = align_sound(wave, text)
        flat = times_of(found).ravel()
        assert (np.diff(flat) >= 0).all() and flat[0] >= 0.0 and flat[-1] <= len(wave) / RATE
        assert all(0.0 <= w.score <= 1.0 for w in found.words)
        assert (found.start_s, found.end_s) == (flat[0], flat[-1])


def test_wrong_words_score_less():
    wave, _ = said()
    assert align_sound(wave, "the book came on Monday").score > align_sound(wave, "nobody wants these old shoes").score + 0.1


def test_the_same_twice_and_at_another_rate():
    wave, _ = said()
    first = align_sound(wave, "the book came on Monday")
    assert align_sound(wave, "the  book came\non Monday").words == first.words
    from unifusion.media.sound import resampled

    other = align_sound(resampled(wave, RATE, 44_100), "the book came on Monday", rate_hz=44_100)
    np.testing.assert_allclose(times_of(other), times_of(first), atol=0.03)


def test_times_count_from_the_start_of_the_file(tmp_path):
    wave, times = said(lead_s=2.0)
    soundfile.write(tmp_path / "a.wav", wave, RATE)
    whole = align_words(tmp_path / "a.wav", "the book came on Monday")
    part = align_words(Media(kind="audio", source=tmp_path / "a.wav", start_s=1.5), "the book came on Monday")
    arrays = align_words(Clip(waveform_N=wave[RATE:], waveform_start_s=1.0, duration_s=5.0), "the book came on Monday")
    for found in (whole, part, arrays):
        assert np.abs(times_of(found) - times).max() < 0.12


def test_a_reference_to_clip_world():
    script = next(s for s in (sample_script(7, k, split="test_iid") for k in range(20)) if s.utterance and s.has_sound)
    said_there = script.utterance
    found = align_words(reference(script), said_there.text, language=said_there.language)
    assert found.start_s == pytest.approx(said_there.start_s, abs=0.15)
    late = Media(kind="video", source=reference(script), start_s=0.05)
    assert align_words(late, said_there.text, language=said_there.language).start_s == pytest.approx(found.start_s, abs=0.05)


def test_readers_are_nobody_of_clip_world():
    assert not set(READERS) & set(SPEAKERS)


@pytest.mark.parametrize(
    ("words", "language", "kind", "told"),
    [
        ("", "english", ConfigError, "no words"), (" ... ", "english", ConfigError, "no words"),
        ("a book", "klingon", ConfigError, "such as it, nl, pt-BR"), ("a book", "../en", ConfigError, "speaks no"),
        ("word " * 401, "english", LimitError, "401 words"), ("a\x01b", "english", ConfigError, "control characters"),
    ],
)  # fmt: skip
def test_words_that_cannot_be_aligned(words, language, kind, told):
    with pytest.raises(kind, match=told):
        align_sound(said()[0], words, language=language)


def test_clips_without_speech_are_refused(tmp_path):
    with pytest.raises(MediaError, match="there is no sound"):
        align_words(Clip(frames_THWC=np.zeros((1, 8, 8, 3), np.uint8), duration_s=1.0), "a book")
    with pytest.raises(MediaError, match="peak is 0"):
        align_words(Clip(waveform_N=np.zeros(RATE, np.float32)), "a book")
    with pytest.raises(MediaError, match=r"0\.05 s of sound"):
        align_words(Clip(waveform_N=np.ones(800, np.float32)), "a book")
    with pytest.raises(MediaError, match="missing"):
        align_words(tmp_path / "missing.wav", "a book")
    with pytest.raises(ConfigError, match="decode it"):
        align_words(Media(kind="video", source=Mix()), "a book")
    with pytest.raises(ConfigError, match="no voice"):
        align_sound(said()[0], "a book", voices=())


def test_a_missing_library_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "espeakng_loader", None)
    voice._espeak.cache_clear()
    try:
        with pytest.raises(ConfigError, match=r"unifusion-x\[world\]"):
            align_sound(np.ones(RATE, np.float32), "words that nobody has read out before")
    finally:
        voice._espeak.cache_clear()


def test_subtitles():
    names = "one two three four five six seven eight nine ten".split()
    words = [TimedWord(word=w, start_s=k * 0.5, end_s=k * 0.5 + 0.4, score=1.0) for k, w in enumerate(names)]
    words.append(TimedWord(word="later", start_s=3725.5, end_s=3726.0, score=1.0))
    cues = to_srt(words).split("\n\n")
    assert [c.splitlines()[2] for c in cues] == ["one two three four five six seven eight", "nine ten", "later"]
    assert cues[0].splitlines()[:2] == ["1", "00:00:00,000 --> 00:00:03,900"]
    assert cues[2].splitlines()[:2] == ["3", "01:02:05,500 --> 01:02:06,000"]


def test_the_command(tmp_path, capsys):
    wave, times = said()
    clip, srt = str(tmp_path / "a.wav"), tmp_path / "a.srt"
    soundfile.write(clip, wave, RATE)
    (tmp_path / "said.txt").write_text("the book came\non Monday\n", encoding="utf-8")
    assert main(["align", clip, "--words", "the book came on Monday", "--json", "--srt", str(srt)]) == 0
    told = json.loads(capsys.readouterr().out)
    assert [w["word"] for w in told["words"]] == "the book came on Monday".split()
    assert all(set(w) == {"word", "start_s", "end_s", "score"} for w in told["words"])
    assert told["words"][0]["start_s"] == pytest.approx(times[0, 0], abs=0.1) and told["path"] == clip
    assert "the book came on Monday" in srt.read_text(encoding="utf-8")
    assert main(["align", clip, "--words", f"@{tmp_path / 'said.txt'}"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 5 and lines[4].split()[3] == "Monday"
    assert main(["align", clip, "--words", "..."]) == 2 and "no words" in capsys.readouterr().err
    assert main(["align", clip, "--words", "a", "--language", "klingon"]) == 2
    assert main(["align", clip, "--words", "@nothing.txt"]) == 2
    assert main(["align", str(tmp_path / "none.wav"), "--words", "a"]) == 3
    capsys.readouterr()
    assert main(["align", clip, "--words", "wholly other things were told"]) == 0
    assert "fit badly" in capsys.readouterr().err


def test_held_out_clips_are_aligned_far_better_than_split():
    rows = [row for split in ("test_iid", "test_new_people") for row in world_rows(split, 3, seed=31)]
    found = evaluate_words(rows)
    assert found["rows"] == 6 and found["all"]["aligned"]["boundaries"] == 2 * sum(len(r.words) for r in rows)
    assert found["all"]["aligned"]["median_s"] <= 0.02
    assert all(found["all"][name]["median_s"] > 5 * found["all"]["aligned"]["median_s"] for name in METHODS if name != "aligned")
    parts = [cells["aligned"]["clips"] for name, cells in found["groups"].items() if name.startswith("noise")]
    assert sum(parts) == 6
    table = words_table({"both": found})
    assert table.count("\n") == 3 + len(found["groups"]) and "aligned" in table


def test_what_each_naive_way_gives():
    wave = np.zeros(3 * RATE, np.float32)
    for start, end in ((0.5, 1.0), (1.2, 2.0)):
        wave[round(start * RATE) : round(end * RATE)] = 0.3
    row = Spoken(
        id="a", waveform_N=wave, words=("one", "elephants"), times_K2=np.array([(0.5, 1.0), (1.2, 2.0)]), language="english", noise=""
    )
    wanted = {"uniform": 1.25, "by letters": 0.875, "energy": 1.1, "uniform in the true span": 1.25}
    for name, between in wanted.items():
        times = METHODS[name](row)
        assert times[0, 1] == times[1, 0] == pytest.approx(between, abs=0.1), name
        assert (times[0, 0], times[1, 1]) == (pytest.approx(0.5, abs=0.03), pytest.approx(2.0, abs=0.03))


def test_rows_of_spoken_digits(tmp_path):
    for digit in range(10):
        spoken = speak("zero one two three four five six seven eight nine".split()[digit], "english", "low03", 50, 50, 160)
        soundfile.write(tmp_path / f"{digit}_theo_{digit}.wav", np.pad(spoken.waveform_N, 800), RATE)
    rows = list(digit_rows(tmp_path, 3, seed=1))
    again = list(digit_rows(tmp_path, 3, seed=1))
    assert all(np.array_equal(a.waveform_N, b.waveform_N) and a.words == b.words for a, b in zip(rows, again, strict=True))
    for row in rows:
        assert 4 <= len(row.words) == len(row.times_K2) <= 7
        assert np.median(np.abs(METHODS["aligned"](row) - row.times_K2)) < 0.08
