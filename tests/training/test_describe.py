"""What is true of a row, and texts about it: each claims only what is true, another one each time, the same for the same key."""

import pytest
import yaml

from unifusion import share
from unifusion.conversation import Example, Media
from unifusion.datasets.clip_world import ClipWorld
from unifusion.errors import ConfigError
from unifusion.training.describe import Describer, Fact, facts_of

DESCRIBER = Describer(share.folder("train") / "phrasings" / "align.yaml")


def test_clip_world_tells_its_whole_truth():
    for row in ClipWorld(count=40, per_clip=1):
        facts = facts_of(row)
        kinds = {f.kind for f in facts}
        caption = row.texts["caption"]
        assert Fact("clip", "caption", caption) in facts
        for fact in facts:
            if fact.kind in ("face", "voice", "sound", "absent"):
                assert fact.value in caption, (fact, caption)
            if fact.kind == "object":
                assert fact.value in caption.lower()
        assert ("face" in kinds) == ("The face" in caption) and ("voice" in kinds) == ("The voice" in caption)


@pytest.mark.parametrize(
    ("kind", "labels", "wanted"),
    [
        ("audio", {"emotion": "fear", "language": "german"}, {("sound", "voice", "afraid"), ("sound", "language", "german")}),
        ("image", {"emotion": "happy"}, {("sight", "face", "happy")}),
        ("video", {"emotion": "sad"}, {("clip", "emotion", "sad")}),
        ("video", {"face_emotion": "sad", "voice_emotion": "happy"}, {("sight", "face", "sad"), ("sound", "voice", "happy")}),
        ("audio", {"sound": "rain"}, {("sound", "sound", "rain")}),
        ("video", {"captions": ("A dog runs.", "A dog.")}, {("clip", "caption", "A dog runs."), ("clip", "caption", "A dog.")}),
    ],
)
def test_labels_become_facts(kind, labels, wanted):
    row = Example(id="row", media=(Media(kind=kind, source="x"),), labels=labels)
    assert {(f.about, f.kind, f.value) for f in facts_of(row)} == wanted


def test_texts_are_drawn_by_their_key_and_claim_what_is_true():
    for row in ClipWorld(count=20, per_clip=1):
        facts = facts_of(row)
        texts = set()
        for turn in range(12):
            for about in ("clip", "sight", "sound"):
                said = DESCRIBER.say(facts, about, f"{row.id}/{turn}")
                assert said == DESCRIBER.say(facts, about, f"{row.id}/{turn}")
                if said is None:
                    assert about != "clip"
                    continue
                assert said.text.strip() and said.facts and DESCRIBER.fits(said, frozenset(facts)), said
                assert "{" not in said.text
                assert about == "clip" or all(f.about in (about, "clip") for f in said.facts)
                texts.add(said.text)
        assert len(texts) > 12


def test_every_word_for_an_adjective_of_clip_world_is_known():
    said = {f.value for row in ClipWorld(count=200, per_clip=1) for f in facts_of(row) if f.kind in ("face", "voice", "sound")}
    known = {w for kind in ("face", "voice", "sound") for w in DESCRIBER.words[kind]}
    assert said <= known


def test_a_file_of_another_form_is_refused(tmp_path):
    path = tmp_path / "x.yaml"
    path.write_text(yaml.safe_dump({"words": {}}))
    with pytest.raises(ConfigError, match="no phrasings"):
        Describer(path)


def test_some_texts_ask_for_what_they_tell(tmp_path):
    path = tmp_path / "own.yaml"
    path.write_text(yaml.safe_dump({"facts": {"sound": ["There is {a_x}."]}, "around": ["find {text}", "In which clip {text}?"]}))
    describer, facts = Describer(path), (Fact("sound", "sound", "bell"),)
    told = [describer.say(facts, "sound", f"{k}").text for k in range(400)]
    assert set(told) == {"There is a bell.", "find there is a bell", "In which clip there is a bell?"}
    assert 0.18 < 1 - told.count("There is a bell.") / 400 < 0.32
    assert {describer.say((Fact("clip", "caption", "A {dog}."),), "clip", f"{k}").text for k in range(50)} == {"A {dog}."}


def test_the_same_is_said_again_in_other_words():
    describer = Describer(share.folder("train") / "phrasings" / "align.yaml")
    facts = (Fact("sound", "sound", "bell"), Fact("sound", "voice", "happy"), Fact("sight", "face", "sad"))
    said = describer.say(facts, "clip", "a")
    again = [describer.again(said, f"{k}") for k in range(10)]
    assert all(a.facts == said.facts for a in again) and len({a.text for a in again}) > 3
    assert describer.again(said, "0") == again[0]
    caption = describer.say((Fact("clip", "caption", "A dog barks loudly while a woman is laughing in the park"),), "clip", "a")
    worded = [describer.again(caption, f"{k}") for k in range(10)]
    assert {w.facts for w in worded} == {caption.facts} and len({w.text for w in worded}) > 3


def test_another_caption_of_the_row_is_another_wording():
    facts = tuple(Fact("clip", "caption", text) for text in ("A dog barks", "Barking of a dog", "Some dog is loud"))
    for key in "abcdef":
        said = DESCRIBER.say(facts, "clip", key)
        other = DESCRIBER.again(said, key, facts)
        assert other.facts == said.facts and other.text in {f.value for f in facts} - {said.text}
