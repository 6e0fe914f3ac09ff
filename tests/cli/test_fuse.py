"""`unifusion fuse`: tables, files, exit codes."""

import json

import pytest

from tests.evaluation.test_fuse import rows_of
from unifusion.evaluation.predictions import read_predictions, write_predictions


@pytest.fixture
def paths(tmp_path):
    return [write_predictions(tmp_path / name / "predictions.jsonl", rows_of(m)).parent for m, name in enumerate(("voice", "face"))]


def test_two_runs_become_one(run, paths, tmp_path):
    code, out, err = run("fuse", *paths, "-o", tmp_path / "fused", "--drop", "face:0.25")
    assert code == 0 and err.strip().endswith("fused")
    lines = out.splitlines()
    assert lines[0].startswith("val") and "weighted F1" in lines[0] and lines[4].startswith("test")
    assert [line.split()[0] for line in lines[1:3]] == ["voice", "face"] and lines[3].startswith("= weighted")
    kept = json.loads((tmp_path / "fused" / "fusion.json").read_text())
    assert kept["method"] == "weighted" and kept["drop"] == {"face": 0.25} and len(kept["systems"][0]["sha256"]) == 64
    assert f"{kept['figures']['fused']['test']['uar']:.3f}" in lines[-1]
    assert len(read_predictions(tmp_path / "fused" / "predictions.jsonl")) == 160
    before = (tmp_path / "fused" / "fusion.json").read_bytes()
    run("fuse", *paths, "-o", tmp_path / "fused", "--drop", "face:0.25")
    assert (tmp_path / "fused" / "fusion.json").read_bytes() == before


@pytest.mark.slow
def test_every_way_is_tried_and_the_best_on_val_stays(run, paths, tmp_path):
    code, out, _ = run("fuse", *paths, "-o", tmp_path / "fused", "--method", "all")
    assert code == 0
    best = out.splitlines()[-1].removeprefix("best on val by UAR: ")
    figures = {p.parent.name: json.loads(p.read_text())["figures"]["fused"]["val"]["uar"] for p in tmp_path.glob("fused/*/fusion.json")}
    assert len(figures) == 7 and figures[best] == max(figures.values())
    assert (tmp_path / "fused" / "predictions.jsonl").read_bytes() == (tmp_path / "fused" / best / "predictions.jsonl").read_bytes()


def test_choices_of_a_method(run, paths, tmp_path):
    words = ("fuse", *paths, "-o", tmp_path / "fused", "--method", "confidence")
    assert run(*words, "--choose", "by=max", "--choose", "sharpness=2")[0] == 0
    assert json.loads((tmp_path / "fused" / "fusion.json").read_text())["config"] == {"seed": 0, "by": "max", "sharpness": 2}


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (("--method", "wheighted"), "did you mean 'weighted'"),
        (("--drop", "face"), "must be RUN:SHARE"),
        (("--drop", "fase:0.1"), "name one of voice, face"),
        (("--choose", "ridge"), "must be KEY=VALUE"),
        (("--choose", "rigde=1"), "did you mean 'ridge'"),
        (("--method", "all", "--choose", "ridge=1"), "goes with one --method"),
    ],
)
def test_mistakes_cost_one_line_and_write_nothing(run, paths, tmp_path, more, said):
    code, _, err = run("fuse", *paths, "-o", tmp_path / "fused", *more)
    assert code == 2 and said in err and not (tmp_path / "fused").exists()


def test_what_should_be_known_is_told(run, paths, tmp_path):
    from dataclasses import replace

    rows = [replace(r, group="", probabilities={**{k: v * 0.5 for k, v in r.probabilities.items()}, "boredom": 0.5}) for r in rows_of(1)]
    write_predictions(paths[1] / "predictions.jsonl", [replace(r, seed=4) for r in rows] + rows)
    write_predictions(paths[0] / "predictions.jsonl", [replace(r, group="") for r in rows_of(0)])
    code, _, err = run("fuse", *paths, "-o", tmp_path / "fused")
    assert code == 0
    for part in ("voice does not know boredom", "different seeds", "of one group or name none"):
        assert part in err
