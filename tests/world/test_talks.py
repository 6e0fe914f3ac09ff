"""Talks: two people, one script per turn, the same looks and voices throughout."""

import pytest

from unifusion.errors import ConfigError
from unifusion.world.questions import ask, check
from unifusion.world.render import parse_reference, reference, with_words
from unifusion.world.sample import VOICE_EMOTIONS
from unifusion.world.talks import talk
from unifusion.world.world_file import ranges, talk_topics


def test_people_take_turns_and_stay_themselves():
    for index in range(60):
        found = talk(0, index)
        assert 2 <= len(found.scripts) <= 6
        assert found.people[0].profile.id != found.people[1].profile.id and found.people[0].voice.seed != found.people[1].voice.seed
        for turn, script in enumerate(found.scripts):
            person = found.people[turn % 2]
            assert (script.identity, script.utterance.voice) == (person.identity, person.voice)
            assert script.profile["turn"] == turn and script.profile["role"] == ("listener" if turn % 2 else "speaker")
            assert person.profile.gender == {"high": "female", "low": "male"}[person.voice.register]
            assert not (person.profile.gender == "female" and person.identity.beard)
            shown = script.expressions[0].emotion if script.expressions else "neutral"
            assert shown == script.utterance.emotion


def test_a_talk_is_a_pure_function_and_its_turns_have_references():
    found = talk(3, 5, duration_s=4.0, size_px=96)
    assert found == talk(3, 5, duration_s=4.0, size_px=96) != talk(3, 6, duration_s=4.0, size_px=96)
    for script in found.scripts:
        assert parse_reference(reference(script)) == script
        assert with_words(script).utterance.end_s <= 4.0


def test_history_is_what_was_said_before():
    found = next(t for i in range(50) if len((t := talk(0, i)).scripts) >= 3)
    history = found.history(2)
    assert [h["utterance"] for h in history] == [s.utterance.text for s in found.scripts[:2]]
    assert [(h["index"], h["role"]) for h in history] == [(0, "speaker"), (1, "listener")]


def test_turns_are_asked_about_like_other_clips():
    script = talk(0, 1).scripts[0]
    questions = {q.family: q for q in ask(script)}
    assert questions["expression"].answer == script.utterance.emotion and check(questions["agreement"], "yes")
    assert {q.text for q in ask(script)} != {q.text for q in ask(talk(0, 1).scripts[1])}


def test_splits_hold_out_people_and_topics():
    topics = {split: {talk(0, i, split=split).topic for i in range(80)} for split in ("train", "test_iid", "test_new_combinations")}
    assert topics["train"] == topics["test_iid"] and not topics["train"] & topics["test_new_combinations"]
    low, high = ranges()["identities"]["held_out"]
    assert all(low <= p.profile.id < high for i in range(80) for p in talk(0, i, split="test_new_people").people)


def test_topics_are_whole():
    for topic in talk_topics()["topics"]:
        assert len(topic["lines"]) == 6 and topic["emotion"] in VOICE_EMOTIONS
        assert all(emotion in VOICE_EMOTIONS for _, emotion in topic["lines"])
        assert all(topic[key] for key in ("topic", "scenario", "cause", "goal"))


def test_a_line_that_does_not_fit_is_refused(monkeypatch):
    long = {**talk_topics(), "topics": [{**talk_topics()["topics"][0], "lines": [["this is a sentence " * 9, "sad"]] * 6}]}
    monkeypatch.setattr("unifusion.world.talks.talk_topics", lambda: long)
    with pytest.raises(ConfigError, match=r"does not fit into 2\.0 s; choose a longer"):
        talk(0, 0, duration_s=2.0)
