"""What every file of prompts/ keeps; a new one is tested without touching this file."""

from __future__ import annotations

import pytest

from unifusion import catalog
from unifusion.prompts import Unparsed, load_template
from unifusion.prompts.parsers import parser_names

PROMPTS = catalog.names("prompts")


def test_there_is_one_for_each_thing_to_ask():
    assert {"open_qa", "multiple_choice", "caption", "dense_description", "emotion", "emotion_rationale", "valence_arousal"} <= set(PROMPTS)
    assert {"match", "which_of", "when", "dialogue_reply"} <= set(PROMPTS)


@pytest.mark.parametrize("name", PROMPTS)
def test_it_loads_has_ways_to_ask_and_a_parser(name):
    template = load_template(name)
    assert len(template.source.phrasings) >= 5 and len(template.source.held_out_phrasings) >= 2
    assert template.source.parser in parser_names() and template.source.answer
    assert template.source.description.endswith(".")


@pytest.mark.parametrize("name", PROMPTS)
def test_its_task_uses_it(name):
    template = load_template(name)
    assert catalog.load("tasks", template.source.task).prompt == name


@pytest.mark.parametrize("name", PROMPTS)
def test_it_asks_without_stray_markup_or_space(name):
    template = load_template(name)
    for text in (*template.source.phrasings, *template.source.held_out_phrasings):
        assert "<" not in text and "\t" not in text and "  " not in text.replace("\n  ", "\n")


@pytest.mark.parametrize("name", PROMPTS)
def test_an_answer_of_nothing_is_unparsed(name):
    assert isinstance(load_template(name).parse(" \n", choices=("a", "b")), Unparsed)
