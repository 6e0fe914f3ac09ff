"""Questions with alternatives in braces."""

import random

import pytest

from unifusion import share
from unifusion.errors import ConfigError
from unifusion.training.grammar import Grammar, expand, worn


def readings(line, count=400):
    rng = random.Random(0)
    return {expand(line, rng) for _ in range(count)}


def test_every_reading_comes_and_no_other():
    assert readings("{a|b} {c|} d") == {"a c d", "a  d", "b c d", "b  d"}
    assert readings("{x{1|2}|y}{3|4}") == {"x13", "x14", "x23", "x24", "y3", "y4"}
    assert readings("plain") == {"plain"} and readings("{|}") == {""}


def test_a_question_is_one_line_with_its_slots(tmp_path):
    path = tmp_path / "q.yaml"
    path.write_text('seen: ["{do|can} you hear <thing>{ here|}?"]\n', encoding="utf-8")
    found = {Grammar(path).ask("seen", random.Random(i), {"thing": "a dog"}) for i in range(60)}
    assert found == {"Do you hear a dog?", "Do you hear a dog here?", "Can you hear a dog?", "Can you hear a dog here?"}
    with pytest.raises(ConfigError, match="asks nothing about 'sene'"):
        Grammar(path).ask("sene", random.Random(0))


@pytest.mark.parametrize("text", ["a: '{x'", "a: ['{x']", "a: ['x} {']", "a: []", "- b"])
def test_what_is_wrong_is_named(tmp_path, text):
    path = tmp_path / "q.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError, match=r"braces of|no families"):
        Grammar(path)


def test_the_shipped_questions_read_well():
    grammar = Grammar(share.folder("train") / "questions" / "people.yaml")
    slots = {"e": "happy", "n": "happiness", "thing": "a dog bark"}
    for family in grammar.families:
        found = {grammar.ask(family, random.Random(i), slots) for i in range(300)}
        assert len(found) >= 12, family
        for question in found:
            assert question[-1] in "?." and not set("{}|<>") & set(question) and "  " not in question, question
            assert question[0].isupper() or not question[0].isalpha(), question


def test_loose_questions_have_something_around_them_or_worn_words_and_keep_their_gaps(tmp_path):
    path = tmp_path / "q.yaml"
    path.write_text('seen: ["Can you hear <thing> in this recording here?"]\naround: ["Please, <q>", "<q> Thanks."]\n', encoding="utf-8")
    plain, slots = "Can you hear a dog bark in this recording here?", {"thing": "a dog bark"}
    assert {Grammar(path).ask("seen", random.Random(i), slots) for i in range(50)} == {plain}
    assert "around" not in Grammar(path).families
    loose = [Grammar(path, loose=0.5).ask("seen", random.Random(i), slots) for i in range(400)]
    assert 150 < loose.count(plain) < 280 and all("a dog bark" in q for q in loose)
    assert sum(q.startswith("Please, ") for q in loose) > 30 and sum(q.endswith(" Thanks.") for q in loose) > 30
    assert "Please, can you hear a dog bark in this recording here?" in loose
    changed = [q.removeprefix("Please, ").removesuffix(" Thanks.").lower() for q in loose]
    assert 80 < sum(q != plain.lower() for q in changed) < 160
    assert any("haer" in q for q in changed) and any("recording" not in q for q in changed)


def test_worn_words_are_some_of_the_words():
    text = "What emotion is written on the face of this person, would you say?"
    found = [worn(text, random.Random(i)).split() for i in range(300)]
    kept = sum(w in text.split() for words in found for w in words) / (300 * len(text.split()))
    assert 0.82 < kept < 0.9
