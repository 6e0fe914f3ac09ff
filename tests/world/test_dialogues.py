"""Talks of a corpus: casts that never meet, and emotions that take more than one stream to tell."""

from collections import Counter

import pytest

from unifusion.errors import ConfigError
from unifusion.world.dialogues import STREAMS, act, cast, dialogue, part_of, person
from unifusion.world.draw import Draw
from unifusion.world.sample import VOICE_EMOTIONS
from unifusion.world.sentences import meaning_of
from unifusion.world.world_file import talk_topics

TALKS = [dialogue(0, i) for i in range(700)]
LINES = [line for talk in TALKS for line in talk.lines]


def test_a_dialogue_is_a_pure_function():
    assert dialogue(3, 5) == dialogue(3, 5) != dialogue(4, 5)
    assert dialogue(3, 5, duration_s=5.0).lines[0].text == dialogue(3, 5).lines[0].text


def test_casts_and_voices_never_meet():
    parts = ("train", "val", "test")
    people = {p: {i.profile.id for t in TALKS if t.part == p for i in t.people} for p in parts}
    voices = {p: {person(p, n).voice.variant for n in cast(p)} for p in parts}
    for one, other in (("train", "val"), ("train", "test"), ("val", "test")):
        assert not set(cast(one)) & set(cast(other)) and not voices[one] & voices[other]
        assert people[one] <= set(cast(one)) and people[one]
    assert Counter(part_of(i) for i in range(10)) == {"train": 8, "val": 1, "test": 1}
    assert {part_of(i) for i in range(6)} == set(parts)
    assert all(t.people[0].profile.id != t.people[1].profile.id for t in TALKS)


def test_people_stay_who_they_are():
    seen = {}
    for talk in TALKS:
        for k, line in enumerate(talk.lines):
            who = talk.people[k % 2]
            assert (line.script.identity, line.script.utterance.voice) == (who.identity, who.voice)
            assert seen.setdefault(who.profile.id, who) == who and not (who.identity.beard and who.profile.gender == "female")


def test_no_stream_alone_tells_what_all_tell_together():
    right = Counter(s for line in LINES for s in STREAMS if line.tells[s] == line.emotion)
    assert all(0.75 < right[s] / len(LINES) < 0.85 for s in STREAMS)
    assert all(Counter(line.tells.values()).most_common(1)[0][0] == line.emotion for line in LINES)
    agree = sum(len(set(line.tells.values())) == 1 for line in LINES) / len(LINES)
    assert 0.36 < agree < 0.44
    counts = Counter(line.emotion for line in LINES)
    assert set(counts) == set(VOICE_EMOTIONS) and max(counts.values()) < 1.4 * min(counts.values())


def test_topics_help_and_do_not_tell():
    first = Counter((t.topic, line.emotion) for t in TALKS for line in t.lines[::2])
    best = {t: max(n for (topic, _), n in first.items() if topic == t) for t, _ in first}
    assert 0.4 < sum(best.values()) / first.total() < 0.6


def test_scripts_show_and_say_what_the_streams_tell():
    own = {text: emotion for t in talk_topics()["topics"] for text, emotion in t["lines"]}
    for line in LINES:
        said, shown = line.script.utterance, line.script.expressions
        assert said.emotion == line.tells["voice"] and said.meaning == line.tells["words"]
        assert (own.get(line.text) or meaning_of(line.text)) == line.tells["words"]
        assert (shown[0].emotion if shown else "neutral") == line.tells["face"]
        assert -1 <= line.valence <= 1 and -1 <= line.arousal <= 1 and (line.emotion != "neutral" or line.valence == 0)


def test_what_does_not_fit_is_refused():
    who = person("train", 0)
    tells = dict.fromkeys(STREAMS, "sad")
    with pytest.raises(ConfigError, match="does not fit into"):
        act(Draw("x"), 0, who, tells, "a very long line " * 9, place=(0, 0), duration_s=4.0, size_px=32)
    with pytest.raises(ConfigError, match="duration of 1 s"):
        act(Draw("x"), 0, who, tells, "hm", place=(0, 0), duration_s=1, size_px=32)
