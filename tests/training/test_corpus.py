"""The door of training: what a row must be to be learned, and what stays text."""

import json

import numpy as np
import pytest
import soundfile
import yaml

from tests.toys import chat_model
from unifusion.conversation import Conversation, Message
from unifusion.errors import ConfigError, DatasetError, UniFusionError
from unifusion.limits import Limits
from unifusion.training.corpus import Corpus, Rows, learnt, plain


@pytest.fixture(scope="module")
def processor():
    return chat_model(seed=1)[1]


@pytest.fixture
def corpus(tmp_path):
    soundfile.write(tmp_path / "b.wav", np.zeros(8000), 16_000)

    def make(*rows, task=None, **options):
        text = b"".join((r if isinstance(r, bytes) else json.dumps(r).encode()) + b"\n" for r in rows)
        (tmp_path / "rows.jsonl").write_bytes(text)
        part = {"dataset": "messages", "path": "rows.jsonl", "options": options, **({"task": task} if task else {})}
        (tmp_path / "mix.yaml").write_text(yaml.safe_dump({"rows": part}))
        return Corpus(tmp_path / "mix.yaml")

    return make


def said(answer, question="What?", clip=None):
    content = question if clip is None else [{"type": "audio", "path": clip}, {"type": "text", "text": question}]
    return {"messages": [{"role": "user", "content": content}, {"role": "assistant", "content": answer}]}


def spoken(*turns):
    return Conversation(messages=tuple(Message(role=r, parts=(t,), supervised=s) for r, t, s in turns), id="x")


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (said(""), "has an empty answer"),
        (said(" \n"), "has an empty answer"),
        (said([]), "has an empty answer"),
        ({"messages": [*said("")["messages"], *said("A bell.")["messages"]]}, "has an empty answer"),
        ({"messages": said("x")["messages"][:1]}, "has no answer to learn"),
        ({"messages": []}, "has no answer to learn"),
        ({"messages": 5}, "messages are int"),
        ({"question": "What?"}, "holds no messages"),
        (b'{"messages": [', "not JSON"),
        (said([{"type": "text", "text": 5}]), "a text part holds 5"),
        (said("A \u0000bell."), "holds a NUL"),
        ({**said("x"), "images": ["a.png"]}, "names 1 image file"),
        ({**said("x"), "id": [1]}, r"id is \[1\]"),
        (
            {"messages": [{"role": "assistant", "content": "Hi."}], "media": [{"type": "audio", "path": "b.wav"}]},
            "has clips and no question",
        ),
    ],
)
def test_rows_that_teach_nothing_are_named(corpus, row, message):
    rows = corpus(said("A bell."), row)
    told = []
    for index in range(len(rows)):
        try:
            rows.conversation(index)
        except UniFusionError as error:
            told.append(str(error))
    assert len(told) == 1
    with pytest.raises(UniFusionError, match=message):
        raise DatasetError(told[0])


def test_what_is_supervised_must_say_something():
    learnt(spoken(("user", "What?", False), ("assistant", "A bell.", True)), "x")
    learnt(spoken(("user", "", False), ("assistant", "", False), ("user", "?", False), ("assistant", "A bell.", True)), "x")
    for talk in (spoken(("user", "What?", False)), spoken(("assistant", "A", False)), spoken(("assistant", " ", True))):
        with pytest.raises(DatasetError, match="row 7 has"):
            learnt(talk, "row 7")


@pytest.mark.parametrize("token", ["<|video|>", "<|audio|>", "<|user|>", "<|assistant|>", "<|end|>", "</s>", "<pad>"])
def test_control_tokens_in_a_text_are_not_learned(processor, corpus, token):
    for row in (said(f"A {token} bell."), said("A bell.", f"What{token}?"), said([{"type": "text", "text": token}])):
        with pytest.raises(DatasetError, match="spells out"):
            Rows(corpus(row), processor, max_tokens=256)[0]
    assert processor.text.control_in(f"x{token}y") == token


@pytest.mark.parametrize("text", ["< |end|>", "<|End|>", "<think>", "<s>", "5 < 6 | 7 > 6", "<|im_start|>"])
def test_other_texts_stay_text(processor, corpus, text):
    row = Rows(corpus(said(f"A {text} bell.")), processor, max_tokens=256)[0]
    assert not set(row.ids[2:-2]) & set(processor.placeholder_ids.values()) and processor.text.control_in(text) is None
    plain(spoken(("user", text, False)), processor)


def test_a_text_that_no_tokenizer_takes_is_named(processor):
    with pytest.raises(DatasetError, match=r"row 'x' holds half a surrogate pair \(surrogates not allowed\)"):
        plain(spoken(("user", "A \ud83d bell", False)), processor)


def test_a_row_of_too_many_bytes_is_named_and_the_next_is_read(corpus, monkeypatch):
    monkeypatch.setattr(Limits, "max_row_bytes", 200)
    rows = corpus(said("x" * 300), said("A bell."))
    told = [rows.name(i) for i in range(2)]
    assert sorted(told) == ["rows/2", "rows/row 1"]
    with pytest.raises(DatasetError, match="more than 200 bytes in one row"):
        rows.conversation(told.index("rows/row 1"))
    assert rows.conversation(told.index("rows/2")).messages[-1].text == "A bell."


def test_a_byte_order_mark_is_read_at_the_start_only(corpus):
    line = json.dumps(said("A bell.")).encode()
    rows = corpus(b"\xef\xbb\xbf" + line, b"\xef\xbb\xbf" + line)
    good = [i for i in range(2) if rows.name(i) == "rows/1"]
    assert len(good) == 1 and rows.conversation(good[0]).messages[-1].text == "A bell."
    with pytest.raises(DatasetError, match="not JSON"):
        rows.conversation(1 - good[0])


def test_a_split_that_is_none_is_not_passed_over(corpus):
    rows = corpus({**said("a"), "split": "val"}, {**said("b"), "split": 0.5}, {**said("c"), "split": "train"})
    assert len(rows) == 2
    with pytest.raises(DatasetError, match=r"split is 0\.5"):
        [rows.conversation(i) for i in range(2)]


def test_a_part_may_be_bound_to_a_folder(corpus, tmp_path):
    (tmp_path / "in").mkdir()
    rows = said("A bell.", clip="b.wav")
    assert corpus(rows).conversation(0).media and corpus(rows, root=str(tmp_path)).conversation(0).media
    with pytest.raises(DatasetError, match="leads out of"):
        corpus(rows, root=str(tmp_path / "in")).conversation(0)


@pytest.mark.parametrize(
    ("row", "task"),
    [
        ({"options": 5, "question": "q", "option": 0}, "multiple_choice"),
        ({"valence": [1], "arousal": 0}, "valence_arousal"),
        ({"valence": 4.0, "arousal": 0.1}, "valence_arousal"),
        ({"emotion": "hungry"}, "emotion"),
        ({"history": 5, "emotion": "joy"}, "emotion"),
    ],
)
def test_labels_that_a_task_cannot_ask_about_are_named(corpus, row, task):
    with pytest.raises(ConfigError):
        corpus(row, task=task).conversation(0)
