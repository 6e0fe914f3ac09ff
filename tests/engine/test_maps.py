"""Where models looked: weights that sum up, times and places in order, occlusion where there is no attention."""

from dataclasses import replace

import pytest
import torch

from tests import toys
from tests.engine.test_explain import asked, hot, known, said  # noqa: F401
from tests.models.test_affect import model
from unifusion.engine import Engine
from unifusion.engine.affect import AffectEngine
from unifusion.engine.explain import ask_about
from unifusion.engine.maps import maps
from unifusion.models.build import build_chat_model

MEDIA = [toys.video(seconds=2.0)]


def by_stream(found):
    return {(m.clip, m.stream): m for m in found}


@pytest.mark.parametrize("fusion", ["perceiver_io", "cross_attention"])
def test_of_a_fusion(fusion):
    torch.manual_seed(0)
    clip = ask_about(AffectEngine(model(fusion=fusion, fusion_config={})), MEDIA)
    found = by_stream(maps(clip, clip.answer()))
    assert set(found) == {(0, "video"), (0, "audio")} and {m.of for m in found.values()} == {"attention of the fusion"}
    assert 0.0 < sum(float(m.weights_T.sum()) for m in found.values()) <= 1.0 + 1e-4
    video = found[0, "video"]
    assert list(video.times_s) == sorted(set(video.times_s)) and len(video.times_s) == len(video.weights_T) == len(video.grids_TRC)
    torch.testing.assert_close(video.grids_TRC.sum((1, 2)), video.weights_T)
    assert video.grid_times_s == video.times_s
    assert found[0, "audio"].grids_TRC is None and video.to_dict()["grids"][0][0][0] >= 0.0


def test_a_fusion_of_means_looks_at_every_moment_alike_and_is_occluded_instead():
    clip = ask_about(AffectEngine(model(fusion="attention_pool", fusion_config={})), MEDIA)
    for one in maps(clip, clip.answer()):
        assert one.of == "occlusion" and one.grids_TRC is None and one.weights_T.max() > one.weights_T.min()


def chat(window_s):
    """A chat engine whose adapters look at windows of a length."""
    torch.manual_seed(1)
    specs = {n: replace(s, adapter_config={**s.adapter_config, "window_s": window_s}) for n, s in toys.streams().items()}
    return Engine(*build_chat_model(toys.LLAMA, specs, tokenizer=toys.byte_tokenizer()))


def test_of_a_chat_model_and_of_each_clip():
    clip = ask_about(chat(99.0), [*MEDIA, toys.video(seconds=1.0, picture=False)], ["sad", "happy"])
    found = by_stream(maps(clip, clip.answer()))
    assert set(found) == {(0, "video"), (0, "audio"), (1, "audio")} and {m.of for m in found.values()} == {"attention of the adapter"}
    for m in found.values():
        assert float(m.weights_T.sum()) == pytest.approx(1.0, abs=1e-4)


def test_a_window_a_moment_says_nothing_of_time_but_of_places():
    clip = ask_about(chat(0.05), MEDIA, ["sad", "happy"])
    found = by_stream(maps(clip, clip.answer()))
    video = found[0, "video"]
    assert video.of == "occlusion" and video.weights_T.max() > video.weights_T.min()
    assert len(video.grid_times_s) == len(video.grids_TRC) and video.grids_TRC.max() > video.grids_TRC.min()
    assert len(video.to_dict()["grid_times_s"]) == 4


def test_short_windows_where_there_is_no_attention():
    clip = ask_about(Engine(*toys.chat_model("mlp", seed=1)), [toys.video(seconds=1.0)], ["sad", "happy"])
    found = maps(clip, clip.answer())
    assert {(m.stream, m.of) for m in found} == {("audio", "occlusion"), ("video", "occlusion")}
    assert all(1 < len(m.times_s) <= 4 and m.weights_T.abs().max() > 0 for m in found)


def test_occlusion_finds_the_moment(known):  # noqa: F811
    (found,) = maps(asked(known, audio=hot(at=[(2.5, 2.75)])), said())
    assert found.times_s[int(found.weights_T.argmax())] == 2.625 and int((found.weights_T > 0).sum()) == 1
