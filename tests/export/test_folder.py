"""The folder of an export: files that run without this package, what they are as JSON, int8 with its loss, and refusals before work."""

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys

import numpy as np
import pytest
import torch

from tests import toys
from tests.export.models import CLOCK, embedder, spoken, stream
from unifusion.cli.checks.codecs import make_clip
from unifusion.conversation import Media
from unifusion.errors import CheckpointError, ConfigError
from unifusion.export import OnnxGraph, export_model, load_pt2, prepare, quantized_loss
from unifusion.export.folder import read_told
from unifusion.metrics.recall_at_k import recall_at_k
from unifusion.models.aligner import CLIP

for package in ("onnx", "onnxscript", "onnxruntime"):
    pytest.importorskip(package)


@pytest.fixture(scope="module")
def toy():
    streams = {"video": stream("resnet", clock=CLOCK), "audio": stream("sound_resnet", "windowed_qformer"), "text": stream("sbert")}
    return embedder(streams, calibration={"threshold": 0.2})


@pytest.fixture(scope="module")
def real(tmp_path_factory):
    """A coded file with picture and sound, and one of sound alone."""
    folder = tmp_path_factory.mktemp("real")
    make_clip(folder / "a.mp4", "libx264", "aac")
    make_clip(folder / "b.wav", "", "pcm_s16le")
    return [Media(kind="video", source=folder / "a.mp4", transcript="a tone"), Media(kind="audio", source=folder / "b.wav")]


@pytest.fixture(scope="module")
def out(toy, real, tmp_path_factory):
    folder = tmp_path_factory.mktemp("out") / "toy"
    export_model(toy, folder, int8=True, clips=real)
    return folder


@pytest.mark.slow
def test_what_is_told(toy, out):
    told = read_told(out)
    assert (told["model"], told["key"], told["width"], told["format"]) == ("toy", toy.key, 24, "onnx")
    assert told["calibration"] == {"threshold": 0.2} and told["spaces"] == ["video", "audio", "text"] and told[CLIP] == ["video", "audio"]
    assert {"torch", "onnx", "onnxruntime", "unifusion-x"} <= set(told["versions"]) and set(told["graphs"]) == {"video", "audio", "text"}
    for name, graph in told["graphs"].items():
        path = out / graph["file"]
        assert hashlib.sha256(path.read_bytes()).hexdigest() == graph["sha256"] and path.stat().st_size == graph["bytes"]
        assert graph["parity"]["max_abs"] == max(graph["parity"]["by"].values()) < graph["parity"]["tolerance"] == 1e-4
        assert {"noise, batch 1", "noise, batch 2", "noise, batch 5", "clip 0"} <= set(graph["parity"]["by"])
        assert ("clip 1" in graph["parity"]["by"]) == (name == "audio")
        assert graph["inputs"][0]["shape"][:2] == ["batch", "chunks"] and graph["output"]["shape"] == ["batch", 24]
        assert OnnxGraph(path).shapes == {i["name"]: i["shape"] for i in graph["inputs"]}
        assert graph["int8"]["bytes"] < graph["bytes"] and graph["int8"]["mean_cosine_of_noise"] > 0.98


@pytest.mark.slow
def test_the_readme_runs_with_onnxruntime_and_numpy_alone(out):
    code = re.search(r"```python\n(.*?)```", (out / "README.md").read_text(), re.S)[1]
    code += "\nimport sys; print('unifusion' in sys.modules or 'torch' in sys.modules)"
    env = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    ran = subprocess.run([sys.executable, "-c", code], cwd=out, env=env, capture_output=True, text=True, check=True)
    assert ran.stdout.split("\n")[:4] == ["video (2, 24) True", "audio (2, 24) True", "text (2, 24) True", "False"]


@pytest.mark.slow
def test_prepared_clips_get_the_models_vectors(toy, out, real):
    given = prepare(out, toy, real)
    assert set(given) == {"video", "audio", "text"} and set(prepare(out, toy, real[1:])) == {"audio"}
    found = {n: OnnxGraph(out / f"{n}.onnx")(some) for n, some in given.items()}
    wanted = toy.embed(real)
    for row, embedded in enumerate(wanted):
        for space, vectors in found.items():
            assert np.abs(vectors[row] - embedded.vectors.get(space, 0.0)).max() < 1e-4
    summed = found["video"][0] + found["audio"][0]
    assert np.abs(summed / np.linalg.norm(summed) - wanted[0].vectors[CLIP]).max() < 1e-4


def test_one_stream_as_pt2(toy, tmp_path):
    told = export_model(toy, tmp_path / "x", format="pt2", streams=["text"])
    assert set(told["graphs"]) == {"text"} and (tmp_path / "x" / "text.pt2").is_file() and not list(tmp_path.rglob("*.onnx"))
    given = {k: torch.from_numpy(v) for k, v in np.load(tmp_path / "x" / "text.example.npz").items()}
    wanted = given.pop("vector")
    assert (load_pt2(tmp_path / "x" / "text.pt2")(given) - wanted).abs().max() < 1e-4


@pytest.mark.slow
def test_what_int8_costs(toy, out):
    clips = [toys.video(seed=i, seconds=0.5 + i / 10) for i in range(12)]
    told = quantized_loss(out, toy, clips, [f"clip {i} of them" for i in range(12)])
    assert told.pairs == 12 and told.chance_r1 == 1 / 12 and set(told.mean_cosine) == {"video", "audio", "text", CLIP}
    assert all(0.98 < c < 1.0 for c in told.mean_cosine.values())
    words, sums = toy.embed_texts([f"clip {i} of them" for i in range(12)]), np.stack([e.vectors[CLIP] for e in toy.embed(clips)])
    own = np.eye(12, dtype=bool)
    for k in (1, 10):
        assert told.float32["text_to_clip"][f"r{k}"] == recall_at_k(words @ sums.T, own, k=k)
        assert told.float32["clip_to_text"][f"r{k}"] == recall_at_k(sums @ words.T, own, k=k)
    assert set(told.int8) == set(told.float32) and 0 <= told.int8["text_to_clip"]["r10"] <= 1


@pytest.mark.slow
def test_what_cannot_be_measured(toy, out, tmp_path):
    with pytest.raises(ConfigError, match="2 clips and 1 texts"):
        quantized_loss(out, toy, [spoken(1), spoken(2)], ["a"])
    other = embedder({"video": stream("resnet"), "text": stream("bert")}, seed=5)
    with pytest.raises(ConfigError, match="of another model than toy"):
        quantized_loss(out, other, [spoken(1)], ["a"])
    alone = shutil.copytree(out, tmp_path / "alone")
    told = read_told(alone)
    del told["graphs"]["text"]["int8"]
    (alone / "export.json").write_text(json.dumps(told))
    with pytest.raises(ConfigError, match="no int8 of text"):
        quantized_loss(alone, toy, [spoken(1)], ["a"])
    with pytest.raises(CheckpointError, match=r"export\.json cannot be read"):
        read_told(tmp_path)


def test_refusals_come_before_work(toy, tmp_path, monkeypatch):
    monkeypatch.setattr("unifusion.export.folder.trace", lambda *_: pytest.fail("work was begun"))
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("years of work")
    for options, told in (
        ({"out": tmp_path / "mine"}, "is there and is no export"), ({"out": tmp_path / "x", "format": "onnxx"}, "the format 'onnxx'"),
        ({"out": tmp_path / "x", "format": "pt2", "int8": True}, "for ONNX alone"),
        ({"out": tmp_path / "x", "streams": ["sound"]}, "no stream"),
    ):  # fmt: skip
        with pytest.raises(ConfigError, match=told):
            export_model(toy, **options)
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(ConfigError, match=r"onnxruntime.*not installed.*unifusion-x\[export\]"):
        export_model(toy, tmp_path / "x")
    assert [p.name for p in tmp_path.iterdir()] == ["mine"] and (tmp_path / "mine" / "thesis.txt").is_file()


def test_a_file_that_is_far_from_the_model_is_not_kept(toy, tmp_path, monkeypatch):
    folder = tmp_path / "x"
    folder.mkdir()
    (folder / "export.json").write_text(json.dumps({"graphs": {}}))
    monkeypatch.setattr("unifusion.export.folder.TOLERANCE", -1.0)
    with pytest.raises(ConfigError, match=r"stream text \(encoder sbert\): the exported graph is .* from PyTorch"):
        export_model(toy, folder, format="pt2", streams=["text"])
    assert [p.name for p in folder.iterdir()] == ["export.json"], "what was there is there"


def test_what_onnxruntime_cannot_run(tmp_path):
    (tmp_path / "x.onnx").write_bytes(b"no graph")
    with pytest.raises(CheckpointError, match=r"x\.onnx cannot be run by onnxruntime"):
        OnnxGraph(tmp_path / "x.onnx")
