"""Speech to text: words where they are, none where nobody speaks, however the sound comes."""

import numpy as np
import pytest
import torch

from tests.cli.films import write
from tests.engine.listeners import (
    HIGH,
    LOW,
    NOISE,
    RATE_HZ,
    TAUGHT,
    extractor,
    placed,
    save_speller,
    save_whisper,
    save_writer,
    taught_whisper,
    tokenizer,
    warble,
    whisper,
)
from unifusion.conversation import Clip, Line, Media
from unifusion.engine.recording import pieces_of_sound
from unifusion.engine.speech import Transcriber
from unifusion.errors import CheckpointError, ConfigError


@pytest.fixture(scope="module")
def taught():
    return Transcriber(taught_whisper(), extractor(), tokenizer(), name="whisper toy")


def heard(transcriber, waveform_N, at_s=0.0):
    return transcriber.hear_pieces([Clip(waveform_N=waveform_N, duration_s=len(waveform_N) / RATE_HZ, start_s=at_s)])


def test_words_come_with_their_times(taught):
    assert heard(taught, TAUGHT[0][0]).lines == [Line(0.2, 0.8, "low")]
    assert heard(taught, TAUGHT[1][0], at_s=7.5).lines == [Line(7.7, 8.3, "high")]
    (one, other) = heard(taught, TAUGHT[2][0]).lines
    assert (one, other.start_s, other.end_s) == (Line(0.2, 0.8, "low"), 1.0, 1.6) and "high" in other.text


def test_nobody_speaks_in_silence_noise_and_what_the_network_knows_to_be_none(taught):
    silent = heard(taught, np.zeros(10 * RATE_HZ, np.float32))
    assert (silent.lines, silent.seconds, silent.silent_s) == ([], 10.0, 10.0)
    steady = heard(taught, np.random.default_rng(1).normal(0, 0.1, 3 * RATE_HZ).astype(np.float32))
    assert (steady.lines, steady.steady_s) == ([], 3.0)
    for sound in (NOISE[0], warble(seed=9)):
        assert heard(taught, sound).lines == []
        careless = Transcriber(taught.model, taught.extractor, taught.tokenizer, name="careless", no_speech=1.0)
        assert heard(careless, sound).lines or heard(careless, sound).refused, "the threshold is what keeps them out"


def test_long_sound_is_cut_at_pauses_and_no_word_is_lost(taught):
    sound = placed([(0.2, LOW), (2.2, HIGH), (4.2, LOW), (8.2, HIGH)], 9.6)
    found = heard(taught, sound)
    assert [line.text[0] for line in found.lines] == ["l", "h", "l", "h"]
    assert np.abs(np.array([line.start_s for line in found.lines]) - [0.2, 2.2, 4.2, 8.2]).max() < 0.45
    assert found.seconds == pytest.approx(9.6) and found.silent_s > 1.0
    in_pieces = [Clip(waveform_N=sound[i : i + 20_000], start_s=i / RATE_HZ, duration_s=1.25) for i in range(0, len(sound), 20_000)]
    assert taught.hear_pieces(in_pieces).lines == found.lines, "however it is read"
    for size in (1, 3):
        other = Transcriber(taught.model, taught.extractor, taught.tokenizer, name="x", batch_size=size)
        assert heard(other, sound).lines == found.lines


def test_pieces_are_no_longer_than_wanted_and_lose_no_sample():
    sound = np.random.default_rng(0).normal(0, 0.1, 100_003).astype(np.float32)
    found = list(pieces_of_sound([Clip(waveform_N=sound[:40_000]), Clip(waveform_N=sound[40_000:], start_s=2.5)], RATE_HZ, 2.0))
    assert max(len(wave) for _, wave in found) <= 32_000 and np.array_equal(np.concatenate([w for _, w in found]), sound)
    starts = np.cumsum([0, *(len(w) for _, w in found[:-1])]) / RATE_HZ
    assert [at for at, _ in found] == pytest.approx(starts)
    apart = [Clip(waveform_N=sound[:1600], start_s=at_s) for at_s in (1.0, 1.5)]
    ((at_s, wave),) = pieces_of_sound(apart, RATE_HZ, 2.0)
    assert at_s == 1.0 and len(wave) == 9600 and not wave[1600:8000].any(), "a hole is silence"
    assert list(pieces_of_sound([Clip()], RATE_HZ, 2.0)) == []


def test_what_a_whisper_writes_is_parted_at_its_stamps(taught):
    def parted(text):
        return taught._parted([*tokenizer().encode(text), 256], 263, 1.9)

    assert parted("<|0.20|> a<|0.80|>") == ([Line(0.2, 0.8, "a")], 1.9), "one stamp at the end: nobody speaks after it"
    assert parted("<|0.20|> a<|0.80|><|0.80|>") == ([Line(0.2, 0.8, "a")], 0.8), "two: somebody does"
    assert parted("<|0.00|> a<|0.50|><|0.60|> b") == ([Line(0.0, 0.5, "a")], 0.6), "words without an end are listened to again"
    assert parted("<|0.30|> a b") == ([Line(0.3, 1.9, "a b")], 1.9)
    assert parted("<|0.00|><|0.00|>") == ([], 1.9) and parted("") == ([], 1.9)


def test_random_weights_end_and_give_lines_in_order(tmp_path):
    transcriber = Transcriber.load(save_whisper(tmp_path / "toy"), language="german")
    assert transcriber.name == "whisper toy" and transcriber.longest_s == 2.0
    found = heard(transcriber, placed([(k, LOW) for k in range(6)], 7.0))
    assert all(0 <= line.start_s < line.end_s <= 7.0 for line in found.lines)
    assert found.lines == heard(transcriber, placed([(k, LOW) for k in range(6)], 7.0)).lines
    with pytest.raises(ConfigError, match="klingon"):
        heard(Transcriber(whisper(), extractor(), tokenizer(), name="toy", language="klingon"), placed([(0, LOW)], 1.0))


def test_repeated_words_are_refused(taught, monkeypatch):
    monkeypatch.setattr(Transcriber, "_by_whisper", lambda self, waves: [([Line(0.0, 1.0, "you " * 40), Line(1.0, 1.2, " fine ")], 2.0)])
    found = heard(taught, TAUGHT[0][0])
    assert found.lines == [Line(1.0, 1.2, "fine")] and found.refused == 1


def test_a_ctc_network_spells_with_times(tmp_path):
    transcriber = Transcriber.load(save_speller(tmp_path / "speller"))
    assert transcriber.spells and transcriber.name == "wav2vec2 speller"
    letters = {c: n for n, c in enumerate("<pad> <s> </s> <unk> | a b c d e f g".split())}
    spelled = [*"a a <pad> b b | c".split(), *["<pad>"] * 40, *"d d".split(), *["<pad>"] * 10]
    logits = torch.nn.functional.one_hot(torch.tensor([letters[c] for c in spelled]), 12).float()[None]
    transcriber.model.forward = lambda **_: type("Out", (), {"logits": logits})()
    lines, done_s = transcriber._spelled(np.zeros(round(len(spelled) * 0.02 * RATE_HZ), np.float32))
    assert [line.text for line in lines] == ["ab c", "d"] and done_s == pytest.approx(len(spelled) * 0.02)
    assert [line.start_s for line in lines] == pytest.approx([0.0, 0.94]) and lines[0].end_s == pytest.approx(0.14)
    with pytest.raises(ConfigError, match="no languages"):
        Transcriber.load(str(tmp_path / "speller"), language="en")


def test_a_network_that_tells_no_times_gives_a_line_for_each_piece(tmp_path):
    transcriber = Transcriber.load(save_writer(tmp_path / "writer"))
    assert not transcriber.whispers and not transcriber.spells
    ((line,), done_s) = transcriber._written(LOW)
    assert (line.start_s, line.end_s, done_s) == (0.0, 0.6, 0.6)
    assert all(line.end_s - line.start_s <= 30.0 for line in heard(transcriber, placed([(0.2, LOW)], 1.0)).lines)


def test_files_and_what_has_no_sound(taught, tmp_path):
    path = write(tmp_path / "a.wav", heard=(placed([(0.2, LOW), (5.2, HIGH)], 6.6) * 32767).astype("<i2"))
    found = taught.hear(Media(kind="audio", source=str(path)))
    assert [line.text[0] for line in found.lines] == ["l", "h"] and found.lines[1].start_s == pytest.approx(5.2, abs=0.4)
    late = taught.hear(Media(kind="audio", source=str(path), start_s=5.0, end_s=6.6))
    assert [line.text[0] for line in late.lines] == ["h"] and late.lines[0].start_s == pytest.approx(5.2, abs=0.4), "times of the file"
    mute = write(tmp_path / "mute.mp4", shown=np.zeros((8, 32, 32, 3), np.uint8))
    assert taught.hear(Media(kind="video", source=str(mute))).lines == [] == taught.hear(Media(kind="image", source="x.png")).lines
    arrays = taught.hear(Media(kind="audio", source=Clip(waveform_N=TAUGHT[0][0], duration_s=1.6)))
    assert arrays.lines == [Line(0.2, 0.8, "low")]


def test_what_is_no_recogniser_is_told(tmp_path):
    from tests.toys import byte_tokenizer

    with pytest.raises(CheckpointError, match="cannot read the recogniser"):
        Transcriber.load(str(tmp_path / "none"))
    byte_tokenizer().save_pretrained(tmp_path / "llm")
    (tmp_path / "llm" / "config.json").write_text('{"model_type": "llama"}')
    with pytest.raises(CheckpointError, match="no recogniser of speech"):
        Transcriber.load(str(tmp_path / "llm"))
    plain = whisper()
    del plain.generation_config.no_timestamps_token_id
    with pytest.raises(CheckpointError, match="writes no time stamps"):
        heard(Transcriber(plain, extractor(), tokenizer(), name="toy"), TAUGHT[0][0])
