"""`unifusion export`: what it writes and prints, and exit codes."""

import json

import pytest

from tests.export.models import embedder, stream
from unifusion.models.aligner_files import save_aligner

pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A saved embedding model."""
    toy = embedder({"video": stream("resnet"), "audio": stream("sound_resnet"), "text": stream("sbert")})
    return str(save_aligner(toy.model, tmp_path_factory.mktemp("models") / "toy-embed", provenance={"recipe": "random"}))


def test_one_stream_as_pt2(run, folder, tmp_path):
    code, out, err = run("export", "--model", folder, "-o", tmp_path / "x", "--format", "pt2", "--stream", "text")
    assert code == 0 and out.startswith("text.pt2: space text, ") and "from PyTorch" in out and "README.md" in err
    assert json.loads((tmp_path / "x" / "export.json").read_text())["model"] == "toy-embed"


@pytest.mark.slow
def test_int8_with_what_it_costs(run, folder, clip, tmp_path):
    pairs = tmp_path / "pairs.jsonl"
    rows = [{"path": clip, "start_s": s, "end_s": s + 0.4, "caption": f"a tone at {s}"} for s in (0, 0.5)]
    pairs.write_text("".join(json.dumps(row) + "\n" for row in rows))
    code, out, _ = run("export", "--model", folder, "-o", tmp_path / "x", "--int8", "--measure", pairs, "--json")
    told = json.loads(out)
    assert code == 0 and set(told["graphs"]) == {"video", "audio", "text"} and told["int8_loss"]["pairs"] == 2
    kept = json.loads((tmp_path / "x" / "export.json").read_text())
    assert kept["int8_loss"] == told["int8_loss"] and "clip 1" in kept["graphs"]["video"]["parity"]["by"]


def test_exit_codes(run, folder, clip, tmp_path):
    assert run("export", "--model", folder, "-o", tmp_path / "x", "--stream", "sound")[0] == 2
    assert run("export", "--model", folder, "-o", tmp_path / "x", "--format", "tflite")[0] == 2
    assert run("export", "--model", folder, "-o", tmp_path / "x", "--format", "pt2", "--int8")[0] == 2
    code, _, err = run("export", "--model", tmp_path / "none", "-o", tmp_path / "x")
    assert code == 4 and "holds no embedding model" in err
    pairs = tmp_path / "pairs.jsonl"
    pairs.write_text(json.dumps({"path": clip}) + "\n")
    code, _, err = run("export", "--model", folder, "-o", tmp_path / "x", "--measure", pairs)
    assert code == 2 and "no clip or no caption" in err
    assert run("export", "--model", folder, "-o", tmp_path / "x", "--int8", "--stream", "audio", "--measure", pairs)[0] == 2
    assert not (tmp_path / "x").exists()
