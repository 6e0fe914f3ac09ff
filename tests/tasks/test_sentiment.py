"""Sentiment: words and numbers as truth, neutral rows and answers, what is refused."""

import pytest

from unifusion.conversation import Example
from unifusion.errors import DatasetError
from unifusion.tasks.sentiment import Sentiment


def rows(*truths):
    return [Example(id=str(i), labels={"sentiment": t}) for i, t in enumerate(truths)]


@pytest.mark.parametrize(
    ("truth", "word"), [(1.8, "positive"), (-0.2, "negative"), (0, "neutral"), ("Negative", "negative"), ("neutral", "neutral")]
)
def test_the_truth_is_a_word_or_the_sign_of_a_number(truth, word):
    (row,) = rows(truth)
    assert Sentiment().conversation(row, with_answer=True).messages[-1].text == word
    assert Sentiment().score(f"It is {word}.", row).value == 1.0


@pytest.mark.parametrize("truth", ["good", float("nan"), None, [1]])
def test_another_truth_is_refused(truth):
    with pytest.raises(DatasetError, match="'0'"):
        Sentiment().target(rows(truth)[0])


def test_over_a_set_neutral_rows_are_left_out_and_neutral_answers_are_negative():
    some = rows(1, 1, -1, 0)
    scores = [Sentiment().score(a, e) for a, e in zip(["positive", "neutral", "neutral", "positive"], some, strict=True)]
    told = Sentiment().summarise(scores, some)
    assert told["accuracy"] == pytest.approx(2 / 3) and told["neutral"] == pytest.approx(2 / 3) and told["unparsed"] == 0.0
    # positive: precision 1, recall 1/2, weight 2; negative: precision 1/2, recall 1, weight 1; F1 of both is 2/3
    assert told["sentiment_waf"] == pytest.approx(2 / 3)


def test_what_is_not_parsed_is_wrong_and_a_set_without_signs_has_plain_shares():
    some = rows(1, -1)
    scores = [Sentiment().score(a, e) for a, e in zip(["who knows", "negative"], some, strict=True)]
    assert Sentiment().summarise(scores, some)["unparsed"] == 0.5 and scores[0].value == 0.0
    neutral = rows(0, 0)
    assert Sentiment().summarise([Sentiment().score("neutral", e) for e in neutral], neutral)["sentiment_waf"] == 1.0
