"""Open questions with their checkers, options, matches, times, valence and arousal, texts."""

from __future__ import annotations

import pytest

from unifusion.conversation import Example
from unifusion.errors import DatasetError
from unifusion.tasks.caption import Caption
from unifusion.tasks.dialogue_reply import DialogueReply
from unifusion.tasks.emotion_rationale import EmotionRationale
from unifusion.tasks.match import Match
from unifusion.tasks.multiple_choice import MultipleChoice
from unifusion.tasks.open_qa import OpenQa
from unifusion.tasks.valence_arousal import ValenceArousal
from unifusion.tasks.when import When
from unifusion.tasks.which_of import WhichOf


def qa(answer, **labels):
    """A question with its truth."""
    return Example(id="q", texts={"question": "Q?", "answer": answer}, labels=labels)


@pytest.mark.parametrize(
    ("said", "truth", "labels", "value"),
    [
        ("The Red circle.", "red circle", {}, 1),
        ("two", "2", {}, 1),
        ("dont know", "don't know", {}, 1),
        ("a big red circle", "red circle", {}, 0),
        ("crimson", "red", {"answers": ["crimson", "scarlet"]}, 1),
        ("It is red.", "red", {"options": ["red", "blue"], "checker": "exact"}, 1),
        ("red and blue", "red", {"options": ["red", "blue"]}, 0),
        ("RED", "Red", {"options": ["red", "blue"]}, 1),
        ("no sound here", "there is no sound in this clip.", {"options": ["bell", "rain"]}, 0),
        ("There is no sound in this clip", "there is no sound in this clip.", {"options": ["bell", "rain"]}, 1),
        ("blue star and a red circle", "red circle, blue star", {"checker": "set"}, 1),
        ("red circle", "red circle, blue star", {"checker": "set"}, 0),
        ("There are three.", "3", {"checker": "number"}, 1),
        ("4", "3", {"checker": "number"}, 0),
        ("4", "3", {"checker": "number", "tolerance": 1}, 1),
        ("at 2.0 seconds", "1.5 seconds", {"checker": "time", "tolerance": 0.5}, 1),
        ("2.1 seconds", "1.5 seconds", {"checker": "time"}, 0),
        ("1.6 s", "1.5 seconds", {"checker": "time", "tolerance": 0}, 0),
        ("from 1 to 2 s", "from 1.5 to 2.5 seconds", {"checker": "time"}, 1),
        ("there is no sound in this clip", "There is no sound in this clip.", {"checker": "time"}, 1),
        ("1.5 seconds", "There is no sound in this clip.", {"checker": "time"}, 0),
        ("there is no sound in this clip", "1.5 seconds", {"checker": "time"}, 0),
        ("a dog barks", "the dog barks", {"checker": "free"}, 1),
        ("A", "A", {"options": ["A", "B", "C"]}, 1),
        ("a bird", "A", {"options": ["A", "B", "C"]}, 0),
        ("valence 0.5, arousal -0.1", "valence 0.6, arousal -0.2", {"checker": "number", "tolerance": 0.1}, 1),
        ("valence 0.4, arousal -0.2", "valence 0.6, arousal -0.2", {"checker": "number", "tolerance": 0.1}, 0),
        ("0.6", "valence 0.6, arousal -0.2", {"checker": "number"}, 0),
    ],
)
def test_open_qa(said, truth, labels, value):
    assert OpenQa().score(said, qa(truth, **labels)).value == value


def test_open_qa_counts_what_it_cannot_read():
    assert OpenQa().score("some time later", qa("1.5 seconds", checker="time")).unparsed
    assert OpenQa().score("many", qa("3", checker="number")).unparsed
    assert OpenQa().score("red or blue", qa("red", options=["red", "blue"])).unparsed
    assert OpenQa().score("4", qa("3", checker="number")).parsed == 4.0
    assert 0 < OpenQa().score("a cat barks", qa("the dog barks", checker="free")).value < 1


def test_open_qa_choices_hold_the_truth_once():
    assert OpenQa().choices(qa("red", options=["red", "blue"])) == ("red", "blue")
    assert OpenQa().choices(qa("no sound", options=["red", "blue"])) == ("red", "blue", "no sound")
    assert OpenQa().choices(qa("red")) == ()


def test_an_unknown_checker_is_told():
    with pytest.raises(DatasetError, match="checker 'exakt'; did you mean 'exact'"):
        OpenQa().score("a", qa("a", checker="exakt"))


@pytest.mark.parametrize("truth", [{"option": 1}, {"option": "B"}, {}])
def test_multiple_choice_takes_index_letter_or_text(truth):
    example = Example(id="m", texts={"question": "Q?", "answer": "green"}, labels={"options": ["red", "green", "blue"], **truth})
    task = MultipleChoice()
    taught = task.conversation(example, with_answer=True)
    assert "A. red\nB. green\nC. blue" in taught.messages[0].text and taught.messages[1].text == "B"
    assert task.choices(example) == ("A", "B", "C")
    assert [task.score(a, example).value for a in ("B", "green", "C", "A man")] == [1, 1, 0, 0]
    assert task.score("A man", example).unparsed


@pytest.mark.parametrize("labels", [{"options": ["a"]}, {"options": ["a", "b"], "option": 2}, {"options": ["a", "b"], "option": "Z"}, {}])
def test_broken_options_name_the_example(labels):
    with pytest.raises(DatasetError, match="'m'"):
        MultipleChoice().score("A", Example(id="m", texts={"question": "Q?"}, labels=labels))


def test_which_of_finds_the_caption():
    example = Example(id="w", texts={"caption": "A dog."}, labels={"options": ["A cat.", "A dog."]})
    assert WhichOf().conversation(example, with_answer=True).messages[1].text == "B"
    assert [WhichOf().score(a, example).value for a in ("B", "(A)", "B. A dog.")] == [1, 0, 1]


def test_which_of_shows_texts_before_letters():
    example = Example(id="w", labels={"options": ["A", "B"], "texts": ["A cat.", "A dog."], "option": 1})
    shown = WhichOf().conversation(example, with_answer=True)
    assert "A. A cat.\nB. A dog." in shown.messages[0].text and shown.messages[1].text == "B"


def test_match_is_strict():
    example = Example(id="m", texts={"text": "A dog."}, labels={"match": False})
    assert Match().conversation(example, with_answer=True).messages[1].text == "no"
    assert [Match().score(a, example).value for a in ("No.", "yes", "There is no dog.")] == [1, 0, 0]
    assert Match().score("There is no dog.", example).unparsed
    with pytest.raises(DatasetError, match="match 'no'"):
        Match().score("no", Example(id="m", labels={"match": "no"}))


def test_when_scores_both_borders():
    example = Example(id="t", texts={"event": "the bell"}, labels={"span": [1.0, 2.0]})
    assert When().conversation(example, with_answer=True).messages[1].text == "from 1.0 to 2.0 seconds"
    score = When().score("1.5 to 2.5 s", example)
    assert (score.value, score.parsed) == (1.0, (1.5, 2.5))
    assert score.details == {"time_error_s": pytest.approx(0.5), "temporal_iou": pytest.approx(1 / 3)}
    assert When().score("1.0 to 2.6 s", example).value == 0.0
    assert When().score("soon", example).details == {"temporal_iou": 0.0}
    instant = Example(id="t", texts={"event": "the bell"}, labels={"time_s": 1.5, "tolerance": 0.1})
    assert When().conversation(instant, with_answer=True).messages[1].text == "1.5 seconds"
    assert [When().score(a, instant).value for a in ("1.6 s", "1.7 s", "soon")] == [1, 0, 0]
    assert set(When().score("1.5 s", instant).details) == {"time_error_s"}  # an instant overlaps with nothing
    exact = Example(id="t", labels={"time_s": 1.5, "tolerance": 0})
    assert [When().score(a, exact).value for a in ("1.5 s", "1.6 s")] == [1, 0]


@pytest.mark.parametrize("labels", [{"span": [2.0, 1.0]}, {"span": [1.0]}, {"span": "soon"}, {"time_s": -1.0}])
def test_a_broken_span_names_the_example(labels):
    with pytest.raises(DatasetError, match="'t'"):
        When().score("1 s", Example(id="t", labels=labels))


def test_valence_and_arousal_over_a_set():
    task = ValenceArousal()
    rows = [Example(id=str(i), labels={"valence": v, "arousal": -v}) for i, v in enumerate((-0.8, 0.0, 0.8))]
    answers = [task.conversation(r, with_answer=True).messages[1].text for r in rows]
    assert answers == ["valence -0.8, arousal 0.8", "valence 0.0, arousal 0.0", "valence 0.8, arousal -0.8"]
    scores = [task.score(a, r) for a, r in zip(answers, rows, strict=True)]
    assert task.summarise(scores, rows)["ccc"] == pytest.approx(1.0)
    missed = [*scores[:2], task.score("very", rows[2])]
    numbers = task.summarise(missed, rows)
    assert numbers["unparsed"] == pytest.approx(1 / 3) and numbers["ccc"] == pytest.approx(2 / 3)
    half = task.score("valence 0.3, arousal -0.8", rows[2])
    assert half.value == pytest.approx(1 - 0.5 / 4) and half.details["valence_error"] == pytest.approx(0.5)


def test_a_rounded_zero_has_no_sign():
    example = Example(id="z", labels={"valence": -0.01, "arousal": 0.04})
    assert ValenceArousal().conversation(example, with_answer=True).messages[1].text == "valence 0.0, arousal 0.0"


def test_captions_take_the_best_reference():
    example = Example(id="c", texts={"caption": "A dog barks."}, labels={"captions": ["Rain falls on a roof."]})
    assert Caption().score("rain falls on a roof", example).value == pytest.approx(1.0)
    assert Caption().score("a bird", example).value < 0.5


def test_a_reply_sees_the_talk_so_far():
    history = [{"speaker": "Ann", "text": "I lost {{ reply }}."}]
    example = Example(id="d", texts={"reply": "I am sorry."}, labels={"history": history})
    task = DialogueReply(seed=3)
    assert "Ann" in task.conversation(example).messages[-1].text and "I lost {{ reply }}." in task.conversation(example).messages[-1].text
    assert task.score("I am so sorry", example).value == pytest.approx(6 / 7)
    with pytest.raises(DatasetError, match="each turn needs speaker and text"):
        task.conversation(Example(id="d", labels={"history": ["hello"]}))


@pytest.mark.parametrize("split", ["train", "test_new_combinations"])
def test_every_answer_of_clip_world_is_right_by_its_own_checker(split):
    from unifusion.datasets.clip_world import ClipWorld

    rows = list(ClipWorld(seed=11, count=60, split=split))
    scores = [OpenQa().score(row.texts["answer"], row) for row in rows]
    assert [row.id for row, s in zip(rows, scores, strict=True) if s.value < 0.999 or s.unparsed] == []


@pytest.mark.parametrize(
    ("family", "task"),
    [("emotion_rationale", EmotionRationale), ("valence_arousal", ValenceArousal), ("match", Match), ("which_of", WhichOf)],
)
def test_clip_world_and_the_task_write_the_same_answer(family, task):
    from unifusion.datasets.clip_world import ClipWorld

    rows = list(ClipWorld(seed=11, count=25, families=[family]))
    assert rows and [task().conversation(r, with_answer=True).messages[-1].text for r in rows] == [r.texts["answer"] for r in rows]
