"""Rows whose fields are of any type, asked about by every task: a conversation to learn, or an error that names the row; nothing else."""

import json
import random

import pytest

from unifusion import catalog
from unifusion.conversation import Example, Media
from unifusion.curation.lines import Checked, RowChecks, check_line
from unifusion.curation.media_checks import MediaChecks
from unifusion.curation.talk_checks import TalkChecks
from unifusion.datasets._rows import example_of
from unifusion.errors import UniFusionError
from unifusion.training.corpus import learnt

KEYS = (
    "question",
    "answer",
    "answers",
    "caption",
    "captions",
    "description",
    "options",
    "option",
    "emotion",
    "label",
    "emotions",
    "rationale",
    "valence",
    "arousal",
    "sound",
    "sounds",
    "transcript",
    "history",
    "metadata",
    "digit",
    "start_s",
    "end_s",
    "checker",
    "tolerance",
    "events",
    "times",
    "type",
    "subtitles",
    "response",
    "evidence",
    "match",
    "matches",
    "labels",
    "media",
    "span",
    "spans",
    "language",
    "clues",
    "speaker",
    "topic",
    "messages",
    "text",
    "right",
    "candidates",
    "distractors",
    "thirds",
)
VALUES = (
    None,
    True,
    0,
    -1,
    3,
    0.5,
    1e300,
    10**18,
    "",
    " ",
    "joy",
    "yes",
    "A",
    "{x}",
    "{0.__class__}",
    "{{",
    "%s",
    "\x1b[31m",
    [],
    ["a"],
    ["a", "b"],
    ["a", 5],
    [None],
    [[]],
    [{}],
    {},
    {"a": 1},
    {"text": "x"},
    [{"speaker": "a", "text": "b"}],
    [{"speaker": "a"}],
    ["joy", "fear"],
    [[0.0, 1.0]],
    [{"start_s": 0.0, "end_s": 1.0, "text": "x"}],
    [{"start_s": "x"}],
    "x" * 300,
)


def rows(count, seed):
    draw = random.Random(seed)
    for number in range(count):
        yield {"id": f"r{number}", **{key: draw.choice(VALUES) for key in draw.sample(KEYS, draw.randrange(1, 14))}}


@pytest.mark.parametrize("name", catalog.names("tasks"))
def test_a_task_gives_a_conversation_or_names_the_row(name):
    task, learned = catalog.load("tasks", name)(), 0
    for row in rows(300, seed=len(name)):
        try:
            example = example_of(row, "", "here", str)
        except UniFusionError:
            continue
        for with_clip in (False, True):
            asked = Example(**{**vars(example), "media": (Media(kind="video", source="a.mp4"),)}) if with_clip else example
            try:
                talk = task.conversation(asked, with_answer=True)
                learnt(talk, row["id"])
            except UniFusionError as error:
                assert str(error)
                continue
            learned += 1
            texts = [p for m in talk.messages for p in m.parts if not isinstance(p, Media)]
            assert all(isinstance(text, str) for text in texts), row
    assert learned >= 0


@pytest.mark.parametrize("task", ["", "emotion", "multiple_choice", "open_qa", "caption"])
def test_validate_looks_at_any_row(task):
    checks = RowChecks(file="f", media=MediaChecks(depth="none"), talk=TalkChecks(tasks=((task, {}),) if task else ()))
    for number, row in enumerate(rows(300, seed=7), 1):
        out = Checked()
        check_line(json.dumps(row).encode(), True, number, checks, out)
        assert out.rows == 1 and all(f.row == number and f.found for f in out.findings)


def test_each_task_learns_from_a_row_as_it_should_be():
    whole = {
        "question": "What?",
        "answer": "A bell.",
        "caption": "A bell rings.",
        "description": "A bell.",
        "options": ["a bell", "a dog"],
        "option": 0,
        "emotion": "joy",
        "rationale": "She smiles.",
        "valence": 0.5,
        "arousal": 0.25,
        "sound": "bell",
        "transcript": "Hello.",
    }
    example, learned = example_of(whole, "r", "here", str), []
    for name in catalog.names("tasks"):
        try:
            learnt(catalog.load("tasks", name)().conversation(example, with_answer=True), "r")
            learned.append(name)
        except UniFusionError:
            continue
    assert {"caption", "emotion", "multiple_choice", "open_qa", "valence_arousal"} <= set(learned)
