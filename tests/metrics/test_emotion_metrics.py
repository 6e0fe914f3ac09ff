"""Open vocabularies of emotion: wheels, words found in texts, hit rates, F on wheels, and sentiment."""

from __future__ import annotations

import math
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.metrics.parity import CASES, hold
from unifusion.errors import ConfigError
from unifusion.metrics._emotion_words import emotion_words
from unifusion.metrics._wheels import Vocabulary, own_vocabulary
from unifusion.metrics.emotion_wheel_f import emotion_wheel_f
from unifusion.metrics.hit_rate import hit_rate
from unifusion.metrics.penalised_hit_rate import penalised_hit_rate
from unifusion.metrics.sentiment_waf import sentiment_waf

# "x" stands for two words, of which b, the first in the alphabet, is on wheel one alone.
SMALL = Vocabulary(
    words={"a": ("a",), "a2": ("a",), "b": ("b",), "c": ("c",), "x": ("b", "c"), "off": ("off",)},
    wheels={"one": {"a": "A", "b": "B", "c": "A"}, "two": {"a": "A", "c": "C"}},
)
WORD = st.sampled_from(["a", "A2 ", "b", "c", "x", "off", "unknown"])
ROWS = st.lists(st.tuples(st.lists(WORD, max_size=4), st.lists(WORD, min_size=1, max_size=3)), min_size=1, max_size=8)
TABLE = {"one": {"a": "A", "a2": "A", "b": "B", "c": "A", "x": "B"}, "two": {"a": "A", "a2": "A", "c": "C", "x": "C"}}


def test_our_wheels_are_whole():
    known = own_vocabulary()
    assert len(known.wheels) == 5 and len(known.words) > 500
    everywhere = {word for words in known.words.values() for word in words}
    for name, rings in known.wheels.items():
        assert set(rings) == everywhere, name
        assert 5 <= len(set(rings.values())) <= 9 and known.ring("neutral", name)
    assert known.alone <= set(known.words)
    for one, other in (("furious", "Anger "), ("Happiness", "joy"), ("afraid", "anxiety"), ("sorrow", "grief")):
        assert all(known.ring(one, w) == known.ring(other, w) for w in known.wheels)
    # The basic wheel parts the labels of the usual sets.
    labels = ("neutral", "happy", "sad", "angry", "fear", "disgust", "surprise")
    assert len({known.ring(label, "basic") for label in labels}) == len(labels)
    assert known.ring("chair", "basic") is None


def test_no_form_is_written_twice_and_no_word_stands_in_two_rings():
    import yaml

    from unifusion.metrics import _wheels

    raw = yaml.safe_load((_wheels.Path(_wheels.__file__).with_name("wheels.yaml")).read_text(encoding="utf-8"))
    forms = Counter(form for word, others in raw["words"].items() for form in (word, *others))
    assert [f for f, n in forms.items() if n > 1 or f != f.lower()] == []
    for name, rings in raw["wheels"].items():
        assert [w for w, n in Counter(w for members in rings.values() for w in members).items() if n > 1] == [], name


def brute(rows, *, keep):
    """F, precision and recall by their definition, row by row."""
    found = []
    for table in TABLE.values():

        def rings(words, table=table):
            plain = [w.lower().strip() for w in words]
            return {table.get(w, f"word {w}") for w in plain if keep or w in table}

        pairs = [(rings(said), rings(true)) for said, true in rows]
        pairs = [(said, true) for said, true in pairs if true]
        p = np.mean([len(s & t) / len(s) if s else 0.0 for s, t in pairs]) if pairs else 0.0
        r = np.mean([len(s & t) / len(t) for s, t in pairs]) if pairs else 0.0
        found.append((2 * p * r / (p + r) if p + r else 0.0, p, r))
    return np.mean(found, axis=0)


@CASES
def test_f_on_wheels_is_its_definition(cases):
    @hold(cases, ROWS, st.booleans())
    def check(rows, keep):
        found = emotion_wheel_f([s for s, _ in rows], [t for _, t in rows], vocabulary=SMALL, unknown="keep" if keep else "drop")
        assert (found.value, found.precision, found.recall) == pytest.approx(tuple(brute(rows, keep=keep)), abs=1e-12)
        assert found.rows == len(rows) and (not keep or found.skipped == 0)


def test_f_on_wheels_worked_by_hand():
    # Wheel one: row 1 {A, B} against {A}: P 1/2, R 1; row 2 {} against {A}: 0, 0; row 3 has no reference inside. P 1/4, R 1/2, F 1/3.
    # Wheel two: row 1 {A} against {A}: 1, 1; row 2 {} against {C}: 0, 0. P 1/2, R 1/2, F 1/2.
    found = emotion_wheel_f([["a", "b"], ["unknown"], ["a"]], [["a2"], ["c"], ["off"]], vocabulary=SMALL)
    assert found.wheels == {"one": pytest.approx(1 / 3), "two": pytest.approx(1 / 2)} and found.value == pytest.approx(5 / 12)
    assert (found.precision, found.recall) == (pytest.approx(3 / 8), pytest.approx(1 / 2))
    assert found.rows == 3 and found.skipped == 1 and found.mean_size == pytest.approx(4 / 3) and found.outside == pytest.approx(1 / 4)


def test_the_means_are_taken_before_f():
    """The mean of F of the rows would be another number."""
    found = emotion_wheel_f([["a"], ["a", "b"]], [["a", "b"], ["a"]], vocabulary=SMALL)
    assert found.wheels["one"] == pytest.approx(0.75) and found.precision == found.recall


def test_quirks_are_flags():
    said, true = [["a", "invented", "made-up"]], [["a"]]
    assert emotion_wheel_f(said, true, vocabulary=SMALL).precision == 1.0
    assert emotion_wheel_f(said, true, vocabulary=SMALL, unknown="keep").precision == pytest.approx(1 / 3)
    assert emotion_wheel_f([["b"]], [["a"]], vocabulary=SMALL).wheels["one"] == 0.0
    assert math.isnan(emotion_wheel_f([["b"]], [["a"]], vocabulary=SMALL, undefined=math.nan).value)
    # A row that is skipped is not a row that is wrong.
    assert emotion_wheel_f([["a"], ["a"]], [["a"], ["off"]], vocabulary=SMALL).value == 1.0
    assert emotion_wheel_f([["a"], ["a"]], [["a"], ["off"]], vocabulary=SMALL, unknown="keep").value == 0.5


def test_hit_rates_worked_by_hand():
    said, true = [["a", "b"], ["b"], []], ["a", "a", "c"]
    found = hit_rate(said, true, vocabulary=SMALL)
    # Wheel one: hit, miss, miss. Wheel two, where b is not: the same.
    assert found.value == pytest.approx(1 / 3) and found.wheels == {"one": pytest.approx(1 / 3), "two": pytest.approx(1 / 3)}
    assert found.mean_size == pytest.approx(1.0) and found.skipped == 0
    # Row 1 lists two rings on wheel one, one on wheel two.
    assert penalised_hit_rate(said, true, vocabulary=SMALL) == pytest.approx((1 / 2 / 3 + 1 / 3) / 2)
    # B is the ring of no target: among those it is not counted.
    assert penalised_hit_rate(said, true, vocabulary=SMALL, among="targets") == pytest.approx(1 / 3)


def test_listing_everything_always_hits_and_is_what_the_penalty_is_for():
    known = own_vocabulary()
    everything, true = [sorted(known.words)] * 4, ["angry", "happy", "sad", "neutral"]
    assert hit_rate(everything, true).value == 1.0 and hit_rate(everything, true).mean_size > 500
    rings = [len(set(r.values())) for r in known.wheels.values()]
    assert penalised_hit_rate(everything, true) == pytest.approx(np.mean([1 / n for n in rings]))
    assert penalised_hit_rate([[t] for t in true], true) == hit_rate([[t] for t in true], true).value == 1.0


def test_a_label_on_no_wheel_is_skipped_and_counted():
    found = hit_rate([["a"], ["a"]], ["a", "off"], vocabulary=SMALL)
    assert found.value == 1.0 and found.skipped == 1
    assert hit_rate([["a"], ["off"]], ["a", "off"], vocabulary=SMALL, unknown="keep").value == 1.0
    assert hit_rate([["a"]], ["off"], vocabulary=SMALL).value == 0.0


@pytest.mark.parametrize("metric", [hit_rate, penalised_hit_rate])
def test_words_must_be_lists(metric):
    with pytest.raises(ConfigError, match="a row is 'angry'"):
        metric(["angry"], ["angry"])
    with pytest.raises(ConfigError, match="0 predictions for 0"):
        metric([], [])
    with pytest.raises(ConfigError, match="a row is"):
        emotion_wheel_f([[1]], [["a"]])


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("angry, frustrated, sad", "angry frustrated sad"), ("['happy', 'content']", "happy content"), ("Happily.", "happy"), ("", ""),
        ("He is not angry, rather disappointed.", "disappointed"), ("She isn't happy but sad", "sad"), ("not angry or sad", ""),
        ("neither sad nor angry", ""), ("He is not only angry but also sad.", "angry sad"), ("no longer angry", ""),
        ("does not show any clear signs of anger", ""), ("without any anger, fear or sadness, he seems calm", "calm"),
        ("not happy, not sad, just neutral", "neutral"), ("far from happy", ""), ("a lack of joy; he looks tired", "tired"),
        ("rather than angry she is amused", "amused"), ("instead of fear there is joy", "joyful"), ("nothing but joy", "joyful"),
        ("He does not speak because he is angry.", "angry"), ("He didn\u2019t expect this and is surprised", "surprised"),
        ("There is no doubt that he is furious.", "furious"), ("not unhappy", ""), ("unhappy", "sad"), ("joyful\nangry", "joyful angry"),
        ("The content of the clip: a man who cares about kind people.", ""), ("content, kind", "content caring"),
        ("anger, angry, ANGRILY", "angry"), ("He is looking forward to it", "anticipating"), ("a chair", ""),
        ("a mix of anxiety and excitement", "anxious excited"), ("No emotion", "neutral"),
    ],
)  # fmt: skip
def test_words_of_an_answer(text, words):
    assert emotion_words(text) == tuple(words.split())


def test_a_form_of_several_words_is_given_as_it_stands():
    assert emotion_words("a2 and x", SMALL) == ("a", "x")


@settings(max_examples=100, deadline=None)
@given(st.lists(st.sampled_from("not angry , or and no joy he . isn't content instead of é".split()), max_size=12))
def test_any_answer_is_read_and_what_is_read_is_read_again(pieces):
    words = emotion_words(" ".join(pieces))
    assert set(words) <= {"angry", "joyful", "content"} and emotion_words(", ".join(words)) == words


@CASES
def test_sentiment_is_sklearns_weighted_f1_of_signs(cases):
    @hold(cases, st.lists(st.tuples(st.floats(-3, 3), st.floats(-3, 3)), min_size=1, max_size=30))
    def check(pairs):
        from sklearn.metrics import f1_score

        said, true = np.array([p for p, _ in pairs]), np.array([t for _, t in pairs])
        keep = true != 0
        if not keep.any():
            with pytest.raises(ConfigError, match="has a sign"):
                sentiment_waf(said.tolist(), true.tolist())
            return
        found = sentiment_waf(said.tolist(), true.tolist())
        # As published: labels that are not 0, `> 0` on both sides.
        assert found.value == pytest.approx(f1_score(true[keep] > 0, said[keep] > 0, average="weighted", zero_division=0), abs=1e-12)
        assert found.accuracy == pytest.approx(np.mean((true[keep] > 0) == (said[keep] > 0))) and found.rows == keep.sum()


def test_what_a_neutral_prediction_is_can_be_chosen():
    said, true = [0.0, 0.0, 1.0, None], [-1.0, 2.0, 0.5, -2.0]
    as_published = sentiment_waf(said, true)
    assert as_published.accuracy == 0.5 and as_published.neutral == 2 and as_published.unparsed == 1
    assert sentiment_waf(said, true, neutral="positive").accuracy == 0.5
    assert sentiment_waf(said, true, neutral="wrong").accuracy == 0.25
    assert sentiment_waf([math.nan], [1.0]).unparsed == 1
    for wrong in (([1.0], []), ([1.0], [math.nan])):
        with pytest.raises(ConfigError, match="sentiment_waf of"):
            sentiment_waf(*wrong)
