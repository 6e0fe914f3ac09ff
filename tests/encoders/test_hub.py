"""Where a network comes from: inline shapes are checked, sources are read, and every mistake names its remedy."""

import json

import numpy as np
import pytest

from unifusion.conversation import Clip
from unifusion.encoders.videomae import VideoMAE
from unifusion.encoders.whisper import Whisper
from unifusion.errors import CheckpointError, ConfigError


def test_neither_source_nor_shape():
    with pytest.raises(ConfigError, match="set `source` or `backbone`"):
        Whisper.build(Whisper.Config())


def test_unknown_key_names_the_nearest():
    with pytest.raises(ConfigError, match=r"no key 'num_frame' in a videomae backbone; did you mean 'num_frames'"):
        VideoMAE.build(VideoMAE.Config(backbone={**VideoMAE.tiny().backbone, "num_frame": 8}))


def test_another_kind_of_network_is_refused(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "vit", "hidden_size": 16}))
    with pytest.raises(ConfigError, match="is a 'vit', wanted 'whisper'"):
        Whisper.resolve(Whisper.Config(source=str(tmp_path)))


def test_a_source_that_is_not_there(tmp_path):
    with pytest.raises(CheckpointError, match="nowhere"):
        Whisper.resolve(Whisper.Config(source=str(tmp_path / "nowhere")))


def test_resolving_fills_in_defaults_and_never_reads_the_source_twice(tmp_path):
    whole = Whisper.resolve(Whisper.tiny())
    assert whole.backbone["max_source_positions"] == 25 and whole.backbone["encoder_layerdrop"] == 0.0
    assert Whisper.resolve(Whisper.Config(source=str(tmp_path / "gone"), backbone=whole.backbone)).backbone == whole.backbone


def test_an_unresolved_config_cannot_preprocess():
    with pytest.raises(ConfigError, match=r"call Encoder\.resolve"):
        Whisper.preprocess(Whisper.Config(source="x"), Clip(waveform_N=np.zeros(16_000, np.float32)))


def test_loading_without_a_source_is_an_error():
    with pytest.raises(ConfigError, match="no source to load"):
        Whisper.build(Whisper.tiny()).load_source()
