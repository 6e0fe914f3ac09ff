"""Lines of predictions: what is written comes back, what is no prediction is named by its line, and which path stands for which file."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from unifusion.errors import DatasetError
from unifusion.evaluation.predictions import Prediction, predictions_of, read_predictions, write_predictions

WORDS = st.text(st.characters(codec="utf-8"), max_size=12)
NUMBERS = st.one_of(st.none(), st.floats(-1, 1))
SHARES = st.dictionaries(WORDS, st.integers(1, 50), max_size=4).map(lambda d: {k: v / sum(d.values()) for k, v in d.items()})
ROWS = st.builds(
    Prediction, id=WORDS, group=WORDS, split=WORDS, truth=WORDS, probabilities=SHARES, valence=NUMBERS, arousal=NUMBERS,
    true_valence=NUMBERS, true_arousal=NUMBERS, streams=st.lists(WORDS, max_size=3).map(tuple), condition=WORDS, seed=st.integers(0, 9),
)  # fmt: skip


@settings(max_examples=60, deadline=None)
@given(rows=st.lists(ROWS, max_size=4))
def test_what_is_written_comes_back(tmp_path_factory, rows):
    path = write_predictions(tmp_path_factory.mktemp("p") / "deeper" / "p.jsonl", rows)
    assert read_predictions(path) == rows
    assert [json.loads(line)["answer"] for line in path.read_bytes().split(b"\n")[:-1]] == [r.answer for r in rows]


def test_the_answer_is_the_likeliest_and_of_equals_the_first():
    assert Prediction(id="a", probabilities={"sad": 0.4, "happy": 0.6}).answer == "happy"
    assert Prediction(id="a", probabilities={"sad": 0.5, "happy": 0.5}).answer == "sad"
    assert Prediction(id="a").answer == ""


def test_lines_of_others_are_read(tmp_path):
    line = '{"id": "a", "truth": "sad", "probabilities": {"sad": 1}, "model": "mine", "streams": ["audio"]}'
    (tmp_path / "p.jsonl").write_text(f"\n{line}\n\n")
    (row,) = read_predictions(tmp_path / "p.jsonl")
    assert row == Prediction(id="a", truth="sad", probabilities={"sad": 1}, streams=("audio",))


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("{", "line 2: "),
        ('{"truth": "sad"}', "line 2: .*'id'"),
        ("[1]", "line 2: "),
        ('{"id": "b", "probabilities": {"sad": 0.2, "happy": 0.7}}', "line 2: probabilities sum to 0.900"),
        ('{"id": "b", "probabilities": {"sad": "much"}}', "line 2: "),
        ('{"id": "b", "probabilities": {"sad": NaN}}', "line 2: the probability of 'sad' is nan"),
        ('{"id": "b", "probabilities": {"sad": -0.5, "happy": 1.5}}', "line 2: the probability of 'sad' is -0.5"),
        ('{"id": "b", "valence": "high"}', "line 2: valence"),
        ('{"id": "b", "true_arousal": NaN}', "line 2: true_arousal"),
        ('{"id": "b", "seed": "one"}', "line 2: seed"),
    ],
)
def test_a_line_that_is_no_prediction_is_named(tmp_path, line, said):
    (tmp_path / "p.jsonl").write_text(f'{{"id": "a"}}\n{line}\n')
    with pytest.raises(DatasetError, match=f"p.jsonl, {said}"):
        read_predictions(tmp_path / "p.jsonl")


def test_files_that_cannot_be_read_are_named(tmp_path):
    (tmp_path / "p.jsonl").write_bytes(b"\xff\xfe\x00")
    for name in ("p.jsonl", "absent.jsonl", "."):
        with pytest.raises(DatasetError, match="cannot read the predictions"):
            read_predictions(tmp_path / name)


def test_which_file_a_path_stands_for(tmp_path):
    fused, run, model, empty = (tmp_path / n for n in ("fused", "run", "model", "empty"))
    for folder in (fused, run, model):
        write_predictions(folder / "predictions.jsonl", [])
    empty.mkdir()
    (run / "seed-0").mkdir()
    for folder in (run / "seed-0", model):
        (folder / "config.json").write_text("{}")
    assert {predictions_of(p) for p in (fused, fused / "predictions.jsonl")} == {fused / "predictions.jsonl"}
    assert predictions_of(tmp_path / "absent.jsonl") == tmp_path / "absent.jsonl"
    assert [predictions_of(p) for p in (run, model, empty, "org/chat-model")] == [None] * 4
    assert [predictions_of(p, models=True) for p in (run, model)] == [p / "predictions.jsonl" for p in (run, model)]
