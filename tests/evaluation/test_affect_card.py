"""The card of an emotion model: every figure in it is one of the predictions."""

import pytest

from tests.models.test_affect import model
from unifusion.evaluation.affect_card import affect_card
from unifusion.evaluation.predictions import Prediction

CHOICES = {"data": "mine.yaml", "fusion": "attention_pool", "seed": 3, "mixup": None, "streams": {"audio": {"checkpoint": "tiny-chat"}}}


def rows(split, answers, **more):
    told = {"happy": (0.9, 0.1), "sad": (0.2, 0.8)}
    return [
        Prediction(id=f"{split}{i}", split=split, truth=truth, probabilities=dict(zip(told, told[said], strict=True)), **more)
        for i, (truth, said) in enumerate(answers)
    ]


def test_figures_are_those_of_the_predictions():
    told = rows("val", [("happy", "happy"), ("sad", "sad")])
    told += rows("test", [("happy", "happy"), ("happy", "happy"), ("happy", "sad"), ("sad", "sad")])
    told += rows("test", [("sad", "happy")], condition="only audio")
    card = affect_card("mine", model(), CHOICES, {"steps": 70}, told)
    assert "| val | all | 2 | 1.000 | 0.500 | 1.000 | 0.500 |  |  |" in card
    assert "| test | all | 4 | 0.833 | 0.500 | 0.750 | 0.750 |  |  |" in card
    assert "| test | only audio | 1 | 0.000 | 1.000 | 0.000 | 1.000 |  |  |" in card
    assert "`mine.yaml` (70 steps)" in card and "| fusion | attention_pool |" in card and "mixup" not in card
    assert "--model mine" in card and "| audio | " in card and "tiny-chat (audio)" in card


def test_valence_is_told_where_it_is_known():
    told = [Prediction(id=str(i), valence=v, true_valence=t) for i, (v, t) in enumerate([(0.5, 0.5), (-0.5, -0.5), (0.1, None)])]
    (line,) = (x for x in affect_card("m", model(), CHOICES, {}, told).splitlines() if x.startswith("| test"))
    assert line == "| test | all | 3 |  |  |  |  | 1.000 |  |"


@pytest.mark.parametrize("empty", [[], rows("test", [])])
def test_a_card_without_rows(empty):
    assert "| split |" in affect_card("m", model(), CHOICES, {}, empty)
