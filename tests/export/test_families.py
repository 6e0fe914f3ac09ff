"""Every encoder of the catalog, with random weights, as ONNX under onnxruntime and as .pt2: batches of 1, 2 and 5, any number of chunks."""

import importlib.util
from dataclasses import replace

import numpy as np
import pytest
import torch

from tests import toys
from tests.export.models import CLOCK, embedder, spoken, stream
from tests.thorough import further
from unifusion import catalog
from unifusion.export.graph import Graph, trace
from unifusion.export.inputs import plan_of, random_clips, stack
from unifusion.export.onnx_files import OnnxGraph, quantize, write_onnx
from unifusion.export.pt2 import load_pt2, write_pt2

QUICK = ("whisper", "bert")
SOME = (*QUICK, "acoustic_features", "clip", "resnet", "videomae", "wavlm")
"""Of each kind one; the others are for `--thorough`."""
ONNX = all(importlib.util.find_spec(name) for name in ("onnx", "onnxscript", "onnxruntime"))
FAMILIES = [n if n in QUICK else pytest.param(n, marks=pytest.mark.slow) if n in SOME else further(n) for n in catalog.names("encoders")]


@pytest.mark.parametrize("name", FAMILIES)
def test_a_family_exports(name, tmp_path):
    if name == "acoustic_features":
        pytest.importorskip("librosa")
    toy = embedder({"x": stream(name, clock=CLOCK)})
    space = next(iter(toy.model.config.towers))
    # Noise, and what a renderer, a synthesiser or people made is in test_folder.py.
    opened = [toy.open(m) for m in [*random_clips(toy, 4, seed=3), spoken(1, "a b", seconds=0.6), spoken(2, "more " * 9, seconds=2.4)]]
    clips = [o.streams for o in opened]
    graph = Graph(toy.model, plan_of(toy.model, space, clips[0]))
    program = trace(graph, clips)
    runs = {}
    if ONNX:
        write_onnx(graph, program, tmp_path / "x.onnx")
        file = OnnxGraph(tmp_path / "x.onnx")
        assert file.shapes == {i.name: list(i.shape) for i in graph.plan.inputs}
        runs["onnx"] = lambda given: file({k: v.numpy() for k, v in given.items()})
    write_pt2(program, tmp_path / "x.pt2")
    again = load_pt2(tmp_path / "x.pt2")
    runs["pt2"] = lambda given: again(given).numpy()
    for n, least in ((1, 1), (2, 1), (5, 6)):
        given = stack(graph.plan, clips[-n:], least_chunks=least)
        wanted = np.stack([e.vectors[space] for e in toy.embed_opened(opened[-n:])])
        for kind, run in runs.items():
            found = run(given)
            assert np.abs(found - wanted).max() < 1e-4 and found.dtype == np.float32, (kind, n)
            assert np.allclose(np.linalg.norm(found, axis=1), 1, atol=1e-5)
    if ONNX:
        quantize(tmp_path / "x.onnx", tmp_path / "x.int8.onnx")
        found = OnnxGraph(tmp_path / "x.int8.onnx")({k: v.numpy() for k, v in given.items()})
        assert (found * wanted).sum(axis=1).min() > 0.99, "blank chunks beside others do not spoil int8"
    assert np.ptp(wanted, axis=0).max() > 0.02, "vectors of different clips that are one vector would fit anything"
    for path in tmp_path.iterdir():
        assert b"site-packages" not in path.read_bytes(), f"{path.name} tells where it was made"


@pytest.mark.slow
@pytest.mark.parametrize("changed", [{"feat_extract_norm": "layer", "do_stable_layer_norm": True}, {}], ids=["layer", "group"])
def test_a_long_wave_exports_with_pieces_of_any_length(changed, tmp_path):
    one = stream("hubert")
    one.encoder_config["backbone"] = {**one.encoder_config["backbone"], **changed}
    toy = embedder({"x": one})
    opened = [toy.open(replace(toys.video(seed=i, seconds=s), kind="audio")) for i, s in enumerate((0.7, 1.9, 0.2))]
    graph = Graph(toy.model, plan_of(toy.model, "audio", opened[0].streams))
    write_pt2(trace(graph, [o.streams for o in opened]), tmp_path / "x.pt2")
    with torch.no_grad():
        found = load_pt2(tmp_path / "x.pt2")(stack(graph.plan, [o.streams for o in opened]))
    wanted = np.stack([e.vectors["audio"] for e in toy.embed_opened(opened)])
    assert np.abs(found.numpy() - wanted).max() < 1e-4
