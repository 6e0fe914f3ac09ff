"""Talks: what was said before reaches the model, what comes later never does."""

import json
from dataclasses import replace

import pytest

from tests import toys
from tests.models.test_affect import model
from unifusion.engine import emotion
from unifusion.engine.affect import AffectEngine
from unifusion.errors import ConfigError, DatasetError
from unifusion.evaluation.dialogue import Turn, read_talks, told_turns, turns_of
from unifusion.models.fusions._metadata import MetadataFields

LABELS = ("angry", "happy", "sad")
BEFORE = ({"speaker": "A", "text": "We won the cup!"}, {"speaker": "B", "text": "Really?"})


def clip(seed=0):
    return (toys.video(seed=seed),)


@pytest.fixture(params=["chat", "fusion"])
def engine(request, tiny_engine, monkeypatch):
    monkeypatch.setattr(emotion, "_MAX_RATIONALE", 4)
    return tiny_engine if request.param == "chat" else AffectEngine(model(metadata=MetadataFields.of([{"role": "a"}, {"turn": 1}])))


def tell(engine, turns, **options):
    return [told for _, told in told_turns(engine, turns, LABELS, **options)]


@pytest.mark.parametrize("media", [clip(), ()], ids=["clip", "words"])
def test_what_was_said_before_changes_what_is_told(engine, media):
    turn = Turn(id="t", speaker="A", text="I see.", media=media)
    turns = [replace(turn, history=h) for h in ((), BEFORE, BEFORE[:1], BEFORE[::-1])]
    shares = [tuple(t["probabilities"].values()) for t in tell(engine, turns)]
    assert len(set(shares)) == 4, "each context tells something else"
    assert shares == [pytest.approx(tuple(tell(engine, [t])[0]["probabilities"].values()), abs=1e-4) for t in turns]


def test_a_fusion_reads_what_is_known_of_a_turn():
    engine = AffectEngine(model(metadata=MetadataFields.of([{"role": "speaker"}, {"role": "listener"}, {"turn": 1}])))
    turn = Turn(id="t", text="I see.", media=clip())
    shares = {json.dumps(tell(engine, [replace(turn, metadata=m)])[0]["probabilities"]) for m in ({}, {"role": "speaker"}, {"turn": 1})}
    assert len(shares) == 3


def written(tmp_path, rows):
    path = tmp_path / "talk.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


TALK = [
    {"speaker": "A", "text": "How did it go?"},
    {"speaker": "B", "text": "I lost it.", "metadata": {"topic": "work"}},
    {"speaker": "A", "text": "Oh no."},
    {"speaker": "B", "text": "It is fine."},
]


def test_turns_know_what_came_before_and_nothing_that_comes_later(tmp_path):
    turns = read_talks(written(tmp_path, TALK))
    assert [[t["text"] for t in turn.history] for turn in turns] == [[r["text"] for r in TALK[:i]] for i in range(4)]
    assert [t.id for t in turns] == ["1", "2", "3", "4"]
    assert turns[1].metadata == {"turn": 1, "role": "b", "topic": "work"} and turns[1].history[0]["speaker"] == "A"
    assert len({t.mark for t in turns}) == 4
    other = read_talks(written(tmp_path, [{**TALK[0], "text": "Well?"}, *TALK[1:]]))
    assert all(a.mark != b.mark for a, b in zip(turns, other, strict=True)), "an answer to another context is another answer"


def test_later_turns_change_nothing(engine, tmp_path):
    whole = tell(engine, read_talks(written(tmp_path, TALK)), batch_size=2)
    for n in (1, 2, 3):
        other = [*TALK[:n], {"speaker": "B", "text": "This is the worst day of my life!"}, {"speaker": "A", "text": "No!"}]
        part = tell(engine, read_talks(written(tmp_path, other)), batch_size=2)[:n]
        for a, b in zip(whole[:n], part, strict=True):
            assert (a["label"], a["text"], a["turns_before"]) == (b["label"], b["text"], b["turns_before"])
            assert a["probabilities"] == pytest.approx(b["probabilities"], abs=1e-4)


def test_talks_of_one_file_are_apart_and_rows_may_bring_their_own_history(tmp_path):
    rows = [{**TALK[0], "dialogue": "x"}, {**TALK[1], "dialogue": "y"}, {**TALK[2], "dialogue": "x"}, {**TALK[3], "history": list(BEFORE)}]
    assert [len(t.history) for t in read_talks(written(tmp_path, rows))] == [0, 0, 1, 2]


def test_other_names_of_the_same(tmp_path):
    row = {"id": "a", "transcript": "Hi", "path": "a.wav", "start": 1, "end_s": 2.5}
    (turn,) = read_talks(written(tmp_path, [row]))
    assert turn.id == "a" and turn.text == "Hi" and turn.media.clips.files == (("path", str(tmp_path / "a.wav")),)
    assert (turn.media.clips.start_s, turn.media.clips.end_s) == (1, 2.5)


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ([{"speaker": "A"}], "names no file"), ([{"text": 3}], "are words"), ([{"text": "x", "metadata": "y"}], "are words"),
        ([], "no turns"), ([{"id": "a", "text": "x"}, {"id": "a", "text": "y"}], "stands twice"),
        ([{"text": "x", "history": ["y"]}], "history is"),
    ],
)  # fmt: skip
def test_a_file_that_is_no_talk(tmp_path, rows, said):
    with pytest.raises(DatasetError, match=said):
        read_talks(written(tmp_path, rows))


def test_a_bad_clip_spoils_its_own_turn_and_its_words_stay_known(engine, tmp_path):
    rows = [{**TALK[0]}, {**TALK[1], "path": "missing.wav"}, TALK[2]]
    told = tell(engine, read_talks(written(tmp_path, rows)))
    assert ["error" in t for t in told] == [False, True, False] and "missing.wav" in told[1]["error"]
    assert told[2]["turns_before"] == 2


def test_replies_know_clip_talk_and_emotion(tiny_engine, monkeypatch):
    monkeypatch.setattr(emotion, "_MAX_RATIONALE", 4)
    asked = []
    answer = type(tiny_engine).answer

    def short(self, talks, **options):
        asked.extend(talks)
        return answer(self, talks, **{**options, "max_new_tokens": 4})

    monkeypatch.setattr(type(tiny_engine), "answer", short)
    turns = [Turn(id="t", speaker="A", text="I see.", media=clip(), history=BEFORE), Turn(id="u", speaker="A", text="Well.")]
    told = tell(tiny_engine, turns, reply=True)
    assert all(isinstance(t["reply"], str) for t in told)
    words = asked[0].messages[-1].text
    assert f"The person in the clip feels {told[0]['label']}." in words and words.index("We won the cup!") < words.index("I see.")
    assert asked[0].media == turns[0].clips() and asked[0].messages[0].role == "system" and not asked[1].media
    assert "reply" not in tell(tiny_engine, turns)[0]
    with pytest.raises(ConfigError, match="no words to reply"):
        tell(AffectEngine(model()), turns, reply=True)


MELD = "Utterance,Speaker,Emotion,Sentiment,Dialogue_ID,Utterance_ID\n"


def test_rows_of_data_sets_are_turns(tmp_path, engine):
    lines = ["I lost it.,Ann,sadness,negative,0,0", "Oh no!,Bob,surprise,negative,0,1", "Hello.,Cy,neutral,neutral,1,0"]
    (tmp_path / "test_sent_emo.csv").write_text(MELD + "\n".join(lines))
    turns = turns_of(tmp_path, "meld", "test")
    assert [(t.speaker, t.text, len(t.history)) for t in turns] == [("Ann", "I lost it.", 0), ("Bob", "Oh no!", 1), ("Cy", "Hello.", 0)]
    assert turns[1].history[0]["text"] == "I lost it." and len({t.mark for t in turns}) == 3
    told = tell(engine, turns)
    assert [t["turns_before"] for t in told] == [0, 1, 0] and all("error" not in t for t in told)
    (tmp_path / "test_sent_emo.csv").write_text((MELD + "\n".join(lines)).replace("it.", "them."))
    assert [a.mark == b.mark for a, b in zip(turns, turns_of(tmp_path, "meld", "test"), strict=True)] == [False, False, True]


def test_a_data_set_that_is_none(tmp_path):
    with pytest.raises(ConfigError, match="no reader 'mled'; did you mean 'meld'"):
        turns_of(tmp_path, "mled", "test")
    with pytest.raises(DatasetError, match="test_sent_emo"):
        turns_of(tmp_path, "meld", "test")
