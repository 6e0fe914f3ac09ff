"""`unifusion eval emotion`: a fusion of several seeds, a chat model and a late fusion of both on the same rows, up to who wins."""

import json
import re

import numpy as np
import pytest
import soundfile

from tests.evaluation.pages import looked_at
from tests.models.test_affect import model, stream
from unifusion.evaluation.predictions import read_predictions
from unifusion.models.affect_files import save_affect

LABELS = ("happy", "sad")


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    """Twelve voices of six speakers, half of them with words, as a table of files."""
    folder = tmp_path_factory.mktemp("voices")
    rng = np.random.default_rng(0)
    lines = ["path,label,speaker,split,transcript,valence,arousal"]
    for i in range(12):
        soundfile.write(folder / f"{i}.wav", rng.normal(0, 0.1 + 0.2 * (i % 2), 4800), 16_000)
        felt = f"{0.5 - i % 2},{0.05 * i:.2f}" if i != 3 else ","
        lines.append(f"{i}.wav,{LABELS[i % 2] if i != 5 else ''},s{i // 2},{('val', 'test')[i // 6]},{'well' if i % 4 < 2 else ''},{felt}")
    (folder / "labels.csv").write_text("\n".join(lines) + "\n")
    return folder / "labels.csv"


@pytest.fixture(scope="module")
def run_of_seeds(tmp_path_factory):
    """A fusion of sound and words with random weights, twice."""
    folder = tmp_path_factory.mktemp("runs") / "fusion"
    for seed in (0, 1):
        own = model(streams={"audio": stream("whisper"), "text": stream("bert")}, labels=LABELS, temperature=1.0 + seed)
        save_affect(own, folder / f"seed-{seed}", provenance={"choices": {"seed": seed}})
    return folder


@pytest.fixture
def told(run, table, tmp_path):
    """Run the suite on the table; gives exit code, stdout, stderr and the report's folder."""

    def call(model, *words, out="report"):
        code, said, err = run("eval", "emotion", "--model", model, "--dataset", "folder", "--data", table, "--out", tmp_path / out, *words)
        return code, said, err, tmp_path / out

    return call


def test_a_run_of_seeds_gives_a_whole_report(told, run_of_seeds, tmp_path):
    code, said, _, out = told(run_of_seeds, "--split", "val", "--features", tmp_path / "features")
    assert code == 0 and said.splitlines()[-1] == str(out / "index.html")
    assert "mean of 2 seeds" in said and "6 examples (5 with a label) of 3 groups" in said
    rows = read_predictions(out / "predictions.jsonl")
    assert {(r.condition, r.seed) for r in rows} == {(c, s) for c in ("all", "only audio", "only text") for s in (0, 1)}
    assert {r.id for r in rows if r.condition == "only text"} == {"0.wav", "1.wav", "4.wav", "5.wav"}
    one, other = ([r for r in rows if r.seed == s and r.condition == "all"] for s in (0, 1))
    assert [(a.valence, a.answer) for a in one] == [(b.valence, b.answer) for b in other]
    assert all(a.probabilities != b.probabilities for a, b in zip(one, other, strict=True))  # by their temperatures
    facts = json.loads((out / "results.json").read_text())
    assert facts["meta"]["dataset"] == "folder" and facts["meta"]["split"] == "val" and "options" not in facts["meta"]
    text = "".join(looked_at(out / "index.html").itertext())
    assert "When streams are missing" in text and "Valence and arousal" in text and "only text" in text
    assert (tmp_path / "features").is_dir()


def test_one_model_and_nothing_left_out(told, run_of_seeds):
    code, _, _, out = told(run_of_seeds / "seed-1", "--conditions", "all", "--batch-size", 2)
    rows = read_predictions(out / "predictions.jsonl")
    assert code == 0 and {(r.condition, r.seed, r.split) for r in rows} == {("all", 1, "test")} and len(rows) == 6


def test_a_chat_model_a_fusion_and_both_together(told, run, run_of_seeds, toy_folder, tmp_path):
    systems = {"chat": toy_folder, "fusion": run_of_seeds / "seed-0"}
    for name, path in systems.items():
        for split in ("val", "test"):
            conditions = "every" if split == "test" else "all"
            assert told(path, "--split", split, "--conditions", conditions, out=f"{name}-{split}")[0] == 0
        parts = [(tmp_path / f"{name}-{split}" / "predictions.jsonl").read_text() for split in ("val", "test")]
        (tmp_path / f"{name}.jsonl").write_text("".join(parts))
    chat = read_predictions(tmp_path / "chat.jsonl")
    assert {r.condition for r in chat} == {"all", "only audio"} and all(set(r.probabilities) == set(LABELS) for r in chat)
    assert all(r.valence is None or -1 <= r.valence <= 1 for r in chat)

    code, said, err = run("fuse", tmp_path / "chat.jsonl", tmp_path / "fusion.jsonl", "-o", tmp_path / "both", "--method", "averaging")
    assert code == 0 and "= averaging" in said, err
    code, said, err, out = told(tmp_path / "both")  # a run of `fuse` is told of as it is
    assert code == 0 and len(read_predictions(out / "predictions.jsonl")) == 6, err
    assert json.loads((out / "results.json").read_text())["meta"] == {"model": str(tmp_path / "both"), "split": "test"}

    names = [f"{n}={tmp_path / f'{n}.jsonl'}" for n in systems]
    code, said, _ = run("compare", *names, out, "--resamples", 100, "-o", tmp_path / "compared")
    assert code == 0 and "(6 with a label)" not in said and "6 examples of 3 groups" in said
    assert re.search(r"^(No system is shown to be better|.* is better)", said.splitlines()[-1]), said
    assert (tmp_path / "compared" / "index.html").is_file()


def test_a_report_of_a_run(run, told, run_of_seeds, tmp_path):
    out = told(run_of_seeds)[3]
    code, said, _ = run("eval", "report", out, "-o", tmp_path / "again", "--resamples", 100)
    assert code == 0 and said.splitlines()[-1] == str(tmp_path / "again" / "index.html")


@pytest.mark.parametrize(
    ("words", "status", "said"),
    [
        (("--split", "tets"), 2, "no rows of split 'tets'; did you mean 'test'?"),
        (("--conditions", "most"), 2, "conditions are 'most'; take every or all"),
        (("--dataset", "foldr"), 2, "did you mean 'folder'"),
        (("--options", "{colums: {path: file}}"), 2, "no option 'colums'; did you mean 'columns'"),
        (("--options", "{splits: test}"), 2, "splits is 'test'"),
        (("--data", "no/such.csv"), 2, "no/such.csv is neither a table nor a folder"),
        (("--model", "no/such/model"), 4, "no checkpoint folder 'no/such/model'"),
        (("--model", "no/such.jsonl"), 2, "cannot read the predictions no/such.jsonl: No such file"),
        (("--labels", "a,b"), 2, "unknown choice '--labels'"),
    ],
)
def test_mistakes_are_one_line_and_no_report(told, run_of_seeds, words, status, said):
    code, out, err, folder = told(run_of_seeds, *words)
    assert code == status and said in err and len(err.strip().splitlines()) == 1 and not out and not folder.exists()


def test_predictions_without_the_split(told, run_of_seeds):
    out = told(run_of_seeds)[3]
    code, _, err, _ = told(out / "predictions.jsonl", "--split", "val", out="other")
    assert code == 2 and "has no predictions of split 'val'; say which one with --split" in err


def test_a_run_of_seeds_is_asked_for_one_of_them(run, run_of_seeds, table):
    code, _, err = run("emotion", table.parent / "0.wav", "--model", run_of_seeds)
    assert code == 4 and f"name one of them: {run_of_seeds / 'seed-0'}" in err
    code, out, _ = run("emotion", table.parent / "0.wav", "--model", run_of_seeds / "seed-0", "--json")
    assert code == 0 and set(json.loads(out)["probabilities"]) == set(LABELS)


def test_a_model_without_labels_is_asked_for_none(run, table, tmp_path):
    save_affect(model(streams={"audio": stream("whisper")}, labels=()), tmp_path / "felt", provenance={})
    code, out, _ = run("emotion", table.parent / "0.wav", "--model", tmp_path / "felt", "--json")
    assert code == 0 and json.loads(out)["label"] == "" and -1 < json.loads(out)["valence"] < 1
    code, _, err = run("emotion", table.parent / "0.wav", "--model", tmp_path / "felt", "--labels", "happy,sad")
    assert code == 2 and "tells valence and arousal, and no labels" in err
