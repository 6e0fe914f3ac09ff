"""Sentences of many clips in one: the sound, the times of their words, and what is true when."""

import itertools

import numpy as np
import pytest
import torch

from unifusion.encoders.parakeet import Parakeet
from unifusion.processor import StreamSpec
from unifusion.training.clip_cache import ClipCacheChoices, render_cache
from unifusion.training.grounding_data import GroundingData, plain, spell, spoken_words
from unifusion.training.packed import Sentences


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    pytest.importorskip("espeakng_loader", reason="voices need espeakng-loader: pip install 'unifusion-x[world]'")
    return render_cache(tmp_path_factory.mktemp("packed"), ClipCacheChoices(count=24, size_px=32, rate_hz=1.0), workers=1)


def test_sentences_follow_each_other_with_their_words_on_sound(cache):
    sentences = Sentences(cache)
    sound, scripts = sentences.pack(3, 0)
    again, _ = sentences.pack(3, 0)
    other, _ = sentences.pack(3, 1)
    np.testing.assert_array_equal(sound, again)
    assert not np.array_equal(sound, other) and sound.shape == (96_000,)
    assert len(scripts) >= 2
    spans = [(s.utterance.start_s, s.utterance.end_s) for s in scripts]
    assert all(a[1] < b[0] for a, b in itertools.pairwise(spans)) and spans[-1][1] < 6.0
    loud = np.abs(sound) > 0.003
    words = [w for s in scripts for w in s.utterance.words]
    heard = [loud[round(w.start_s * 16_000) : round(w.end_s * 16_000)].mean() for w in words]
    assert np.mean(heard) > 0.3
    gaps = [loud[round(a[1] * 16_000) + 1000 : round(b[0] * 16_000) - 1000] for a, b in itertools.pairwise(spans)]
    assert not np.concatenate(gaps).any()


def test_rows_know_what_each_sentence_says_and_when(cache):
    spec = StreamSpec(encoder="parakeet", encoder_config={**vars(Parakeet.tiny()), "chunk_s": 6.0})
    data = GroundingData(cache, {"audio": spec}, pack=1.0, augment=False)
    sound, scripts = data.sentences.pack(0, 0)
    given, truth, _, names = data[0]["audio"]
    words, letters = names["words"], names["letters"]
    phrases = list(data.index["audio"])
    for script in scripts:
        said = script.utterance
        for word in said.words:
            middle = (word.start_s + word.end_s) / 2
            token = int((given.times_S - middle).abs().argmin())
            assert int(words[token]) in (spoken_words()[plain(word.text)], 0)
            assert int(letters[token]) in (0, *spell(word.text))
        inside = (given.times_S >= said.words[0].start_s) & (given.times_S < said.words[0].end_s)
        order = [spell(said.words[0].text).index(int(n)) for n in letters[inside]]
        assert order == sorted(order) or len(set(spell(said.words[0].text))) < len(spell(said.words[0].text))
        window = int((said.start_s + said.end_s) / 2)
        assert truth[window, phrases.index(f"{said.language} speech")] != 0
    assert 0.3 < float((words > 0).float().mean()) <= 1.0
    assert torch.equal(letters > 0, words > 0) and torch.isfinite(given.tensors["input_features"]).all() and sound.any()


def test_streams_that_are_not_asked_for_are_not_read(cache):
    index = next(i for i in range(len(cache)) if cache.script(i).has_picture and cache.script(i).has_sound)
    whole, sound, picture = cache.clip(index), cache.clip(index, streams=("audio",)), cache.clip(index, streams=("video",))
    assert np.array_equal(whole.waveform_N, sound.waveform_N) and np.array_equal(whole.frames_THWC, picture.frames_THWC)
    assert sound.frames_THWC is None and sound.frame_times_s is None and picture.waveform_N is None


def test_a_row_is_the_same_in_whatever_order_and_process_it_is_read(cache):
    spec = StreamSpec(encoder="parakeet", encoder_config={**vars(Parakeet.tiny()), "chunk_s": 6.0})
    data, resumed = (GroundingData(cache, {"audio": spec}, pack=0.5, epochs=2) for _ in range(2))
    assert len(data) == 48
    sounds = {i: data[i]["audio"][0].tensors["input_features"] for i in (0, 3, 24, 27)}
    assert not torch.equal(sounds[3], sounds[27]), "another epoch, other changes"
    assert torch.equal(resumed[27]["audio"][0].tensors["input_features"], sounds[27]), "without reading the rows before"
