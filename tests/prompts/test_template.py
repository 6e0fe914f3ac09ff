"""From an Example to messages: fields, phrasings, media first, and user text that stays data."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from unifusion.conversation import Example, Media
from unifusion.errors import PromptError
from unifusion.prompts import load_template

BODY = """
name: {name}
description: A test.
task: open_qa
fields: {fields}
phrasings: {phrasings}
held_out_phrasings: {held_out}
answer: "{answer}"
parser: free
"""


@pytest.fixture
def template(tmp_path):
    """Write and load a template."""

    def make(name="mine", fields="[question, answer]", phrasings="['{{ question }}']", held_out="[]", answer="{{ answer }}"):
        path = tmp_path / f"{name}.yaml"
        path.write_text(BODY.format(name=name, fields=fields, phrasings=phrasings, held_out=held_out, answer=answer))
        return load_template(path)

    return make


def example(**changes):
    """An example with a clip, a question and an answer."""
    return Example(
        **{"id": "e1", "media": (Media(kind="video", source="a.mp4"),), "texts": {"question": "What?", "answer": "That."}, **changes}
    )


def test_media_come_before_the_question_and_only_the_answer_is_supervised(template):
    user, assistant = template().messages(example(), with_answer=True)
    assert (user.role, assistant.role) == ("user", "assistant")
    assert isinstance(user.parts[0], Media) and user.parts[1:] == ("What?",)
    assert assistant.text == "That." and assistant.supervised and not user.supervised
    assert template().messages(example()) == (user,)


def test_a_phrasing_may_be_named(template):
    asked = template(phrasings="['A {{ question }}', 'B {{ question }}', 'C {{ question }}']", held_out="['D {{ question }}']")
    assert [asked.messages(example(), phrasing=n)[0].text for n in range(3)] == ["A What?", "B What?", "C What?"]
    assert asked.messages(example(), phrasing=0, held_out=True)[0].text == "D What?"
    for wrong in (-1, 3):
        with pytest.raises(PromptError, match=f"no phrasing {wrong}; numbers go from 0 to 2"):
            asked.messages(example(), phrasing=wrong)


def test_a_system_text_leads():
    turns = load_template("dialogue_reply").messages(Example(id="d", labels={"history": []}), fields={"history": []})
    assert [m.role for m in turns] == ["system", "user"] and "listen with care" in turns[0].text


@settings(max_examples=100, deadline=None)
@given(
    question=st.one_of(
        st.text(), st.sampled_from(["{{ answer }}", "{% for x in y %}", "{{ ''.__class__.__mro__ }}", "{#", "<image>", "{{ labels }}"])
    )
)
def test_what_a_person_writes_is_never_rendered(question):
    (message,) = load_template("open_qa").messages(Example(id="x", texts={"question": question}))
    assert question in message.text


def test_phrasings_depend_on_seed_and_id_alone_and_all_are_used(template):
    made = template(phrasings="['one {{ question }}', 'two {{ question }}', 'three {{ question }}']")
    texts = [made.messages(example(id=f"e{i}"), seed=3)[0].text for i in range(300)]
    assert texts == [made.messages(example(id=f"e{i}"), seed=3)[0].text for i in range(300)]
    assert texts != [made.messages(example(id=f"e{i}"), seed=4)[0].text for i in range(300)]
    counts = [sum(t.startswith(w) for t in texts) for w in ("one", "two", "three")]
    assert min(counts) > 70 and sum(counts) == 300


def test_phrasings_are_the_same_in_another_process():
    code = (
        "from unifusion.conversation import Example; from unifusion.prompts import load_template\n"
        "print([load_template('caption').messages(Example(id=str(i)), seed=1)[0].text for i in range(20)])"
    )
    here = str([load_template("caption").messages(Example(id=str(i)), seed=1)[0].text for i in range(20)])
    run = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env={**os.environ, "PYTHONHASHSEED": "77"}
    )
    assert run.stdout.strip() == here


def test_held_out_phrasings_are_another_pool(template):
    made = template(held_out="['later {{ question }}']")
    assert made.messages(example(), held_out=True)[0].text == "later What?"
    assert made.messages(example())[0].text == "What?"
    with pytest.raises(PromptError, match="no 'held_out_phrasings'"):
        template().messages(example(), held_out=True)


def test_a_field_without_a_value_names_prompt_field_and_example(template):
    with pytest.raises(PromptError, match=r"prompt 'mine' needs field 'question', example 'e1' has answer"):
        template().messages(example(texts={"answer": "x"}))
    with pytest.raises(PromptError, match="needs field 'answer'"):
        template().messages(example(texts={"question": "x"}), with_answer=True)
    assert template().messages(example(texts={"question": "x"}))[0].text == "x"


def test_what_the_caller_gives_goes_before_texts_and_texts_before_labels(template):
    one = example(texts={"question": "text"}, labels={"question": "label", "answer": "from labels"})
    assert template().messages(one)[0].text == "text"
    assert template().messages(one, fields={"question": "given"})[0].text == "given"
    assert template().answer(one) == "from labels"


def test_an_empty_target_is_an_error(template):
    with pytest.raises(PromptError, match="empty answer"):
        template().messages(example(texts={"question": "q", "answer": "  "}), with_answer=True)
    with pytest.raises(PromptError, match="has no 'answer'"):
        template(fields="[question]", answer="").answer(example())


def test_the_sandbox_lets_nothing_of_python_through(template):
    for attack in ("{{ question.__class__.__mro__ }}", "{{ question.__init__.__globals__ }}", "{{ question.format.__self__.__class__ }}"):
        with pytest.raises(PromptError, match="cannot fill in"):
            template(phrasings=f"['{attack}']", fields="[question, answer]").messages(example())
    with pytest.raises(PromptError, match="cannot fill in"):
        template(phrasings="['{{ question.append(1) }}']").messages(example(texts={"question": ["a"]}))


def test_an_edited_file_is_read_again(template, tmp_path):
    assert template(phrasings="['old {{ question }}']").messages(example())[0].text == "old What?"
    made = template(phrasings="['new {{ question }}']")
    os.utime(tmp_path / "mine.yaml", ns=(1, 1))
    assert load_template(tmp_path / "mine.yaml").messages(example())[0].text == made.messages(example())[0].text == "new What?"


def test_unknown_names_and_paths_are_told():
    with pytest.raises(PromptError, match="did you mean 'caption'"):
        load_template("captoin")
    with pytest.raises(PromptError, match="no such template file"):
        load_template("nowhere/x.yaml")
