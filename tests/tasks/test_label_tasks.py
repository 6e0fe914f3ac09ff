"""Emotion, sound, digit, rationale: the truth's spelling, strict scores, numbers over a set."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from sklearn.metrics import accuracy_score, balanced_accuracy_score, f1_score

from unifusion import catalog
from unifusion.conversation import Example, Media
from unifusion.errors import DatasetError
from unifusion.tasks.digit import Digit
from unifusion.tasks.emotion import Emotion
from unifusion.tasks.emotion_rationale import EmotionRationale
from unifusion.tasks.sound import Sound


def row(id="e", **labels):
    """An example with labels only."""
    return Example(id=id, labels=labels)


def test_calm_is_not_neutral():
    with pytest.raises(DatasetError, match=r"label 'calm'.*pass labels="):
        Emotion().score("neutral", row(emotion="calm"))
    assert Emotion(labels=("calm", "neutral")).score("calm", row(emotion="calm")).value == 1.0
    assert Emotion().score("calm", row(emotion="neutral")).unparsed


def test_labels_are_shown_and_the_truth_takes_their_spelling():
    task = Emotion(labels=("joy", "anger"))
    shown = task.conversation(row(emotion="happy"), with_answer=True)
    assert "joy, anger" in shown.messages[0].text and shown.messages[1].text == "joy"
    assert task.score("She is angry.", row(emotion="anger")).parsed == "anger"


def test_an_unclear_answer_is_no_class():
    score = Emotion().score("happy or sad", row(emotion="happy"))
    assert (score.value, score.parsed) == (0.0, None)


def test_numbers_over_a_set_equal_sklearns():
    task = Emotion()
    truth = ["happy", "happy", "happy", "sad", "sad", "angry"]
    said = ["happy", "joy", "sad", "sad", "no idea", "happy"]
    rows = [row(id=str(i), emotion=t) for i, t in enumerate(truth)]
    numbers = task.summarise([task.score(s, r) for s, r in zip(said, rows, strict=True)], rows)
    read = ["happy", "happy", "sad", "sad", "?", "happy"]
    assert numbers["accuracy"] == pytest.approx(accuracy_score(truth, read))
    with pytest.warns(UserWarning, match="y_pred contains classes not in y_true"):
        assert numbers["macro_recall"] == pytest.approx(balanced_accuracy_score(truth, read))
    assert numbers["weighted_f1"] == pytest.approx(f1_score(truth, read, average="weighted"))
    assert numbers["unparsed"] == pytest.approx(1 / 6)


def test_a_digit_may_be_written_as_a_number():
    assert Digit().conversation(row(digit=0), with_answer=True).messages[-1].text == "zero"
    assert Digit().score("7", row(digit=7)).value == 1.0
    assert Digit().score("seven", row(label="seven")).value == 1.0
    assert Digit().score("It says eight.", row(digit=7)).value == 0.0


def test_soft_recordings_are_raised_where_level_is_no_part_of_the_answer():
    given = Example(id="a", media=(Media(kind="audio", source="a.wav"),), labels={"digit": "two", "sound": "rain", "emotion": "sad"})
    for name, level in (("digit", -18.0), ("sound", -18.0), ("emotion", None)):
        (media,) = catalog.load("tasks", name)().conversation(given).media
        assert media.at_least_db == level
    (media,) = Digit().conversation(replace(given, media=(Media(kind="audio", source="a.wav", at_least_db=-30.0),))).media
    assert media.at_least_db == -30.0, "what is asked for stays"


def test_sounds_of_another_set():
    task = Sound(labels=("dog bark", "rain", "sea waves"))
    assert task.score("barking", row(sound="dog bark")).parsed == "dog bark"
    assert task.score("Sea waves.", row(sound="sea waves")).value == 1.0
    assert Sound().score("chord minor", row(sound="chord major")).value == 0.0


EVIDENCE = [
    {"stream": "picture", "start_s": 1.0, "end_s": 3.0, "text": "brows lowered"},
    {"stream": "sound", "start_s": 0.5, "end_s": 2.5, "text": "loud voice"},
]


def test_evidence_is_scored_by_stream_and_time():
    answer = 'Emotion: angry.\nPicture 1.0-2.5 s: brows lowered.\nWords 0.5-2.5 s: "go" (angry).\nSound 3.0-4.0 s: loud.'
    score = EmotionRationale().score(answer, row(emotion="anger", evidence=EVIDENCE))
    assert score.value == 1.0 and score.parsed.label == "angry"
    assert score.details == {"evidence_recall": 0.5, "evidence_precision": pytest.approx(1 / 3)}
    numbers = EmotionRationale().summarise([score], [row(emotion="anger", evidence=EVIDENCE)])
    assert numbers["macro_recall"] == 1.0 and numbers["evidence_recall"] == 0.5


def test_a_written_rationale_is_a_truth_too():
    text = "Emotion: sad.\nPicture 1.0-2.0 s: lip corners down."
    example = Example(id="w", texts={"answer": text})
    assert EmotionRationale().conversation(example, with_answer=True).messages[-1].text == text
    assert EmotionRationale().score(text, example).value == 1.0


def test_a_label_without_evidence_teaches_the_label_line():
    assert EmotionRationale().conversation(row(emotion="fear"), with_answer=True).messages[-1].text == "Emotion: fear."


def test_broken_evidence_names_the_example():
    with pytest.raises(DatasetError, match="'e' has evidence"):
        EmotionRationale().conversation(row(emotion="fear", evidence=[{"stream": "sound"}]), with_answer=True)


@pytest.mark.parametrize(
    ("pack", "task", "key"), [("ravdess_speech", Emotion, "emotion7"), ("esc10", Sound, "sound"), ("fsdd", Digit, "digit")]
)
def test_labels_of_the_real_packs_are_known(data, pack, task, key):
    rows = [json.loads(line) for line in (data / pack / "manifest.jsonl").read_text().splitlines()]
    made = task(labels=sorted({r["label"] for r in rows}))
    for r in rows[::17]:
        example = Example(id=r["id"], labels={made.keys[0]: r["labels"][key]})
        assert made.score(made.conversation(example, with_answer=True).messages[-1].text, example).parsed == r["label"]
