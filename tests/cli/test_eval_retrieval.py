"""`unifusion eval retrieval`: a toy embedding model of the same surface on a manifest and on a reader, up to the page."""

import csv
import json
import sys
from types import ModuleType

import pytest

from tests.evaluation.embedders import ToyEmbedder, clip_of
from tests.evaluation.pages import looked_at, words_of

THINGS = ("dog", "rain", "clock")


@pytest.fixture
def loaded(monkeypatch):
    """Embedders that the suite loaded, in place of the real one."""
    made = []

    class Embedder(ToyEmbedder):
        @classmethod
        def load(cls, checkpoint="tiny-embed", **options):
            made.append(super().load(checkpoint, **options))
            return made[-1]

    module = ModuleType("unifusion.engine.embedder")
    module.Embedder = Embedder
    monkeypatch.setitem(sys.modules, "unifusion.engine.embedder", module)
    return made


@pytest.fixture
def manifest(tmp_path):
    """Eighteen clips of test and twelve of train, two to a group."""
    lines = []
    for i in range(30):
        thing, split = THINGS[i % 3], "test" if i < 18 else "train"
        clip = {"id": f"c{i}", "path": clip_of(i, thing).source, "caption": f"Number {i} is a {thing}", "sound": thing}
        lines.append({**clip, "group": f"g{i // 2}", "split": split})
    path = tmp_path / "set.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


@pytest.fixture
def told(run, manifest, tmp_path):
    def call(*words, out="report", data=manifest):
        code, said, err = run("eval", "retrieval", "--data", data, "--resamples", 40, *words, "-o", tmp_path / out)
        return code, said, err, tmp_path / out

    return call


def test_a_whole_report(told, loaded):
    code, said, err, out = told("--probe-split", "train", "--rescore", "true", "--workers", 2)
    assert code == 0, err
    lines = said.splitlines()
    assert lines[0] == "18 items of 9 groups, 18 captions." and lines[-1] == str(out / "index.html")
    assert any(line.startswith("text to clip, 18 queries: R@1 ") and "chance .056" in line for line in lines)
    assert any(line.startswith("Zero-shot sound by clip: accuracy") for line in lines)
    assert any(line.startswith("Linear probe sound by audio") for line in lines)
    facts = json.loads((out / "results.json").read_text())
    assert facts["embedded"]["clips"] == 18 and facts["embedded"]["cropped"] == 18 and facts["embedded"]["embedder"] == "k" * 64
    assert facts["meta"]["model"] == "tiny-embed" and "workers" not in facts["meta"] and "made" not in facts
    assert facts["linear_probe"][0]["spaces"]["clip"]["trained_on"] == 12
    ranks = [json.loads(line) for line in (out / "ranks.jsonl").read_text().splitlines()]
    assert len(ranks) == 18 * 8 and {"from", "to", "query", "rank", "relevant", "best"} == set(ranks[0])
    table = list(csv.DictReader((out / "results.csv").open()))
    assert {r["way"] for r in table} == {"cosine", "dual_softmax", "inverted_softmax", "zero_shot", "linear_probe"}
    maps = list(csv.DictReader((out / "maps.csv").open()))
    assert {(r["map"], r["method"]) for r in maps} == {(a, b) for a in ("label", "stream") for b in ("pca", "tsne")}
    assert {r["space"] for r in maps if r["map"] == "stream"} == {"text", "video", "audio"}
    assert len(list(csv.DictReader((out / "similarity.csv").open()))) == 18
    names = {"recall", "cosines", "similarity", "map-label-pca", "map-label-tsne", "map-stream-pca", "map-stream-tsne"}
    assert {p.stem for p in (out / "pictures").glob("*.svg")} == names == {p.stem for p in (out / "pictures").glob("*.png")}
    text = words_of(looked_at(out / "index.html"))
    for part in ("Rescored with all queries at once", "By dual softmax", "Zero-shot classes: sound", "Modality gap".lower(), "pessimistic"):
        assert part in text


def test_a_second_run_embeds_nothing_and_writes_the_same(told, loaded):
    kept = []
    for _ in range(2):
        code, _, err, out = told("--maps", "pca")
        assert code == 0, err
        files = {p.name: p.read_bytes() for p in [*out.glob("*.*"), *(out / "pictures").glob("*")] if p.name != "run.json"}
        kept.append(files)
    assert kept[0] == kept[1] and (out / "run.json").is_file()
    assert len(loaded[0].embedded) == 18 and not loaded[1].embedded and not loaded[1].texts


def test_without_pictures_the_rest_is_written(told, loaded, monkeypatch):
    monkeypatch.setattr("unifusion.evaluation.retrieval_report.can_draw", lambda: False)
    code, _, _, out = told("--maps", "", "--labels", "")
    assert code == 0 and not (out / "pictures").exists() and "unifusion-x[plots]" in words_of(looked_at(out / "index.html"))
    facts = json.loads((out / "results.json").read_text())
    assert facts["zero_shot"] == [] and (out / "maps.csv").read_text() == "map,method,space,name,label,x,y\n"


def test_a_reader_and_a_collapsed_model(told, loaded):
    options = "{count: 6, per_clip: 1, splits: {test: test_iid}}"
    code, said, err, out = told("--dataset", "clip_world", "--options", options, "--maps", "", "--model", "collapsed", data=".")
    assert code == 0, err
    facts = json.loads((out / "results.json").read_text())
    assert all(d["figures"]["recall_at_1"]["value"] == 0 for d in facts["retrieval"]) and "R@1 .00" in said


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("--maps", "tsn"), 2, "did you mean 'tsne'"),
        (("--labels", "smell"), 2, "0 classes of 'smell'"),
        (("--templates", "It is."), 2, "has no {}"),
        (("--ks", "0"), 2, "whole numbers from 1"),
        (("--split", "val"), 2, "no row of split val"),
        (("--dataset", "clip_wrld"), 2, "clip_world"),
        (("--modle", "x"), 2, "did you mean '--model'"),
    ],
)
def test_a_mistake_is_one_line_before_anything_is_embedded(told, loaded, words, code, said):
    found, _, err, _ = told(*words)
    assert found == code and said in err and len(err.strip().splitlines()) == 1
    assert not any(e.embedded for e in loaded)


def test_a_clip_that_cannot_be_read_is_named_and_the_rest_kept(told, loaded, manifest):
    lines = manifest.read_text().splitlines()
    bad = {**json.loads(lines[5]), "path": clip_of(5, "broken").source}
    manifest.write_text("\n".join([*lines[:5], json.dumps(bad), *lines[6:]]) + "\n")
    code, _, err, _ = told("--batch-size", 2, "--maps", "")
    assert code == 3 and "thing=broken" in err
    manifest.write_text("\n".join([*lines[:5], *lines[6:]]) + "\n")
    assert told("--batch-size", 2, "--maps", "")[0] == 0
    assert len(loaded[1].embedded) == 13, "four of seventeen were kept"


def test_the_real_embedder_with_random_weights(run, tmp_path):
    """Twelve rendered clips: figures about chance, every space there, and a second run that decodes nothing."""
    from tests.models.test_aligner import model
    from unifusion.models.aligner_files import save_aligner

    save_aligner(model(), tmp_path / "random", provenance={"recipe": "random"})
    words = ("--model", tmp_path / "random", "--dataset", "clip_world", "--data", ".", "--maps", "pca", "--resamples", 20)
    options = "{count: 12, per_clip: 1, duration_s: 2, size_px: 32, splits: {test: test_iid}}"
    kept = []
    for _ in range(2):
        code, said, err = run("eval", "retrieval", *words, "--options", options, "-o", tmp_path / "report")
        assert code == 0, err
        kept.append((tmp_path / "report" / "results.json").read_text())
    assert kept[0] == kept[1] and "text to clip" in said and "audio to video" in said
    facts = json.loads(kept[0])
    assert facts["embedded"]["clips"] == 12 and facts["embedded"]["width"] == 16
    assert {"text", "clip", "video", "audio"} <= set(facts["spaces"])
