"""`unifusion compare`: a table, tests and a plain verdict."""

import json

import pytest

from tests.evaluation.told import told
from unifusion.evaluation.predictions import write_predictions


@pytest.fixture(scope="module")
def systems(tmp_path_factory):
    folder = tmp_path_factory.mktemp("systems")
    write_predictions(folder / "strong.jsonl", told(60, skill=4, draw=1))
    write_predictions(folder / "weak" / "predictions.jsonl", told(60, skill=0, draw=2))
    return [folder / "weak", folder / "strong.jsonl"]


def test_it_says_who_wins(run, systems, tmp_path):
    code, out, err = run("compare", *systems, "-o", tmp_path / "out", "--resamples", 200)
    assert code == 0 and out.splitlines()[-1].startswith("strong wins: +.") and "over weak (p = .005)" in out
    assert out.startswith("Compared by UAR on 60 examples of 12 groups") and str(tmp_path / "out" / "index.html") in err
    assert (tmp_path / "out" / "compare.md").is_file() and (tmp_path / "out" / "pictures" / "forest.png").is_file()


def test_json_is_one_object(run, systems):
    code, out, _ = run("compare", *systems, "--json", "--resamples", 100, "--against", "first", "--metric", "accuracy")
    told_ = json.loads(out)
    assert code == 0 and told_["reference"] == "weak" and told_["better"] == {"strong": True} and told_["metric"] == "accuracy"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--metric", "war"], "no figure 'war'"),
        (["--split", "train"], "has nothing of split 'train'"),
        (["--condition", "only audio"], "it has test: all"),
        (["--resamples", "1"], "--resamples"),
    ],
)
def test_mistakes_are_one_line(run, systems, words, said):
    code, out, err = run("compare", *systems, *words)
    assert code == 2 and said in err and out == "" and len(err.splitlines()) == 1
    assert run("compare", systems[0])[0] == 2
