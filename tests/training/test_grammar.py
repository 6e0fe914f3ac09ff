"""Questions with alternatives in braces."""

import random

import pytest

from unifusion import share
from unifusion.errors import ConfigError
from unifusion.training.grammar import Grammar, expand


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
