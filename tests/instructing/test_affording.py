"""Which tasks a row affords, what they offer, and what an answer needs."""

import numpy as np
import pytest

from tests.instructing.sets import world, write_picture, write_sound
from unifusion import catalog
from unifusion.conversation import Clip, Example, Media
from unifusion.errors import MediaError
from unifusion.instructing.affording import _AFFORDS, FEW, LabelSets, needed, streams_of, tasks_of


def row(texts=None, **labels):
    return Example(id="r", media=(world(1),), texts=texts or {}, labels=labels)


@pytest.mark.parametrize(("example", "tasks"), [
    (row({"question": "Q?", "answer": "a"}), ["open_qa"]),
    (row({"question": "Q?", "answer": "a"}, options=("a", "b")), ["open_qa"]),
    (row({"question": "Q?", "answer": "a"}, options=("a", "b"), option=0), ["multiple_choice"]),
    (row({"question": "Q?"}, options=("a", "b")), []),  # the test set hides the answer
    (row({"question": "Q?"}), []),
    (row({"caption": "A dog."}), ["caption", "match", "which_of"]),
    (row({"description": "First .."}), ["dense_description"]),
    (row(emotion="happy"), ["emotion"]),
    (row(emotion="happy", evidence=[{"stream": "sound", "start_s": 0, "end_s": 1, "text": "x"}]), ["emotion", "emotion_rationale"]),
    (row({"rationale": "She smiles."}, emotion="happy"), ["emotion", "emotion_rationale"]),
    (row({"rationale": "She smiles."}, emotions=("happy", "proud")), []),
    (row(valence=0.0, arousal=0.0), ["valence_arousal"]),
    (row(valence=0.5), []),
    (row(sound="rain"), ["sound"]),
    (row(sound=""), []),
    (row(sounds=("rain", "wind")), ["sounds"]),
    (row(sound="rain", sounds=("rain",)), ["sound"]),
    (row(digit="one"), ["digit"]),
    (row({"event": "a bell"}, time_s=0.0), ["when"]),
    (row({"event": "a bell"}), []),
    (row({"reply": "Oh."}, history=()), ["dialogue_reply"]),
])  # fmt: skip
def test_tasks_of_a_row(example, tasks):
    assert tasks_of(example) == tasks
    assert tasks_of(example, ["sound"]) == [t for t in tasks if t == "sound"]


def test_the_table_names_tasks_and_unknown_ones_are_tried():
    assert set(_AFFORDS) <= set(catalog.names("tasks"))
    assert tasks_of(row(emotion="happy"), ["cited_qa", "emotion"]) == ["emotion", "cited_qa"]


def test_streams_are_what_the_header_or_the_script_says(tmp_path):
    sound, picture = write_sound(tmp_path / "a.wav"), write_picture(tmp_path / "a.png")
    assert streams_of(Media(kind="audio", source=str(sound))) == {"audio"} == streams_of(Media(kind="video", source=sound.read_bytes()))
    assert streams_of(Media(kind="image", source=str(picture))) == {"video"}
    assert streams_of(Media(kind="audio", source=str(sound), mute=("audio",))) == set()
    assert streams_of(Media(kind="video", source=Clip(waveform_N=np.zeros(4)))) == {"video", "audio"}
    assert {frozenset(streams_of(world(n))) for n in range(60)} == {frozenset(s) for s in ({"video"}, {"audio"}, {"video", "audio"})}
    (tmp_path / "b.wav").write_bytes(b"nothing")
    with pytest.raises(MediaError):
        streams_of(Media(kind="audio", source=str(tmp_path / "b.wav")))


def test_what_an_answer_needs():
    both = {"video", "audio"}
    assert needed("sound", row(), both) == ("audio",) == needed("digit", row(), {"video"})
    assert needed("open_qa", row(stream_needs=("video",)), both) == ("video",)
    assert needed("caption", row(stream_needs=("video",)), both) == (), "what a row says is about its own question"
    assert needed("open_qa", row(stream_needs=("video", "audio"), needs="all"), both) == (), "a part is told from any stream"
    assert needed("open_qa", row(stream_needs=("video", "audio"), needs="both"), both) == ("video", "audio")
    assert needed("caption", row(), {"audio"}) == ("audio",) and needed("caption", row(), both) == ()


def test_labels_are_the_tasks_own_or_the_parts():
    known = [row(emotion=e) for e in ("joy", "sadness", "neutral")]
    assert LabelSets(known).choices("emotion", known[0], 0) == {}, "aliases of the task's own"
    others = [row(emotion=e) for e in ("happy", "worried")]
    assert LabelSets(others).choices("emotion", others[0], 0) == {"labels": ["happy", "worried"]}
    assert LabelSets(others, ["happy", "worried", "sad"]).choices("emotion", others[0], 0) == {"labels": ["happy", "worried", "sad"]}
    heard = [Example(id=f"s{n}", labels={"sounds": (f"kind {n:02}", "kind 99")}) for n in range(60)]
    assert len(LabelSets(heard).choices("sounds", heard[0], 0)["labels"]) == 61
    assert LabelSets(others).choices("caption", others[0], 0) == {} == LabelSets([]).choices("sound", others[0], 0)


def test_of_a_long_list_few_are_offered_the_right_one_at_any_place():
    rows = [Example(id=f"r{n}", labels={"sound": f"kind {n:02}"}) for n in range(60)]
    sets, places = LabelSets(rows), set()
    for example in rows:
        labels = sets.choices("sound", example, 0)["labels"]
        assert len(labels) == len(set(labels)) == FEW and example.labels["sound"] in labels
        places.add(labels.index(example.labels["sound"]))
        assert labels == LabelSets(rows).choices("sound", example, 0)["labels"] != LabelSets(rows).choices("sound", example, 1)["labels"]
    assert len(places) == FEW
