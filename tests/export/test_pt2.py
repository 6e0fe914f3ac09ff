"""`.pt2` files: what is written holds nothing that torch unpickles or evaluates, and what does is refused before torch opens it."""

import io
import json
import pickle
import zipfile

import pytest
import torch

from tests.export.models import embedder, spoken, stream
from unifusion.errors import CheckpointError
from unifusion.export.graph import Graph, trace
from unifusion.export.inputs import plan_of, stack
from unifusion.export.pt2 import load_pt2, write_pt2


class Trap:
    """What leaves a file behind when it is unpickled."""

    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return open, (self.path, "w")


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    toy = embedder({"text": stream("sbert")})
    clips = [toy.open(spoken(i, words)).streams for i, words in enumerate(("a few words", "more of them, and more " * 4))]
    graph = Graph(toy.model, plan_of(toy.model, "text", clips[0]))
    path = tmp_path_factory.mktemp("pt2") / "text.pt2"
    write_pt2(trace(graph, clips), path)
    return path, stack(graph.plan, clips)


def members(path):
    """Inner name -> bytes, and the outer folder."""
    with zipfile.ZipFile(path) as archive:
        root = archive.namelist()[0].split("/", 1)[0]
        return root, {n.split("/", 1)[1]: archive.read(n) for n in archive.namelist()}


def changed(path, target, change):
    """The archive with its parts changed, as torch stores it: uncompressed."""
    root, parts = members(path)
    parts = change(dict(parts))
    with zipfile.ZipFile(target, "w", zipfile.ZIP_STORED) as archive:
        for name, content in parts.items():
            archive.writestr(f"{root}/{name}", content)
    return target


def edited(name, edit):
    """A change of a part that is JSON."""

    def change(parts):
        told = json.loads(parts[name])
        edit(told)
        return {**parts, name: json.dumps(told).encode()}

    return change


def test_what_is_written_is_read_and_computes(written, tmp_path):
    path, given = written
    vectors = load_pt2(path)(given)
    assert vectors.shape == (2, 24) and torch.allclose(vectors.norm(dim=1), torch.ones(2)) and not vectors.requires_grad
    one = {k: v[:1] for k, v in given.items()}
    assert torch.allclose(load_pt2(path)(one), vectors[:1], atol=1e-6)
    same = changed(path, tmp_path / "same.pt2", lambda parts: parts)
    assert torch.equal(load_pt2(same)(given), vectors), "the way these tests write an archive is none that is refused"


def test_it_holds_a_graph_and_raw_tensors_alone(written):
    _, parts = members(written[0])
    model = json.loads(parts["models/model.json"])
    assert model["guards_code"] == [] and parts["data/sample_inputs/model.pt"] == b""
    weights = json.loads(parts["data/weights/model_weights_config.json"])["config"]
    assert len(weights) > 10 and not any(w["use_pickle"] for w in weights.values())
    assert b".py" not in parts["models/model.json"]


def trapped_inputs(trap):
    buffer = io.BytesIO()
    pickle.dump(trap, buffer)
    return lambda parts: {**parts, "data/sample_inputs/model.pt": buffer.getvalue()}


def trapped_weight(trap):
    def change(parts):
        told = json.loads(parts["data/weights/model_weights_config.json"])
        next(iter(told["config"].values()))["use_pickle"] = True
        return {**parts, "data/weights/weight_0": pickle.dumps(trap), "data/weights/model_weights_config.json": json.dumps(told).encode()}

    return change


def node(told):
    return told["graph_module"]["graph"]["nodes"][0]


OBJECT = {"path_name": "custom_obj_0", "use_pickle": False}
EXPRESSION = "().__class__.__base__.__subclasses__()"


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (trapped_inputs, "example inputs"),
        (trapped_weight, "as a pickle"),
        (lambda _: lambda parts: {**parts, "data/weights/model.pt": b"x"}, "which no export has"),
        (lambda _: lambda parts: {**parts, "data/aotinductor/model/a.so": b"x"}, "which no export has"),
        (lambda _: lambda parts: {**parts, "models/other.json": parts["models/model.json"]}, "which no export has"),
        (lambda _: edited("models/model.json", lambda m: m.update(guards_code=["__import__('os')"])), "Python text"),
        (lambda _: edited("models/model.json", lambda m: node(m).update(target="torch.hub.load")), "under 'target'"),
        (lambda _: edited("models/model.json", lambda m: node(m).update(target="torch.ops.fs.read.default")), "under 'target'"),
        (lambda _: edited("models/model.json", lambda m: node(m).update(name="x):\n import os")), "under 'name'"),
        (lambda _: edited("models/model.json", lambda m: m["range_constraints"].update({EXPRESSION: {}})), "under ''"),
        (lambda _: edited("models/model.json", lambda m: node(m).update(metadata={"expr_str": EXPRESSION})), "under 'expr_str'"),
        (lambda _: edited("models/model.json", lambda m: node(m).update(metadata={"expr_str": "Symbol('os.system')"})), "'expr_str'"),
        (lambda _: edited("data/constants/model_constants_config.json", lambda m: m["config"].update(x=OBJECT)), "as a pickle"),
    ],
    ids=["inputs", "weight", "older", "compiled", "second", "guards", "call", "operator", "name", "key", "size", "symbol", "object"],
)  # fmt: skip
def test_what_torch_would_unpickle_or_evaluate_is_refused(written, tmp_path, change, told):
    bad, trap = tmp_path / "bad.pt2", tmp_path / "sprung"
    changed(written[0], bad, change(Trap(trap)))
    with pytest.raises(CheckpointError, match=told):
        load_pt2(bad)
    assert not trap.exists()


def test_the_trap_is_one(written, tmp_path):
    """torch.export.load itself runs what example inputs are pickled to: the reason for the door."""
    bad, trap = tmp_path / "bad.pt2", tmp_path / "sprung"
    changed(written[0], bad, trapped_inputs(Trap(trap)))
    try:
        torch.export.load(bad)
    except (AssertionError, KeyError, RuntimeError):
        pass
    assert trap.exists(), "torch has become safer: load_pt2 and docs/export.md may say so"


@pytest.mark.parametrize("content", [b"", b"no archive", None])
def test_what_is_no_archive(tmp_path, content):
    path = tmp_path / "x.pt2"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(CheckpointError, match=r"x\.pt2 is no \.pt2 file"):
        load_pt2(path)


def test_an_archive_of_another_kind(tmp_path):
    path = tmp_path / "x.pt2"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a/archive_format", "pt2")
    with pytest.raises(CheckpointError, match="is no"):
        load_pt2(path)
