"""An answer while it is made: what is shown of it stays, listening changes nothing, and it can be stopped."""

from dataclasses import dataclass, field, replace
from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.retrieval.test_chat_answers import engine, passages  # noqa: F401 - fixtures
from tests.retrieval.test_llm_answers import folder, llm  # noqa: F401 - fixtures
from tests.retrieval.test_llm_answers import passages as words
from unifusion.batch import ModalityReport
from unifusion.retrieval.asked import Said, cite
from unifusion.retrieval.chat_answers import ChatAnswers
from unifusion.retrieval.live import Live, growing, whole_characters
from unifusion.retrieval.wording import claims_of

PIECES = st.sampled_from(
    ["A dog", " barks", " [1]", "[2]", " [1, 3]", ".", " ", "\n", "!?", " [9]", " [clip 2]", " [sic]", "]", "[", " 3", "é", ","]
)  # fmt: skip


@dataclass(kw_only=True)
class Heard(Live):
    """Keeps what it hears, and stops after so many pieces of window 1 or of the whole."""

    most: int = 10**6
    texts: dict = field(default_factory=dict)
    ended: set = field(default_factory=set)

    def hears(self, number, text, ended):
        self.texts.setdefault(number, []).append(text)
        self.ended |= {number} if ended else set()
        if len(self.texts[number]) >= self.most:
            self.cancel.set()


@settings(max_examples=150, deadline=None)
@given(st.lists(PIECES, max_size=12))
def test_what_is_shown_is_what_the_answer_begins_with(pieces):
    """Whatever comes next, a character at a time."""
    text, some = "".join(pieces), words()
    claims = claims_of(text)
    answer = cite(Said(claims=claims, report=ModalityReport()), some)[0] if claims else ""
    for end in range(len(text) + 1):
        assert answer.startswith(growing(text[:end], some)), text[:end]


def test_statements_are_shown_with_their_marks_once_another_follows():
    some = words()
    assert growing("A dog ba", some) == "A dog ba"
    assert growing("A dog barks [1", some) == "A dog barks" == growing("A dog barks [1][2", some)
    assert growing("A dog barks [1][2]. Some", some) == "A dog barks. [1.mp4 @ 0.0-6.0 s] [2.mp4 @ 0.0-6.0 s] Some"
    assert growing(" [", some) == "" == growing("", some)


def test_half_a_character_waits():
    assert whole_characters("a\ufffd\ufffd") == "a" and whole_characters("a\ufffdb") == "a\ufffdb"
    assert whole_characters("\ufffd" * 5) == "\ufffd" * 2


@pytest.mark.parametrize("together", [False, True])
def test_a_chat_model_is_heard_and_says_the_same(engine, passages, together):  # noqa: F811
    generator, live = ChatAnswers(engine=engine, together=together, max_new_tokens=8, least_share=0.0), Heard()
    said, alone = generator.answer("what?", passages, live), generator.answer("what?", passages)
    assert said == alone
    assert set(live.texts) == live.ended == ({0} if together else {1, 2, 3})
    for heard in live.texts.values():
        assert len(heard) > 2 and all(after.startswith(before) for before, after in pairwise(heard))
    if not together:
        final = {text: [n for n in live.texts if live.texts[n][-1] == text] for n in live.texts for text in [live.texts[n][-1]]}
        assert {c.text: list(c.numbers) for c in said.claims} == {text: numbers for text, numbers in final.items() if text}


@pytest.mark.parametrize("together", [False, True])
def test_a_chat_model_is_stopped(engine, passages, together):  # noqa: F811
    live = Heard(most=3)
    said = ChatAnswers(engine=engine, together=together, max_new_tokens=40).answer("what?", passages, live)
    assert live.cancel.is_set() and all(len(heard) <= 4 for heard in live.texts.values()) and "longest" not in " ".join(said.notes)


def test_a_window_that_cannot_be_opened_is_heard_to_say_nothing(engine, passages):  # noqa: F811
    live = Heard()
    ChatAnswers(engine=engine, max_new_tokens=4).answer("what?", [replace(passages[0], path="/nowhere.png"), *passages[1:]], live)
    assert live.texts[1] == [""] and live.ended == {1, 2, 3}


def said_by(model, monkeypatch, text):
    """The model says a text, a token at a time, as transformers would."""
    ids = [*model.words.text.user(text), model.words.end_ids[0]]

    def generate(input_ids, streamer, stopping_criteria, **_):
        streamer.put(input_ids[0])
        for token in ids:
            input_ids = torch.cat([input_ids, torch.tensor([[token]])], 1)
            streamer.put(torch.tensor([token]))
            if any(bool(stop(input_ids, None).all()) for stop in stopping_criteria):
                break
        return input_ids

    monkeypatch.setattr(model.model, "generate", generate)


def test_a_language_model_is_heard_and_stopped(llm, monkeypatch):  # noqa: F811
    with monkeypatch.context() as patch:
        said_by(llm, patch, "Caf\u00e9 [2].")
        live = Heard()
        said = llm.answer("what?", words(), live)
    assert [(c.text, c.numbers) for c in said.claims] == [("Caf\u00e9.", (2,))] and said.notes == []
    assert live.texts[0][:5] == ["C", "Ca", "Caf", "Caf", "Caf\u00e9"] and live.texts[0][-1] == "Caf\u00e9 [2]." and live.ended == {0}
    with monkeypatch.context() as patch:
        said_by(llm, patch, "It goes on and on.")
        assert llm.answer("what?", words(), Heard(most=5)).claims[0].text == "It go"


def test_a_real_language_model_can_be_listened_to(llm):  # noqa: F811
    live = Heard()
    assert llm.answer("what?", words(), live) == llm.answer("what?", words())
    assert len(live.texts[0]) > 3 and live.ended == {0}
    live = Heard(most=2)
    said = llm.answer("what?", words(), live)
    assert len(live.texts[0]) <= 4 and "longest" not in " ".join(said.notes)  # transformers looks a token later
