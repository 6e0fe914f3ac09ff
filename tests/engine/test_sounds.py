"""Names of sounds by a classifier, and by an embedding model."""

import numpy as np
import pytest
import torch
from transformers import ASTConfig, ASTFeatureExtractor, ASTForAudioClassification

from tests.engine.listeners import RATE_HZ, word
from unifusion import catalog
from unifusion.engine.sounds import NAMES, SoundTagger
from unifusion.errors import CheckpointError, ConfigError


def classifier(folder, **options):
    """An AST of three classes with random weights, as a folder."""
    torch.manual_seed(0)
    config = ASTConfig(
        hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32, max_length=64, num_mel_bins=16,
        id2label={0: "bark", 1: "rain", 2: "speech"}, label2id={"bark": 0, "rain": 1, "speech": 2}, **options,
    )  # fmt: skip
    ASTForAudioClassification(config).save_pretrained(folder)
    ASTFeatureExtractor(num_mel_bins=16, max_length=64).save_pretrained(folder)
    return str(folder)


def test_a_classifier_names_its_own_classes(tmp_path):
    tagger = SoundTagger.load(classifier(tmp_path / "ast"), top=2, least=0.0)
    found = tagger.tags(word(300, seconds=1.0))
    assert tagger.name == "audio-spectrogram-transformer ast" and tagger.names == ["bark", "rain", "speech"]
    assert len(found) == 2 and found[0][1] >= found[1][1] and {name for name, _ in found} < {"bark", "rain", "speech"}
    every = SoundTagger.load(classifier(tmp_path / "ast"), least=0.0).tags(word(300))
    assert sum(score for _, score in every) == pytest.approx(1, abs=1e-3)
    several = SoundTagger.load(classifier(tmp_path / "many", problem_type="multi_label_classification"), least=0.0)
    assert sum(score for _, score in several.tags(word(300))) == pytest.approx(1.5, abs=0.4), "sigmoids"
    with pytest.raises(ConfigError, match="sounds of its own"):
        SoundTagger.load(classifier(tmp_path / "ast"), names=("rain",))


def test_scores_of_long_sound_are_means_and_the_weak_are_not_told():
    asked = []

    def scores(waveform_N):
        asked.append(len(waveform_N))
        return np.array([waveform_N.mean(), 0.2, 0.05])

    tagger = SoundTagger(scores, ("a", "b", "c"), rate_hz=100, longest_s=1.0, name="toy", top=2, least=0.1)
    sound = np.concatenate([np.ones(100), np.zeros(100), np.zeros(5)]).astype(np.float32)
    assert tagger.tags(sound) == [("a", 0.5), ("b", 0.2)] and asked == [100, 100]
    assert tagger.tags(np.zeros(5, np.float32)) == [] and tagger.tags(np.zeros(100, np.float32)) == [("b", 0.2)]


def test_what_is_no_classifier_is_told(tmp_path):
    with pytest.raises(CheckpointError, match="cannot read the classifier"):
        SoundTagger.load(str(tmp_path / "none"))
    (tmp_path / "config.json").write_text('{"model_type": "llama"}')
    with pytest.raises(CheckpointError, match="no classifier of sounds"):
        SoundTagger.load(str(tmp_path))


@pytest.mark.skipif("tiny-embed" not in catalog.names("checkpoints"), reason="checkpoints/tiny-embed is not there")
def test_an_embedding_model_is_asked_for_names():
    tagger = SoundTagger.load("tiny-embed", names=("rain", "a ringing bell"), least=0.0)
    found = tagger.tags(np.random.default_rng(0).normal(0, 0.1, 8 * RATE_HZ).astype(np.float32))
    assert sum(score for _, score in found) == pytest.approx(1.0, abs=1e-3) and {name for name, _ in found} == {"rain", "a ringing bell"}
    assert found[0][0] == "rain", "noise is nearer to rain than to a bell"
    assert len(SoundTagger.load("tiny-embed").names) == len(NAMES)
