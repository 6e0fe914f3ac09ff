"""`Engine.answer`: eight mixed conversations together say what each says alone, and one that fails does not take the others down."""

import pytest

from tests.models.families import FAMILIES, HYBRID
from tests.toys import chat_model, mixed, talk, video
from unifusion.conversation import Media
from unifusion.engine import Answer, Engine
from unifusion.errors import LimitError, MediaError
from unifusion.limits import Limits


@pytest.mark.parametrize("llm", [*FAMILIES, *HYBRID])
def test_eight_together_are_eight_alone(llm):
    engine = Engine(*chat_model(llm={**FAMILIES, **HYBRID}[llm], seed=1))
    alone = [engine.answer([c], max_new_tokens=10)[0] for c in mixed()]
    assert len({tuple(a.ids) for a in alone}) > 3
    for side in ("left", "right"):
        together = engine.answer(mixed(), max_new_tokens=10, side=side)
        assert [a.ids for a in together] == [a.ids for a in alone]
        assert [a.text for a in together] == [a.text for a in alone]
        assert [a.report for a in together] == [a.report for a in alone]
        assert [a.stopped for a in together] == [a.stopped for a in alone]


def test_answer_is_what_a_session_says(tiny_engine):
    for conversation in mixed():
        session = tiny_engine.session()
        for media in conversation.media:
            session.add(media)
        said = session.ask(conversation.messages[0].text, max_new_tokens=8)
        assert tiny_engine.answer([conversation], max_new_tokens=8)[0].ids == said.ids


def test_reports_tell_what_was_there(tiny_engine):
    answers = tiny_engine.answer(mixed(), max_new_tokens=1)
    streams = [{n: (s.present, s.reason) for n, s in a.report.streams.items()} for a in answers]
    here = (True, "")
    assert streams[0] == {"video": here, "audio": here}
    assert streams[1] == {"video": here, "audio": (False, "the file has no sound in this span")}
    assert streams[2] == {"video": (False, "only the sound was asked for"), "audio": here}
    assert streams[3] == {"video": here, "audio": (False, "a still has no sound")}
    assert streams[4] == {}
    assert streams[6] == {"video": here, "audio": (False, "muted on request")}
    assert len(answers[5].report.clips) == 2 and answers[5].report.streams["video"].tokens == answers[0].report.streams["video"].tokens


def test_one_bad_item_leaves_the_others(tiny_engine, tmp_path):
    (tmp_path / "bad.wav").write_bytes(b"RIFF????")
    bad = talk([Media(kind="audio", source=tmp_path / "bad.wav")])
    good = mixed()[:2]
    answers = tiny_engine.answer([good[0], bad, good[1]], max_new_tokens=4)
    assert isinstance(answers[1], MediaError) and "bad.wav" in str(answers[1])
    assert [answers[0].ids, answers[2].ids] == [a.ids for a in tiny_engine.answer(good, max_new_tokens=4)]
    assert isinstance(tiny_engine.answer([bad])[0], MediaError)


def test_limits_hold_for_each_row():
    engine = Engine(*chat_model(llm={**FAMILIES["gpt2"], "n_positions": 96}, seed=1), limits=Limits(max_new_tokens=40))
    rows = [talk([], "x" * 80), talk([], "hi"), talk([], "x" * 200), talk([video(seed=i) for i in range(20)])]
    answers = engine.answer(rows, max_new_tokens=100)
    assert isinstance(answers[0], Answer) and len(answers[0].ids) <= 96 - len(engine.processor.row(rows[0], generate=True).ids)
    assert isinstance(answers[1], Answer) and len(answers[1].ids) <= 40
    assert answers[1].ids == engine.answer([rows[1]], max_new_tokens=100)[0].ids
    assert not answers[1].stopped or len(answers[1].ids) < 40
    assert isinstance(answers[2], LimitError) and "the model takes 96" in str(answers[2])
    assert isinstance(answers[3], LimitError) and "20 clips" in str(answers[3])


def test_a_model_without_keys_and_values_is_refused_plainly():
    from unifusion.errors import ConfigError

    engine = Engine(*chat_model(llm={"model_type": "mamba", "hidden_size": 32, "num_hidden_layers": 1, "state_size": 4}))
    with pytest.raises(ConfigError, match="mamba language model keeps no keys"):
        engine.answer([talk([], "hi")])
