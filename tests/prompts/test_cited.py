"""Answers that cite: marks of all kinds, statements, and what is no mark."""

import pytest

from tests.tasks.test_contracts_tasks import full
from unifusion import catalog
from unifusion.prompts import CitedAnswer, Unparsed
from unifusion.prompts.parsers import load_parser

cited = load_parser("cited")


@pytest.mark.parametrize(
    ("text", "statements"),
    [
        ("A dog barks [1].", [("A dog barks.", (1,))]),
        ("A dog barks. [1] Then a bell [2, 3].", [("A dog barks.", (1,)), ("Then a bell.", (2, 3))]),
        ("Both [1][2]", [("Both", (1, 2))]),
        ("All [2-4] of them", [("All", (2, 3, 4)), ("of them", ())]),
        ("Yes [clip 1] and [Windows 2 and 3]!", [("Yes", (1,)), ("and", (2, 3, ))]),
        ("Nothing at all", [("Nothing at all", ())]),
        ("[1] A dog.", [("", (1,)), ("A dog.", ())]),
        ("Line [1]\nother [ 2 ; 2 ]", [("Line", (1,)), ("other", (2,))]),
        ("a [laughs] b [3.5] c [12345]", [("a [laughs] b [3.5] c [12345]", ())]),
        ("far [1-9999]", [("far", (1, 9999))]),
        ("back [4-2]", [("back", ())]),
    ],
)
def test_statements_and_their_numbers(text, statements):
    found = cited(text)
    assert isinstance(found, CitedAnswer)
    said = [(s.text.rstrip("!") if "!" in s.text else s.text, s.numbers) for s in found.statements]
    assert said == statements


@pytest.mark.parametrize("text", ["", " ", "...", "[1]", "[1] ."])
def test_marks_without_words_are_no_answer(text):
    assert isinstance(cited(text), Unparsed)


def test_the_task_wants_words_and_exactly_the_numbers():
    task = catalog.load("tasks", "cited_qa")()
    example = full("cited_qa", labels={"cited": (1, 3)})
    taught = task.conversation(example, with_answer=True).messages[-1].text
    assert taught == "red [1] [3]" and task.score(taught, example).value == 1.0
    assert [task.score(said, example).value for said in ("Red [3, 1].", "red [1]", "red", "blue [1][3]")] == [1.0, 0.0, 0.0, 0.0]
    assert task.score("red [1]", example).details == {"words": 1.0, "cited_f1": pytest.approx(2 / 3)}


def test_the_prompt_numbers_the_windows():
    task = catalog.load("tasks", "cited_qa")()
    rows = [
        {"number": 1, "name": "a.mp4", "start_s": 3.0, "end_s": 5.25, "texts": [("caption", "a dog")]},
        {"number": 2, "name": "b.png", "start_s": 0.0, "end_s": 0.0, "texts": []},
    ]
    asked = task.conversation(full("cited_qa", labels={"windows": rows})).messages
    assert [m.role for m in asked] == ["system", "user"]
    assert asked[-1].text.startswith('[1] a.mp4, 3.0 to 5.2 s\ncaption: "a dog"\n[2] b.png\n')
