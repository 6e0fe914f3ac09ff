"""What every file of tasks/ keeps; a new one is tested without touching this file."""

from __future__ import annotations

import math

import pytest

from unifusion import catalog
from unifusion.conversation import Example, Media
from unifusion.errors import UniFusionError
from unifusion.prompts import load_template
from unifusion.tasks.task import Score, Task

TASKS = catalog.names("tasks")
TEXTS = {"question": "What colour is the star?", "answer": "red", "caption": "A red star.", "description": "A red star moves left."}
TEXTS |= {"text": "A red star.", "event": "the bell rings", "reply": "I am glad for you."}
LABELS = {"emotion": "happy", "sound": "bell", "digit": 7, "valence": 0.6, "arousal": -0.2, "match": True, "span": (1.5, 3.0)}
LABELS |= {"evidence": [{"stream": "picture", "start_s": 1.0, "end_s": 2.0, "text": "cheeks raised"}], "history": [], "sentiment": 1.8}
LABELS |= {"sounds": ["rain", "bark"]}


def full(task, **changes):
    """An example with everything any task asks for; which_of chooses among captions, the others among answers."""
    options = ["A blue dog.", "A red star."] if task == "which_of" else ["blue", "red"]
    media = (Media(kind="video", source="a.mp4"),)
    return Example(**{"id": "e1", "media": media, "texts": TEXTS, "labels": {**LABELS, "options": options}, **changes})


@pytest.mark.parametrize("name", TASKS)
def test_it_names_prompt_metric_and_direction(name):
    task = catalog.load("tasks", name)
    assert issubclass(task, Task) and task.metric and task.direction in ("higher", "lower")
    assert load_template(task.prompt).source.task == name


@pytest.mark.parametrize("name", TASKS)
@pytest.mark.parametrize("held_out", [False, True])
def test_it_asks_with_media_first_and_supervises_the_answer_only(name, held_out):
    task = catalog.load("tasks", name)(held_out=held_out)
    asked, taught = task.conversation(full(name)), task.conversation(full(name), with_answer=True)
    assert asked.id == "e1" and taught.messages[:-1] == asked.messages
    assert isinstance(asked.messages[-1].parts[0], Media) and asked.messages[-1].text.strip()
    assert [m.supervised for m in taught.messages] == [False] * len(asked.messages) + [True]


@pytest.mark.filterwarnings("ignore:ccc. a series is constant")
@pytest.mark.parametrize("name", TASKS)
@pytest.mark.parametrize("seed", range(6))
def test_its_own_answer_earns_the_full_score(name, seed):
    task = catalog.load("tasks", name)(seed=seed)
    answer = task.conversation(full(name), with_answer=True).messages[-1].text
    score = task.score(answer, full(name))
    assert isinstance(score, Score) and score.value == pytest.approx(1.0) and not score.unparsed
    numbers = task.summarise([score], [full(name)])
    assert numbers["unparsed"] == 0.0 and task.metric in numbers


@pytest.mark.parametrize("name", TASKS)
def test_an_empty_answer_earns_nothing_and_is_counted(name):
    task = catalog.load("tasks", name)()
    score = task.score("", full(name))
    assert score.value == 0.0 and score.unparsed
    assert task.summarise([score], [full(name)])["unparsed"] == 1.0
    assert task.summarise([score], [full(name)])[task.metric] == 0.0


@pytest.mark.parametrize("name", TASKS)
def test_asking_does_not_look_at_the_truth(name):
    task = catalog.load("tasks", name)()
    shown = {"question": "Q?", "text": "T.", "event": "E"}
    unseen = full(name, texts=shown, labels={"options": ["A blue dog.", "A red star."], "history": []})
    assert task.conversation(unseen).messages[-1].text
    with pytest.raises(UniFusionError, match="e1"):
        task.conversation(unseen, with_answer=True)
    with pytest.raises(UniFusionError, match="e1"):
        task.score("yes", unseen)


ODD = [None, "abc", 5, -1, 1.5, float("nan"), float("inf"), True, [], ["a"], [1, 2], {}, {"a": 1}, [None], [[1]], "", 10**400, [{"a": 1}]]
FURTHER = ("option", "answers", "captions", "descriptions", "emotions", "tolerance", "checker", "windows", "cited", "turns")


@pytest.mark.filterwarnings("ignore:ccc. a series is constant")
@pytest.mark.parametrize("name", TASKS)
def test_labels_of_any_type_are_read_or_refused_by_name(name):
    task = catalog.load("tasks", name)()
    for key in (*LABELS, "options", *FURTHER):
        for value in ODD:
            row = full(name, labels={**full(name).labels, key: value})
            try:
                task.conversation(row, with_answer=True)
                scores = [task.score(answer, row) for answer in ("yes", "A", "happy", "1.0 to 2.0 s", "valence 0.1, arousal 0.2", "")]
            except UniFusionError as error:
                assert "e1" in str(error) or "template" in str(error)
            else:
                assert all(math.isfinite(s.value) for s in scores)


@pytest.mark.parametrize("name", TASKS)
def test_its_choices_are_answers_that_its_parser_takes(name):
    task = catalog.load("tasks", name)()
    values = {task.score(choice, full(name)).value for choice in task.choices(full(name))}
    assert values in (set(), {0.0, 1.0})
