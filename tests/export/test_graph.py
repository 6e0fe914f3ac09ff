"""Traced forms and rectangular inputs give what the model gives, before anything is a file; what cannot be traced is named."""

from dataclasses import replace

import pytest
import torch

from tests import toys
from tests.export.models import embedder, everything, spoken, stream
from unifusion import catalog
from unifusion.batch import Features
from unifusion.encoders.bert import BERT
from unifusion.errors import ConfigError
from unifusion.export.graph import Graph, graphs_of, trace
from unifusion.export.inputs import Plan, plan_of, random_clips, stack

LENGTHS = (1.3, 0.31, 0.9)


def singles():
    """Adapters that take one stream."""
    return [n for n in catalog.names("adapters") if hasattr(catalog.load("adapters", n), "token_times")]


def features(seed=0):
    """Three clips' features: ascending in time, of different lengths, one without any; windows of a quarter of a second left empty."""
    generator = torch.Generator().manual_seed(seed)
    times = torch.rand(3, 11, generator=generator).mul(3.0).sort(dim=1).values
    mask = torch.arange(11) < torch.tensor([11, 4, 0])[:, None]
    return Features(tokens_BSD=torch.randn(3, 11, 12, generator=generator) * mask[..., None], mask_BS=mask, times_BS=times * mask)


@pytest.mark.parametrize("name", singles())
def test_traced_adapters_give_the_same_tokens(name):
    cls = catalog.load("adapters", name)
    torch.manual_seed(1)
    adapter, given = cls(12, 8, cls.tiny()).eval(), features()
    try:
        found = adapter.traced(given, 4.0)
    except ConfigError as error:
        assert name in ("stc", "token_pool") and cls.__name__ in error.found and "windowed_qformer" in error.remedy
        return
    wanted = adapter(given)
    assert name not in ("stc", "token_pool")
    for row in range(3):
        there, want = found.mask_BS[row], wanted.mask_BS[row]
        assert int(there.sum()) == int(want.sum()) and bool(want.any()) == (row < 2)
        torch.testing.assert_close(found.tokens_BSD[row][there], wanted.tokens_BSD[row][want], atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(found.times_BS[row][there], wanted.times_BS[row][want])


@pytest.mark.parametrize("norm", ["group", "layer"])
@pytest.mark.parametrize("name", ["hubert", "wav2vec2", "wavlm"])
def test_traced_waves_hear_no_padding(name, norm):
    """Of pieces of different lengths together, each token is what the network gives of its own piece without padding."""
    cls = catalog.load("encoders", name)
    tiny = cls.tiny()
    torch.manual_seed(2)
    encoder = cls.build(
        cls.resolve(replace(tiny, backbone={**tiny.backbone, "feat_extract_norm": norm, "do_stable_layer_norm": norm == "layer"}))
    )
    prepared = [cls.preprocess(encoder.config, toys.clip(seed=i, seconds=s)) for i, s in enumerate(LENGTHS)]
    given = {k: torch.cat([p.tensors[k] for p in prepared]) for k in ("waveform", "samples")}
    real = torch.cat([p.mask_S for p in prepared])
    with torch.no_grad():
        found, wanted = (f(**given).flatten(0, 1)[real] for f in (encoder.eval().encode_traced, encoder.encode_chunks))
    assert len(set(given["samples"].tolist())) > 2 and wanted.std() > 0.5
    torch.testing.assert_close(found, wanted, atol=2e-5, rtol=1e-5)


@pytest.mark.parametrize("name", catalog.names("encoders"))
def test_a_chunk_of_zeros_gives_finite_numbers(name):
    """int8 scales a batch by the largest number in it: one NaN would spoil the clips beside it."""
    if name == "acoustic_features":
        pytest.importorskip("librosa")
    toy = embedder({"x": stream(name)})
    blank = {k: torch.zeros_like(v) for k, v in toy.open(spoken(1)).streams["x"].tensors.items()}
    with torch.no_grad():
        found = toy.model.encoders["x"].encode_traced(**blank)
    assert torch.isfinite(found).all() and found.abs().max() < 1e3


def test_graphs_give_what_the_model_gives_with_streams_missing_and_in_any_company():
    toy = embedder(everything())
    media = [spoken(1, seconds=1.3), toys.video(seed=2, seconds=0.4), spoken(3, "of many words " * 20, seconds=2.1), spoken(4, sound=False)]
    opened = [toy.open(m) for m in media]
    opened[1] = replace(opened[1], streams={n: s for n, s in opened[1].streams.items() if n != "face"})
    found = {}
    for graph in graphs_of(toy.model, opened[0].streams):
        given = stack(graph.plan, [o.streams for o in opened], least_chunks=3)
        with torch.no_grad():
            found[graph.plan.name] = graph(given)
        for row, clip in enumerate(opened):
            alone = replace(clip, streams={n: s for n, s in clip.streams.items() if n in graph.plan.streams})
            if not alone.streams:
                assert not found[graph.plan.name][row].any()
                continue
            wanted = toy.embed_opened([alone])[0].vectors[graph.plan.space]
            torch.testing.assert_close(found[graph.plan.name][row], torch.from_numpy(wanted), atol=2e-6, rtol=0)
    assert list(found) == ["video", "face", "video+face", "audio", "text"]
    spread = (found["video+face"][0] - found["video+face"][2]).abs().max()
    assert spread > 0.05, "the clips have vectors of their own"


def test_a_graph_holds_no_other_stream():
    toy = embedder(everything())
    items = toy.open(spoken(1)).streams
    names = [n for n, _ in Graph(toy.model, plan_of(toy.model, "video", {"face": items["face"]})).named_parameters()]
    assert any(n.startswith("tower.pools.face") for n in names) and any(n.startswith("tower.absent.video") for n in names)
    assert not any((".video" in n and "absent" not in n) or "audio" in n or "text" in n for n in names)


def test_a_plan_is_json_and_words_are_cut_to_the_longest():
    toy = embedder({"text": stream("bert"), "whole": stream("sbert")}, towers={"text": ("text", "whole")})
    opened = [toy.open(spoken(1, words)) for words in ("ab", "a few words")]
    plan = plan_of(toy.model, "text", opened[0].streams)
    assert Plan.from_dict(plan.to_dict()) == plan and plan.windows == {"text": 64, "whole": 16}
    assert {i.name: i.shape for i in plan.inputs}["text_mask"] == ("batch", "text_chunks", "text_tokens")
    assert {i.name: i.shape for i in plan.inputs}["whole_mask"] == ("batch", "whole_chunks", 1)
    given = stack(plan, [o.streams for o in opened])
    assert (
        given["text_input_ids"].shape == (2, 1, 11) and given["text_times"].shape == (2, 1, 11) and given["whole_times"].shape == (2, 1, 1)
    )
    assert stack(plan, [opened[0].streams])["text_input_ids"].shape == (1, 1, 2)


def test_noise_is_the_same_for_the_same_seed_and_has_all_streams():
    toy = embedder(everything())
    first, again, other = random_clips(toy, 2), random_clips(toy, 2), random_clips(toy, 2, seed=1)
    assert first[0].source.transcript == again[0].source.transcript and (first[1].source.waveform_N == again[1].source.waveform_N).all()
    assert first[0].source.duration_s != other[0].source.duration_s and set(toy.open(first[0]).streams) == set(everything())


class Counting(BERT):
    """An encoder that asks what is in its tensors."""

    def encode_traced(self, **tensors):
        return super().encode_traced(**tensors)[:, : int(tensors["attention_mask"].sum())]


def test_what_cannot_be_traced_is_named():
    toy = embedder({"text": stream("bert"), "video": stream("resnet", "stc")})
    clips = [toy.open(spoken(i)).streams for i in range(2)]
    with pytest.raises(ConfigError, match=r"stream video \(encoder resnet\) cannot be exported: the adapter Stc counts"):
        trace(Graph(toy.model, plan_of(toy.model, "video", {"video": clips[0]["video"]})), clips)
    toy.model.encoders["text"].__class__ = Counting
    with pytest.raises(ConfigError, match=r"stream text \(encoder bert\) cannot be exported: .*--stream"):
        trace(Graph(toy.model, plan_of(toy.model, "text", {"text": clips[0]["text"]})), clips)
    with pytest.raises(ConfigError, match="no stream 'texts'; did you mean 'text'"):
        graphs_of(toy.model, clips[0], ["texts"])
